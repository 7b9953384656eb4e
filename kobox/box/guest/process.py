"""What a process of kobox in a box is, as the scheduler sees it: its state, its call under way, its limits."""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator

# What a process makes one after the other: (system call, arguments), and is sent the result of each.
Script = Generator[tuple[str, tuple[int, ...]], int, None]


class State(enum.Enum):
    """What a process of kobox is doing."""

    IN_HAND = "in hand"
    PARKED = "parked"
    WOKEN = "woken"
    LEAVING = "leaving"
    BUSY = "busy"
    DEAD = "dead"


class RawCall:
    """A system call under way. `result` is its raw return value (negative errno on failure), None until it returns;
    `status` the wait status of its process, if that died in it. `finish` is called when it has returned."""

    __slots__ = ("abandoned", "finish", "process", "result", "status", "what")

    def __init__(self, process: Process, what: str) -> None:
        self.process = process
        self.what = what
        self.result: int | None = None
        self.status: int | None = None
        self.abandoned = False
        self.finish: Callable[[], None] | None = None

    @property
    def done(self) -> bool:
        """Whether it has returned, or its process has died."""
        return self.result is not None or self.status is not None


class Process:
    """One process: its number among kobox's, its PID in the box, and its call under way.

    A program that the kernel has run has memory of its own: `space` is its page tables (0: the memory that all others
    share), and `arguments` its command line. `cpu` is the CPU that it was put on.
    """

    __slots__ = ("arguments", "cpu", "number", "pending", "pid", "script", "space", "state")

    def __init__(self, number: int, pid: int, state: State, *, space: int = 0) -> None:
        self.number = number
        self.cpu = 0
        self.pid = pid
        self.state = state
        self.pending: RawCall | None = None
        self.space = space
        self.arguments: list[str] = []
        self.script: Script | None = None


class Child:
    """A program of the box: `status` is its wait status once it has ended. `resources` is its struct rusage."""

    __slots__ = ("pid", "resources", "status")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None
        self.resources = b""


class Limits:
    """How much a call may use: `timeout`, virtual seconds until it must be back, and `cpu`, seconds of the
    box's own CPU time (virtual) that it may burn."""

    __slots__ = ("cpu", "timeout")

    def __init__(self, timeout: float = 86400.0, cpu: float = 60.0) -> None:
        self.timeout = timeout
        self.cpu = cpu
