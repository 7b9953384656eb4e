"""A report as one page of HTML, without scripts and without anything from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from kobox.behaviour.report import LEVELS, BehaviourReport, Trait
from kobox.printable import one_line

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em }
body { color: #222; background: #fff }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .4em .8em; border-bottom: 1px solid #ddd }
td { overflow-wrap: anywhere }
code { font: 13px ui-monospace, monospace }
.hostile { color: #a00; font-weight: bold } .suspicious { color: #850 } .note { color: #265 }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818 } th, td { border-color: #444 }
  .hostile { color: #f77 } .suspicious { color: #fb5 } .note { color: #7c9 }
}
"""
_TITLES = {"hostile": "Hostile", "suspicious": "Suspicious", "note": "Notes"}


def page(report: BehaviourReport) -> str:
    """The page. Everything that comes from the module or its box is escaped."""
    return "".join(_parts(report))


def _parts(report: BehaviourReport) -> Iterator[str]:
    title = _text(f"{report.module}: {report.judgement}")
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    yield f"<title>{title}</title>\n<style>{_STYLE}</style></head><body><main>\n"
    yield f'<h1 class="{report.level}">{title}</h1>\n'
    yield f"<p>{_text(report.path)} on {_text(report.release)}</p>\n"
    for level in LEVELS:
        traits = [trait for trait in report.traits if trait.level == level]
        if traits:
            yield f"<h2>{_TITLES[level]} ({len(traits)})</h2>\n"
            yield "<table><tr><th>What</th><th>Seen</th><th>Evidence</th></tr>\n"
            yield from (_row(trait) for trait in traits)
            yield "</table>\n"
    if report.unseen:
        yield "<h2>Not seen</h2>\n<ul>"
        yield from (f"<li>{_text(sentence)}</li>\n" for sentence in report.unseen)
        yield "</ul>\n"
    yield "</main></body></html>\n"


def _row(trait: Trait) -> str:
    evidence = [f"<code>{_text(trait.where)}</code>"] if trait.where else []
    evidence += [f"at {trait.time:.3f} s"] if trait.time is not None else []
    if trait.before or trait.after:
        evidence.append(f"before: <code>{_text(trait.before)}</code><br>now: <code>{_text(trait.after)}</code>")
    cells = f'<td class="{trait.level}">{_text(trait.kind)}</td><td>{_text(trait.text)}</td>'
    return f"<tr>{cells}<td>{'<br>'.join(evidence)}</td></tr>\n"


def _text(text: str) -> str:
    return escape(one_line(text))
