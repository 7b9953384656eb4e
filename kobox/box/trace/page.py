"""A trace as one HTML page: no scripts, no network, light and dark. Calls with others inside open and close."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kobox.box.inspect.printk import LogRecord
from kobox.box.trace.call import Allocation, Call, CallKind
from kobox.box.trace.text import duration
from kobox.printable import html_text

_STYLE = """
:root{color-scheme:light dark;--bg:#fbfaf8;--ink:#1d1f23;--soft:#6a6f78;--line:#e4e1db;--bad:#c2283a;--own:#5b46c9}
@media(prefers-color-scheme:dark){:root{--bg:#14161a;--ink:#e6e8ec;--soft:#979daa;--line:#2d323b;--bad:#ff6b78;--own:#a394ff}}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.6 system-ui,sans-serif}
main{max-width:1200px;margin:0 auto;padding:2rem 1.25rem 4rem}
.tree{font:13px/1.6 ui-monospace,Menlo,Consolas,monospace}
details,.leaf{border-left:1px solid var(--line);padding-left:1rem}
.leaf{padding-left:1.9rem}
summary{cursor:pointer;margin-left:-.1rem}
.soft{color:var(--soft)} .bad{color:var(--bad);font-weight:600} .own{color:var(--own);font-weight:600}
"""
_DEEPEST = 200  # levels that are shown: a browser nests no more


def page(
    roots: Sequence[Call], modules: Sequence[str], allocations: Sequence[Allocation], errors: Sequence[Call]
) -> str:
    """The whole page. `errors` are the calls at which errors began."""
    title = html_text(", ".join(modules) or "no module")
    count = sum(1 for root in roots for _ in root.walk())
    left = [one for one in allocations if one.freed_by is None]
    plural = "s" * (len(allocations) != 1)
    taken = f"{sum(one.size for one in allocations)} bytes allocated in {len(allocations)} call{plural}"
    body = [
        f"<h1>{title}</h1>",
        f'<p class="soft">{count} calls; {taken}, {sum(one.size for one in left)} bytes of them not freed. '
        "Times are virtual.</p>",
    ]
    if errors:
        body.append("<h2>Where errors began</h2><ul>")
        body += [f"<li>{_signature(call)}</li>" for call in errors[:100]]
        body.append("</ul>")
    body.append('<h2>Calls</h2><div class="tree">')
    body += [part for root in roots for part in _tree(root)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>kobox trace: {title}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</div></main></body></html>\n"
    )


def _tree(root: Call) -> Iterator[str]:
    todo: list[tuple[Call | LogRecord | None, int]] = [(root, 0)]
    while todo:
        call, depth = todo.pop()
        if call is None:
            yield "</details>"
        elif isinstance(call, LogRecord):
            yield f'<div class="leaf soft">{html_text(call.text)}</div>'
        elif (call.children or call.log) and depth < _DEEPEST:
            yield f"<details{' open' if depth < 2 else ''}><summary>{_signature(call)}</summary>"
            todo.append((None, depth))
            todo.extend((inner, depth + 1) for inner in reversed(list(call.inside())))
        else:
            yield f'<div class="leaf">{_signature(call)}</div>'


def _signature(call: Call) -> str:
    arguments = ", ".join(
        f'<span class="soft">{html_text(name)}=</span>{html_text(value)}' for name, value in call.arguments
    )
    said = f' = <span class="{"bad" if call.errno else ""}">{html_text(call.said)}</span>' if call.said else ""
    name = f'<span class="own">{html_text(call.name)}</span>' if call.kind is CallKind.MODULE else html_text(call.name)
    more = [duration(call.duration), f"{call.allocated} bytes" if call.allocated else "", call.place, call.context]
    tail = html_text("  ".join(part for part in more if part))
    return f'{name}({arguments}){said} <span class="soft">{"" if call.returned else "did not return  "}{tail}</span>'
