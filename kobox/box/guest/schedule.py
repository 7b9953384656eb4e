"""Which CPU of a box runs, and for how long: `box.schedule`.

    with kobox.boot(cpus=2) as box:
        box.schedule.turns(100, seed=7)         # at random; 7 gives the same ones again
        with box.process(cpu=1) as other:
            read, write = box.schedule.together((other, "read", fd, got, 64), (None, "write", fd, b"x", 1))
            print(read.result(), write.result(), box.schedule.id)

The CPUs of a box take turns on one engine, so a schedule is exact: the same one gives the same run, in every process.
It is part of the box's state: a checkpoint keeps it, and `reset()` brings that of the boot back (turns of 1000 blocks
in order).
"""

from __future__ import annotations

from typing import TypeAlias

from kobox.box.guest.box_process import BoxProcess
from kobox.box.guest.guest_side import GuestSide
from kobox.box.guest.syscall import Argument, PendingCall
from kobox.errors import KoboxError
from kobox.machine.pc import Machine, Turns

# Who makes a call (None: the main process), its name and its arguments.
Call: TypeAlias = "tuple[BoxProcess | None, str, *tuple[Argument, ...]]"

SLICE = 1000  # blocks of a turn when a box is booted
_WORDS = {Turns.ROUND: "turns", Turns.RANDOM: "random", Turns.PRIORITY: "pct"}


class Schedule:
    """The turns of the CPUs of one box. With one CPU, nothing that it is told changes anything."""

    def __init__(self, guest: GuestSide, machine: Machine) -> None:
        self._guest = guest
        self._machine = machine

    def turns(self, blocks: int = SLICE, *, seed: int | None = None) -> None:
        """Turns of `blocks` basic blocks, one CPU after the other; with a seed, of 1 to twice as many, at random."""
        if blocks < 1:
            raise ValueError(f"a turn of {blocks} blocks: it has at least one")
        self._machine.schedule(Turns.ROUND if seed is None else Turns.RANDOM, blocks, seed or 0)

    def pct(self, seed: int, depth: int = 3, blocks: int = 100_000) -> None:
        """Priorities at random; at `depth` - 1 places among the next `blocks` blocks the running CPU gets the lowest
        one (Burckhardt et al., "A randomized scheduler with probabilistic guarantees of finding bugs", 2010)."""
        if not 1 <= depth <= 17 or blocks < 1:
            raise ValueError(f"depth {depth} in {blocks} blocks: depth is 1 to 17, and there is at least one block")
        self._machine.schedule(Turns.PRIORITY, blocks, seed, depth - 1)

    def hold(self, cpu: int, blocks: int = 1 << 62) -> None:
        """Let a CPU stand still until the others have executed so many blocks, have nothing to do in that time, or
        `release` is called. One at a time."""
        if not 0 <= cpu < self._machine.cpus:
            raise ValueError(f"no CPU {cpu}: this box has {self._machine.cpus}")
        self._machine.hold(cpu, blocks)

    def release(self) -> None:
        """Let the CPU go on that is held."""
        self._machine.hold(-1, 0)

    @property
    def held(self) -> int | None:
        """The CPU that is held."""
        held = self._machine.turns().held
        return held if held >= 0 else None

    @property
    def id(self) -> str:
        """The schedule as a short text, for `replay`."""
        now = self._machine.turns()
        numbers = {Turns.ROUND: (now.blocks,), Turns.RANDOM: (now.blocks, now.seed)}.get(
            now.turns, (now.blocks, now.seed, now.changes)
        )
        return ":".join((_WORDS[now.turns], *map(str, numbers)))

    def replay(self, text: str) -> None:
        """Begin the schedule that `id` names. Raises `KoboxError` when the text is no ID of a schedule."""
        word, *numbers = text.split(":")
        try:
            values = [int(number) for number in numbers]
            if word == "turns":
                self.turns(*values)
            elif word == "random":
                blocks, seed = values
                self.turns(blocks, seed=seed)
            elif word == "pct":
                blocks, seed, changes = values
                self.pct(seed, changes + 1, blocks)
            else:
                raise ValueError(word)
        except (TypeError, ValueError) as error:
            raise KoboxError(
                f"{text!r} is no schedule",
                hint="A schedule is what `box.schedule.id` gives, such as turns:1000, random:100:7 or pct:100000:7:2.",
            ) from error

    def together(self, *calls: Call, lead: int = 0) -> tuple[PendingCall, PendingCall]:
        """Begin two system calls at the same moment, on two CPUs: comes back when both have returned, or everything in
        the box waits.

        A call is (process, name, argument, ...), where None is the main process, which is on CPU 0; the other process
        was made with `box.process(cpu=...)`. With `lead`, the second call begins when the first has executed so many
        blocks, has returned, or waits. Raises `ValueError` when both are on the same CPU.
        """
        if len(calls) != 2:
            raise ValueError(f"{len(calls)} calls: two can begin together")
        rows = [
            (self._guest.main() if process is None else process.process, name, arguments)
            for process, name, *arguments in calls
        ]
        first, second = self._guest.calls.start_together(
            [(process, name, tuple(arguments)) for process, name, arguments in rows], lead
        )
        return first, second

    def later(self, call: Call, blocks: int) -> PendingCall:
        """Begin a call whose CPU stands still before it: until another CPU is held, the others have executed so many
        blocks, or that much time has passed. Comes back when it has returned, or everything in the box waits."""
        process, name, *arguments = call
        who = self._guest.main() if process is None else process.process
        return self._guest.calls.start(who, name, tuple(arguments), wait=blocks)
