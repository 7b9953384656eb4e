"""Looks at a kernel again and again: what is, what happened, and how often."""

from __future__ import annotations

import select
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence

from kobox.kernel.interface import Kernel
from kobox.monitor.events import EventKind, ModuleEvent, came_and_went, changes, named, told_by
from kobox.monitor.history import History
from kobox.monitor.log_source import KernelLine, LogSource
from kobox.monitor.recording import KernelRecorder
from kobox.monitor.sinks import EventSink
from kobox.monitor.status import KernelModules, look
from kobox.monitor.uevents import ModuleNotices

_REMEMBERED = 1000
_PARAMETERS_EVERY = 10  # looks: reading them takes longest, and they seldom change
_SHARE = 32  # a look is made after 32 times as long as the last one took: 3 % of a core
_TOGETHER = 0.05  # seconds: more may come at once


class ModuleMonitor:
    """The modules of one kernel. `poll` looks once; `watch` goes on until it is told to stop.

    `log` is where the kernel's lines come from, `uevents` what tells at once that a module came or went; without either
    less is seen. `history` keeps events, `sinks` get them, `recorder` writes down what each look read (then `kernel` is
    the recorder's). `clock()` is the time in seconds since the epoch. It may be
    read from any thread; who reads the kernel itself holds `reading`.

    Raises `OSError` when the kernel's modules cannot be read.
    """

    def __init__(
        self,
        kernel: Kernel,
        log: LogSource | None = None,
        uevents: ModuleNotices | None = None,
        history: History | None = None,
        clock: Callable[[], float] = time.time,
        sinks: Sequence[EventSink] = (),
        recorder: KernelRecorder | None = None,
    ) -> None:
        self._sinks, self._recorder = tuple(sinks), recorder
        self._kernel, self._log, self._uevents, self._history, self._clock = kernel, log, uevents, history, clock
        self._lock = threading.Lock()
        self.reading = threading.RLock()  # of the kernel: another machine's shell answers one at a time
        self._status = look(kernel)
        self._looks = 0
        self._events: deque[ModuleEvent] = deque(maxlen=_REMEMBERED)
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._levels: Counter[int] = Counter()
        self._lines: deque[KernelLine] = deque(maxlen=_REMEMBERED)
        self._stopped = threading.Event()

    @property
    def status(self) -> KernelModules:
        """The modules as they were at the last look."""
        with self._lock:
            return self._status

    @property
    def events(self) -> list[ModuleEvent]:
        """The last thousand events, the newest last."""
        with self._lock:
            return list(self._events)

    @property
    def counts(self) -> dict[tuple[str, str, str], int]:
        """How many events there were since the start, by (kind, module, rule)."""
        with self._lock:
            return dict(self._counts)

    @property
    def log_lines(self) -> dict[int, int]:
        """How many lines the kernel's log got since the start, by level."""
        with self._lock:
            return dict(self._levels)

    @property
    def lines(self) -> list[KernelLine]:
        """The last thousand lines of the kernel's log since the start, the newest last."""
        with self._lock:
            return list(self._lines)

    @property
    def sources(self) -> list[LogSource | ModuleNotices]:
        """What becomes readable when something has happened."""
        return [one for one in (self._log, self._uevents) if one is not None and one.fileno() >= 0]

    @property
    def problems(self) -> list[str]:
        """What cannot be seen, and why."""
        sources = (self._log, self._uevents, self._history, self._recorder, *self._sinks)
        found = [source.problem for source in sources if source is not None and source.problem]
        if self._log is not None and self._log.lost:
            found.append(f"the kernel's log was overwritten {self._log.lost} times before it was read")
        return found

    def kernel(self) -> Kernel:
        """The kernel that is looked at."""
        return self._kernel

    def poll(self, *, parameters: bool = False) -> list[ModuleEvent]:
        """Look now; what happened since the last look, in the order in which it is known. Parameters are read at every
        tenth look, or when they are asked for. Raises `OSError`."""
        now = self._clock()
        lines = self._log.new_lines() if self._log is not None else []
        uevents = self._uevents.drain() if self._uevents is not None else []
        with self.reading:
            after = look(self._kernel, self._status, parameters=parameters or self._looks % _PARAMETERS_EVERY == 0)
        found = [
            *told_by(lines, now),
            *came_and_went(uevents, self._status, after, now),
            *(named(event, uevents) for event in changes(self._status, after, now)),
        ]
        with self._lock:
            self._looks += 1
            self._status = after
            self._events.extend(found)
            self._levels.update(line.level for line in lines)
            self._lines.extend(lines)
            self._counts.update((one.kind.value, one.module, one.rule) for one in found)
        if self._history is not None:
            self._history.add(found)
        for sink in self._sinks:
            sink.add(found)
        if self._recorder is not None:
            with self.reading:
                self._recorder.add(now, after, lines)
        return found

    def watch(self, tell: Callable[[list[ModuleEvent]], None], interval: float = 2.0) -> None:
        """Look every `interval` seconds, and as soon as a source has something; until `stop` is called. Looks are so
        far apart that they take 3 % of a core: what comes meanwhile waits.

        A look that fails is told as a problem of the kernel's and tried again. What `tell` raises ends it.
        """
        while not self._stopped.is_set():
            began = time.thread_time()
            try:
                found = self.poll()
            except OSError as error:
                now = self._clock()
                found = [ModuleEvent(now, EventKind.STATE, "", f"modules cannot be read: {error}")]
            if found:
                tell(found)
            self._wait(interval, _SHARE * (time.thread_time() - began))

    def stop(self) -> None:
        """End `watch`, from any thread."""
        self._stopped.set()

    def _wait(self, seconds: float, least: float) -> None:
        """Wait for so long, or until a source has something; `least` in any case."""
        self._stopped.wait(least)
        sources = self.sources
        end = time.monotonic() + max(seconds - least, 0)
        while not self._stopped.is_set() and (left := end - time.monotonic()) > 0:
            if not sources:
                self._stopped.wait(left)
            elif select.select(sources, [], [], min(left, 0.5))[0]:
                self._stopped.wait(min(left, _TOGETHER))
                return
