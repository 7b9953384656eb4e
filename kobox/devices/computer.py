"""What a model may ask of the computer that it is plugged into: the time, and to be called later.

self.computer.now                              virtual ns since power on
self.computer.ring(self)                       call self.attend() as soon as the CPU has stopped
self.tick = Timer(self, self.ticked)           in __init__: a timer of the model
self.tick.start(1_000_000)                     call ticked() in a virtual millisecond, between two instructions
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from kobox.devices.state import Restore
from kobox.errors import KoboxError
from kobox.machine.devices import Attendant


class Computer(Protocol):
    """The computer as a model sees it."""

    @property
    def now(self) -> int:
        """Virtual nanoseconds since power on."""
        ...

    def arm(self, timer: Timer) -> None:
        """Call a timer when it is due."""
        ...

    def ring(self, who: Attendant) -> None:
        """Have `who.attend()` called as soon as the CPU has stopped."""
        ...


class _Nowhere:
    """The computer of a model that is not plugged in."""

    now = 0

    def arm(self, timer: Timer) -> None:
        raise KoboxError("a model that is not plugged in has started a timer")

    def ring(self, who: Attendant) -> None:
        return


UNPLUGGED: Computer = _Nowhere()


class TimerOwner(Protocol):
    """A model that has timers."""

    computer: Computer

    @property
    def plugged(self) -> bool: ...


class Timer:
    """A timer of a model. It goes back with checkpoints, and stops when the model is unplugged."""

    def __init__(self, owner: TimerOwner, call: Callable[[], None]) -> None:
        self.owner, self.call = owner, call
        self.due: int | None = None

    def start(self, delay: int) -> None:
        """Call in `delay` virtual nanoseconds; a timer that runs is started anew."""
        self.due = self.owner.computer.now + max(delay, 0)
        self.owner.computer.arm(self)

    def stop(self) -> None:
        """Do not call."""
        self.due = None

    def save(self) -> Restore:
        """For a checkpoint: a function that has the timer due when it is due now."""
        due, computer = self.due, self.owner.computer

        def restore() -> None:
            self.due = due
            if due is not None:
                computer.arm(self)

        return restore
