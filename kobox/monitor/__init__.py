"""Modules of a running kernel as they come, change and go: events, metrics, history, drift, a page.

    monitor = ModuleMonitor(Host())
    for event in monitor.poll(): print(event)          # loaded, unloaded, failed, changed, oops
    metrics_text(monitor)                              # for Prometheus

| file | what it holds |
|---|---|
| `status.py` | the modules of a kernel at one moment |
| `log_source.py` | the kernel's log, line by line: /dev/kmsg, another machine's, or a box's |
| `events.py` | what happened between two looks |
| `monitor.py` | looks again and again, counts and remembers |
| `metrics.py` | Prometheus' text format |
| `history.py` | events in an SQLite file |
| `fleet.py`, `fleet_page.py` | many machines by ssh: what differs, a page, metrics |
| `sinks.py` | where events go besides: a webhook, systemd's journal |
| `baseline.py` | what differs from how it was, or should be |
| `recording.py` | what a monitor read, in a file, and as a kernel again |
| `tracing.py` | calls of a module by ftrace, tracepoints of loads |
| `server.py` | HTTP: /metrics, the page, JSON |
"""

from kobox.monitor.baseline import Drift, drift
from kobox.monitor.events import EventKind, ModuleEvent
from kobox.monitor.history import History
from kobox.monitor.log_source import BoxLog, CommandLog, DeviceLog, LogSource
from kobox.monitor.metrics import metrics_text
from kobox.monitor.monitor import ModuleMonitor
from kobox.monitor.status import KernelModules, MonitoredModule, look

__all__ = [
    "BoxLog",
    "CommandLog",
    "DeviceLog",
    "Drift",
    "EventKind",
    "History",
    "KernelModules",
    "LogSource",
    "ModuleEvent",
    "ModuleMonitor",
    "MonitoredModule",
    "drift",
    "look",
    "metrics_text",
]
