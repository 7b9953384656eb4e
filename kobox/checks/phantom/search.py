"""Finds what the registers of an unknown device must say, so that its driver's probe function succeeds.

    driver loaded -> checkpoint -> plug a phantom, let the driver probe it -> which branches did its answers decide?
         ^                                                                          |
         +----- another answer, for which one of them goes the other way  <---------+

First the ways to lay out BARs and to answer are tried. Then, of all branches that what was read has decided, those
whose other side no attempt has seen are taken the other way, the deepest of the attempt that came farthest first
(`solve.py` finds the answer for that). Everything is deterministic: the same driver and kernel find the same answers.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from kobox.box.box import Box, BoxCheckpoint
from kobox.checks.phantom.attempt import MORE_CPU_SECONDS, Attempt, Prober, Result
from kobox.checks.phantom.bus import PhantomBus
from kobox.checks.phantom.buses import bus_of
from kobox.checks.phantom.model_file import Places, places_of
from kobox.checks.phantom.solve import Answer, Solver
from kobox.devices.phantom_kinds import Identity
from kobox.devices.phantom_policy import HEADER, WIRES, Policy, Read, Rest, Step, is_header
from kobox.errors import KoboxError
from kobox.ko.modulefile import ModuleFile
from kobox.machine.taint import Decision

WORK = 280_000_000  # basic blocks for all attempts: ten to fifteen seconds
_RESTS = (Rest.WRITTEN, Rest.TURNS, Rest.ZERO, Rest.ONES)
_MOST_ANSWERS = 6
_BLIND = (0x5000, 1, 0x100, 0xFFFFFFFF)  # a free port, a number, a length, nobody there
_MOST_BLIND = 16
_LARGEST_FUNCTION = 1 << 16
_POLLED = 16  # times that a branch went the same way, and so waits for something
_LATER = 2  # the rank of what goes on from an attempt that did the same as another one
_MOST_LONGER = 3  # attempts that get more CPU time
_MOST_WAITS = 8  # that an attempt may have seen which gets more CPU time: it is busy, and does not poll
_LAST = 8  # decisions at the end of an attempt that are taken the other way though both sides were seen


class Scope:
    """For which reads of its register an answer holds."""

    ALL = 0
    FROM_HERE = 1
    ONLY_HERE = 2


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search has found: the best attempt, how many there were, and the largest part of the probe function (0 to
    1) that any of them executed; `places` are where the driver decided by what a register said."""

    best: Attempt
    attempts: int
    probed: float
    places: Places


class _Next(NamedTuple):
    """An attempt to be made; the least goes first."""

    rank: tuple[int, ...]
    number: int
    branch: tuple[int, bool]
    identity: Identity
    policy: Policy


