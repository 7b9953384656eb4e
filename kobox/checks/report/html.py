"""The report as one page to look at: no network, no scripts that it needs, light and dark.

findings, worst first        each with its calls, its object, what to do
the module's life            what happened, in order
the module and its world     what it needs, what it calls on, what it made
coverage                     by function, and the source with what was reached
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.checks.report.finding import Chain, Finding, Frame, TwoCpuSchedule
from kobox.checks.report.kinds import kind_of
from kobox.checks.report.text import advice_of, chains_of
from kobox.ko.modulefile import ModuleFile
from kobox.printable import html_text

if TYPE_CHECKING:
    from kobox.checks.runner.outcome import CheckReport


def page(reports: Sequence[CheckReport]) -> str:
    """The whole page of one or more reports."""
    style = Path(__file__).with_name("html.css").read_text()
    title = ", ".join(dict.fromkeys(report.module for report in reports)) or "nothing"
    body = "\n".join(part for number, report in enumerate(reports) for part in _report(report, f"r{number}"))
    body = _without_loose_ends(body)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>kobox check: {html_text(title)}</title><style>{style}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _without_loose_ends(body: str) -> str:
    """Links to lines of sources that are not there, or not any more, become plain text."""
    known = set(re.findall(r'id="([^"]+)"', body))
    return re.sub(r'<a href="#([^"]+)">(.*?)</a>', lambda link: link[0] if link[1] in known else link[2], body)


def _report(report: CheckReport, key: str) -> Iterator[str]:
    file = ModuleFile(report.plan.module)
    yield f"<h1>{html_text(report.module)}</h1>"
    yield f'<p class="soft">{html_text(report.plan.module)} on {html_text(report.release or "no kernel")}</p>'
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
        yield "<h2>Its life</h2>" + _life(report)
    yield "<h2>The module and its world</h2>" + _picture(report, file)
    if report.places:
        yield "<h2>Calls that can fail</h2>" + _places(report)
    if report.coverage:
        yield "<h2>Coverage</h2>" + _functions(report)
        yield from _sources(report, key)


def _verdict(report: CheckReport) -> str:
    worst = report.worst()
    if worst is not None:
        return f'<p class="verdict {worst}">{len(report.findings)} found</p>'
    if not report.lives:
        why = html_text(report.ended or "it was never loaded and unloaded")
        return f'<p class="verdict error">could not be checked: {why}</p>'
    tail = ", as far as it was checked" if report.unchecked else ""
    return f'<p class="verdict good">nothing found{tail}</p>'


def _cards(report: CheckReport) -> str:
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
    parts = [f'<div class="card"><b>{n}</b><span class="soft">{html_text(t)}</span></div>' for n, t in cards]
    return f'<div class="cards">{"".join(parts)}</div>'


def _finding(finding: Finding, key: str) -> str:
    rows: list[tuple[str, str]] = []
    at, *others = chains_of(finding)
    if finding.chain:
        rows.append((at[0], _chain(at[1], key)))
    if finding.object is not None:
        rows.append(("object", html_text(finding.object.what)))
    rows += [(name, _chain(chain, key)) for name, chain in others]
    if finding.other:
        rows.append(("other CPU", _chain(finding.other, key)))
    if finding.schedule is not None:
        rows.append(("schedule", _schedule(finding.schedule)))
    rows.append(("when", html_text(finding.stage or "the check")))
    if finding.fault:
        rows.append(("fault", f"<code>--replay '{html_text(finding.fault)}'</code>"))
    rows.append(("means", html_text(kind_of(finding.kind).means)))
    if advice := advice_of(finding):
        rows.append(("fix", html_text(advice)))
    if finding.records:
        log = "\n".join(html_text(record.text) for record in finding.records[:80])
        rows.append(("kernel", f"<details><summary>its report</summary><pre>{log}</pre></details>"))
    where = f' <span class="soft mono">{html_text(str(finding.where))}</span>' if finding.where else ""
    table = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    return (
        f'<details class="finding {finding.severity}" open><summary>'
        f'<span class="tag {finding.severity}">{html_text(finding.kind)}</span>'
        f"{html_text(finding.message)}{where}</summary><div><dl>{table}</dl></div></details>"
    )


def _schedule(schedule: TwoCpuSchedule) -> str:
    """A table of two columns: the locks of each CPU, and what it does."""
    heads = "".join(f"<th>CPU {side.cpu}: {html_text(side.runs)}</th>" for side in schedule.sides)
    locks = "".join(
        f'<td class="soft">holds: {html_text(", ".join(side.locks) or "no lock")}</td>'
        for side in schedule.sides
        if side.locks is not None
    )
    steps = "".join(
        f"<tr>{'<td></td>' * step.side}<td>{html_text(step.text)}</td>{'<td></td>' * (1 - step.side)}</tr>"
        for step in schedule.steps
    )
    return f"<table><tr>{heads}</tr>{f'<tr>{locks}</tr>' if locks else ''}{steps}</table>"


def _chain(chain: Chain, key: str) -> str:
    rows = "".join(
        f'<li class="{"own" if frame.module else "soft"} mono">{_frame(frame, key)}</li>' for frame in chain[:24]
    )
    return f'<ol class="chain">{rows}</ol>'


def _frame(frame: Frame, key: str) -> str:
    text = html_text(str(frame))
    return (
        f'<a href="#{key}-{html_text(Path(frame.file).name)}-{frame.line}">{text}</a>'
        if frame.module and frame.line
        else text
    )


def _crash(finding: Finding, programs: Sequence[Sequence[object]]) -> str:
    steps = "\n".join(html_text(repr(tuple(step))) for program in programs for step in program)  # type: ignore[arg-type]
    return f"<details><summary>{html_text(str(finding))}</summary><div><pre>{steps}</pre></div></details>"


def _list(texts: Iterable[str]) -> str:
    return (
        '<div class="box"><ul class="plain">' + "".join(f"<li>{html_text(text)}</li>" for text in texts) + "</ul></div>"
    )


def _life(report: CheckReport) -> str:
    rows = "".join(
        f'<li class="{event.kind}"><time>{_time(event.time)}</time>{"<code>" if event.kind != "stage" else ""}'
        f"{html_text(event.text)}{'</code>' if event.kind != 'stage' else ''}</li>"
        for event in report.events
    )
    return f'<div class="box"><ol class="life">{rows}</ol><p class="soft">Virtual time since it was loaded.</p></div>'


def _time(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds >= 1 else f"{seconds * 1e3:.3f} ms"


def _picture(report: CheckReport, file: ModuleFile) -> str:
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
    parts.append(f'<text x="480" y="{middle + 5}" text-anchor="middle">{html_text(report.module[:22])}</text></svg>')
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
        yield f'<text x="{x + 12}" y="{y - 2}">{html_text(name[:44])}</text>'
        yield f'<text class="small" x="{x + 12}" y="{y + 13}">{html_text(what[:52])}</text>'


def _places(report: CheckReport) -> str:
    blamed: dict[str, list[Finding]] = {}
    for finding in report.findings:
        blamed.setdefault(finding.fault, []).append(finding)
    rows = ""
    for fault, stage in report.places.items():
        found = blamed.get(str(fault), [])
        verdict = ", ".join(finding.kind for finding in found)
        cell = (
            f'<span class="{found[0].severity}">{html_text(verdict)}</span>'
            if found
            else '<span class="good">ok</span>'
        )
        code = ("/".join(fault.path), f"{fault.function}()", fault.how)
        rows += "<tr>" + "".join(f'<td class="mono">{html_text(text)}</td>' for text in code)
        rows += f"<td>{stage}</td><td>{cell if report.plan.faults else ''}</td></tr>"
    head = "<tr><th>place</th><th>calls</th><th>made to return</th><th>in</th><th>then</th></tr>"
    return f'<div class="box" tabindex="0"><table>{head}{rows}</table></div>'


def _functions(report: CheckReport) -> str:
    assert report.coverage is not None
    rows = ""
    for function in report.coverage.functions():
        share = round(100 * function.share)
        rows += (
            f'<tr><td class="mono">{html_text(function.name)}</td><td class="soft">{html_text(function.section)}</td>'
            f'<td><div class="bar"><i style="width:{share}%"></i></div></td>'
            f'<td class="n">{function.reached} of {len(function.blocks)} blocks</td></tr>'
        )
    return f'<div class="box" tabindex="0"><table>{rows}</table></div>'


def _sources(report: CheckReport, key: str) -> Iterator[str]:
    assert report.coverage is not None
    bad = _bad_lines(report.findings)
    for path, lines in sorted(report.coverage.lines().items()):
        try:
            text = Path(path).read_text(errors="replace")
        except OSError:
            yield f'<p class="soft">{html_text(path)}: the source is not there any more</p>'
            continue
        name = Path(path).name
        reached = sum(lines.values())
        body = "".join(
            _line(number, line, lines.get(number), number in bad.get(name, ()), f"{key}-{name}")
            for number, line in _highlighted(text)
        )
        yield (
            f'<details open class="source"><summary><b>{html_text(name)}</b> '
            f'<span class="soft">{reached} of {len(lines)} lines reached</span></summary>'
            f'<pre tabindex="0">{body}</pre></details>'
        )


def _bad_lines(findings: Iterable[Finding]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for finding in findings:
        if finding.where is not None and finding.where.line:
            found.setdefault(Path(finding.where.file).name, set()).add(finding.where.line)
    return found


def _line(number: int, text: str, ran: bool | None, bad: bool, key: str) -> str:
    kind = "" if ran is None else " hit" if ran else " miss"
    kind += " bad" if bad else ""
    return f'<span class="l{kind}" id="{html_text(key)}-{number}"><span class="no">{number}</span>{text or " "}</span>'


_KEYWORDS = (
    "auto|bool|break|case|char|const|continue|default|do|double|else|enum|extern|float|for|goto|if|inline|int|long|register|return|short|"
    "signed|sizeof|static|struct|switch|typedef|typeof|union|unsigned|void|volatile|while|u8|u16|u32|u64|s8|s16|s32|s64|size_t|ssize_t|"
    "__init|__exit|__user|__iomem|true|false|NULL"
)
_TOKENS = re.compile(
    r"(?P<com>/\*.*?\*/|//[^\n]*)"
    r"|(?P<str>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
    rf"|(?P<kw>^[ \t]*#[ \t]*\w+|\b(?:{_KEYWORDS})\b)",
    re.DOTALL | re.MULTILINE,
)


def _highlighted(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines of C, as HTML."""
    out, at = [], 0
    for token in _TOKENS.finditer(text):
        out.append(html_text(text[at : token.start()], quote=False))
        for n, line in enumerate(token.group().split("\n")):
            out.append(("\n" if n else "") + f'<span class="{token.lastgroup}">{html_text(line, quote=False)}</span>')
        at = token.end()
    out.append(html_text(text[at:], quote=False))
    yield from enumerate("".join(out).rstrip("\n").split("\n"), 1)
