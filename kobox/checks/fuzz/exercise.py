"""The exercise: what is done with a module between its load and its unload.

    none          nothing
    FILE.py       `def exercise(box)` of a Python file, or its tests (`test_…(box, …)`)
    auto          whatever files the module has made are used in all ways, sensible and hostile

The generic exercise is made of programs: a few system calls on a file each. It begins with one of each kind for each
file, goes on with mutations of those that reached new code of the module, and stops after a number of calls: nothing
in it looks at a clock, so the same seed makes the same calls. Calls that are long end it earlier: what they execute
counts. What it found worth doing, its corpus, is what runs with injected faults repeat.
"""

from __future__ import annotations

import itertools
import math
import os
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kobox.checks.fuzz.mutate import mutated, random_program
from kobox.checks.fuzz.player import Player
from kobox.checks.fuzz.program import ExerciseStep, Material, Program, step
from kobox.checks.fuzz.systematic import systematic_programs

if TYPE_CHECKING:
    from kobox.box.box import Box
    from kobox.checks.module.files import Target

CALLS = 3000
"""System calls that the generic exercise makes at most."""

_ABANDONED = 24  # calls that do not come back, after which the exercise is over: their processes may be there for ever
_LAST = 16  # programs that are played once more before the unload
_IDLE = 2.0  # virtual seconds in which nobody calls: timers and delayed work of the module run
_AT_A_TIME = 4  # programs of a device that are played before another file has its turn
_MORE = 300  # calls for each target that is no file, besides the first
_VARIANTS = 24  # of programs that wait
_SETTINGS = 40  # changes of one setting after which the other files are used
_SHORT = 12  # bytes of a text that may be a setting
_USED = 3  # files that are used then
_BLOCKS, _WATCHED = 40e6, 10e6
"""Basic blocks, and instructions of the module, that this process executes in a second, about: a measure of what calls
cost that is the same on each machine."""
_DRY = 4  # programs on one file that reach nothing new before the others go first


