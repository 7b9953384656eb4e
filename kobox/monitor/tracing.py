"""How often a module's functions are called, and who loads modules: by ftrace, in an instance of kobox's own.

    /sys/kernel/tracing/instances/kobox-PID/    mkdir makes it, rmdir ends it; what others trace stays as it is
        set_ftrace_filter  ◀ :mod:NAME          and then current_tracer ◀ function
        per_cpu/cpuN/stats ▶ entries, overrun, read events: every call, also those that no longer fit
        trace              ▶ the last calls by name
        set_event          ◀ module:module_load …
        trace_pipe         ▶ `modprobe-612 [000] ..... 9.25: module_load: loop OE`

It takes root. Sources: Documentation/trace/ftrace.rst; tracing_stats_read() in kernel/trace/trace.c;
include/trace/events/module.h.
"""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from kobox.kernel.host import Host
from kobox.kernel.interface import Kernel
from kobox.monitor.uevents import ModuleUevent

_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
_BUFFER_KIB = b"64"  # a CPU: about 2,000 calls, from which the names are taken
_STAT = re.compile(r"^(entries|overrun|read events|now ts):\s+([\d.]+)$", re.MULTILINE)
_CALL = re.compile(r": ([\w.$]+)(?: \[\w+\])? <-")
_MODULE_EVENT = re.compile(r"^\s*(.{1,64})-(\d+)\s+(?:\(.{0,16}\)\s+)?\[\d+\] .*: module_(load|free): (\S+)")
_READ = 1 << 16
_MOST_READS = 64
_LONGEST_LINE = 4096


@dataclass(frozen=True, slots=True)
class CallRate:
    """Calls of a module's functions between two samples: `calls` in `seconds` of the kernel's clock. `functions`: how
    many of the last calls that the buffer holds went to each, the most first."""

    calls: int
    seconds: float
    functions: tuple[tuple[str, int], ...]

    @property
    def per_second(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds if self.seconds > 0 else 0.0


class CallCounter:
    """Counts the calls of a loaded module's functions until it is closed; inlined functions and those that are marked
    notrace are not among them.

    Raises `OSError` where the kernel has no function tracer, without root, and for a module without functions.
    """

    def __init__(self, kernel: Kernel, module: str) -> None:
        self.module = module
        self._kernel = kernel
        self._place = _instance(kernel)
        try:
            kernel.write_bytes(f"{self._place}/buffer_size_kb", _BUFFER_KIB)
            kernel.write_bytes(f"{self._place}/set_ftrace_filter", f":mod:{module}".encode())
            self._must_filter()
            kernel.write_bytes(f"{self._place}/current_tracer", b"function")
            self._calls, self._time = self._stats()
        except OSError:
            self.close()
            raise

    def sample(self) -> CallRate:
        """The calls since the last sample, or since the start. Raises `OSError`."""
        calls, time = self._stats()
        found = CallRate(calls - self._calls, time - self._time, self._functions())
        self._calls, self._time = calls, time
        return found

    def close(self) -> None:
        """Count no more; the instance goes."""
        with suppress(OSError):
            self._kernel.write_bytes(f"{self._place}/current_tracer", b"nop")
        with suppress(OSError):
            self._kernel.rmdir(self._place)

    def _must_filter(self) -> None:
        """An empty filter would trace the whole kernel; the kernel takes the name of a module that is not loaded, for
        later."""
        if f" [{self.module}]" not in self._kernel.read_text(f"{self._place}/set_ftrace_filter"):
            raise OSError(errno.ENOENT, "no function that ftrace knows", self.module)

    def _stats(self) -> tuple[int, float]:
        calls, now = 0, 0.0
        for cpu in self._kernel.listdir(f"{self._place}/per_cpu"):
            text = self._kernel.read_text(f"{self._place}/per_cpu/{cpu}/stats")
            for name, number in _STAT.findall(text):
                if name == "now ts":
                    now = max(now, float(number))
                else:
                    calls += int(float(number))
        return calls, now

    def _functions(self) -> tuple[tuple[str, int], ...]:
        found = Counter(_CALL.findall(self._kernel.read_text(f"{self._place}/trace")))
        return tuple(sorted(found.items(), key=lambda one: (-one[1], one[0])))


class TracepointSource:
    """The kernel's tracepoints module_load and module_free on this machine: as `UeventSource`, and with the program
    that did it. `problem` says why none will come. `place` is the directory of the instance; without one it is made."""

    def __init__(self, place: str | None = None) -> None:
        self.problem = ""
        self._rest = b""
        self._fd = -1
        self._made = ""
        try:
            if place is None:
                place = self._made = _instance(Host())
            Host().write_bytes(f"{place}/set_event", b"module:module_load\nmodule:module_free\n")
            self._fd = os.open(f"{place}/trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self.close()
            self.problem = f"tracepoints: {error.filename or 'tracefs'}: {error.strerror}; that takes root and tracefs"

    def fileno(self) -> int:
        """What becomes readable when a module came or went, -1 for nothing."""
        return self._fd

    def drain(self) -> list[ModuleUevent]:
        """The modules that came and went, in order."""
        for _ in range(_MOST_READS if self._fd >= 0 else 0):
            try:
                data = os.read(self._fd, _READ)
            except OSError:  # EAGAIN: that was all
                break
            if not data:
                break
            self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        self._rest = self._rest[-_LONGEST_LINE:]
        return [one for line in lines if (one := module_event(line.decode(errors="replace"))) is not None]

    def close(self) -> None:
        """Listen no more; the instance goes."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._made:
            with suppress(OSError):
                os.rmdir(self._made)
            self._made = ""


def module_event(line: str) -> ModuleUevent | None:
    """What a line of `trace` or `trace_pipe` says of a module that came or went; None for any other line."""
    found = _MODULE_EVENT.match(line)
    if found is None:
        return None
    program, process, action, module = found.groups()
    return ModuleUevent(module, action == "load", f"{program.strip()}[{process}]")


def _instance(kernel: Kernel) -> str:
    """A new instance. One that a killed kobox left on this machine goes first. Raises `OSError`."""
    place = next((one for one in _TRACEFS if kernel.exists(f"{one}/instances")), _TRACEFS[0])
    if isinstance(kernel, Host):
        for name in _names(kernel, f"{place}/instances"):
            process = name.removeprefix("kobox-").partition(".")[0]
            if name.startswith("kobox-") and process.isdigit() and not kernel.exists(f"/proc/{process}"):
                with suppress(OSError):
                    kernel.rmdir(f"{place}/instances/{name}")
    taken = _names(kernel, f"{place}/instances")
    name = next(
        name for n in range(len(taken) + 1) if (name := f"kobox-{os.getpid()}{f'.{n}' if n else ''}") not in taken
    )
    kernel.mkdir(f"{place}/instances/{name}")
    return f"{place}/instances/{name}"


def _names(kernel: Kernel, path: str) -> list[str]:
    try:
        return kernel.listdir(path)
    except OSError:
        return []
