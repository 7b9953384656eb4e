"""Many machines as one page, without scripts, and as metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING

from kobox.monitor.fleet import Fleet, HostView, differences
from kobox.monitor.metrics import exposition

if TYPE_CHECKING:
    from prometheus_client import Metric

_STYLE = """:root { color-scheme: light dark }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .2rem .6rem; vertical-align: top }
th { position: sticky; top: 0; background: Canvas }
tr:nth-child(even) { background: color-mix(in srgb, CanvasText 5%, Canvas) }
td.n { text-align: right; font-variant-numeric: tabular-nums }
.bad { color: light-dark(#a40000, #ff8a80); font-weight: 600 }
a { color: inherit } form { margin: 1rem 0 }"""
_SORTS = {
    "host": lambda view: view.name,
    "modules": lambda view: -len(view.status.modules) if view.status else 0,
    "outside": lambda view: -len(view.outside),
    "kernel": lambda view: view.status.release if view.status else "",
}
_MOST_DIFFERENCES = 200


def fleet_page(fleet: Fleet, query: Mapping[str, str]) -> str:
    """The page: ?sort=host, modules, outside or kernel; ?module=NAME shows the machines that have it."""
    views, wanted = fleet.views, query.get("module", "")
    shown = [view for view in views if not wanted or (view.status is not None and wanted in view.status.modules)]
    shown.sort(key=_SORTS.get(query.get("sort", ""), _SORTS["host"]))
    unreached = sum(bool(view.problem) for view in views)
    lines = [
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="10">',
        f"<title>{len(views)} machines</title><style>{_STYLE}</style>",
        f"<h1>{len(views)} machines</h1>",
        f"<p>{time.strftime('%Y-%m-%d %H:%M:%S')}"
        + (f', <span class="bad">{unreached} cannot be reached</span>' if unreached else "")
        + (f", {len(shown)} have {escape(wanted)}: <a href='/'>all</a>" if wanted else "")
        + "</p>",
        '<form><label>Module <input name="module" value="' + escape(wanted) + '"></label> <button>Find</button></form>',
        "<table><thead><tr>"
        + "".join(f'<th><a href="?sort={name}">{name}</a>' for name in _SORTS)
        + "<th>problem</thead>",
        *map(_row, shown),
        "</table>",
    ]
    if not wanted:
        lines += _differences(views)
    return "\n".join(lines) + "\n"


def _row(view: HostView) -> str:
    status = view.status
    outside = ", ".join(f'<a href="?module={escape(name)}">{escape(name)}</a>' for name in view.outside)
    cells = (
        f"<td>{escape(view.name)}",
        f'<td class="n">{len(status.modules) if status is not None else ""}',
        f"<td>{outside}",
        f"<td>{escape(status.release) if status is not None else ''}",
        f'<td class="bad">{escape(view.problem)}',
    )
    return "<tr>" + "".join(cells)


def _differences(views: list[HostView]) -> Iterator[str]:
    found = sorted(differences(views), key=lambda one: sum(map(len, one.having.values())))
    if not found:
        return
    yield f"<h2>{len(found)} differences between machines of one kernel</h2>"
    yield "<table><thead><tr><th>module<th>kernel<th>have it<th>do not<th>versions</thead>"
    for one in found[:_MOST_DIFFERENCES]:
        held = [name for names in one.having.values() for name in names]
        yield (
            f'<tr><td><a href="?module={escape(one.module)}">{escape(one.module)}</a><td>{escape(one.release)}'
            f'<td class="n" title="{escape(", ".join(held[:30]))}">{len(held)}'
            f'<td class="n" title="{escape(", ".join(one.lacking[:30]))}">{len(one.lacking)}'
            f"<td>{escape(', '.join(filter(None, one.having)))}"
        )
    yield "</table>"


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
