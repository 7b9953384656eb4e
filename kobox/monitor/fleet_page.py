"""Many machines as one page, and as metrics. The page is whole without its script, which fetches it anew every ten
seconds and changes what is below the forms."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING

from kobox.monitor.baseline import drift
from kobox.monitor.fleet import Fleet, HostView, differences
from kobox.monitor.metrics import exposition

if TYPE_CHECKING:
    from prometheus_client import Metric

_STYLE = """:root { color-scheme: light dark; background: Canvas; color: CanvasText }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .2rem .6rem; vertical-align: top }
th { position: sticky; top: 0; background: Canvas }
tr:nth-child(even) { background: color-mix(in srgb, CanvasText 5%, Canvas) }
td.n { text-align: right; font-variant-numeric: tabular-nums }
.bad { color: light-dark(#a40000, #ff8a80); font-weight: 600 }
a { color: inherit } form { margin: 1rem 0 } .wide { overflow-x: auto; margin: 0 0 1.5rem }"""
_SCRIPT = """setInterval(async () => { try {
  const answer = await fetch(location.href), page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (answer.ok) document.getElementById("live").replaceWith(page.getElementById("live"));
} catch { } }, 10000);"""
_SORTS = {
    "host": lambda view: view.name,
    "modules": lambda view: -len(view.status.modules) if view.status else 0,
    "outside": lambda view: -len(view.outside),
    "kernel": lambda view: view.status.release if view.status else "",
}
_ARIA_SORT = ("none", "ascending")
_MOST_DIFFERENCES = 200


def fleet_page(fleet: Fleet, query: Mapping[str, str]) -> str:
    """The page: ?sort=host, modules, outside or kernel; ?module=NAME shows the machines that have it; ?one=HOST and
    other=HOST compare two."""
    views, wanted = fleet.views, query.get("module", "")
    shown = [view for view in views if not wanted or (view.status is not None and wanted in view.status.modules)]
    sort = query.get("sort", "") if query.get("sort") in _SORTS else "host"
    shown.sort(key=_SORTS[sort])
    unreached = sum(bool(view.problem) for view in views)
    lines = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{len(views)} machines</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>{len(views)} machines</h1>",
        '<form><label>Module <input name="module" value="' + escape(wanted) + '"></label> <button>Find</button></form>',
        *_choice(views, query.get("one", ""), query.get("other", "")),
        '<div id="live">',
        f"<p>{time.strftime('%Y-%m-%d %H:%M:%S')}"
        + (f', <span class="bad">{unreached} cannot be reached</span>' if unreached else "")
        + (f", {len(shown)} have {escape(wanted)}: <a href='/'>all</a>" if wanted else "")
        + "</p>",
        *_comparison(views, query.get("one", ""), query.get("other", "")),
        '<div class="wide" tabindex="0" role="region" aria-label="machines"><table><thead><tr>',
        *(
            f'<th scope="col" aria-sort="{_ARIA_SORT[name == sort]}"><a href="?sort={name}">{name}</a></th>'
            for name in _SORTS
        ),
        '<th scope="col">problem</th></tr></thead><tbody>',
        *map(_row, shown),
        "</tbody></table></div>",
    ]
    if not wanted:
        lines += _differences(views)
    return "\n".join([*lines, f"</div></main><script>{_SCRIPT}</script></body></html>\n"])


def _row(view: HostView) -> str:
    status = view.status
    outside = ", ".join(f'<a href="?module={escape(name)}">{escape(name)}</a>' for name in view.outside)
    cells = (
        f"<td>{escape(view.name)}</td>",
        f'<td class="n">{len(status.modules) if status is not None else ""}</td>',
        f"<td>{outside}</td>",
        f"<td>{escape(status.release) if status is not None else ''}</td>",
        f'<td class="bad">{escape(view.problem)}</td>',
    )
    return "<tr>" + "".join(cells) + "</tr>"


def _choice(views: list[HostView], one: str, other: str) -> Iterator[str]:
    """Two machines to choose."""
    yield "<form>"
    for field, title, chosen in (("one", "Compare", one), ("other", "with", other)):
        names = [(escape(view.name), " selected" if view.name == chosen else "") for view in views]
        options = "".join(f'<option value="{name}"{selected}>{name}</option>' for name, selected in names)
        yield f'<label>{title} <select name="{field}">{options}</select></label> '
    yield "<button>Compare</button></form>"


def _comparison(views: list[HostView], one: str, other: str) -> Iterator[str]:
    """What differs between two machines."""
    known = {view.name: view for view in views}
    if one not in known or other not in known:
        return
    first, second = known[one].status, known[other].status
    yield f"<h2>{escape(one)} and {escape(other)}</h2>"
    if first is None or second is None:
        yield '<p class="bad">One of them was never reached.</p>'
        return
    found = drift(first, second)
    rows = [(name, "loaded", "yes", "no") for name in found.removed] + [
        (name, "loaded", "no", "yes") for name in found.added
    ]
    if first.release != second.release:
        rows.insert(0, ("", "kernel", first.release, second.release))
    rows += found.changed
    yield f"<p>{len(rows)} difference{'' if len(rows) == 1 else 's'}.</p>"
    if rows:
        yield '<div class="wide" tabindex="0" role="region" aria-label="differences of two machines"><table><thead><tr>'
        heads = ("module", "what", one, other)
        yield "".join(f'<th scope="col">{escape(text)}</th>' for text in heads) + "</tr></thead><tbody>"
        for row in rows[:_MOST_DIFFERENCES]:
            yield "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>"
        yield "</tbody></table></div>"


def _differences(views: list[HostView]) -> Iterator[str]:
    found = sorted(differences(views), key=lambda one: sum(map(len, one.having.values())))
    if not found:
        return
    yield f"<h2>{len(found)} differences between machines of one kernel</h2>"
    yield '<div class="wide" tabindex="0" role="region" aria-label="differences"><table><thead><tr>'
    heads = ("module", "kernel", "have it", "do not", "versions")
    yield "".join(f'<th scope="col">{text}</th>' for text in heads) + "</tr></thead><tbody>"
    for one in found[:_MOST_DIFFERENCES]:
        held = [name for names in one.having.values() for name in names]
        yield (
            f'<tr><td><a href="?module={escape(one.module)}">{escape(one.module)}</a></td>'
            f"<td>{escape(one.release)}</td>"
            f'<td class="n" title="{escape(", ".join(held[:30]))}">{len(held)}</td>'
            f'<td class="n" title="{escape(", ".join(one.lacking[:30]))}">{len(one.lacking)}</td>'
            f"<td>{escape(', '.join(filter(None, one.having)))}</td></tr>"
        )
    yield "</tbody></table></div>"


def fleet_metrics(fleet: Fleet) -> bytes:
    """Metrics of all machines (Prometheus' exposition format 0.0.4). Raises `KoboxError` without the client library."""
    return exposition(lambda: _metrics(fleet.views))


def _metrics(views: list[HostView]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    up = GaugeMetricFamily("kobox_fleet_host_up", "Whether a machine answered at the last look.", labels=["host"])
    count = GaugeMetricFamily("kobox_fleet_modules", "Modules that are loaded.", labels=["host", "release"])
    outside = GaugeMetricFamily("kobox_fleet_modules_outside", "Out of tree, unsigned or forced.", labels=["host"])
    tainted = GaugeMetricFamily("kobox_fleet_kernel_tainted", "The kernel's taint mask.", labels=["host"])
    for view in views:
        up.add_metric([view.name], int(not view.problem))
        if view.status is not None:
            count.add_metric([view.name, view.status.release], len(view.status.modules))
            outside.add_metric([view.name], len(view.outside))
            tainted.add_metric([view.name], view.status.tainted)
    yield from (up, count, outside, tainted)
