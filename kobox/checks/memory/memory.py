"""The memory check: bad accesses, bad frees, unwritten bytes shown to user space, and memory that is never freed.

Every instruction of the module is looked at before it is executed, and so are the kernel's functions that it calls
(`interceptors.py`), against what is known of memory: the objects that the module has allocated (`heap.py`),
its own variables,
and the page tables. The kernel's own code is not slowed down, and what it does by itself is not judged.
"""

from __future__ import annotations

import errno
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from kobox.arch.unwind import StackFrame
from kobox.box.inspect import alloc_table as allocators
from kobox.box.inspect.alloc_table import MemoryKind
from kobox.box.inspect.probes import FROM_MODULE, UNFIT, Hit
from kobox.checks.memory.adopted import Adoption
from kobox.checks.memory.alloc_hooks import Allocations
from kobox.checks.memory.ethtool_buffers import EthtoolBuffers
from kobox.checks.memory.handed_out import HandedOut
from kobox.checks.memory.interceptors import APPENDERS, INTERCEPTORS, PRINTERS
from kobox.checks.memory.lent_buffers import LentBuffers
from kobox.checks.memory.lent_packets import LentPackets
from kobox.checks.memory.module_heap import PAGE, Heap, Object
from kobox.checks.memory.private_areas import MAKERS, AlgorithmContexts, private_end
from kobox.checks.memory.strings import Texts
from kobox.checks.module.callsites import CodeMap
from kobox.checks.module.globals import Variables
from kobox.checks.report.finding import Finding, Resource, Severity
from kobox.checks.report.quantities import beside, quantity
from kobox.checks.runner.session import Check, Examination, Stage, Trace
from kobox.errors import KoboxError
from kobox.ko.elf import SHF_WRITE
from kobox.machine.watch import CONSTANT, FREED_BYTE, OBJECT, Mark, Part, WatchReport, What

_WORD = (1 << 64) - 1
_WORD_BYTES = 8
_ZERO_SIZE = 16  # ZERO_SIZE_PTR
_NEGATIVE = 1 << 31  # a length that is meant as such is never so large; the watcher takes a negative one for 4 GiB
_OF_FREED = re.compile(f"{FREED_BYTE:02x}" * 6 + "[0-9a-f]{4}")  # FREED_BYTE again and again, or a member's offset on
_ADDRESS = re.compile(r"\b(ffff[0-9a-f]{12})\b")
# Allocators: what they get of the module's they judge themselves.
_NO_OBJECTS = {row.name + suffix for row in allocators.ALLOCATORS for suffix in ("", "_noprof")}


_LONGEST = 1 << 20  # what is printed or added to is no longer
_ALIKE = 3  # objects of one place that are looked for in RAM
_ENOUGH = 64  # reports of one instruction in one life
_TOLD_BY_PLACE = (What.SHADOW, What.BOUND, What.LOCAL)
_JUDGED = (Mark.BEHIND_PACKET, Mark.BEHIND_LENT)  # each time it is asked whether it is bad
_PRINTED = 4096  # the largest buffer whose room is looked at before something is printed into it

Rule = tuple[int, tuple[Part, ...], bool]
"""A function's address, what it does with memory, and whether it copies what is known of the bytes."""


