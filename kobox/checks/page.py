"""The report as one page to look at: no network, no scripts that it needs, light and dark.

findings, worst first        each with its calls, its object, what to do
the module's life            what happened, in order
the module and its world     what it needs, what it calls on, what it made
coverage                     by function, and the source with what was reached
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.checks.finding import Chain, Finding, Frame
from kobox.checks.kinds import kind_of
from kobox.checks.plain import advice_of
from kobox.ko.modulefile import ModuleFile

if TYPE_CHECKING:
    from kobox.checks.check import Report

_STYLE = """
:root{color-scheme:light dark;--bg:#fbfaf8;--card:#fff;--ink:#1d1f23;--soft:#6a6f78;--line:#e4e1db;--error:#c2283a;--warning:#b26a00;
--note:#2367a8;--good:#20784a;--goodbg:#e3f4ea;--badbg:#fbe6e6;--code:#f5f3ef;--accent:#5b46c9;--kw:#7a3ea8;--str:#20784a;--com:#8a8f98}
@media(prefers-color-scheme:dark){:root{--bg:#14161a;--card:#1c1f25;--ink:#e6e8ec;--soft:#979daa;--line:#2d323b;--error:#ff6b78;
--warning:#f0b04a;--note:#6ab0f3;--good:#5fd08f;--goodbg:#163324;--badbg:#3d1d22;--code:#171a1f;--accent:#a394ff;--kw:#c89bf0;
--str:#8ad6a8;--com:#767d8a}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:2.5rem 1.25rem 5rem}h1{font-size:1.9rem;margin:0;letter-spacing:-.02em}
h2{font-size:1.2rem;margin:2.6rem 0 .8rem;letter-spacing:-.01em}p{margin:.4rem 0}code,pre,.mono{font-family:ui-monospace,"SF Mono",
Menlo,Consolas,monospace;font-size:.86em}.soft{color:var(--soft)}.verdict{font-weight:600}.error{color:var(--error)}
.warning{color:var(--warning)}.note{color:var(--note)}.good{color:var(--good)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:.8rem;margin:1.6rem 0 0}
.card,details,.box{background:var(--card);border:1px solid var(--line);border-radius:10px}.card{padding:.9rem 1.1rem}
.card b{display:block;font-size:1.5rem;letter-spacing:-.02em}.box{padding:1rem 1.2rem;overflow-x:auto}
details{margin:0 0 .7rem;overflow:hidden}summary{cursor:pointer;padding:.8rem 1.1rem;list-style:none}
summary::-webkit-details-marker{display:none}details>div{padding:0 1.1rem 1rem;border-top:1px solid var(--line)}
.finding{border-left:4px solid currentColor}.finding>*{color:var(--ink)}.finding summary b{color:inherit}
.tag{display:inline-block;border:1px solid currentColor;border-radius:99px;padding:0 .55rem;font-size:.78rem;margin-right:.5rem}
dl{display:grid;grid-template-columns:6.5rem 1fr;gap:.35rem 1rem;margin:.9rem 0 0}dt{color:var(--soft)}dd{margin:0;min-width:0}
ol.chain{margin:0;padding:0;list-style:none}ol.chain li{white-space:nowrap;overflow-x:auto}ol.chain .own{font-weight:600}
table{border-collapse:collapse;width:100%}th{text-align:left;color:var(--soft);font-weight:500;font-size:.85rem}
th,td{padding:.3rem .7rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}td.n{text-align:right;white-space:nowrap}
.bar{background:var(--line);border-radius:4px;height:8px;width:160px;overflow:hidden}.bar i{display:block;height:100%;background:var(--good)}
pre{background:var(--code);margin:0;overflow-x:auto;line-height:1.5;border-radius:0 0 10px 10px}pre span.l{display:block;padding-right:1rem}
pre .no{display:inline-block;width:3.6rem;text-align:right;padding-right:.9rem;color:var(--soft);user-select:none}
pre .hit{background:var(--goodbg)}pre .miss{background:var(--badbg)}pre .bad{outline:2px solid var(--error);outline-offset:-2px}
.kw{color:var(--kw)}.str{color:var(--str)}.com{color:var(--com)}
.life{list-style:none;margin:0;padding:0 0 0 1.1rem;border-left:2px solid var(--line)}
.life li{position:relative;padding:.12rem 0}.life li:before{content:"";position:absolute;left:-1.46rem;top:.62rem;width:9px;height:9px;
border-radius:50%;background:var(--soft)}.life .stage:before{background:var(--accent);width:13px;height:13px;left:-1.59rem;top:.5rem}
.life .call:before{background:var(--good)}.life .file:before{background:var(--note)}.life .stage{font-weight:600;padding-top:.5rem}
.life time{display:inline-block;width:6.6rem;color:var(--soft)}svg text{fill:var(--ink);font:13px system-ui,sans-serif}
svg .frame{fill:var(--card);stroke:var(--line)}svg .self{fill:var(--accent)}svg .self+text{fill:#fff}svg path{stroke:var(--soft);fill:none}
svg text.small{fill:var(--soft);font-size:11px}ul.plain{margin:.3rem 0;padding-left:1.1rem}a{color:var(--accent)}
"""


def page(reports: Sequence[Report]) -> str:
    """The whole page of one or more reports."""
    title = ", ".join(dict.fromkeys(report.module for report in reports)) or "nothing"
    body = "\n".join(part for number, report in enumerate(reports) for part in _report(report, f"r{number}"))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>kobox check: {escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )


def _report(report: Report, key: str) -> Iterator[str]:
    file = ModuleFile(report.plan.module)
    yield f"<h1>{escape(report.module)}</h1>"
    yield f'<p class="soft">{escape(report.plan.module)} on {escape(report.release or "no kernel")}</p>'
    yield _verdict(report)
    yield _cards(report)
    if report.findings:
        yield "<h2>Findings</h2>"
        yield from (_finding(finding, key) for finding in report.findings)
    if report.unchecked:
        yield "<h2>Not checked</h2>" + _list(report.unchecked)
    if report.crashes:
        yield "<h2>How to make it happen</h2>"
        yield from (_crash(crash.finding, crash.programs) for crash in report.crashes)
    if report.events:
        yield "<h2>The module’s life</h2>" + _life(report)
    yield "<h2>The module and its world</h2>" + _picture(report, file)
    if report.places:
        yield "<h2>Calls that can fail</h2>" + _places(report)
    if report.coverage:
        yield "<h2>Coverage</h2>" + _functions(report)
        yield from _sources(report, key)


def _verdict(report: Report) -> str:
    worst = report.worst()
    if worst is not None:
        return f'<p class="verdict {worst}">{len(report.findings)} found</p>'
    if not report.lives:
        return f'<p class="verdict error">could not be checked: {escape(report.ended or "it was never loaded and unloaded")}</p>'
    tail = ", as far as it was checked" if report.unchecked else ""
    return f'<p class="verdict good">nothing found{tail}</p>'


def _cards(report: Report) -> str:
    cards = [(str(len(report.findings)), "findings"), (str(report.lives), "times loaded and unloaded")]
    if report.places or report.tried:
        cards.append((str(report.tried), f"faults tried, of {max(len(report.places), report.tried)}"))
    if report.calls:
        cards.append((str(report.calls), f"calls on {len(report.files)} files"))
    if report.coverage:
        plain = report.coverage.plain()
        if plain["blocks"]:
            cards.append((f"{100 * plain['blocks_reached'] // plain['blocks']}%", "of basic blocks reached"))
        if plain["lines"]:
            cards.append((f"{100 * plain['lines_reached'] // plain['lines']}%", "of lines reached"))
    cards.append((f"{report.seconds.get('all', 0.0):.1f} s", "in all"))
    return (
        '<div class="cards">'
        + "".join(f'<div class="card"><b>{n}</b><span class="soft">{escape(t)}</span></div>' for n, t in cards)
        + "</div>"
    )


def _finding(finding: Finding, key: str) -> str:
    rows: list[tuple[str, str]] = []
    if finding.chain:
        rows.append(("at", _chain(finding.chain, key)))
    if finding.thing is not None:
        rows.append(("object", escape(finding.thing.what)))
        rows += [
            (name, _chain(chain, key))
            for name, chain in (("made", finding.thing.made), ("freed", finding.thing.gone))
            if chain
        ]
    rows.append(("during", escape(finding.stage or "the check")))
    if finding.fault:
        rows.append(("fault", f"<code>--replay '{escape(finding.fault)}'</code>"))
    rows.append(("means", escape(kind_of(finding.kind).means)))
    if advice := advice_of(finding):
        rows.append(("do", escape(advice)))
    if finding.records:
        log = "\n".join(escape(record.text) for record in finding.records[:80])
        rows.append(("kernel", f"<details><summary>its report</summary><pre>{log}</pre></details>"))
    where = f' <span class="soft mono">{escape(str(finding.where))}</span>' if finding.where else ""
    table = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    return (
        f'<details class="finding {finding.severity}" open><summary><span class="tag {finding.severity}">{escape(finding.kind)}</span>'
        f"{escape(finding.message)}{where}</summary><div><dl>{table}</dl></div></details>"
    )


def _chain(chain: Chain, key: str) -> str:
    rows = "".join(
        f'<li class="{"own" if frame.module else "soft"} mono">{_frame(frame, key)}</li>' for frame in chain[:24]
    )
    return f'<ol class="chain">{rows}</ol>'


def _frame(frame: Frame, key: str) -> str:
    text = escape(str(frame))
    return (
        f'<a href="#{key}-{escape(Path(frame.file).name)}-{frame.line}">{text}</a>'
        if frame.module and frame.line
        else text
    )


def _crash(finding: Finding, programs: Sequence[Sequence[object]]) -> str:
    steps = "\n".join(escape(repr(tuple(step))) for program in programs for step in program)  # type: ignore[arg-type]
    return f"<details><summary>{escape(str(finding))}</summary><div><pre>{steps}</pre></div></details>"


def _list(texts: Iterable[str]) -> str:
    return '<div class="box"><ul class="plain">' + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul></div>"


def _life(report: Report) -> str:
    rows = "".join(
        f'<li class="{event.kind}"><time>{_time(event.time)}</time>{"<code>" if event.kind != "stage" else ""}'
        f"{escape(event.text)}{'</code>' if event.kind != 'stage' else ''}</li>"
        for event in report.events
    )
    return f'<div class="box"><ol class="life">{rows}</ol><p class="soft">Virtual time since it was loaded.</p></div>'


def _time(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds >= 1 else f"{seconds * 1e3:.3f} ms"


def _picture(report: Report, file: ModuleFile) -> str:
    """What the module needs on the left, what it made on the right."""
    kernel = len([one for one in file.imports if not one.weak])
    needs = [(name, "module") for name in file.depends] + [(f"{kernel} symbols", "of the kernel and those modules")]
    made = [(path, "file") for path in report.files[:12]]
    stages: dict[str, list[str]] = {}
    for fault, stage in report.places.items():
        stages.setdefault(fault.function, []).append(stage)
    made += [(f"{name}()", f"called in {', '.join(dict.fromkeys(where))}") for name, where in stages.items()][
        : 22 - len(made)
    ]
    height = 46 * max(len(needs), len(made), 2) + 20
    middle = height / 2
    parts = [f'<svg viewBox="0 0 1000 {height}" width="100%" role="img" aria-label="what the module needs and makes">']
    parts += _boxes(needs, 10, 290, height, 300, middle, arrows_from_right=True)
    parts += _boxes(made, 650, 340, height, 650, middle, arrows_from_right=False)
    parts.append(f'<rect class="self" x="400" y="{middle - 26}" width="160" height="52" rx="10"/>')
    parts.append(f'<text x="480" y="{middle + 5}" text-anchor="middle">{escape(report.module[:22])}</text></svg>')
    return f'<div class="box">{"".join(parts)}</div>'


def _boxes(
    rows: Sequence[tuple[str, str]],
    x: int,
    width: int,
    height: int,
    edge: int,
    middle: float,
    *,
    arrows_from_right: bool,
) -> Iterator[str]:
    step = height / max(len(rows), 1)
    for number, (name, what) in enumerate(rows):
        y = step * (number + 0.5)
        near, far = (400, edge) if arrows_from_right else (560, edge)
        bend = (near + far) / 2
        yield f'<path d="M{near} {middle} C{bend} {middle} {bend} {y} {far} {y}"/>'
        yield f'<rect class="frame" x="{x}" y="{y - 19}" width="{width}" height="38" rx="8"/>'
        yield f'<text x="{x + 12}" y="{y - 2}">{escape(name[:44])}</text>'
        yield f'<text class="small" x="{x + 12}" y="{y + 13}">{escape(what[:52])}</text>'


def _places(report: Report) -> str:
    blamed: dict[str, list[Finding]] = {}
    for finding in report.findings:
        blamed.setdefault(finding.fault, []).append(finding)
    rows = ""
    for fault, stage in report.places.items():
        found = blamed.get(str(fault), [])
        verdict = ", ".join(finding.kind for finding in found)
        cell = (
            f'<span class="{found[0].severity}">{escape(verdict)}</span>' if found else '<span class="good">ok</span>'
        )
        rows += f"<tr><td class=mono>{escape('/'.join(fault.path))}</td><td class=mono>{escape(fault.function)}()</td><td class=mono>{escape(fault.how)}</td><td>{stage}</td><td>{cell if report.plan.faults else ''}</td></tr>"
    head = "<tr><th>place</th><th>calls</th><th>made to return</th><th>in</th><th>then</th></tr>"
    return f'<div class="box"><table>{head}{rows}</table></div>'


def _functions(report: Report) -> str:
    assert report.coverage is not None
    rows = ""
    for function in report.coverage.functions():
        share = round(100 * function.share)
        rows += (
            f'<tr><td class="mono">{escape(function.name)}</td><td class="soft">{escape(function.section)}</td>'
            f'<td><div class="bar"><i style="width:{share}%"></i></div></td><td class="n">{function.reached} of {len(function.blocks)} blocks</td></tr>'
        )
    return f'<div class="box"><table>{rows}</table></div>'


def _sources(report: Report, key: str) -> Iterator[str]:
    assert report.coverage is not None
    bad = _bad_lines(report.findings)
    for path, lines in sorted(report.coverage.lines().items()):
        try:
            text = Path(path).read_text(errors="replace")
        except OSError:
            yield f'<p class="soft">{escape(path)}: the source is not there any more</p>'
            continue
        name = Path(path).name
        reached = sum(lines.values())
        body = "".join(
            _line(number, line, lines.get(number), number in bad.get(name, ()), f"{key}-{name}")
            for number, line in _highlighted(text)
        )
        yield (
            f'<details open style="margin-top:1rem"><summary><b>{escape(name)}</b> <span class="soft">{reached} of {len(lines)} lines reached'
            f"</span></summary><pre>{body}</pre></details>"
        )


def _bad_lines(findings: Iterable[Finding]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for finding in findings:
        if finding.where is not None and finding.where.line:
            found.setdefault(Path(finding.where.file).name, set()).add(finding.where.line)
    return found


def _line(number: int, text: str, ran: bool | None, bad: bool, key: str) -> str:
    kind = "" if ran is None else " hit" if ran else " miss"
    return f'<span class="l{kind}{" bad" if bad else ""}" id="{escape(key)}-{number}"><span class="no">{number}</span>{text or " "}</span>'


_KEYWORDS = (
    "auto|bool|break|case|char|const|continue|default|do|double|else|enum|extern|float|for|goto|if|inline|int|long|register|return|short|"
    "signed|sizeof|static|struct|switch|typedef|typeof|union|unsigned|void|volatile|while|u8|u16|u32|u64|s8|s16|s32|s64|size_t|ssize_t|"
    "__init|__exit|__user|__iomem|true|false|NULL"
)
_TOKENS = re.compile(
    rf"(?P<com>/\*.*?\*/|//[^\n]*)|(?P<str>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')|(?P<kw>^[ \t]*#[ \t]*\w+|\b(?:{_KEYWORDS})\b)",
    re.DOTALL | re.MULTILINE,
)


def _highlighted(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines of C, as HTML."""
    out, at = [], 0
    for token in _TOKENS.finditer(text):
        out.append(escape(text[at : token.start()], quote=False))
        for n, line in enumerate(token.group().split("\n")):
            out.append(("\n" if n else "") + f'<span class="{token.lastgroup}">{escape(line, quote=False)}</span>')
        at = token.end()
    out.append(escape(text[at:], quote=False))
    yield from enumerate("".join(out).rstrip("\n").split("\n"), 1)
