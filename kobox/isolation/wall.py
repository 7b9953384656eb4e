"""The wall behind the emulator: a worker process that runs or parses a stranger's module can read what it needs, write
to the descriptors that are open, and nothing else.

    the command ──fork──▶ worker: prepares (boots, reads files, makes caches), raises the wall, runs the module
        │ watches                     Landlock, seccomp, limits of memory, time and files
        └─ Ctrl-C, a signal, the end of time: the worker ends within a second, whatever the emulator does

The library never raises it by itself: `kobox.boot()` stays in the caller's process.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from kobox.isolation import landlock, seccomp
from kobox.isolation.reading import own_places

_PR_SET_PDEATHSIG = 1
_GRACE, _LAST_GRACE = 0.2, 0.5  # seconds that a worker gets to end by itself, then after it was told to


class Wall(NamedTuple):
    """What a worker keeps: directories that it may read, bytes of memory beyond those that it maps already (RLIMIT_AS),
    seconds of CPU time, open files, bytes that it may write to a file which is open (RLIMIT_FSIZE).

    Python's own directories may always be read. With `processes` it may start processes of its own program, which have
    the same wall, and may raise another inside.
    """

    read: tuple[Path, ...] = ()
    memory: int = 8 << 30
    cpu: int = 3600
    files: int = 1024
    output: int = 4 << 30
    processes: bool = False

    def raise_here(self) -> None:
        """Raise it round this process, for good, as far as this machine can (`lacking`). Raises `OSError`."""
        limits = {
            resource.RLIMIT_AS: _mapped() + self.memory,
            resource.RLIMIT_NOFILE: self.files,
            resource.RLIMIT_FSIZE: self.output,
            resource.RLIMIT_CORE: 0,
        }
        for kind, value in limits.items():
            _, hard = resource.getrlimit(kind)
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))
        limit_cpu(self.cpu)
        # Each process it starts reads /proc/self/pagemap, which is below another directory for each. Memory and
        # environment of other processes are out of reach all the same: Landlock lets nobody trace who is outside.
        processes = ["/proc"] if self.processes else []
        landlock.allow_reading([*own_places(), *processes, *self.read])
        seccomp.give_up(processes=self.processes)


def _mapped() -> int:
    """The bytes of address space that this process uses (proc(5), statm): its parent may have had many boxes open."""
    return int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()


def lacking() -> list[str]:
    """What this machine lacks for a wall, in words."""
    missing = []
    if not landlock.abi():
        missing.append("this kernel has no Landlock: a worker could read any file of yours")
    if not seccomp.available():
        missing.append("seccomp filters are not available: a worker could make any system call")
    return missing


def limit_cpu(seconds: int) -> None:
    """Let this process use so many more seconds of CPU time; then it is ended by SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    end = int(used.ru_utime + used.ru_stime) + max(seconds, 1)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard == resource.RLIM_INFINITY or hard > end:
        resource.setrlimit(resource.RLIMIT_CPU, (end, end + 2))


_state = {"worker": False}


def in_worker() -> bool:
    """Whether this process is a worker that `behind` has started, so that a wall may be raised round it."""
    return _state["worker"]


def behind(work: Callable[[], int], say: Callable[[str], None]) -> int:
    """Do `work` in a worker process and return its exit status; `say` gets a line when it did not end by itself.

    Ctrl-C ends it within a second, and gives 130. The worker dies with its parent.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    asked: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in signals}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    worker = os.fork()
    if not worker:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        _state["worker"] = True
        die_with(parent)
        return work()
    for number in signals:
        signal.signal(number, lambda found, _: asked.append(found))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    try:
        status = _watch(worker, asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return _verdict(status, asked, say)


def die_with(parent: int) -> None:
    """Let this process be killed when its parent, of this number, ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _watch(worker: int, asked: Sequence[int]) -> int:
    """Wait for the worker; once a signal has come, not for long."""
    with _end_of(worker) as ended:
        began = told = 0.0
        while True:
            ended(0.1 if not asked else 0.01)  # Python waits on after a signal: not for long at a time
            found, status = os.waitpid(worker, os.WNOHANG)
            if found:
                return status
            now = time.monotonic()
            if asked and not began:
                began = now
            elif told and now - told > _LAST_GRACE:
                os.kill(worker, signal.SIGKILL)
            elif began and not told and now - began > _GRACE:
                told = now
                os.kill(worker, asked[-1])


@contextmanager
def _end_of(worker: int) -> Iterator[Callable[[float], object]]:
    """A function that waits for the end of a process, some seconds at most (pidfd_open(2), since Linux 5.3)."""
    try:
        fd = os.pidfd_open(worker)
    except OSError:
        yield lambda seconds: time.sleep(min(seconds, 0.005))
        return
    try:
        yield lambda seconds: select.select([fd], [], [], seconds)
    finally:
        os.close(fd)


def _verdict(status: int, asked: Sequence[int], say: Callable[[str], None]) -> int:
    code = os.waitstatus_to_exitcode(status)
    if asked and code != 0:
        if code != 130:
            say("interrupted")
        return 130 if asked[0] == signal.SIGINT else 128 + asked[0]
    if code >= 0:
        return code
    number = -code
    if number in (signal.SIGXCPU, signal.SIGKILL):
        say("error: it used up its CPU time or memory in all, and was ended; `--cpu-limit` raises the time")
    else:
        say(f"error: the worker process was killed by {signal.Signals(number).name}")
    return 1