@dataclass(slots=True)
class GenericExercise:
    """The built-in exercise. Called with a box the first time it explores, and afterwards repeats what it found worth
    doing (`corpus`).

    `progress()` tells how many instructions of the module have been executed so far: what guides it. `targets(box)`
    finds the files; `kept` are programs that an earlier exercise found worth doing: they come first. `found()` tells
    how many findings there are so far.
    """

    material: Material
    targets: Callable[[Box], Sequence[Target]]
    progress: Callable[[], int]
    seed: int = 0
    calls: int = CALLS
    seconds: float = math.inf
    """Of CPU time, about, that calls may take in one life; no call begins after that."""
    corpus: list[Program] = field(default_factory=list)
    kept: Sequence[Program] = ()
    explored: bool = False
    played: list[Program] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    made: int = 0
    abandoned: int = 0
    cut_short: bool = False
    """Whether `seconds` ended it."""
    found: Callable[[], int] = lambda: 0
    variants: Callable[[Program], Sequence[Program]] = lambda program: ()
    """What is worth trying after a program was played, by what it was compared with."""
    when: list[int] = field(default_factory=list)  # how many programs had been played when each finding was there

    def __call__(self, box: Box) -> None:
        if self.explored:
            end = _cost(box) + self.seconds
            with Player(box) as player:
                if self.corpus:  # else what init has armed must still wait when the module is unloaded
                    box.sleep(_IDLE)
                for program in (*self.corpus, *self._at_last()):
                    if _cost(box) < end:
                        self._play(player, program)
            return
        self.explored = True
        self._explore(box)

    def led_to(self, number: int) -> Sequence[Program]:
        """The programs that were played until a finding was there."""
        return self.played[: self.when[number]] if number < len(self.when) else self.played

    def _play(self, player: Player, program: Program) -> None:
        self.played.append(program)
        try:
            player.play(program)
        finally:
            self.when += [len(self.played)] * (self.found() - len(self.when))

    def _explore(self, box: Box) -> None:
        rng = random.Random(self.seed)
        targets = list(self.targets(box))
        self.files = [target.path for target in targets]
        if not targets:
            box.sleep(_IDLE)
            return
        seen, end = self.progress(), _cost(box) + self.seconds
        with Player(box) as player:
            try:
                uses, settings = uses_of(targets), Counter[str]()
                programs, waiting = self._programs(targets, rng), deque[Program](self.kept)
                calls = self.calls + _MORE * sum(not target.path.startswith("/") for target in targets[1:])
                while player.calls < min(calls, 2 * self.calls) and player.abandoned < _ABANDONED:
                    if _cost(box) > end:
                        self.cut_short = True
                        break
                    program = waiting.popleft() if waiting else next(programs)
                    self._play(player, program)
                    if (setting := setting_of(program)) and settings[setting] < _SETTINGS:
                        settings[setting] += 1
                        self._play(player, uses)
                    now = self.progress()
                    if now > seen:
                        seen = now
                        self.corpus.append(program)
                    waiting.extend(self.variants(program)[: max(0, _VARIANTS - len(waiting))])
                box.sleep(_IDLE)
                for program in self._at_last() if not self.cut_short else ():
                    self._play(player, program)
            finally:
                self.made, self.abandoned = player.calls, player.abandoned

    def _at_last(self) -> list[Program]:
        """What is played before the unload: what it arms must not be over then. So nobody sleeps any more, and what
        takes the longest comes first: the callbacks of call_rcu() have a few milliseconds."""
        ready = [program for program in self.corpus if not any(step.call == "sleep" for step in program)]
        return sorted(ready[:_LAST], key=len, reverse=True)

    def _programs(self, targets: Sequence[Target], rng: random.Random) -> Iterator[Program]:
        """One of each kind for each file, the files in turn, of devices some at a time, and last those where nothing
        new comes of it; then mutations, for ever."""
        turn = [(target, systematic_programs(target, self.material), 0) for target in targets]
        late: list[tuple[Target, Iterator[Program], int]] = []
        while turn or late:
            if not turn:
                turn, late = late, []
            target, programs, dry = turn.pop(0)
            before = len(self.corpus)
            some = 0
            for program in itertools.islice(programs, _AT_A_TIME if target.is_device else 1):
                some += 1
                yield program
            if some:
                dry = 0 if len(self.corpus) > before else dry + 1
                (late if dry >= _DRY else turn).append((target, programs, 0 if dry >= _DRY else dry))
        while True:
            if self.corpus and rng.random() < 0.7:
                yield mutated(rng.choice(self.corpus), self.material, rng)
            else:
                yield random_program(rng.choice(list(targets)), self.material, rng)


def _cost(box: Box) -> float:
    """Seconds of CPU time, about, that the box has taken so far."""
    return box.machine.work / _BLOCKS + box.inspect.watch.count / _WATCHED


def setting_of(program: Program) -> str:
    """The parameter, attribute or entry of /proc or debugfs that a program writes a short text to, which may be a
    setting that matters to others; "" for other programs."""
    opened = next((str(step.arguments[0]) for step in program if step.call == "open"), "")
    short = any(step.call == "write" and len(step.arguments[0]) <= _SHORT for step in program)
    kernels = "/power/" in opened or opened.endswith("/uevent")
    return opened if short and opened.startswith(("/sys/", "/proc/")) and not kernels else ""


def uses_of(targets: Sequence[Target]) -> Program:
    """A short program that uses some of the files, as it is played after a setting was changed."""
    used = [target for target in targets if target.path.startswith("/")]
    first = [*(one for one in used if one.is_device), *(one for one in used if not one.is_device)][:_USED]
    steps: list[ExerciseStep] = []
    for slot, target in enumerate(first):
        steps += [step("open", target.path, target.flags | os.O_NONBLOCK, slot=slot), step("read", 64, slot=slot)]
        if target.is_device:
            steps += [step("write", b"1", slot=slot), step("ioctl", 1, 1, slot=slot)]
    return tuple(steps)
