"""References to objects of the kernel that a module takes and does not give back, where only the object's count tells.

put_task_struct(), dev_put() and their kin are inline functions: the module's own code subtracts from the count. So the
count before the module took its first reference is compared with the one in the end, by the table `references.toml`.
Which calls have kept one is known from the count when the system call that made them is over.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from kobox.box.inspect.objects import Objects
from kobox.box.inspect.probes import FROM_MODULE, Hit
from kobox.checks.report.finding import Resource, Severity
from kobox.checks.report.quantities import quantity
from kobox.checks.resources.resource_table import ResourceCall, parse_call
from kobox.checks.runner.session import Check, Examination, Trace
from kobox.errors import KoboxError

_MANY = 256  # objects that are followed
_LIMIT = 24  # frames of a chain


@dataclass(frozen=True, slots=True)
class CountedReference:
    """One kind of reference: see the top of references.toml."""

    what: str
    count: str
    gets: tuple[ResourceCall, ...]
    gone: tuple[ResourceCall, ...]
    advice: str
    name: str = ""
    new: bool = False
    dead: str = ""
    dead_bit: int = 0


@cache
def counted_references() -> tuple[CountedReference, ...]:
    """The table, read once."""
    data = tomllib.loads(Path(__file__).with_name("references.toml").read_text())
    return tuple(
        CountedReference(
            **{key: value for key, value in row.items() if key not in ("gets", "gone")},
            gets=tuple(map(parse_call, row["gets"])),
            gone=tuple(map(parse_call, row["gone"])),
        )
        for row in data["reference"]
    )


@dataclass(slots=True)
class Followed:
    """An object that the module took references to: the count `before` the first, and the traces of calls that may have
    kept theirs."""

    kind: CountedReference
    name: str
    before: int
    traces: list[Trace] = field(default_factory=list)
    kept: list[Trace] = field(default_factory=list)


class ReferenceCheck(Check):
    """Watches the functions that take references."""

    name = "references"

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._objects: Objects = examination.box.inspect.objects
        self._followed: dict[int, Followed] = {}
        self._open: dict[int, list[tuple[int, int, Trace]]] = {}  # by stack: object, count before, calls
        imports = {found.name for found in examination.file.imports}
        used = False
        for kind in counted_references():
            calls = [
                call
                for call in kind.gets
                if call.function in imports and call.function in examination.box.inspect.symbols
            ]
            for call in calls:
                examination.probe(call.function, self._asked, partial(self._got, kind), when=FROM_MODULE)
            used |= bool(calls)
            for call in kind.gone if calls else ():
                if call.function in examination.box.inspect.symbols:
                    examination.probe(call.function, partial(self._goes, call))
        if used:
            examination.probe(examination.box.arch.syscalls.entry, self._entered)

    def linked(self, examination: Examination) -> None:
        self._followed.clear()
        self._open.clear()

    def gone(self, examination: Examination) -> None:
        for address, one in self._followed.items():
            left = self._count(one.kind, address)
            if one.kind.dead and self._is_dead(one.kind, address):
                one.before = 0
            if left is not None and left > one.before and one.traces:
                self._report(address, one, left - one.before)
        self._followed.clear()

    def _asked(self, hit: Hit) -> None:
        hit.data = self._examination.trace(hit, limit=_LIMIT)

    def _got(self, kind: CountedReference, hit: Hit) -> None:
        address = (hit.result or 0) & (1 << 64) - 1
        if not 1 << 63 <= address < (1 << 64) - 4096 or hit.data is None:
            return
        count = self._count(kind, address)
        if count is None or (address not in self._followed and len(self._followed) >= _MANY):
            return
        if address not in self._followed:
            name = ""
            with suppress(KoboxError, ValueError):
                name = self._objects.text(address, kind.name) if kind.name else ""
            self._followed[address] = Followed(kind, name, 0 if kind.new else count - 1)
        self._followed[address].traces.append(hit.data)
        stack = self._examination.box.arch.addresses.stack_of(hit.registers.sp)
        self._open.setdefault(stack, []).append((address, count - 1, hit.data))

    def _goes(self, call: ResourceCall, hit: Hit) -> None:
        self._followed.pop(hit.args[call.arguments.index("KEY")], None)

    def _entered(self, hit: Hit) -> None:
        """A system call begins: what the one before has taken and not given back, it has kept."""
        if not self._open:
            return
        for address, before, trace in self._open.pop(
            self._examination.box.arch.addresses.stack_of(hit.registers.sp), ()
        ):
            one = self._followed.get(address)
            count = self._count(one.kind, address) if one is not None else None
            if one is not None and count is not None and count > before:
                one.kept.append(trace)

    def _count(self, kind: CountedReference, address: int) -> int | None:
        objects = self._objects
        with suppress(KoboxError, ValueError):
            if kind.count.startswith("percpu:"):
                place = objects.number(address, kind.count.removeprefix("percpu:"))
                cpus = range(self._examination.box.machine.cpus)
                value = sum(objects.u32(objects.percpu_at(place, cpu)) for cpu in cpus)
            else:
                value = objects.number(address, kind.count)
            return value - (1 << 32) if value >> 31 & 1 else value & 0xFFFFFFFF
        return None

    def _is_dead(self, kind: CountedReference, address: int) -> bool:
        with suppress(KoboxError, ValueError):
            return bool(self._objects.number(address, kind.dead) & kind.dead_bit)
        return False

    def _report(self, address: int, one: Followed, left: int) -> None:
        examination = self._examination
        label = f"{one.kind.what} {one.name}".rstrip()
        for trace in _different(one.kept or one.traces[-1:]):
            chain = examination.chain(trace)
            examination.report(
                "reference-leak",
                Severity.ERROR,
                f"{label} is never given back: {quantity(left, 'reference')} left",
                chain=chain,
                object=Resource(label, address, made_at=chain),
                advice=f"Give it back with {one.kind.advice} on each way out of the function.",
            )


def _different(traces: Sequence[Trace]) -> list[Trace]:
    """One trace for each place that took a reference."""
    found = {tuple(frame.address for frame in trace.frames[:3]): trace for trace in traces}
    return list(found.values())
