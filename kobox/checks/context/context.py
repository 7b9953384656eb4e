"""What a module does where it must not: sleeping in atomic context, locks that are not released, taken twice or in
opposite orders, interrupts that are off for long, stacks that are used deeply.

The kernel's own state is asked, not guessed: preempt_count, IF, the depth of RCU sections, the words of the locks. What
is written into the module's own code (preempt_disable(), local_irq_disable()) has relocations against __preempt_count
and pv_ops, and is watched there, so that a finding can say where it was. The tables stand in context.toml.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

from kobox.box.inspect.objects import Objects
from kobox.box.inspect.probes import FROM_MODULE, Hit
from kobox.checks.context.cpu_state import CpuReader, CpuState
from kobox.checks.context.locks import SPINNING, Edge, Held, LockBook
from kobox.checks.report.finding import Resource, Severity, own_frame
from kobox.checks.runner.session import Check, Examination, Trace
from kobox.errors import BoxError, BoxHungError, KoboxError
from kobox.ko.elf import SHF_EXECINSTR, SHT_RELA
from kobox.ko.modulefile import ModuleFile
from kobox.machine.watch import WatchReport

STACK_LIMIT = 8192
"""Bytes of a task's 16 KiB stack that a module's functions may reach down to: interrupts need room too."""
_NEARLY_ALL = 14336  # bytes of it: seven eighths
INTERRUPTS_OFF = 10e-3
"""Virtual seconds that interrupts may be off."""

_DIRECT_RECLAIM = 0x400  # ___GFP_DIRECT_RECLAIM, include/linux/gfp_types.h
_STATES = ("__preempt_count", "pcpu_hot", "pv_ops")
_MANY = 400  # places in the code that are watched at most
_RCU, _PREEMPTION, _INTERRUPTS = "RCU read-side section", "preemption", "interrupts"
_BEGINNINGS = {
    4: (b"\x65\xff\x04\x25", b"\x65\xff\x0c\x25", b"\x65\x83\x04\x25", b"\x65\x83\x2c\x25"),
    3: (b"\x65\xff\x05", b"\x65\xff\x0d", b"\x65\x83\x05", b"\x65\x83\x2d", b"\xff\x14\x25"),
    2: (b"\xff\x15",),
}


@dataclass(frozen=True, slots=True)
class LockKind:
    """One kind of lock: the functions that take it, that take it or fail, that only try, and that release it."""

    kind: str
    takes: tuple[str, ...]
    releases: tuple[str, ...]
    takes_or_fails: tuple[str, ...] = ()
    tries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """What context.toml says: functions that sleep, that may meet a page that is not there, that sleep by their flags
    (the number of that argument), and locks."""

    sleeps: frozenset[str]
    faults: frozenset[str]
    flags: dict[str, int]
    locks: tuple[LockKind, ...]


@cache
def context_table() -> Table:
    """The table, read once."""
    data = tomllib.loads(Path(__file__).with_name("context.toml").read_text())
    return Table(
        frozenset(data["sleeps"]),
        frozenset(data["faults"]),
        {name: int(number) for number, names in data["flags"].items() for name in names},
        tuple(
            LockKind(
                row["kind"], *(tuple(row.get(part, ())) for part in ("takes", "releases", "takes_or_fails", "tries"))
            )
            for row in data["lock"]
        ),
    )


class ContextCheck(Check):
    """Watches in what state the CPU is when the module calls, and which locks it takes."""

    name = "context"

    def __init__(self, stack_limit: int = STACK_LIMIT, interrupts_off: float = INTERRUPTS_OFF) -> None:
        self._stack_limit = stack_limit
        self._interrupts_off = int(interrupts_off * 1e9)

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._machine = examination.box.machine
        self._addresses = self._machine.arch.addresses
        self._objects: Objects = examination.box.inspect.objects
        self._unwatch: Callable[[], None] | None = None
        self._deepest: tuple[WatchReport, Trace] | None = None
        self._frees: list[Any] = []
        self._can_look = False
        self._forget_all()
        try:
            self._cpu = CpuReader(examination.box)
        except KoboxError as error:
            examination.leave_out(f"context: {error.message}")
            return
        if not examination.box.inspect.unwinder.reliable:
            examination.leave_out("call chains are guessed: this kernel has no tables for unwinding")
        if not self._cpu.counts_preemption:
            examination.leave_out(
                "spin locks, preempt_disable(): this kernel does not count them (CONFIG_PREEMPT_COUNT)"
            )
        if not self._cpu.counts_rcu:
            examination.leave_out("RCU read-side sections: this kernel does not count them (CONFIG_PREEMPT_RCU)")
        self._can_look = True
        imports = {found.name for found in examination.file.imports}
        self._watch_sleepers(imports)
        for kind in context_table().locks:
            self._watch_lock(kind, imports)
        examination.probe(examination.box.arch.syscalls.entry, self._entered)
        if "syscall_exit_to_user_mode" in examination.box.inspect.symbols:
            examination.probe("syscall_exit_to_user_mode", self._returning)
        if "do_exit" in examination.box.inspect.symbols:
            examination.probe("do_exit", self._died)
        watch = examination.box.inspect.watch
        watch.stack_limit = self._stack_limit
        self._unwatch = watch.deep_stacks.subscribe(self._is_deep)

    def linked(self, examination: Examination) -> None:
        self._forget_all()
        if self._can_look:
            self._watch_places(examination)

    def initialised(self, examination: Examination) -> None:
        self._returned("when init has returned")

    def exited(self, examination: Examination) -> None:
        self._returned("when the module's code has returned for the last time")

    def _returned(self, when: str) -> None:
        """Where the kernel would look itself, and put preempt_count right with a warning (do_one_initcall)."""
        if not self._can_look:
            return
        registers = self._machine.registers()
        stack, state = self._addresses.stack_of(registers.sp), self._cpu.state(registers)
        if self._book.held.get(stack):
            self._report_open(stack, state, when)
            self._base = 0

    def gone(self, examination: Examination) -> None:
        self._report_depth()

    def detach(self, examination: Examination) -> None:
        if self._unwatch is not None:
            self._unwatch()
        self._report_depth()

    def _forget_all(self) -> None:
        self._book = LockBook()
        self._traces: dict[tuple[int, int], Trace] = {}
        self._contexts: dict[int, dict[str, tuple[Held, CpuState]]] = {}  # lock -> where it was taken -> how
        self._told: set[frozenset[int]] = set()  # circles of locks that were reported
        self._base = 0  # what preempt_count was when it was last reported

    # -- what is watched ---------------------------------------------------------------------------------------

    def _watch_sleepers(self, imports: set[str]) -> None:
        table, symbols = context_table(), self._examination.box.inspect.symbols
        self._flags = {name: number for name, number in table.flags.items() if name in imports}
        for name in imports:  # what takes GFP flags may sleep by them: its type says which argument that is
            types = [parameter.type for parameter in (symbols.btf.parameters(name) or ())[:6]]
            if "gfp_t" in types and not name.startswith("__xa_"):  # those let their lock go before they sleep
                self._flags[name] = types.index("gfp_t")
        for name in sorted(imports & (table.sleeps | table.faults | set(self._flags))):
            if name in symbols:
                self._examination.probe(name, partial(self._may_sleep, name), when=FROM_MODULE)

    def _watch_lock(self, kind: LockKind, imports: set[str]) -> None:
        for names, entry, back in (
            (kind.takes, partial(self._taking, kind.kind, True), None),
            (kind.takes_or_fails, partial(self._asking, kind.kind), partial(self._taken, kind.kind, 0)),
            (kind.tries, None, partial(self._taken, kind.kind, 1)),
            (kind.releases, partial(self._releasing, kind.kind), None),
        ):
            for name in names:
                if name in imports and name in self._examination.box.inspect.symbols:
                    self._examination.probe(name, self._remember if entry is None else entry, back, when=FROM_MODULE)

    def _watch_places(self, examination: Examination) -> None:
        """Watch where the module's own code turns preemption or interrupts off and on."""
        for address in _places(examination)[:_MANY]:
            try:
                code = self._machine.read(address, 4)
            except ValueError:
                continue
            if code[0] == 0x65 and code[1] in (0xFF, 0x83, 0x81):  # incl, decl, addl, subl of %gs:__preempt_count
                down = code[2] >> 3 & 7 in ((1,) if code[1] == 0xFF else (5,))
                examination.probe_code(address, partial(self._preemption, not down))
            elif code[0] in (0xFA, 0xFB):  # cli, sti
                examination.probe_code(address, partial(self._interrupts, code[0] == 0xFA))

    # -- sleeping ----------------------------------------------------------------------------------------------

    def _may_sleep(self, name: str, hit: Hit) -> None:
        state = self._cpu.state(hit.registers)
        if state.may_sleep or state.is_spoilt:
            return
        if name in self._flags and not hit.args[self._flags[name]] & _DIRECT_RECLAIM:
            return
        if name in context_table().faults and self._cpu.faults_disabled():
            return
        self._report_sleep(name, hit, state)

    def _report_sleep(self, name: str, hit: Hit, state: CpuState) -> None:
        examination = self._examination
        why, thing = state.why_not(), None
        culprit = self._culprit(self._addresses.stack_of(hit.registers.sp), state)
        if culprit is not None:
            chain = examination.chain(culprit.trace)
            what = f"{culprit.kind} {examination.symbol(culprit.address)}".rstrip() if culprit.is_lock else culprit.kind
            thing = Resource(what, culprit.address, made_at=chain)
            frame = own_frame(chain)
            at = f" (since {frame.file}:{frame.line})" if frame and frame.line else ""
            why = f"{what} is held{at}" if culprit.is_lock else f"{why}{at}"
        examination.report(
            "atomic-sleep",
            Severity.ERROR,
            f"{name}() may sleep, but {why}",
            chain=examination.chain(hit),
            object=thing,
            advice=_sleep_advice(name, name in self._flags),
        )

    def _culprit(self, stack: int, state: CpuState) -> Held | None:
        """What the module itself has taken or turned off, so that nothing may sleep now."""
        kinds = (*SPINNING, _PREEMPTION, _INTERRUPTS, _RCU)
        held = [one for one in self._book.by(stack) if one.kind in kinds]
        locks = [one for one in held if one.is_lock]
        return locks[-1] if locks else held[-1] if held else None

    # -- locks -------------------------------------------------------------------------------------------------

    def _taking(self, kind: str, waits: bool, hit: Hit) -> None:
        """A lock is about to be taken by a function that returns only when it has it."""
        state, address = self._cpu.state(hit.registers), hit.registers.argument(0)
        if kind == _RCU:
            address = 0
        elif waits:
            self._would_deadlock(kind, address, hit)
        self._note(kind, address, hit, state, waits)

    def _remember(self, hit: Hit) -> None:
        hit.data = self._cpu.state(hit.registers), self._trace(hit)

    def _asking(self, kind: str, hit: Hit) -> None:
        self._would_deadlock(kind, hit.registers.argument(0), hit)
        self._remember(hit)

    def _taken(self, kind: str, success: int, hit: Hit) -> None:
        if hit.data is not None and (hit.result or 0) & 0xFFFFFFFF == success:
            state, trace = hit.data
            lock = Held(kind, hit.registers.argument(0), trace, state, self._machine.time)
            self._take(hit, lock, waits=success == 0)

    def _note(self, kind: str, address: int, hit: Hit, state: CpuState, waits: bool) -> None:
        lock = Held(kind, address, self._trace(hit), state, self._machine.time)
        self._take(hit, lock, waits=waits)
        if kind in SPINNING:
            self._look_at_interrupts(lock, state, str(hit.probe.where))

    def _take(self, hit: Hit, lock: Held, *, waits: bool) -> None:
        circle = self._book.take(self._addresses.stack_of(hit.registers.sp), lock, waits=waits)
        if circle:
            self._report_order(circle)
        if not self._frees and self._book.edges:
            self._watch_frees()

    def _releasing(self, kind: str, hit: Hit) -> None:
        state, address = self._cpu.state(hit.registers), 0 if kind == _RCU else hit.registers.argument(0)
        stack = self._addresses.stack_of(hit.registers.sp)
        found = self._book.release(stack, kind, address)
        if found is None and kind != _RCU and not self._is_held(kind, address):
            self._report_lock(
                "double-unlock",
                kind,
                address,
                "is released, but nobody holds it",
                hit,
                "Release it once on each way through the function.",
            )
        elif found is not None and kind in SPINNING and found.state.interrupts and not state.interrupts:
            self._was_off(found, hit)
        if hit.probe.where == "downgrade_write":
            self._take(
                hit, Held("rwsem for reading", address, self._trace(hit), state, self._machine.time), waits=False
            )

    def _is_held(self, kind: str, address: int) -> bool:
        """Whether a lock's own word says that somebody has it."""
        with suppress(ValueError, KoboxError):
            if kind == "mutex":
                return bool(self._objects.number(address, "mutex.owner") & ~7)
            if kind.startswith("rwsem"):
                return bool(self._objects.number(address, "rw_semaphore.count") & ~6)
            return bool(self._objects.u32(address))
        return True  # no such member: it cannot be told

    def _would_deadlock(self, kind: str, address: int, hit: Hit) -> None:
        holder = self._book.find(address)
        if kind == "rwlock for reading" and (holder is None or holder.kind == kind):
            return
        with suppress(ValueError, KoboxError):
            if kind in SPINNING:
                certain = bool(self._objects.u32(address))
            elif kind == "mutex":
                certain = self._objects.number(address, "mutex.owner") & ~7 == self._cpu.current
            else:
                mine = self._objects.number(address, "rw_semaphore.owner") & ~7 == self._cpu.current
                count = self._objects.number(address, "rw_semaphore.count")
                certain = mine and bool(count & 1 or (kind == "rwsem" and count >> 8 and holder is not None))
            if certain:
                who = "the CPU spins for ever" if kind in SPINNING else "the task waits for itself"
                self._report_lock(
                    "self-deadlock",
                    kind,
                    address,
                    f"is taken, but is held already: {who}",
                    hit,
                    "Do not take it again: split off a function that is called with the lock held.",
                    holder,
                )
                if kind in SPINNING:  # nothing comes after it
                    where = self._examination.box.inspect.symbols.describe(hit.registers.pc)
                    raise BoxHungError("the CPU spins on a lock that it holds", pc=where)

    def _report_lock(
        self, finding: str, kind: str, address: int, message: str, hit: Hit, advice: str, holder: Held | None = None
    ) -> None:
        examination = self._examination
        label = f"{kind} {examination.symbol(address)}".rstrip()
        made = examination.chain(holder.trace) if holder is not None else ()
        examination.report(
            finding,
            Severity.ERROR,
            f"{label} {message}",
            chain=examination.chain(hit),
            object=Resource(label, address, made_at=made),
            advice=advice,
        )

    # -- order -------------------------------------------------------------------------------------------------

    def _report_order(self, circle: tuple[Edge, ...]) -> None:
        examination, edge, other = self._examination, circle[0], circle[1]
        locks = frozenset(one.first.address for one in circle)
        if locks in self._told or ("reading" in edge.second.kind and "reading" in other.first.kind):
            return
        self._told.add(locks)
        name = examination.symbol
        taken, held = (f"{lock.kind} {name(lock.address)}".rstrip() for lock in (edge.second, edge.first))
        chain = examination.chain(other.second.trace)
        frame = own_frame(chain)
        at = f" at {frame.file}:{frame.line}" if frame and frame.line else ""
        examination.report(
            "lock-order",
            Severity.ERROR,
            f"{taken} is taken while {held} is held, and the other way round{at}",
            chain=examination.chain(edge.second.trace),
            object=Resource(
                f"{other.second.kind} {name(other.second.address)}".rstrip(), other.second.address, made_at=chain
            ),
            advice="Take the two locks in the same order everywhere.",
        )

    def _watch_frees(self) -> None:
        """Locks in memory that is freed are no more, and others may come to lie there."""
        for name in ("kfree", "kvfree", "kmem_cache_free", "vfree"):
            if name in self._examination.box.inspect.symbols:
                number = 1 if name == "kmem_cache_free" else 0
                self._frees.append(self._examination.probe(name, partial(self._freed, number), when=FROM_MODULE))

    def _freed(self, number: int, hit: Hit) -> None:
        start = hit.args[number]
        end = start + 2 * self._addresses.thread_size
        self._book.forget(start, end)
        for address in [address for address in self._contexts if start <= address < end]:
            del self._contexts[address]

    # -- interrupts --------------------------------------------------------------------------------------------

    def _look_at_interrupts(self, lock: Held, state: CpuState, function: str) -> None:
        """A lock that an interrupt takes must not be held where that interrupt may come; functions with "_irq" and
        "_bh" in their names see to that themselves."""
        seen = self._contexts.setdefault(lock.address, {})
        if state.in_hardirq:
            seen.setdefault("hard interrupt", (lock, state))
        elif state.in_softirq:
            seen.setdefault("softirq", (lock, state))
        if state.interrupts and not state.in_hardirq and "_irq" not in function:
            seen.setdefault("interrupts on", (lock, state))
            if state.softirqs and "_bh" not in function:
                seen.setdefault("softirqs on", (lock, state))
        for inside, outside in (("hard interrupt", "interrupts on"), ("softirq", "softirqs on")):
            if inside in seen and outside in seen:
                self._report_unsafe(inside, seen[inside][0], seen[outside][0])

    def _report_unsafe(self, inside: str, inner: Held, outer: Held) -> None:
        if "reading" in inner.kind and "reading" in outer.kind:
            return
        examination = self._examination
        label = f"{outer.kind} {examination.symbol(outer.address)}".rstrip()
        made = examination.chain(inner.trace)
        frame = own_frame(made)
        at = f" at {frame.file}:{frame.line}" if frame and frame.line else ""
        better = "spin_lock_irqsave()" if inside == "hard interrupt" else "spin_lock_bh()"
        examination.report(
            "irq-unsafe-lock",
            Severity.ERROR,
            f"{label} is taken where a {inside} may come, which takes it too{at}: the CPU would spin for ever",
            chain=examination.chain(outer.trace),
            object=Resource(label, outer.address, made_at=made),
            advice=f"Take it with {better} wherever that interrupt may come.",
        )

    def _was_off(self, since: Held, hit: Hit) -> None:
        """Interrupts are about to be turned on that were turned off at `since`."""
        off = self._machine.time - since.time
        if off > self._interrupts_off:
            examination = self._examination
            chain = examination.chain(since.trace)
            examination.report(
                "interrupts-off",
                Severity.WARNING,
                f"interrupts were off for {off / 1e6:.0f} ms",
                chain=chain,
                object=Resource("interrupts turned on again", made_at=examination.chain(hit)),
                advice="Do the long part with interrupts on, in a work item or a threaded interrupt handler.",
            )

    def _preemption(self, off: bool, hit: Hit) -> None:
        stack = self._addresses.stack_of(hit.registers.sp)
        if off:
            state = self._cpu.state(hit.registers)
            self._book.by(stack).append(Held(_PREEMPTION, 0, self._trace(hit), state, self._machine.time))
        else:
            self._book.release(stack, _PREEMPTION, 0)

    def _interrupts(self, off: bool, hit: Hit) -> None:
        stack, state = self._addresses.stack_of(hit.registers.sp), self._cpu.state(hit.registers)
        if off and state.interrupts:
            self._book.by(stack).append(Held(_INTERRUPTS, 0, self._trace(hit), state, self._machine.time))
        elif not off and (found := self._book.release(stack, _INTERRUPTS, 0)):
            self._was_off(found, hit)

    # -- what stays open ---------------------------------------------------------------------------------------

    def _entered(self, hit: Hit) -> None:
        """A system call begins: the one before has returned to user space, and must have left nothing open."""
        if self._examination.module is None:
            return
        stack, state = self._addresses.stack_of(hit.registers.sp), self._cpu.state(hit.registers)
        if self._book.held.get(stack) or state.count != self._base:
            self._report_open(stack, state, "on return to user space")

    def _returning(self, hit: Hit) -> None:
        """A system call is over: interrupts that the module has turned off must be on again."""
        if not self._book.held:
            return
        stack, state = self._examination.box.arch.addresses.stack_of(hit.registers.sp), self._cpu.state(hit.registers)
        held = self._book.held.get(stack, [])
        for one in [one for one in held if one.kind == _INTERRUPTS]:
            held.remove(one)
            if not state.interrupts:
                self._report_off(one)
        if held:
            self._report_open(stack, state, "on return to user space")

    def _report_off(self, held: Held) -> None:
        chain = self._examination.chain(held.trace)
        self._examination.report(
            "lock-imbalance",
            Severity.ERROR,
            "interrupts are still off on return to user space",
            chain=chain,
            advice="Undo it on each way out of the function, error paths too: local_irq_restore().",
        )

    def _report_open(self, stack: int, state: CpuState, when: str) -> None:
        """Report what is held by this task, or switched off, and is so by the kernel's own account too: what was not
        seen to be released may have been, by somebody else."""
        examination, broken = self._examination, False
        for held in self._book.held.pop(stack, []):
            label = f"{held.kind} {examination.symbol(held.address)}".rstrip()
            if held.is_lock:
                still, verb = self._is_held(held.kind, held.address), "is still held"
            elif held.kind == _RCU:
                still, verb = bool(state.rcu), "is still open"
            else:
                still, verb = held.kind == _PREEMPTION and bool(state.count & 0xFF), "is still off"
            if still:
                chain = examination.chain(held.trace)
                examination.report(
                    "lock-imbalance",
                    Severity.ERROR,
                    f"{label} {verb} {when}",
                    chain=chain,
                    object=Resource(label, held.address, made_at=chain),
                    advice="Undo it on each way out of the function, error paths too.",
                )
                broken |= held.kind in (*SPINNING, _PREEMPTION, _RCU)
        self._base = state.count  # a count that is off stays off: once is enough
        if broken:
            raise BoxError("the kernel cannot go on: the module has left it where nothing may sleep", log=[])

    def _died(self, hit: Hit) -> None:
        """A task ends: what it held cannot be told from what the next one holds on the same stack."""
        self._book.held.pop(self._addresses.stack_of(hit.registers.sp), None)

    # -- the stack ---------------------------------------------------------------------------------------------

    def _is_deep(self, report: WatchReport) -> None:
        if self._cpu.stack_of(self._cpu.current) == self._addresses.stack_of(report.address):
            self._deepest = report, self._examination.trace()

    def _report_depth(self) -> None:
        if self._deepest is None:
            return
        (report, trace), self._deepest = self._deepest, None
        self._examination.report(
            "stack-depth",
            Severity.ERROR if report.size > _NEARLY_ALL else Severity.WARNING,
            f"{report.size} of {self._addresses.thread_size} bytes of the stack are in use",
            chain=self._examination.chain(trace),
            advice="Allocate large local variables with kmalloc(), and do not recurse.",
        )

    # -- traces ------------------------------------------------------------------------------------------------

    def _trace(self, hit: Hit) -> Trace:
        """The calls that led here; of those by the same call instruction in a frame at the same place the first's will
        do."""
        watch, sp = self._examination.box.inspect.watch, hit.registers.sp
        key = (watch.caller if hit.probe.when & FROM_MODULE else hit.registers.pc), sp
        if key not in self._traces:
            self._traces[key] = self._examination.trace(hit, limit=24)
        return self._traces[key]


