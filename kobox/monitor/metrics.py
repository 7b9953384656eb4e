"""Metrics for Prometheus: names by its conventions, written by its own client library (the extra `monitor`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kobox.errors import KoboxError
from kobox.monitor.monitor import ModuleMonitor

if TYPE_CHECKING:
    from prometheus_client import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")


def metrics_text(monitor: ModuleMonitor) -> bytes:
    """All metrics as text (Prometheus' exposition format 0.0.4). Raises `KoboxError` without the client library."""
    return exposition(lambda: _metrics(monitor))


def exposition(metrics: Callable[[], Iterator[Metric]]) -> bytes:
    """Metrics as text. Raises `KoboxError` without the client library."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        raise KoboxError(
            "metrics need the package prometheus_client", hint="Install it: pip install 'kobox[monitor]'."
        ) from None

    class _Collector:
        def collect(self) -> Iterator[Metric]:
            yield from metrics()

    registry = CollectorRegistry()
    registry.register(_Collector())
    return generate_latest(registry)


def _metrics(monitor: ModuleMonitor) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

    status = monitor.status
    modules = sorted(status.modules.values(), key=lambda one: one.name)
    yield InfoMetricFamily("kobox_kernel", "The kernel that is looked at.", value={"release": status.release})
    yield GaugeMetricFamily("kobox_kernel_tainted", "The kernel's taint mask; 0 for none.", value=status.tainted)
    yield GaugeMetricFamily("kobox_modules", "Modules that are loaded.", value=len(modules))
    size = GaugeMetricFamily("kobox_module_size_bytes", "Memory of a module.", labels=["module"])
    references = GaugeMetricFamily("kobox_module_references", "References on a module.", labels=["module"])
    info = GaugeMetricFamily(
        "kobox_module_info", "What a module is; always 1.", labels=["module", "state", "taint", "version", "srcversion"]
    )
    for one in modules:
        size.add_metric([one.name], one.size)
        references.add_metric([one.name], one.refcount)
        info.add_metric([one.name, one.state, one.taint, one.version, one.srcversion], 1)
    yield from (size, references, info)
    events = CounterMetricFamily(
        "kobox_module_events", "What happened to modules, by kind and cause.", labels=["kind", "module", "rule"]
    )
    for (kind, module, rule), count in sorted(monitor.counts.items()):
        events.add_metric([kind, module, rule], count)
    yield events
    lines = CounterMetricFamily("kobox_kernel_log_lines", "Lines of the kernel's log, by level.", labels=["level"])
    for level, count in sorted(monitor.log_lines.items()):
        lines.add_metric([_LEVELS[level]], count)
    yield lines
    yield GaugeMetricFamily("kobox_monitor_problems", "What the monitor cannot see.", value=len(monitor.problems))
