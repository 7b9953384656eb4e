"""Metrics for Prometheus: names by its conventions, written by its own client library (the extra `monitor`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kobox.errors import KoboxError
from kobox.monitor.events import EventKind
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


def _totals(monitor: ModuleMonitor) -> Iterator[Metric]:
    """Counters without labels, which are there from the start: `increase()` does not see the first step of a counter
    that appears with it."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for name, text, kind in (
        ("kobox_module_loads", "Modules that were loaded.", EventKind.LOADED),
        ("kobox_module_unloads", "Modules that were unloaded.", EventKind.UNLOADED),
        ("kobox_module_failures", "Modules that the kernel refused.", EventKind.FAILED),
        ("kobox_kernel_crashes", "Oopses, BUGs, warnings and hung tasks of the kernel.", EventKind.CRASH),
    ):
        count = sum(number for (of, _, _), number in monitor.counts.items() if of == kind.value)
        yield CounterMetricFamily(name, text, value=count)
    modules = monitor.status.modules.values()
    for name, text, letter in (
        ("kobox_modules_unsigned", "Modules without a signature that the kernel trusts (taint E).", "E"),
        ("kobox_modules_out_of_tree", "Modules that were built out of the kernel's tree (taint O).", "O"),
    ):
        yield GaugeMetricFamily(name, text, value=sum(letter in one.taint for one in modules))


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
    yield from _totals(monitor)
    lines = CounterMetricFamily("kobox_kernel_log_lines", "Lines of the kernel's log, by level.", labels=["level"])
    for level, count in sorted(monitor.log_lines.items()):
        lines.add_metric([_LEVELS[level]], count)
    yield lines
    yield GaugeMetricFamily("kobox_monitor_problems", "What the monitor cannot see.", value=len(monitor.problems))
