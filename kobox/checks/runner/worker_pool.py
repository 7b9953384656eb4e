"""Workers: processes that do units of work side by side, each with a warm box of its own.

    parent ──unit──▶ worker 1 ──outcome──▶ parent        units and outcomes are small, picklable values
           ──unit──▶ worker 2
                     worker 3 died: its unit is reported, another worker takes its place

What a worker sends is not trusted (`kobox.checks.runner.transport`).

Workers are forked, so that they share what the parent has made ready (code, kernel tables, a booted box) until they
write to it. They ignore Ctrl-C: the parent takes them with it.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import wait
from typing import Any, Generic, TypeVar

from kobox.checks.runner import transport
from kobox.errors import KoboxError
from kobox.isolation.wall import die_with

_WALL = 4  # seconds of wall time that count as one of CPU time
_SCHEDULED = 2  # CPUCLOCK_SCHED (include/linux/posix-timers.h)
Unit = TypeVar("Unit")
Outcome = TypeVar("Outcome")


class WorkerDied:
    """What comes back for a unit whose worker did not: `reason` in words."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class _PoolWorker(Generic[Unit]):
    """One process, its end of the pipe, and what it is about."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]], others: list[_PoolWorker[Unit]]) -> None:
        units, self._to = os.pipe()
        self.answers, answers = os.pipe()
        inherited = [end for other in others for end in (other._to, other.answers)] + [self._to, self.answers]
        arguments = units, answers, inherited, make, os.getpid()
        self.process = get_context("fork").Process(target=_work, args=arguments, daemon=True)
        self.process.start()
        os.close(units)
        os.close(answers)
        self.receiver = transport.Receiver(self.answers)
        self.unit: Unit | None = None
        self.apart = False
        self._since = 0.0, 0.0

    def spent(self) -> float:
        """Seconds of CPU time since the unit was given; of wall time a quarter, if that is more."""
        return max(self._cpu() - self._since[1], (time.monotonic() - self._since[0]) / _WALL)

    def _cpu(self) -> float:
        """Seconds of CPU time that the process has had; its clock's number is as clock_getcpuclockid(3) makes it."""
        with suppress(OSError):
            return time.clock_gettime(~(self.process.pid or 0) << 3 | _SCHEDULED)
        return 0.0

    def give(self, unit: Unit) -> None:
        self.unit, self._since = unit, (time.monotonic(), self._cpu())
        with suppress(BrokenPipeError):  # it has gone: that is noticed where its answer is awaited
            transport.send(self._to, unit)

    def end(self) -> None:
        os.close(self._to)
        os.close(self.answers)
        self.process.kill()
        self.process.join()


class Pool(Generic[Unit, Outcome]):
    """Does units of work in `count` processes. `make()` is called in each of them once, and gives the function that
    does a unit.

    `patience` is how many seconds of CPU time a unit may take before its worker is given up, and a quarter of the
    seconds of wall time: what else the machine does must not end it. A unit for which
    `apart(unit)` is true gets a process that does nothing else, before or after.
    """

    def __init__(
        self,
        make: Callable[[], Callable[[Unit], Outcome]],
        count: int,
        *,
        patience: float = 300.0,
        apart: Callable[[Unit], bool] = lambda _: False,
    ) -> None:
        self._make = make
        self._apart = apart
        self._count = max(1, count)
        self._patience = patience
        self._workers: list[_PoolWorker[Unit]] = []
        self._waiting: deque[Unit] = deque()

    def submit(self, unit: Unit) -> None:
        """Add a unit; also while results are being read."""
        self._waiting.append(unit)

    def withdraw(self) -> list[Unit]:
        """Take back the units that nobody has begun."""
        left = list(self._waiting)
        self._waiting.clear()
        return left

    def results(self) -> Iterator[tuple[Unit, Outcome | WorkerDied]]:
        """Units and what came of them, as they are done, until none is left."""
        while self._waiting or any(worker.unit is not None for worker in self._workers):
            self._hand_out()
            yield from self._collect()

    def close(self) -> None:
        """End all workers, whatever they are about."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def __enter__(self) -> Pool[Unit, Outcome]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hand_out(self) -> None:
        idle = [worker for worker in self._workers if worker.unit is None]
        while self._waiting:
            apart = self._apart(self._waiting[0])
            if idle and not apart:
                worker = idle.pop()
            elif len(self._workers) < self._count or (apart and idle):
                if len(self._workers) >= self._count:
                    self._end(idle.pop())
                worker = _PoolWorker(self._make, self._workers)
                worker.apart = apart
                self._workers.append(worker)
            else:
                break
            worker.give(self._waiting.popleft())

    def _collect(self) -> Iterator[tuple[Unit, Outcome | WorkerDied]]:
        busy = {worker.answers: worker for worker in self._workers if worker.unit is not None}
        ready = wait(list(busy), timeout=1.0)
        for answers in ready:
            worker = busy[answers]  # type: ignore[index]
            unit = worker.unit
            assert unit is not None
            outcome: Any
            try:
                complete, outcome = worker.receiver.receive()
            except transport.TransportError as error:
                self._gone(worker)
                outcome = WorkerDied(error.message)
            except (EOFError, OSError):
                outcome = self._gone(worker)
            else:
                if not complete:
                    continue
                worker.unit = None
                if worker.apart:
                    self._end(worker)
                if isinstance(outcome, KoboxError):
                    raise outcome
                if isinstance(outcome, BaseException):
                    outcome = WorkerDied(f"kobox itself failed: {outcome}")
            yield unit, outcome
        for worker in busy.values():
            if worker.unit is not None and worker.spent() > self._patience:
                unit = worker.unit
                self._gone(worker)
                yield unit, WorkerDied(f"it was given up after {self._patience:g} s of CPU time")

    def _end(self, worker: _PoolWorker[Unit]) -> None:
        self._workers.remove(worker)
        worker.end()

    def _gone(self, worker: _PoolWorker[Unit]) -> WorkerDied:
        self._workers.remove(worker)
        worker.process.join(timeout=1)
        code = worker.process.exitcode
        worker.end()
        if code is not None and code < 0:
            return WorkerDied(f"the process that ran it was killed by {signal.Signals(-code).name}")
        return WorkerDied(f"the process that ran it ended with status {code}")


def _work(
    units: int, answers: int, inherited: list[int], make: Callable[[], Callable[[Any], Any]], parent: int
) -> None:
    """The life of a worker."""
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for other in inherited:
        os.close(other)  # else a worker would not notice that the parent has gone
    try:
        do: Callable[[Any], Any] | None = None
        while True:
            unit = transport.receive(units)
            try:
                do = do or make()
                answer: Any = do(unit)
            except Exception as error:
                answer = _portable(error)
            transport.send(answers, answer)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass
    finally:
        os._exit(0)  # no destructors of what the parent still has


def _portable(error: Exception) -> Exception:
    """An exception that survives the way through a pipe: an error of kobox as it is, another as text."""
    if isinstance(error, KoboxError):
        try:
            transport.loads(transport.dumps(error))
        except Exception:
            return KoboxError(error.message, hint=error.hint)
        return error
    if os.environ.get("KOBOX_TRACEBACK"):
        return RuntimeError("".join(traceback.format_exception(error)))
    last = traceback.extract_tb(error.__traceback__)[-1]
    return RuntimeError(f"{type(error).__name__}: {error} ({os.path.basename(last.filename)}:{last.lineno})")
