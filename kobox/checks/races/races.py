"""Races: one call into the module is interrupted at a chosen instruction, and something else happens right there.

    first process:   write(dev, …)  ──── 17 instructions of the module ────┊                      ┊──▶ goes on
    second process:                  asleep, with a real-time priority     ┊ wakes: read(dev, …)  ┊
                                                              time passes: its timer is due

What is interrupted may also be what the module does by itself: its timers, work items and threads, while nobody calls.
What comes in may also be an unload: of a module whose files are open the kernel refuses it, if the module says whose
they are, and for its timers, work and threads an exit function has to wait before it frees what they use.

The kernel is booted with preempt=full, so that it does switch where an interrupt finds its own code (a kernel without
CONFIG_PREEMPT_DYNAMIC does not: then only interrupts and timers come in between). It is the kernel that decides: where
interrupts are off or a spinlock is held, the second process waits, as it would anywhere.

Points are chosen where a race can matter: behind an instruction that touched memory, and round calls, those of locks
among them. The same point of the same calls gives the same run.
"""

from __future__ import annotations

import json
import random
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kobox.arch.code import Flow
from kobox.box.events import MachineStep
from kobox.box.guest.process import Limits
from kobox.checks.fuzz.program import ExerciseStep, Program, plain_step, step_of, system_call
from kobox.checks.module.callsites import CodeMap, LocatedCode
from kobox.errors import BoxTimeoutError, KoboxError
from kobox.json_text import parse_json
from kobox.machine.native_core import Event

if TYPE_CHECKING:
    from kobox.box.box import Box

CMDLINE = "preempt=full"
_ASLEEP = (
    1.0  # virtual seconds that the second process would sleep; less than what a watchdog of the kernel complains of
)
_LIMITS = Limits(timeout=30.0, cpu=3.0)
_QUIET = 5.0  # virtual seconds in which a module does what it does by itself; not enough for a watchdog, either
_TRACED = 600  # instructions of one call that are looked at
_SETUP = 6  # calls that come before the race at most
_FIFO = 1
_NONBLOCK = 0o4000
_NOT_ON_A_FILE = ("open", "mknod", "close", "mmap", "sleep", "socket")
TIME = ExerciseStep("time")
"""Instead of a call: only time passes, so that timers come. As the first it stands for what they do in the module."""
REMOVE = ExerciseStep("rmmod")
"""Instead of a second call: the module is unloaded."""


@dataclass(frozen=True, slots=True)
class Race:
    """`first`, a call on the file that `setup` has opened, is interrupted before the instruction number `point` of the
    module's that it executes; there `second` is made, on another open file of the same path. With TIME for `first` no
    file is open then."""

    setup: Program
    first: ExerciseStep
    second: ExerciseStep
    point: int

    def __str__(self) -> str:
        return f"race:{urlsafe_b64encode(zlib.compress(json.dumps(_plain(self)).encode(), 9)).decode()}"

    @property
    def words(self) -> str:
        """What it is, for people."""
        first = "what it does by itself" if self.first == TIME else f"{self.first.call.removesuffix('_at')}()"
        second = {TIME: "time passes", REMOVE: "rmmod comes in"}.get(
            self.second, f"{self.second.call.removesuffix('_at')}() comes in"
        )
        return f"{first} is interrupted before its instruction {self.point} in the module, and {second}"


def parse_race(text: str) -> Race:
    """Undo `str()`. Raises `KoboxError`."""
    try:
        plain = parse_json(zlib.decompress(urlsafe_b64decode(text.removeprefix("race:"))))
        setup, first, second, point = plain
        return Race(tuple(map(step_of, setup)), step_of(first), step_of(second), int(point))
    except (ArithmeticError, LookupError, ValueError, TypeError, zlib.error) as error:
        raise KoboxError(f"{text!r} is no ID of a race", hint="The report has them, behind `fault`.") from error


def _plain(race: Race) -> list[Any]:
    return [[plain_step(step) for step in race.setup], plain_step(race.first), plain_step(race.second), race.point]


class Interrupted:
    """The exercise that is one race of the module `name`. Afterwards `reached` tells whether the first call came to the
    point, `switched` whether the second was made while the first was under way."""

    def __init__(self, race: Race, name: str) -> None:
        self.race = race
        self.name = name
        self.reached = False
        self._undo: Callable[[], None] = lambda: None
        self.switched = False
        self._asleep = _QUIET if race.first == TIME else _ASLEEP

    def __call__(self, box: Box) -> None:
        fd, other = _prepared(box, self.race.setup, keep=self.race.first != TIME)
        with box.process() as second:
            begun = None
            if self.race.second != TIME:
                with suppress(OSError):
                    second.syscall("sched_setscheduler", 0, _FIFO, (50).to_bytes(4, "little"))
                what, values = self._second(other)
                begun = second.start_later(self._asleep, what, *values)
            self._arm(box)
            try:
                _do(box, self.race.first, fd)
                if self.race.first == TIME:
                    box.sleep(_ASLEEP)  # all of its time may have passed at the point
                self.switched = self.reached and begun is not None and begun()
            finally:
                self._disarm(box)
            if box.alive:
                box.sleep(2 * _ASLEEP)

    def _second(self, fd: int) -> tuple[str, tuple[Any, ...]]:
        if self.race.second == REMOVE:
            return "delete_module", (self.name, _NONBLOCK)
        return system_call(self.race.second, fd)

    def _arm(self, box: Box) -> None:
        box.inspect.watch.stop_at(box.inspect.watch.count + self.race.point)

        def step(run: MachineStep, until: int, blocks: int, idle: bool) -> Event:
            event = run(until, blocks, idle)
            if event is Event.STOPPED and not self.reached:
                self.reached = True
                box.inspect.watch.stop_at(0)
                box.machine.pass_time(int(self._asleep * 1e9))
                return Event.SLICE
            return event

        self._undo = box.events.step.subscribe(step)

    def _disarm(self, box: Box) -> None:
        self._undo()
        box.inspect.watch.stop_at(0)


