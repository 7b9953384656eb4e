"""References to objects of the kernel that a module takes and does not give back, where only the object's count tells.

put_task_struct(), dev_put() and their kin are inline functions: the module's own code subtracts from the count. So the
count before the module took its first reference is compared with the one in the end, by the table `references.toml`.
Which calls have kept one is known from the count when the system call that made them is over.

    module           get_pid()  get_pid()  put_pid()      one more taken than given back, and
    pid->count    3  4          5          4          4   one more than before: a leak

Others take references meanwhile, and a module may hand one over to the kernel. So, where debugging information shows
the inline functions, both must say so: the object's count, and what the module itself has taken and given back.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from kobox.box.inspect.objects import Objects
from kobox.box.inspect.probes import FROM_MODULE, Hit
from kobox.checks.module.callsites import CodeMap
from kobox.checks.report.finding import Resource, Severity
from kobox.checks.report.quantities import quantity
from kobox.checks.resources.inlined_counts import CountSite, count_sites, named_in
from kobox.checks.resources.resource_table import ResourceCall, parse_call
from kobox.checks.runner.session import Check, Examination, Trace
from kobox.errors import KoboxError

_MANY = 256  # objects that are followed
_LIMIT = 24  # frames of a chain
_DEVICES = "net_device.dev_list"
_CALLS = ("gets", "also", "puts", "gone")  # members of a row of the table that are calls


@dataclass(frozen=True, slots=True)
class CountedReference:
    """One kind of reference: see the top of references.toml."""

    what: str
    count: str
    gets: tuple[ResourceCall, ...]
    gone: tuple[ResourceCall, ...]
    advice: str
    puts: tuple[ResourceCall, ...] = ()
    also: tuple[ResourceCall, ...] = ()
    inlined: tuple[str, ...] = ()
    raises: tuple[str, ...] = ()
    renewed: tuple[str, ...] = ()
    name: str = ""
    new: bool = False
    dead: str = ""
    dead_bit: int = 0
    dead_zero: str = ""
    opened: bool = False


@cache
def counted_references() -> tuple[CountedReference, ...]:
    """The table, read once."""
    data = tomllib.loads(Path(__file__).with_name("references.toml").read_text())
    return tuple(map(_reference, data["reference"]))


def _reference(row: dict[str, Any]) -> CountedReference:
    texts: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return CountedReference(**texts | {key: tuple(map(parse_call, row.get(key, ()))) for key in _CALLS})


@dataclass(slots=True)
class Followed:
    """An object that the module took references to: the count `before` the first, how many more it has taken than given
    back, and the traces of calls that may have kept theirs."""

    kind: CountedReference
    name: str
    before: int
    held: int = 0
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
        self._entries = False  # the begin of each system call is watched
        self._balanced = False  # what the module itself gives back is seen
        self._kinds = [kind for kind in counted_references() if self._objects.has(kind.count.removeprefix("percpu:"))]
        self._inlined = {name: kind for kind in self._kinds for name in kind.inlined}
        imports = {found.name for found in examination.file.imports}
        inlined = named_in(examination.file, tuple(self._inlined))
        for kind in self._kinds:
            raises = [name for name in kind.raises if inlined.intersection(kind.inlined) and self._has(name, imports)]
            calls = [call for call in kind.gets if self._has(call.function, imports)]
            for call in calls:
                examination.probe(call.function, self._asked, partial(self._got, kind), when=FROM_MODULE)
            for name in raises:
                examination.probe(name, partial(self._raised, kind), when=FROM_MODULE)
            if calls or raises or inlined.intersection(kind.inlined):
                self._watch_ends(kind, imports)

    def _has(self, function: str, imports: set[str]) -> bool:
        return function in imports and function in self._examination.box.inspect.symbols

    def _watch_ends(self, kind: CountedReference, imports: set[str]) -> None:
        """Of a kind that the module takes: what gives references back, what frees, when system calls are over."""
        examination, symbols = self._examination, self._examination.box.inspect.symbols
        for call in kind.also:
            if self._has(call.function, imports):
                examination.probe(call.function, None, partial(self._also_got, kind), when=FROM_MODULE)
        for call in kind.puts:
            if self._has(call.function, imports):
                examination.probe(call.function, partial(self._put, call), when=FROM_MODULE)
        for call in kind.gone:
            if call.function in symbols:
                examination.probe(call.function, partial(self._goes, call))
        for name in kind.renewed:
            if name in symbols:
                examination.probe(name, None, self._comes)
        if not self._entries:
            self._entries = True
            examination.probe(examination.box.arch.syscalls.entry, self._entered)

    def linked(self, examination: Examination) -> None:
        self._followed.clear()
        self._open.clear()
        self._balanced = examination.file.debug.available
        if self._entries:
            for site in count_sites(examination, CodeMap(examination.file.elf), self._inlined):
                examination.probe_code(site.address, partial(self._changes, self._inlined[site.function], site))

    def gone(self, examination: Examination) -> None:
        for address, one in self._followed.items():
            left = self._count(one.kind, address)
            if self._is_dead(one.kind, address):
                one.before = 0
            held = (one.held > 0 or not self._balanced) and not one.kind.opened
            if left is not None and left > one.before and one.traces and held:
                self._report(address, one, left - one.before)
        self._followed.clear()

    def stuck(self, examination: Examination) -> None:
        """The module cannot be unloaded: files of its may be held."""
        for address, one in self._followed.items():
            left = self._count(one.kind, address) if one.kind.opened and one.held > 0 and one.traces else None
            if left is not None and left > 0:
                self._report(address, one, left)

    def _changes(self, kind: CountedReference, site: CountSite, hit: Hit) -> None:
        """An inline function of the module's takes a reference, or gives one back."""
        machine = self._examination.box.machine
        found = machine.arch.code.counter_change(site.code, site.address, machine.register, machine.read)
        if found is None or abs(found[1]) != 1:
            return
        address = self._object_of(kind, found[0])
        if found[1] < 0:
            self._gave_back(address)
        elif address:
            self._took(kind, address, self._count(kind, address), self._examination.trace(hit, limit=_LIMIT))

    def _raised(self, kind: CountedReference, hit: Hit) -> None:
        """A function of the kernel adds to a count, for an inline function of this kind."""
        trace = self._examination.trace(hit, limit=_LIMIT)
        if any(frame.function in kind.inlined for frame in self._examination.chain(trace)[:4]):
            member = kind.count.rpartition(".")[0]
            address = self._objects.container(hit.args[0], member)
            self._took(kind, address, self._count(kind, address), trace)

    def _object_of(self, kind: CountedReference, counter: int) -> int:
        """Which object such a count is of; 0 when that is not known."""
        if not kind.count.startswith("percpu:"):
            return self._objects.container(counter, kind.count)
        objects, member = self._objects, kind.count.removeprefix("percpu:")
        with suppress(KoboxError, ValueError):
            for device in objects.list(objects.member(objects.address("init_net"), "net.dev_base_head"), _DEVICES):
                if objects.number(device, member) == counter:
                    return device
        return 0

    def _asked(self, hit: Hit) -> None:
        hit.data = self._examination.trace(hit, limit=_LIMIT)

    def _got(self, kind: CountedReference, hit: Hit) -> None:
        address = (hit.result or 0) & (1 << 64) - 1
        if not 1 << 63 <= address < (1 << 64) - 4096 or hit.data is None:
            return
        count = self._count(kind, address)
        if count is not None:
            self._took(kind, address, count - 1, hit.data)

    def _also_got(self, kind: CountedReference, hit: Hit) -> None:
        """A reference that another check reports, if it is kept."""
        address = (hit.result or 0) & (1 << 64) - 1
        count = self._count(kind, address) if 1 << 63 <= address < (1 << 64) - 4096 else None
        self._took(kind, address, count - 1 if count is not None else None, None)

    def _took(self, kind: CountedReference, address: int, before: int | None, trace: Trace | None) -> None:
        """The module has a reference more to an object, whose count was `before`."""
        if before is None or (address not in self._followed and len(self._followed) >= _MANY):
            return
        if address not in self._followed:
            name = ""
            with suppress(KoboxError, ValueError):
                name = self._objects.text(address, kind.name) if kind.name else ""
            self._followed[address] = Followed(kind, name, 0 if kind.new else before)
        one = self._followed[address]
        one.held += 1
        if trace is None:
            return
        if len(one.traces) < _MANY:
            one.traces.append(trace)
        stack = self._examination.box.arch.addresses.stack_of(self._examination.box.machine.sp)
        self._open.setdefault(stack, []).append((address, before, trace))

    def _put(self, call: ResourceCall, hit: Hit) -> None:
        self._gave_back(hit.args[call.arguments.index("KEY")])

    def _gave_back(self, address: int) -> None:
        if address in self._followed:
            self._followed[address].held -= 1

    def _comes(self, hit: Hit) -> None:
        self._followed.pop((hit.result or 0) & (1 << 64) - 1, None)

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
            if one is not None and count is not None and count > before and len(one.kept) < _MANY:
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
            if kind.dead and self._objects.number(address, kind.dead) & kind.dead_bit:
                return True
            return bool(kind.dead_zero) and not self._objects.number(address, kind.dead_zero)
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
