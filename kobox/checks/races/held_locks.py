"""Which locks a CPU holds at an access: by their names, and where they were taken.

The watcher notes what the module takes and releases (`native/watch/context.c`), on each stack; nothing is asked while
the module runs, so that a schedule is the same whether or not anybody looks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from kobox.box.inspect.cpu_state import CpuReader
from kobox.checks.context.lock_rules import KINDS, context_table, lock_rules
from kobox.checks.races.race_marks import RaceMarks
from kobox.checks.report.finding import Chain, own_frame
from kobox.checks.runner.session import Examination
from kobox.errors import KoboxError
from kobox.machine.watch_context import ContextWatch, Role, Word
from kobox.machine.watch_context import HeldLock as LockRow

# The first members of locks, which have the address of the lock (include/linux/spinlock_types.h, mutex.h, rwsem.h).
_INSIDE = re.compile(r"(?:\.(?:rlock|raw_lock|rtmutex|rwbase|owner|count|cnts|val|counter))+$")


@dataclass(frozen=True, slots=True)
class NamedLock:
    """A lock that is held, or a section that is open (`address` 0): its kind as context.toml has it, its name, and the
    calls that took it, innermost first."""

    kind: str
    name: str
    address: int
    taken: Chain = field(compare=False)

    def __str__(self) -> str:
        frame = own_frame(self.taken)
        at = f" (taken at {frame.file}:{frame.line})" if frame is not None and frame.line else ""
        return f"{self.kind} {self.name}".rstrip() + at


class Wait(NamedTuple):
    """Somebody holds one lock and waits for another."""

    holds: NamedLock
    wants: NamedLock


class LockRecord:
    """The locks that one module's code holds, in a box with several CPUs."""

    def __init__(self, examination: Examination, marks: RaceMarks) -> None:
        self._examination = examination
        self._marks = marks
        self._context: ContextWatch | None = None
        self._names: dict[int, str] = {}

    def begin(self, cpu: CpuReader | None) -> None:
        """Note from now on what the module takes and releases. With None the kernel does not say what its CPUs may do,
        and nothing is known."""
        if cpu is None:
            return
        box, imports = self._examination.box, {found.name for found in self._examination.file.imports}
        context = ContextWatch(box.inspect.watch)
        context.open(cpu.places, None)
        for kind in context_table().locks:
            for name, rule in lock_rules(kind, box.inspect.objects):
                if name in imports and (address := box.inspect.symbols.of_kernel(name)) is not None:
                    context.rule(
                        address,
                        Role(rule["role"]),
                        kind=rule["kind"],
                        other=rule["other"],
                        flags=rule["flags"],
                        word=Word(rule["word"]),
                        offset=rule["offset"],
                    )
        self._context = context
        self._names.clear()

    def reset(self) -> None:
        """Nobody holds anything: the box has gone back in time."""
        if self._context is not None:
            self._context.reset()

    def held_on(
        self, stack: int, pc: int = 0, registers: Mapping[int, int] | None = None
    ) -> tuple[NamedLock, ...] | None:
        """What whoever runs on a stack holds, in the order of taking, with the lock that it waits for. `pc` and
        `registers` are where it is, by which locks in objects have their names. None: it is not known."""
        if self._context is None:
            return None
        return tuple(self._lock(row, pc, registers or {}) for row in self._context.held(stack))

    def deadlock(self) -> tuple[Wait, Wait] | None:
        """Two of which each waits for a lock that the other holds; None when there are none."""
        by_stack: dict[int, list[LockRow]] = {}
        stack_of = self._examination.box.machine.arch.addresses.stack_of
        for row in self._context.all_held() if self._context is not None else ():
            if row.address:
                by_stack.setdefault(stack_of(row.sp), []).append(row)
        waits = [(rows[-1], rows[:-1]) for rows in by_stack.values() if len(rows) > 1]
        for n, (wanted, mine) in enumerate(waits):
            for other_wanted, theirs in waits[:n]:
                held = next((row for row in theirs if row.address == wanted.address), None)
                other_held = next((row for row in mine if row.address == other_wanted.address), None)
                if (
                    held is None
                    or other_held is None
                    or _only_read(wanted, held)
                    or _only_read(other_wanted, other_held)
                ):
                    continue
                first, second = (
                    Wait(self._lock(other_held), self._lock(wanted)),
                    Wait(self._lock(held), self._lock(other_wanted)),
                )
                return second, first
        return None

    def _lock(self, row: LockRow, pc: int = 0, registers: Mapping[int, int] = MappingProxyType({})) -> NamedLock:
        name = self._name(row.address, pc, registers) if row.address else ""
        return NamedLock(KINDS[row.kind], name, row.address, self._marks.frames(row.caller - 1))

    def _name(self, address: int, pc: int, registers: Mapping[int, int]) -> str:
        examination = self._examination
        place = examination.placement.find(address) if examination.placement is not None else None
        if place is not None:
            for variable in examination.file.debug.variables:
                behind = place[1] - variable.offset
                if variable.section == place[0] and 0 <= behind < variable.size:
                    return _INSIDE.sub("", examination.file.debug.path_in(variable, behind))
        if member := self._marks.member_at(address, pc, registers):
            self._names[address] = _INSIDE.sub("", member)
        if address not in self._names:
            self._names[address] = self._in_kernel(address)
        return self._names[address]

    def _in_kernel(self, address: int) -> str:
        try:
            found = self._examination.box.inspect.symbols.lookup(address)
        except (KoboxError, ValueError):
            found = None
        return found.name if found is not None and found.address == address else f"at {address:#x}"


def _only_read(one: LockRow, other: LockRow) -> bool:
    return "reading" in KINDS[one.kind] and "reading" in KINDS[other.kind]