def _sleep_advice(name: str, has_flags: bool) -> str:
    if has_flags:
        return "Pass GFP_ATOMIC here, or allocate before."
    if name in context_table().faults:
        return "Copy to or from a buffer of the kernel, and that from or to user space where sleeping is allowed."
    return "Move it out of the section, or do it in a work item."


def _places(examination: Examination) -> list[int]:
    """Where the module's code may turn preemption or interrupts off and on."""
    placement = examination.placement
    if placement is None:
        return []
    starts = placement.starts
    return [starts[section] + offset for section, offset in _sites(examination.file) if section in starts]


@lru_cache(maxsize=4)
def _sites(file: ModuleFile) -> tuple[tuple[int, int], ...]:
    """(section, offset) of instructions that have a relocation against the variable that counts, or against the
    operations that the kernel replaces by cli and sti:

        65 ff 05 RELOCATION    65 ff 04 25 RELOCATION    incl %gs:__preempt_count
        ff 15 RELOCATION       ff 14 25 RELOCATION       call *pv_ops.irq.irq_disable
    """
    if not any(found.name in _STATES for found in file.imports):
        return ()
    symbols, states = list(file.elf.symbols()), {name.encode() for name in _STATES}
    found = []
    for number, section in enumerate(file.elf.sections):
        if section.type != SHT_RELA or not file.elf.section_at(section.info).flags & SHF_EXECINSTR:
            continue
        code = file.elf.data(section.info)
        for offset, _, symbol, _ in file.elf.relocations(number, symbols):
            if symbol is not None and symbol.name in states:
                start = next((n for n in (4, 3, 2) if code[offset - n : offset] in _BEGINNINGS[n]), 0)
                if start:
                    found.append((section.info, offset - start))
    return tuple(found)