class MemoryCheck(Check):
    """See the module's docstring."""

    name = "memory"

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._box = box = examination.box
        self._watch = box.inspect.watch
        self._unwatch = [
            self._watch.reports.subscribe(self._reported),
            self._watch.local_rooms.subscribe(self._local_room),
        ]
        self._times: dict[int, int] = {}  # by instruction: how often it was reported
        self._variables = Variables(examination.file)
        self._fixups: set[int] | None = None
        self._heap = Heap(box)
        self._heap.on_changed = self._changed
        self._allocations = Allocations(examination, self._heap, self._found, self._variables.at)
        self._unwatch.append(self._allocations.undo)
        HandedOut(examination, self._heap, self._variables, self._found)
        self._adoption = Adoption(box, self._heap)
        for name, what in self._adoption.makers(found.name for found in examination.file.imports):
            if name in box.inspect.symbols:
                examination.probe(name, self._making, partial(self._has_made, name, what), when=FROM_MODULE)
        self._packets = LentPackets(examination, self._given)
        self._lent = LentBuffers(examination, self._adoption.slot_end)
        self._contexts = AlgorithmContexts(examination, self._lent)
        self._ethtool = EthtoolBuffers(examination, self._lent)
        self._set_rules()

    def linked(self, examination: Examination) -> None:
        assert examination.placement is not None
        self._fixups = None
        self._times.clear()
        self._packets.linked()
        self._contexts.linked()
        self._ethtool.linked()
        self._lent.linked()
        self._watch.forget_formats()
        self._heap.core.forget_traces()
        self._variables.place(examination.placement)
        for start, size in self._variables.gaps():
            self._watch.mark(start, size, Mark.GAP)
        self._watch.bounds(self._variables.bounds())
        self._watch_block_copies(examination)

    def leaving(self, examination: Examination) -> None:
        for start, size in self._variables.gaps():
            self._watch.mark(start, size, Mark.UNKNOWN)

    def initialised(self, examination: Examination) -> None:
        self._heap.look(thoroughly=True)

    def exited(self, examination: Examination) -> None:
        self._heap.look(thoroughly=True)

    def gone(self, examination: Examination) -> None:
        self._heap.look(thoroughly=True)
        self._report_leaks()
        for thing in self._heap.live():
            self._heap.forget(thing)

    def detach(self, examination: Examination) -> None:
        self._heap.look(thoroughly=True)
        for undo in self._unwatch:
            undo()

    def _set_rules(self) -> None:
        imports = tuple(wanted.name for wanted in self._examination.file.imports)
        known = self._box.inspect.cache.setdefault("rules of memory", {})
        if imports not in known:
            known[imports] = list(self._find_rules(imports))
        for address, parts, copies in (*known[imports], *self._rules_of_modules(imports)):
            self._watch.rule(address, *parts, copies=copies)
        called = {name for name in imports if self._box.inspect.symbols.of_kernel(name) is not None}
        for name, (buffer, size) in PRINTERS.items():
            if name in called:
                self._watch.prints_into(self._box.inspect.symbols.address(name), buffer, size if size >= 0 else None)
                self._examination.probe(name, partial(self._prints, buffer, size), self._printed, when=UNFIT)
        for name, (most, whole) in APPENDERS.items():
            if name in called:
                self._examination.probe(name, partial(self._appends, most, whole), when=FROM_MODULE)
        self._texts = Texts(self._examination, self._bad_mark, self._look_at_room, self._is_constant)
        for name in ("memcpy", "__memcpy"):
            if name in called:
                self._examination.probe(name, self._copies, when=FROM_MODULE)
        if "simple_read_from_buffer" in called:
            self._examination.probe("simple_read_from_buffer", self._shown_to_reader, when=FROM_MODULE)

    def _find_rules(self, imports: Sequence[str]) -> Iterator[Rule]:
        """Those for the kernel's own functions, which stay where they are."""
        symbols, ruled = self._box.inspect.symbols, set()
        for names, parts, copies in INTERCEPTORS:
            for name in names.split():
                address = symbols.of_kernel(name)
                if address is not None and address not in ruled:
                    ruled.add(address)
                    yield address, parts, copies
        for name in imports:
            address = symbols.of_kernel(name)
            if address is not None and address not in ruled:
                yield from self._rule_for_objects(name, address)

    def _rules_of_modules(self, imports: Sequence[str]) -> Iterator[Rule]:
        """Those for functions of other modules."""
        symbols = self._box.inspect.symbols
        for name in imports:
            if symbols.of_kernel(name) is None and (address := symbols.find(name)) is not None:
                yield from self._rule_for_objects(name, address)

    def _rule_for_objects(self, name: str, address: int) -> Iterator[Rule]:
        """A function that is handed objects must get good ones."""
        if address & 15 or name in _NO_OBJECTS:
            return
        given = (self._box.inspect.symbols.btf.parameters(name) or ())[:6]
        numbers = [n for n, parameter in enumerate(given) if self._is_object(parameter.type)]
        if numbers:
            yield address, tuple(Part(OBJECT, n, CONSTANT, 1) for n in numbers[:3]), False

    def _is_object(self, kind: str) -> bool:
        """Whether a parameter is a pointer to a structure that takes room: a lock's class, for one, takes none."""
        words = kind.removesuffix("*").split()
        if not kind.endswith("*") or kind.count("*") != 1 or "struct" not in words:
            return False
        try:
            return bool(self._box.inspect.symbols.btf.size(words[-1]))
        except KoboxError:
            return False

    # -- objects of the kernel's own ---------------------------------------------------------------------------

    def _making(self, hit: Hit) -> None:
        hit.data = self._allocations.probes.trace(hit)

    def _has_made(self, function: str, what: str, hit: Hit) -> None:
        if hit.data is not None:
            end = private_end(self._box, function, hit) if function in MAKERS else 0
            self._adoption.adopt((hit.result or 0) & _WORD, what, hit.data, end)

    def _given(self, address: int, trace: Trace) -> None:
        """A function of the module is given a packet."""
        self._adoption.adopt(address, "sk_buff", trace)

    # -- what the watcher sees ---------------------------------------------------------------------------------

    def _prints(self, buffer: int, size: int, hit: Hit) -> None:
        address, limit = hit.args[buffer], hit.args[size] if size >= 0 else _LONGEST
        if (
            limit <= _PRINTED
            and self._box.arch.addresses.is_kernel(address)
            and self._watch.first_bad(address, limit) is None
        ):
            hit.awaited = False  # whatever it prints, there is room
            return
        hit.data = address, limit, self._watch.caller if self._watch.from_module else 0

    def _printed(self, hit: Hit) -> None:
        address, limit, caller = hit.data

        def calls() -> Trace:  # the stack is still as it was when the function was entered
            return self._examination.trace(hit, caller=caller)

        self._look_at_written(address, min((hit.result or 0) + 1, limit), calls, str(hit.probe.where))

    def _appends(self, most: int, whole: int, hit: Hit) -> None:
        """Before something is added to a string: look where it will lie."""
        to, addition = hit.args[0], hit.args[1]
        with suppress(ValueError):
            start, size = len(hit.text(to, _LONGEST)), len(hit.text(addition, _LONGEST))
            size = min(size, hit.args[most]) if most >= 0 else size
            size = max(min(size, hit.args[whole] - start - 1), -1) if whole >= 0 else size
            self._look_at_written(to + start, size + 1, partial(self._examination.trace, hit), str(hit.probe.where))

    def _look_at_written(self, address: int, size: int, calls: Callable[[], Trace], through: str) -> None:
        if not self._box.arch.addresses.is_kernel(address) or not 0 < size < _LONGEST:
            return
        if (bad := self._watch.first_bad(address, size)) is not None:
            place, mark = bad
            self._bad_mark(address + place, size - place, True, mark, calls(), through)

    def _look_at_room(self, address: int, size: int, trace: Trace, through: str) -> None:
        """Whether `size` bytes fit where a pointer of the module leads: into an object, or a variable."""
        if not 0 < size < _LONGEST:
            return
        if (bad := self._watch.first_bad(address, size)) is not None:
            self._bad_mark(address + bad[0], size - bad[0], True, bad[1], trace, through)
            return
        local = self._local_of(trace, address)
        end = local[1] + local[2] if local is not None else self._variables.end_of(address)
        if end and address + size > end:
            what = f"{local[0]} ({quantity(local[2], 'byte')} on the stack)" if local else self._variables.at(address)
            self._found(
                "out-of-bounds",
                f"write of {quantity(address + size - end, 'byte')}, 0 bytes past the end of {what} in {through}()",
                trace,
                None,
                "Give the conversion a width: %15s for an array of 16.",
            )

    def _is_constant(self, address: int) -> bool:
        """Whether what lies at an address can never change: the kernel's or a module's read-only data."""
        symbols, placement = self._box.inspect.symbols, self._examination.placement
        place = placement.find(address) if placement is not None else None
        if place is not None:
            return not self._examination.file.elf.section_at(place[0]).flags & SHF_WRITE
        if address >= self._box.arch.addresses.image_start:
            data = symbols.of_kernel("_sdata"), symbols.of_kernel("_edata")
            return data[0] is None or data[1] is None or not data[0] <= address < data[1]
        return False

    def _watch_block_copies(self, examination: Examination) -> None:
        assert examination.placement is not None
        code, starts = CodeMap(examination.file.elf), examination.placement.starts
        for name, functions in code.functions.items():
            number = code.sections[name]
            data = code.elf.data(number)
            if number in starts:
                for start, size, _ in functions.rows:
                    for offset, unit in code.arch.code.block_copies(data, start, start + size):
                        examination.probe_code(starts[number] + offset, partial(self._copies_inline, unit))

    def _copies(self, hit: Hit) -> None:
        """memcpy(to, from, size) of ranges that overlap: what is copied depends on the processor."""
        self._overlaps(hit, *hit.args[:3])

    def _copies_inline(self, unit: int, hit: Hit) -> None:
        """The same, as compilers write it into the code, which they never do with memmove()."""
        to, source, count = self._box.arch.code.block_copy(hit.registers)
        self._overlaps(hit, to, source, count * unit)

    def _overlaps(self, hit: Hit, to: int, source: int, size: int) -> None:
        if to == source or not size or size >= _NEGATIVE or abs(to - source) >= size:
            return
        apart = f"{quantity(abs(to - source), 'byte')} {'behind' if to > source else 'before'} it"
        self._found(
            "overlapping-copy",
            f"memcpy() copies {quantity(size, 'byte')} to {apart}: source and destination overlap",
            self._examination.trace(hit),
            self._heap.holding(to),
            "Use memmove().",
        )

    def _shown_to_reader(self, hit: Hit) -> None:
        """simple_read_from_buffer(to, count, ppos, from, available): what of the buffer goes to user space."""
        _, count, place, source, available, _ = hit.args
        try:
            position = int.from_bytes(hit.read(place, 8), "little", signed=True)
        except ValueError:
            return
        if 0 <= position < available < 1 << 32 and count:
            size = min(count, available - position)
            self._watch.look(self._watch.caller, source + position, size, to_user=True)

    def _is_known(self, report: WatchReport) -> bool:
        """Whether enough was said of the instruction that is about to do this, which each time costs as much as
        thousands of others. What it writes is excused all the same, or its bytes would be told as somebody else's."""
        if report.what not in _TOLD_BY_PLACE or report.detail in _JUDGED or self._box.machine.pc != report.pc:
            return False
        times = self._times.get(report.pc, 0)
        self._times[report.pc] = times + 1
        if times < _ENOUGH:
            return False
        if report.writes and report.what is What.SHADOW:
            self._heap.excuse(report.address, report.size)
            if (thing := self._heap.nearest(report.address)) is not None:
                thing.guarded = 0
        return True

    def _reported(self, report: WatchReport) -> bool:
        if self._is_known(report):
            return not report.writes
        trace, what, through = self._examination.trace(), report.what, ""
        here = trace.frames[0].address if trace.frames else 0
        if not self._examination.in_module(here):  # it is about to enter a function that the module has called
            through = self._box.inspect.symbols.describe(here).partition("+")[0].lstrip("_")
            if len(trace.frames) < 2 or trace.frames[1].address != report.pc:
                jumped = StackFrame(report.pc, trace.frames[0].cfa, True)
                trace = replace(trace, frames=(trace.frames[0], jumped, *trace.frames[1:]))
        if through == "check_object_size":  # of copy_to_user() and copy_from_user(), inline in the module
            to_user = bool(self._box.machine.registers().argument(2) & 0xFF)
            through = "copy_to_user" if to_user else "copy_from_user"
            report = report._replace(writes=not to_user)
        if what in (What.USER, What.UNMAPPED) and not through and self._may_fault(report.pc):
            return True
        if what is What.SHADOW:
            self._bad_mark(report.address, report.size, report.writes, report.detail, trace, through)
        elif what is What.BOUND:
            self._beyond_bound(report, trace)
        elif what is What.LOCAL:
            self._beyond_local(report, trace, through)
        elif what is What.UNINITIALISED:
            self._unwritten(report, trace)
        else:
            self._wild(report, trace, through)
        if through and report.size > _NEGATIVE and through.startswith("mem"):
            machine = self._box.machine  # it would write over all there is: nothing could be told after it
            machine.return_from_function(machine.argument(0))
        return False

    def _bad_mark(self, address: int, size: int, writes: bool, mark: int, trace: Trace, through: str) -> None:
        access = f"{'write' if writes else 'read'} of {quantity(size, 'byte')}"
        by = f" in {through}()" if through else ""
        if mark == Mark.BEHIND_PACKET:
            if where := self._packets.judge(address, size, writes=writes):
                advice = "Ask for the bytes with pskb_may_pull(), or copy them with skb_header_pointer()."
                self._found("out-of-bounds", f"{access}, {where}{by}", trace, self._heap.holding(address), advice)
            return
        if mark == Mark.BEHIND_LENT:
            if where := self._lent.judge(address, size):
                advice = (
                    "Compare with the size that was given: by an argument, .descsize, .cra_ctxsize, get_sset_count()."
                )
                self._found("out-of-bounds", f"{access}, {where}{by}", trace, None, advice)
            return
        if writes:
            self._heap.excuse(address, size)
        thing = self._heap.nearest(address)
        if thing is not None and writes:
            thing.guarded = 0
        if mark == Mark.GAP:
            where = self._variables.near(address)
            self._found(
                "out-of-bounds",
                f"{access}, {where}{by}",
                trace,
                None,
                "Check the index or the length against the size of the variable.",
            )
        elif lent := self._texts.behind_page(address):
            advice = "Print with sysfs_emit() or sysfs_emit_at(), which know where the page ends."
            self._found("out-of-bounds", f"{access}, {lent}{by}", trace, None, advice)
        elif thing is None:
            self._found("out-of-bounds", f"{access} between objects{by}", trace, None, "")
        elif mark == Mark.FREED or thing.freed:
            at = address - thing.address
            self._heap.excuse(thing.address, thing.size)
            self._found(
                "use-after-free",
                f"{access} at offset {at} of {thing.what} that is freed{by}",
                trace,
                thing,
                "Free it only when nobody can reach it any more, or hold a reference.",
            )
        else:
            self._found(
                "out-of-bounds",
                f"{access}, {_beside(address, thing)}{by}",
                trace,
                thing,
                "Check the index or the length against the size that was allocated.",
            )

    def _beyond_bound(self, report: WatchReport, trace: Trace) -> None:
        access = _access(report)
        where = self._variables.beyond(report.detail, report.address)
        self._found(
            "out-of-bounds",
            f"{access}, {where}",
            trace,
            None,
            "Check the index against the size of the variable.",
        )

    def _local_at(self, pc: int, address: int) -> tuple[str, int, int] | None:
        """The variable of the function at `pc` that an address on the stack points into: name, start, size."""
        placement = self._examination.placement
        place = placement.find(pc) if placement is not None else None
        frame = next(
            (one for one in self._box.inspect.unwinder.walk(limit=4) if one.address == pc or one.inside == pc), None
        )
        if place is None or frame is None:
            return None
        with suppress(KoboxError):
            for local in self._examination.file.debug.locals(*place):
                start = frame.cfa + local.offset
                if start <= address < start + local.size:
                    return local.name, start, local.size
        return None

    def _local_of(self, trace: Trace, address: int) -> tuple[str, int, int] | None:
        """The same, of any function under way: a pointer to it may have been handed on."""
        for frame in trace.frames:
            place = trace.placement.find(frame.inside) if trace.placement is not None else None
            with suppress(KoboxError):
                for local in self._examination.file.debug.locals(*place) if place is not None else ():
                    start = frame.cfa + local.offset
                    if start <= address < start + local.size:
                        return local.name, start, local.size
        return None

    def _local_room(self, pc: int, address: int, whole: bool) -> int:
        found = self._local_at(pc, address)
        if found is None or found[2] <= _WORD_BYTES or (whole and found[1] != address):
            return 0
        return found[1] + found[2] - address

    def _beyond_local(self, report: WatchReport, trace: Trace, through: str) -> None:
        access = _access(report)
        by = f" in {through}()" if through else ""
        if named := self._variables.beyond_start(report.detail, report.address):
            self._found(
                "out-of-bounds",
                f"{access}, {named}{by}",
                trace,
                None,
                "Check the index or the length against the size of the variable.",
            )
            return
        found = self._local_of(trace, report.detail)
        name, start, size = found or ("a variable", report.detail, 0)
        where = beside(report.address, start, start + size, f"{name} ({quantity(size, 'byte')} on the stack)")
        self._found(
            "out-of-bounds",
            f"{access}, {where}{by}",
            trace,
            None,
            "Check the index or the length against the size of the variable.",
        )

    def _unwritten(self, report: WatchReport, trace: Trace) -> None:
        thing = self._heap.holding(report.address)
        where = f"at offset {report.address - thing.address} of {thing.what}" if thing else "on the stack"
        what = "which decides where the code goes on" if report.detail else "copied to user space"
        advice = "Clear it first (kzalloc, memset), padding included, or copy only what was written."
        self._found(
            "uninitialised-read",
            f"{quantity(report.size, 'byte')} {where}, never written, {what}",
            trace,
            thing,
            "Set it before it is compared." if report.detail else advice,
        )

    def _wild(self, report: WatchReport, trace: Trace, through: str) -> None:
        address, verb = report.address, "write to" if report.writes else "read from"
        by = f" in {through}()" if through else ""
        behind = self._heap.nearest(address - PAGE) if report.what is What.UNMAPPED else None
        ahead = self._heap.nearest(address + PAGE - 1) if report.what is What.UNMAPPED else None
        gone = self._heap.once_at(address) if report.what is What.UNMAPPED else None
        code = errno.errorcode.get((1 << 64) - self._base_of(report), "")
        if gone:
            kind, thing = "use-after-free", gone
            message = f"{_access(report)} at offset {address - gone.address} of {gone.what} that is freed{by}"
            advice = "Free it only when nobody can reach it any more."
        elif behind and behind.kind is MemoryKind.VMALLOC and 0 <= address - behind.address - behind.slot < PAGE:
            kind, thing = "out-of-bounds", behind
            message = f"{_access(report)}, {_beside(address, behind)}{by}"
            advice = "Check the index or the length against the size that was allocated."
        elif ahead and ahead.kind is MemoryKind.VMALLOC and 0 < ahead.address - address <= PAGE:
            kind, thing = "out-of-bounds", ahead
            message = f"{_access(report)}, {_beside(address, ahead)}{by}"
            advice = "Check the index or the length against the size that was allocated."
        elif code:
            kind, thing = "wild-access", None
            message = f"{verb} {address:#x}: an error code ({code}) taken for a pointer{by}"
            advice = "Check the pointer with IS_ERR() first."
        elif address < PAGE:
            kind, thing = "wild-access", None
            message, advice = f"{verb} address {address:#x}, a NULL pointer{by}", "Check for NULL first."
            if self._base_of(report) == _ZERO_SIZE:
                message = f"{verb} address {address:#x}, in what kmalloc() gives for zero bytes{by}"
                advice = "Check the size before it is allocated: zero is one."
        elif report.what is What.USER:
            kind, thing = "user-pointer", None
            message = f"{verb} address {address:#x} of user space without copy_to_user() or its kin{by}"
            advice = "Use copy_from_user(), copy_to_user(), get_user() or put_user()."
        else:
            kind, thing, advice = "wild-access", None, "See where the pointer comes from."
            message = f"{verb} {address:#x}, where nothing is mapped{by}"
        self._found(kind, message, trace, thing, advice)

    def _base_of(self, report: WatchReport) -> int:
        """The pointer that an access starts from: its member lies at its address."""
        with suppress(ValueError):
            operand = self._box.arch.code.pointer_operand(self._box.machine.read(report.pc, 15))
            if operand is not None:
                base = self._box.machine.register(operand[0])
                if base + operand[1] & _WORD == report.address:
                    return base
        return report.address

    def _found(self, kind: str, message: str, trace: Trace, thing: Object | None, advice: str) -> None:
        chain = self._examination.chain(trace)
        self._examination.report(kind, Severity.ERROR, message, chain=chain, object=self._shown(thing), advice=advice)

    def _shown(self, thing: Object | None) -> Resource | None:
        if thing is None:
            return None
        chain = self._examination.chain
        return Resource(
            thing.what, thing.address, thing.size, chain(thing.made), chain(thing.gone) if thing.gone else ()
        )

    def _may_fault(self, pc: int) -> bool:
        """Whether the module's exception table says that the instruction may fault: then it is a copy function's."""
        if self._fixups is None:
            self._fixups = set()
            module, btf = self._examination.module, self._box.inspect.symbols.btf
            if module is not None:
                with suppress(KoboxError, ValueError):
                    count = self._box.machine.read(module.address + btf.offset("module", "num_exentries"), 4)
                    table = self._box.machine.read(module.address + btf.offset("module", "extable"), 8)
                    at = int.from_bytes(table, "little")
                    data = self._box.machine.read(at, 12 * int.from_bytes(count, "little"))
                    for n, (instruction, _, _) in enumerate(struct.iter_unpack("<iii", data)):
                        self._fixups.add(at + 12 * n + instruction & _WORD)
        return pc in self._fixups

    # -- the kernel's own accesses -----------------------------------------------------------------------------

    def _changed(self, thing: Object, start: int, end: int, since: int) -> None:
        """A freed object was written to, and not by the module's own code, nor by what it called with that pointer."""
        box = self._box
        begin, now = ((moment - thing.freed_at) / 1e9 for moment in (since, box.machine.time))
        when = f"{now:.6f} s" if not begin else f"between {begin:.6f} and {now:.6f} s"
        size = end - start
        self._found(
            "use-after-free",
            f"the kernel wrote {quantity(size, 'byte')}{self._held_there(thing, start, end)} at offset {start} "
            f"of {thing.what} that is freed, {'within ' * (not begin)}{when} after the free",
            thing.gone or self._examination.trace(),
            thing,
            "Take it off all lists, timers and queues, and wait for who uses it, before it is freed.",
        )

    def _held_there(self, thing: Object, start: int, end: int) -> str:
        """What was written there, if it is the address of something that has a name."""
        for at in range(start & -_WORD_BYTES, end, _WORD_BYTES):
            if at + _WORD_BYTES > thing.size:
                break
            value = int.from_bytes(self._box.machine.read(thing.address + at, _WORD_BYTES), "little")
            if self._box.arch.addresses.is_canonical_kernel(value) and (name := self._name_of(value, thing)):
                return f" (the address of {name})"
        return ""

    def _name_of(self, address: int, but: Object) -> str:
        other = self._heap.holding(address)
        if other is not None:
            where = "itself" if other.address == but.address else other.what
            return f"{where}, offset {address - other.address}"
        with suppress(KoboxError, ValueError):
            if name := self._examination.symbol(address):
                return name
            symbol = (
                self._box.inspect.symbols.lookup(address) if address >= self._box.arch.addresses.image_start else None
            )
            return f"{symbol.name}+{address - symbol.address:#x}" if symbol is not None else ""
        return ""

    def explain(self, finding: Finding) -> Finding:
        """What the kernel says of an address that is made of what freed objects are filled with."""
        lines = [record.text for record in finding.records]
        if not any(_OF_FREED.search(line) for line in (finding.message, *lines)):
            return finding
        words = (int(word, 16) for line in lines for word in _ADDRESS.findall(line))
        thing = next((one for word in words if (one := self._heap.holding(word)) and one.freed), None)
        what = f"{thing.what} that is freed" if thing else "memory that the module has freed"
        return replace(
            finding,
            kind="use-after-free",
            message=f"the kernel follows a pointer that it read from {what}: {finding.message}",
            object=self._shown(thing),
            advice="Take it off all lists, timers and queues, and wait for who uses it, before it is freed.",
        )

    # -- leaks -------------------------------------------------------------------------------------------------

    def _report_leaks(self) -> None:
        own = [thing for thing in self._heap.live() if not thing.adopted]
        left = [thing for thing in own if not self._allocations.given_back(thing)]
        left.sort(key=lambda thing: thing.address)
        for thing in left:
            self._allocations.frees.look_behind(thing, thing.made)
        left = _few_of_each(left)
        if not left:
            return
        held = self._allocations.referenced(left)
        kept = self._heap.bookkeeping([thing for thing in left if thing.kind is MemoryKind.VMALLOC])
        for thing, words in zip(left, held, strict=True):
            reachable = words > kept.get(thing.address, 0)
            certain = not reachable or self._allocations.is_destroyed(thing)
            when = "init has failed" if self._examination.stage is Stage.FAILED else "unload"
            message = f"{thing.what} is still allocated after {when}"
            advice = f"Free it with {allocators.RELEASE[thing.kind]}() in the exit function and on every error path."
            if not certain:
                advice += " Something in the kernel still points to it; if it was handed over for good, all is well."
            self._examination.report(
                "leak",
                Severity.ERROR if certain else Severity.WARNING,
                message,
                chain=self._examination.chain(thing.made),
                object=self._shown(thing),
                advice=advice,
            )


def _few_of_each(things: list[Object]) -> list[Object]:
    """Some of what each place has allocated. All RAM is searched for each object of vmalloc(), and one finding names
    all of a place."""
    seen: Counter[tuple[int, ...]] = Counter()
    few = []
    for thing in things:
        place = tuple(frame.address for frame in thing.made.frames[:4])
        seen[place] += 1
        if seen[place] <= _ALIKE:
            few.append(thing)
    return few


def _access(report: WatchReport) -> str:
    return f"{'write' if report.writes else 'read'} of {quantity(report.size, 'byte')}"


def _beside(address: int, thing: Object) -> str:
    """ "2 bytes past the end of a 64-byte kmalloc object"."""
    return beside(address, thing.address, thing.address + thing.size, thing.what)