class Traced:
    """The exercise that makes one call, or lets time pass, and notes each instruction of the module that is executed:
    `addresses`."""

    def __init__(self, setup: Program, call: ExerciseStep) -> None:
        self.setup = setup
        self.call = call
        self.addresses: list[int] = []

    def __call__(self, box: Box) -> None:
        fd, _ = _prepared(box, self.setup, keep=self.call != TIME)
        watch = box.inspect.watch
        watch.stop_at(watch.count + 1)

        def step(run: MachineStep, until: int, blocks: int, idle: bool) -> Event:
            event = run(until, blocks, idle)
            if event is not Event.STOPPED or len(self.addresses) >= _TRACED:
                return event
            self.addresses.append(box.machine.pc)
            # The instruction is counted again when it is executed.
            watch.stop_at(watch.count + 2 if len(self.addresses) < _TRACED else 0)
            return Event.SLICE

        undo = box.events.step.subscribe(step)
        try:
            _do(box, self.call, fd)
        finally:
            undo()
            watch.stop_at(0)


def _do(box: Box, step: ExerciseStep, fd: int) -> None:
    """Make a call in a process of its own, whatever it answers; or let time pass."""
    if step == TIME:
        box.sleep(_QUIET)
        return
    name, arguments = system_call(step, fd)
    with box.process() as process, suppress(BoxTimeoutError, OSError):
        process.syscall(name, *arguments, limits=_LIMITS)


def _prepared(box: Box, setup: Program, *, keep: bool) -> tuple[int, int]:
    """Play `setup`, and (with `keep`) leave its file open; that file and another of the same path."""
    opened = next((step for step in setup if step.call == "open"), None)
    if opened is None:
        return -1, -1
    path, flags = opened.arguments
    for step in setup:
        if step.call == "mknod":
            with suppress(OSError):  # an earlier one is still there
                box.syscall("mknod", *step.arguments)
    fd, other = box.syscall("open", path, flags, 0), box.syscall("open", path, flags, 0)
    for step in setup:
        if step.call not in _NOT_ON_A_FILE:
            name, arguments = system_call(step, fd)
            with suppress(OSError):
                box.syscall(name, *arguments, limits=_LIMITS)
    if not keep:
        for number in (fd, other):
            box.syscall("close", number)
    return fd, other


def calls_of(
    programs: Sequence[Program], chance: random.Random
) -> Iterator[tuple[Program, ExerciseStep, ExerciseStep]]:
    """(setup, first call, second call): what the module does by itself against its unload, a call on each file against
    that, then each kind of call of the corpus against each other on the same file, against time, and against the
    unload, in an order that `chance` gives."""
    firsts: dict[tuple[Any, ...], tuple[Program, ExerciseStep]] = {}
    by_path: dict[str, dict[tuple[Any, ...], ExerciseStep]] = {}
    for program in programs:
        opened = next((step for step in program if step.call == "open"), None)
        if opened is None:
            continue
        path = opened.arguments[0]
        for n, step in enumerate(program):
            if (
                step.call in ("open", "close", "mknod", "sleep", "mmap", "poll", "lseek", "fcntl")
                or step.slot != opened.slot
            ):
                continue
            kind = (step.call, step.arguments[0] if step.call == "ioctl" else None)
            known = firsts.get((path, *kind))
            if known is None or len(known[0]) < n <= _SETUP:  # what came before has made a state worth racing for
                firsts[(path, *kind)] = (program[:n], step)
            by_path.setdefault(path, {}).setdefault(kind, step)
    pairs = [
        (setup, first, second)
        for (path, *_), (setup, first) in firsts.items()
        for second in (*by_path[path].values(), TIME, REMOVE)
        if any(step.call == "open" for step in setup)
    ]
    chance.shuffle(pairs)
    last = {path: (setup, first, REMOVE) for (path, *_), (setup, first) in firsts.items() if setup}
    yield (), TIME, REMOVE
    yield from last.values()
    yield from (pair for pair in pairs if pair not in last.values())


def points_of(
    addresses: Sequence[int], code: CodeMap, located: LocatedCode, most: int, chance: random.Random
) -> list[int]:
    """Where to interrupt a call: numbers of instructions (from 1), behind those that touched memory or came back from a
    call."""
    found = []
    for n in range(1, len(addresses)):
        place = located.find(addresses[n - 1])
        if place is None:
            continue
        section, offset = place
        before = code.arch.code.decode(code.elf.data(code.sections[section]), offset)
        if before is not None and (before.memory or before.flow is Flow.CALL):
            found.append(n + 1)
    if len(found) > most:
        found = sorted(chance.sample(found, most))
    return found
