"""Another process of a box, for calls that block: `box.process()`."""

from __future__ import annotations

from collections.abc import Callable

from kobox.box.guest.guest_side import GuestSide
from kobox.box.guest.process import Limits, Process, State
from kobox.box.guest.syscall import Argument, PendingCall


class BoxProcess:
    """Another process of a box: it shares memory and files with the main one, and may block in a call of its own."""

    def __init__(self, guest: GuestSide, process: Process) -> None:
        self._guest = guest
        self._process = process

    @property
    def process(self) -> Process:
        """The process as the scheduler has it: another object, when it had died and a checkpoint was restored."""
        found = self._guest.processes.by_number.get(self._process.number)
        if found is not None and found.pid == self._process.pid:
            self._process = found
        return self._process

    @property
    def pid(self) -> int:
        """Its process ID in the box."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.state is not State.DEAD

    def syscall(self, name: str, *arguments: Argument, limits: Limits | None = None) -> int:
        """As `Box.syscall`, made by this process."""
        return self._guest.calls.call(self.process, name, arguments, limits)

    def start(self, name: str, *arguments: Argument) -> PendingCall:
        """Begin a call that may block: comes back when it has returned or everything in the box waits."""
        return self._guest.calls.start(self.process, name, arguments)

    def start_later(self, seconds: float, name: str, *arguments: Argument) -> Callable[[], bool]:
        """Begin to sleep, and make the call at once on waking; what is returned tells whether it has begun."""
        return self._guest.calls.start_later(self.process, seconds, name, arguments)

    def move(self, cpu: int) -> None:
        """Put it on a CPU of the box; it stays there. Raises `OSError` (EINVAL) when there is no such CPU online."""
        self.syscall("sched_setaffinity", 0, 8, (1 << cpu).to_bytes(8, "little"))
        self.process.cpu = cpu

    def kill(self) -> None:
        """SIGKILL it."""
        self._guest.processes.kill(self.process)

    def __enter__(self) -> BoxProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self._guest.alive:
            self.kill()