class PhantomSearch:
    """Searches for one driver. `box` has its module loaded, and nothing plugged in; it is as it was afterwards. A
    driver that looks for its device only while it is loaded is loaded by `load`, in each attempt.

    Raises `KoboxError` when the module is no PCI driver, or is not loaded.
    """

    def __init__(self, box: Box, file: ModuleFile, load: Callable[[], None] | None = None) -> None:
        bus = bus_of(file)
        if bus is None:
            raise KoboxError(
                f"{file.name}: it has no alias of a device that a phantom can be",
                hint="Phantoms are for drivers of PCI, USB, HID, I2C, SPI, virtio and platform devices.",
            )
        self._bus, self.identities = bus, bus.identities
        self._box, self._file, self._load = box, file, load
        if load is None and all(module.name != file.name for module in box.inspect.symbols.modules()):
            raise KoboxError(
                f"{file.name}: not loaded in this box", hint="Load it, and what it needs, before the search."
            )
        self._symbols: list[tuple[int, str]] = []
        self._attempts = 0
        self._work = 0

    def run(self, most: int, progress: Callable[[Attempt], None] | None = None) -> SearchResult:
        """Try until the driver takes the device, nothing leads further, or `most` attempts were made."""
        told = progress or (lambda attempt: None)
        best: Attempt | None = None
        probed = 0.0
        places: Places = {}
        with self._box.checkpoint(), self._prepared() as start:
            prober = Prober(self._box, self._file.name, self._bus, self._load)
            try:
                for attempt in itertools.islice(self._tries(prober, start), most):
                    told(attempt)
                    probed = max(probed, attempt.probed)
                    if best is None or attempt.rank > best.rank:
                        best, places = attempt, self._places(attempt)
                    if attempt.result is Result.BOUND:
                        break
            finally:
                prober.close()
        assert best is not None
        return SearchResult(replace(best, policy=best.learned), self._attempts, probed, places)

    def _prepared(self) -> BoxCheckpoint:
        self._bus.prepare(self._box)
        return self._box.checkpoint()

    def _places(self, attempt: Attempt) -> Places:
        """To be asked right after the attempt: where its code lies is known only then."""
        if not self._symbols:
            with suppress(KoboxError, ValueError):
                found = self._box.inspect.symbols.symbols_of(self._file.name)
                self._symbols = sorted((symbol.address, symbol.name) for symbol in found if symbol.kind in "tT")
        names: dict[int, str] = {}
        for pc in {one.pc for one in attempt.decisions}:
            at = bisect_right(self._symbols, pc, key=lambda row: row[0]) - 1
            if at >= 0 and pc - self._symbols[at][0] < _LARGEST_FUNCTION:
                names[pc] = f"{self._symbols[at][1]}+{pc - self._symbols[at][0]:#x}"
        return places_of(attempt, self._file, names)

    def _tries(self, prober: Prober, start: BoxCheckpoint) -> Iterator[Attempt]:
        waiting: list[_Next] = []
        done: set[tuple[object, ...]] = set()
        flipped = Counter[tuple[int, bool]]()
        numbers = itertools.count()
        ways: set[tuple[object, ...]] = set()  # what attempts have done: who does the same again is gone on from last

        farthest = longer = 0

        def attempt(identity: Identity, policy: Policy) -> Attempt:
            nonlocal farthest, longer
            made = prober.attempt(start, identity, policy)
            self._attempts += 1
            self._work += made.work
            busy = made.result is Result.HUNG and made.waits < _MOST_WAITS
            if busy and made.executed > farthest and longer < _MOST_LONGER:
                longer += 1  # it may have much to do: a screen is drawn, memory is tested
                made = prober.attempt(start, identity, policy, MORE_CPU_SECONDS)
                self._work += made.work
            farthest = max(farthest, made.executed)
            known = (way := _way(made)) in ways
            ways.add(way)
            for rank, branch, who, new in _ways_on(made, prober.seen, flipped, self._bus):
                key = who, *new.key
                if key not in done:
                    done.add(key)
                    rank = (_LATER, *rank[1:]) if known else rank
                    heapq.heappush(waiting, _Next(rank, next(numbers), branch, who, new))
            return made

        for identity in self.identities:
            for layout, rest in itertools.product(self._bus.layouts, _RESTS):
                if self._work > WORK:
                    return
                yield attempt(identity, Policy(layout, rest))
            while waiting and self._work < WORK:
                step = heapq.heappop(waiting)
                if step.rank[0] == 0 and step.branch in prober.seen and step.branch in flipped:
                    heapq.heappush(waiting, step._replace(rank=(1, *step.rank[1:])))
                    continue
                flipped[step.branch] += 1
                yield attempt(step.identity, step.policy)


def _way(attempt: Attempt) -> tuple[object, ...]:
    """What an attempt has done, as far as its driver has decided it."""
    decisions = tuple((one.pc, one.taken, one.left_value, one.right_value) for one in attempt.decisions)
    return attempt.identity, attempt.result, attempt.errno, attempt.executed, decisions


