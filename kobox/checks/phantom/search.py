"""Finds what the registers of an unknown PCI device must say, so that its driver's probe function succeeds.

    driver loaded -> checkpoint -> plug a phantom, let the driver probe it, see how far it came -> back, another answer

First the ways to lay out BARs and to answer are tried, then one register after the other, those that were read last
first: single bits, all and none, and the numbers that the driver's code compares with. An answer that leads to code of
the module that had not run before is kept, and the search goes on from there. Everything is deterministic: the same
driver and kernel find the same answers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from kobox.box.box import Box, BoxCheckpoint
from kobox.box.inspect.probes import Hit
from kobox.checks.module.callsites import CodeMap
from kobox.devices.phantom import BarLayout, Policy, RegisterAt, Rest, identities_for, phantom
from kobox.errors import BoxError, BoxHungError, BoxTimeoutError, KernelPanicError, KoboxError, ProcessDiedError
from kobox.ko.modulefile import ModuleFile
from kobox.machine.pci import PciIdentity

PROBE = "local_pci_probe"  # drivers/pci/pci-driver.c: calls the driver's probe function
CPU_SECONDS = 2.0
TIMEOUT = 120.0
SETTLE = 1.0  # virtual seconds for probes that the kernel runs later
_MOST_CONSTANTS = 48
_MOST_REGISTERS = 12
_BITS = 32


class Result(StrEnum):
    """How a probe ended."""

    BOUND = "bound"
    REFUSED = "refused"  # it returned an error
    OOPS = "oops"
    HUNG = "hung"
    UNSEEN = "unseen"  # the driver was never asked


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: as whom, with which policy, how it ended (`errno` when refused), how many instructions of the module
    ran, which registers were read, each once, the last one first, and whether code ran that had not run before."""

    identity: PciIdentity
    policy: Policy
    result: Result
    errno: int
    executed: int
    registers: tuple[RegisterAt, ...]
    is_new: bool

    @property
    def rank(self) -> tuple[bool, int]:
        """More is better."""
        return self.result is Result.BOUND, self.executed


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search has found: the best attempt, and how many there were."""

    best: Attempt
    attempts: int


class PhantomSearch:
    """Searches for one driver. `box` has its module loaded, and nothing plugged in; it is as it was afterwards.

    Raises `KoboxError` when the module is no PCI driver.
    """

    def __init__(self, box: Box, file: ModuleFile) -> None:
        self.identities = identities_for(file.aliases)
        if not self.identities:
            raise KoboxError(f"{file.name}: it has no alias of a PCI device", hint="Phantoms are for PCI drivers.")
        self._box = box
        self._file = file
        self._attempts = 0
        self._code = _code_of(box, file.name)
        self._seen = 0
        self._constants = constants_of(CodeMap(file.elf))

    def run(self, most: int, progress: Callable[[Attempt], None] | None = None) -> SearchResult:
        """Try until the driver takes the device, nothing leads further, or `most` attempts were made."""
        told = progress or (lambda attempt: None)
        with self._box.checkpoint() as loaded:
            best: Attempt | None = None
            for attempt in self._tries(loaded, most):
                told(attempt)
                if best is None or attempt.rank > best.rank:
                    best = attempt
        assert best is not None
        return SearchResult(best, self._attempts)

    def _tries(self, loaded: BoxCheckpoint, most: int) -> Iterator[Attempt]:
        starts = []
        rests = (Rest.WRITTEN, Rest.TURNS, Rest.ZERO, Rest.ONES)
        for identity, layout, rest in itertools.product(self.identities, BarLayout, rests):
            if self._attempts >= most:
                return
            starts.append(self.attempt(loaded, identity, Policy(layout, rest)))
            yield starts[-1]
            if starts[-1].result is Result.BOUND:
                return
        starts.sort(key=lambda attempt: attempt.executed)
        # Depth first: whatever has reached new code is looked into at once, and what led there goes on afterwards.
        stack = [self._steps(start) for start in starts]
        while stack and self._attempts < most:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
                continue
            identity, policy = step
            attempt = self.attempt(loaded, identity, policy)
            yield attempt
            if attempt.result is Result.BOUND:
                return
            if attempt.is_new:
                stack.append(self._steps(attempt))

    def _steps(self, attempt: Attempt) -> Iterator[tuple[PciIdentity, Policy]]:
        """What to try next: another answer of each register that was read, the last one first."""
        known = attempt.policy.known
        for register in attempt.registers[:_MOST_REGISTERS]:
            for value in self._constants:
                if known.get(register) != value:
                    yield attempt.identity, attempt.policy.with_known(register, value)

    def attempt(self, loaded: BoxCheckpoint, identity: PciIdentity, policy: Policy) -> Attempt:
        """Plug in a phantom with this identity and policy, and see what the driver makes of it."""
        self._attempts += 1
        loaded.restore()
        box, watch, device = self._box, self._box.inspect.watch, phantom(identity, policy)
        watch.forget()
        for start, size in self._code:
            watch.code(start, start + size)
        returned: list[int] = []
        probe = box.probe(PROBE, on_return=lambda hit: _note(hit, returned))
        box.limits.cpu, box.limits.timeout = CPU_SECONDS, TIMEOUT
        result = Result.UNSEEN
        try:
            box.plug(device)
            box.sleep(SETTLE)
            result = Result.BOUND if device.driver else Result.REFUSED if returned else Result.UNSEEN
        except (ProcessDiedError, KernelPanicError):
            result = Result.OOPS
        except (BoxHungError, BoxTimeoutError):
            result = Result.HUNG
        finally:
            with suppress(BoxError):
                probe.remove()
        executed = b"".join(watch.executed(start, size) for start, size in self._code)
        is_new = self._add(executed)
        registers = tuple(dict.fromkeys(reversed(device.reads)))
        errno = -returned[-1] if returned else 0
        return Attempt(identity, policy, result, errno, executed.count(1), registers, is_new)

    def _add(self, executed: bytes) -> bool:
        """Whether these are instructions that no attempt has executed before."""
        both = self._seen | int.from_bytes(executed, "little")
        is_new, self._seen = both != self._seen, both
        return is_new


def _code_of(box: Box, name: str) -> Sequence[tuple[int, int]]:
    """Where the code of a loaded module is: (address, size) of each part."""
    for module in box.inspect.symbols.modules():
        if module.name == name:
            return module.code or module.parts[:1]
    raise KoboxError(f"{name}: not loaded in this box", hint="Load it, and what it needs, before the search.")


def _note(hit: Hit, returned: list[int]) -> None:
    returned.append(hit.result or 0)


def constants_of(code: CodeMap) -> Sequence[int]:
    """What a register is tried to say: no bits, all, each, and the numbers that the code compares with."""
    numbers: dict[int, int] = {}
    for name, functions in code.functions.items():
        data = code.elf.data(code.sections[name])
        for start, size, _ in functions.rows:
            for row in code.arch.code.instructions(data, start, start + size):
                if row.compares and row.immediate is not None:
                    number = row.immediate & 0xFFFFFFFF
                    numbers[number] = numbers.get(number, 0) + 1
    ranked = sorted(numbers, key=lambda number: (-numbers[number], number))[:_MOST_CONSTANTS]
    bits = [1 << bit for bit in range(_BITS)]
    return list(dict.fromkeys([0, 0xFFFFFFFF, *bits, *ranked]))