def _ways_on(
    attempt: Attempt, seen: set[tuple[int, bool]], flipped: Counter[tuple[int, bool]], bus: PhantomBus
) -> Iterator[tuple[tuple[int, ...], tuple[int, bool], Identity, Policy]]:
    """Answers by which a decision of this attempt goes the other way: (how soon to try it, the branch, the device)."""
    for identity, policy in attempt.better:
        yield (0, 0, -attempt.executed), (0, True), identity, policy
    if attempt.calmer is not None:
        yield (0, 1, -attempt.executed), (0, True), attempt.identity, attempt.calmer
    solver = Solver(attempt.nodes)
    reads = {read.number: read for read in attempt.reads}
    last = len(attempt.decisions) - _LAST
    times = Counter((decision.pc, decision.taken) for decision in attempt.decisions)
    for place, (position, decision) in enumerate(_ends(attempt.decisions)):
        branch = decision.pc, not decision.taken
        polls = times[decision.pc, decision.taken] >= _POLLED
        is_known = branch in seen and (branch in flipped or not polls)
        if is_known and position < last:
            continue
        for number, answer in enumerate(solver.flip(decision, 2 if is_known else _MOST_ANSWERS)):
            for scope in (Scope.ALL, Scope.FROM_HERE, Scope.ONLY_HERE):
                new = _with_answer(attempt.identity, attempt.policy, answer, reads, scope, bus)
                if new is None:
                    break
                rank = int(is_known), number + scope + flipped[branch], -attempt.executed, -position, place
                yield rank, branch, *new
    yield from _blindly(attempt, {read for decision in attempt.decisions for read in solver.reads(decision)})


def _blindly(
    attempt: Attempt, decided: set[int]
) -> Iterator[tuple[tuple[int, ...], tuple[int, bool], Identity, Policy]]:
    """Other answers for registers, or bits of them, that decided nothing in code that is looked at: they went to the
    kernel, perhaps."""
    known = attempt.policy.known
    asked = (one for one in attempt.reads if not HEADER <= one.register.bar < WIRES and not is_header(one.register))
    registers = {read.register: None for read in asked if read.number not in decided or read.register in known}
    for place, register in enumerate(list(registers)[:_MOST_BLIND]):
        mask = 0xFFFFFFFF
        for step in known.get(register, ()):
            mask &= ~step.mask
        if not mask:
            continue
        for number, value in enumerate(_BLIND):
            policy = attempt.policy.with_step(register, Step(0, mask, value & mask))
            yield (1, 1 + number, -attempt.executed, place), (0, True), attempt.identity, policy


def _ends(decisions: object) -> list[tuple[int, Decision]]:
    """Of each place and way, the first time and the last."""
    assert isinstance(decisions, list)
    first: dict[tuple[int, bool], int] = {}
    last: dict[tuple[int, bool], int] = {}
    for position, decision in enumerate(decisions):
        key = decision.pc, decision.taken
        first.setdefault(key, position)
        last[key] = position
    return [(position, decisions[position]) for position in sorted({*first.values(), *last.values()})]


def _with_answer(
    identity: Identity, policy: Policy, answer: Answer, reads: dict[int, Read], scope: int, bus: PhantomBus
) -> tuple[Identity, Policy] | None:
    """Whom and what a device must be for reads to give this; None when that cannot be."""
    for number, bits in sorted(answer.items()):
        read = reads.get(number)
        if read is None:
            return None
        if is_header(read.register):
            if not (read.value ^ bits.value) & bits.mask:
                continue
            other = bus.with_header(identity, policy, read, bits) if scope == Scope.ALL else None
            if other is None:
                return None
            identity, policy = other
            continue
        if scope == Scope.ALL:
            policy = policy.with_step(read.register, Step(0, bits.mask, bits.value))
            continue
        policy = policy.with_step(read.register, Step(read.visit, bits.mask, bits.value))
        if scope == Scope.ONLY_HERE:
            policy = policy.with_step(read.register, Step(read.visit + 1, bits.mask, read.value & bits.mask))
    return identity, policy
