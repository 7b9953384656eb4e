"""What a module does where it must not: sleeping in atomic context, locks that are not released, taken twice or in
opposite orders, interrupts that are off for long, stacks that are used deeply.

The kernel's own state is asked, not guessed: preempt_count, IF, the depth of RCU sections, the words of the locks. What
is written into the module's own code (preempt_disable(), local_irq_disable()) has relocations against __preempt_count
and pv_ops, and is watched there, so that a finding can say where it was. The tables stand in context.toml.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache

from kobox.box.inspect.cpu_state import CpuReader, CpuState
from kobox.box.inspect.objects import Objects
from kobox.box.inspect.syscall_exit import syscall_exit
from kobox.checks.context import own_places
from kobox.checks.context.lock_rules import (
    INTERRUPTS_OFF_SECTION,
    KINDS,
    PREEMPTION,
    RCU,
    context_table,
    lock_rules,
)
from kobox.checks.context.locks import SPINNING, Edge, Held, LockBook
from kobox.checks.module.callsites import CodeMap
from kobox.checks.report.finding import Chain, Resource, Severity, own_frame
from kobox.checks.runner.session import Check, Examination, Trace
from kobox.errors import BoxError, BoxHungError, KoboxError
from kobox.ko.elf import SHF_EXECINSTR, SHT_RELA
from kobox.ko.modulefile import ModuleFile
from kobox.machine.watch import WatchReport
from kobox.machine.watch_context import (
    INTERRUPTS,
    RESTORES,
    ContextWatch,
    HeldLock,
    Question,
    Role,
    Sleeps,
    Word,
)

STACK_LIMIT = 8192
"""Bytes of a task's 16 KiB stack that a module's functions may reach down to: interrupts need room too."""
_NEARLY_ALL = 14336  # bytes of it: seven eighths
INTERRUPTS_OFF = 10e-3
"""Virtual seconds that interrupts may be off."""

_STATES = ("__preempt_count", "pcpu_hot", "pv_ops")
_MANY = 400  # places in the code that are watched at most
_WHY = {RCU: "an RCU read-side section is open", PREEMPTION: "preemption is off"}
_FREES = {"kfree": 0, "kvfree": 0, "vfree": 0, "kmem_cache_free": 1}
"""Functions that free memory, and the number of the argument that points to it."""
_BEGINNINGS = {
    4: (b"\x65\xff\x04\x25", b"\x65\xff\x0c\x25", b"\x65\x83\x04\x25", b"\x65\x83\x2c\x25"),
    3: (b"\x65\xff\x05", b"\x65\xff\x0d", b"\x65\x83\x05", b"\x65\x83\x2d", b"\xff\x14\x25"),
    2: (b"\xff\x15",),
}


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
        self._undo: list[Callable[[], None]] = []
        self._deepest: tuple[WatchReport, Trace] | None = None
        self._can_look = False
        self._functions: dict[int, str] = {}  # what is watched, by address
        self._places: list[int] = []  # in the module's own code
        self._lines: dict[int, tuple[str, int]] = {}  # of those that are no instruction of their own
        self._forget_all()
        try:
            self._cpu = CpuReader(examination.box)
        except KoboxError as error:
            examination.leave_out(f"context: {error.message}")
            return
        if not examination.box.inspect.unwinder.reliable:
            examination.leave_out("call chains are guessed: this kernel has no tables for unwinding")
        self._leave_out_uncounted(examination)
        watch = examination.box.inspect.watch
        self._context = ContextWatch(watch)
        uncounted = sum(1 << KINDS.index(kind) for kind in self._uncounted)
        self._context.open(self._cpu.places._replace(uncounted=uncounted), self._interrupts_off)
        self._can_look = True
        self._set_rules({found.name for found in examination.file.imports})
        watch.stack_limit = self._stack_limit
        self._undo = [watch.deep_stacks.subscribe(self._is_deep), self._context.subscribe(self._asked)]

    def _leave_out_uncounted(self, examination: Examination) -> None:
        """What a kernel does not count is known from debugging information alone."""
        counted = self._cpu.counts_preemption
        self._uncounted: tuple[str, ...] = () if counted else (*SPINNING, PREEMPTION)
        if not counted and not examination.file.debug.available:
            examination.leave_out(
                "spin locks, preempt_disable(): this kernel does not count them (CONFIG_PREEMPT_COUNT), and the module "
                "has no debugging information"
            )
        if not self._cpu.counts_rcu:
            self._uncounted += (RCU,)
            if not examination.file.debug.available:
                examination.leave_out(
                    "RCU read-side sections: this kernel does not count them (CONFIG_PREEMPT_RCU), and the module has "
                    "no debugging information"
                )

    def linked(self, examination: Examination) -> None:
        self._forget_all()
        if self._can_look:
            self._context.reset()
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
        if self._context.held(stack):
            self._report_open(stack, state, when)
            self._set_base(0)

    def gone(self, examination: Examination) -> None:
        self._leave_places()
        self._report_depth()

    def detach(self, examination: Examination) -> None:
        for undo in self._undo:
            undo()
        self._report_depth()

    def _forget_all(self) -> None:
        self._book = LockBook()
        self._traces: dict[tuple[int, int], Trace] = {}
        self._contexts: dict[int, dict[str, tuple[Held, CpuState]]] = {}  # lock -> where it was taken -> how
        self._told: set[frozenset[int]] = set()  # circles of locks that were reported
        self._base = 0  # what preempt_count was when it was last reported

    def _set_base(self, count: int) -> None:
        self._base = count
        self._context.base(count)

    # -- what is watched ---------------------------------------------------------------------------------------

    def _set_rules(self, imports: set[str]) -> None:
        """Tell the watcher what the kernel's functions do that the module calls."""
        table, rules = context_table(), dict[str, dict[str, int]]()
        self._flags = {name: number for name, number in table.flags.items() if name in imports}
        for name in imports:  # what takes GFP flags may sleep by them: its type says which argument that is
            types = [one.type for one in (self._examination.box.inspect.symbols.btf.parameters(name) or ())[:6]]
            if "gfp_t" in types and not name.startswith("__xa_"):  # those let their lock go before they sleep
                self._flags[name] = types.index("gfp_t")
        for name in table.sleeps | table.faults:
            rules.setdefault(name, {})["sleeps"] = Sleeps.ALWAYS
        for name, argument in self._flags.items():
            rules.setdefault(name, {}).update(sleeps=Sleeps.BY_FLAGS, argument=argument)
        for kind in table.locks:
            for name, rule in lock_rules(kind, self._objects):
                rules.setdefault(name, {}).update(rule)
        for name, argument in _FREES.items():
            rules.setdefault(name, {}).update(role=Role.FREES, argument=argument)
        for name in sorted(imports & set(rules)):
            self._set_rule(name, rules[name])
        self._set_rule(self._examination.box.arch.syscalls.entry, {"role": Role.ENTERS_CALL})
        over = syscall_exit(self._examination.box)
        if over is not None:
            self._set_rule_at(over, "", {"role": Role.LEAVES_CALL})
        self._set_rule("do_exit", {"role": Role.ENDS_TASK})

    def _set_rule(self, name: str, rule: dict[str, int]) -> None:
        symbols = self._examination.box.inspect.symbols
        if name in symbols:
            self._set_rule_at(symbols.address(name), name, rule)

    def _set_rule_at(self, address: int, name: str, rule: dict[str, int]) -> None:
        role = Role(rule.get("role", Role.NONE))
        anybody = role in (Role.ENTERS_CALL, Role.LEAVES_CALL, Role.ENDS_TASK)
        self._context.rule(
            address,
            role,
            kind=rule.get("kind", 0),
            other=rule.get("other", 0),
            flags=rule.get("flags", 0),
            word=Word(rule.get("word", Word.NONE)),
            offset=rule.get("offset", 0),
            sleeps=Sleeps(rule.get("sleeps", Sleeps.NEVER)),
            argument=rule.get("argument", 0),
            entry=not anybody or not address & 15,
        )
        self._functions[address] = name

    def _watch_places(self, examination: Examination) -> None:
        """Watch where the module's own code turns preemption or interrupts off and on."""
        self._leave_places()
        for address in _places(examination)[:_MANY]:
            try:
                code = self._machine.read(address, 4)
            except ValueError:
                continue
            if code[0] == 0x65 and code[1] in (0xFF, 0x83, 0x81):  # incl, decl, addl, subl of %gs:__preempt_count
                down = code[2] >> 3 & 7 in ((1,) if code[1] == 0xFF else (5,))
                self._watch_place(address, PREEMPTION, off=not down)
            elif code[0] in (0xFA, 0xFB):  # cli, sti
                self._watch_place(address, INTERRUPTS_OFF_SECTION, off=code[0] == 0xFA)
        self._lines.clear()
        self._watch_inlined(examination, CodeMap(examination.file.elf))

    def _watch_place(self, address: int, kind: str, *, off: bool, register: int | None = None) -> None:
        """`register`: it holds the flags that are restored."""
        self._places.append(address)
        self._context.rule(
            address,
            Role.TURNS_OFF if off else Role.TURNS_ON,
            kind=KINDS.index(kind),
            flags=INTERRUPTS * (kind == INTERRUPTS_OFF_SECTION) | RESTORES * (register is not None),
            entry=False,
            own=True,
            register=register,
        )

    def _watch_inlined(self, examination: Examination, code: CodeMap) -> None:
        """Watch what functions do that are inline on this processor, or in this kernel."""
        for section_kind, found in (
            (RCU, own_places.rcu_sections(examination) if RCU in self._uncounted else ()),
            (PREEMPTION, own_places.preemption_sections(examination) if PREEMPTION in self._uncounted else ()),
        ):
            for section in found:  # before the instruction that stands there
                self._lines[section.place.address] = section.file, section.line
                self._watch_own(section.place, Role.OPENS if section.opens else Role.CLOSES, KINDS.index(section_kind))
        rules = {
            f"_{name}": rule
            for kind in context_table().locks
            if kind.kind in SPINNING
            for name, rule in lock_rules(kind, self._objects)
        }
        takes = {name: rule["role"] != Role.RELEASES for name, rule in rules.items()}
        for place in own_places.lock_places(examination, code, takes):
            rule = rules[place.function]
            self._watch_own(place, Role(rule["role"]), rule["kind"], flags=rule["flags"] & ~RESTORES, word=Word.NUMBER)
        for place, on in own_places.interrupt_places(examination, code):
            self._watch_place(
                place.address, INTERRUPTS_OFF_SECTION, off=on is False, register=None if on else place.register
            )
        for place, _ in own_places.user_places(examination, code):
            self._watch_own(place, Role.NONE, 0, sleeps=Sleeps.ALWAYS)

    def _watch_own(
        self,
        place: own_places.OwnPlace,
        role: Role,
        kind: int,
        *,
        flags: int = 0,
        word: Word = Word.NONE,
        sleeps: Sleeps = Sleeps.NEVER,
    ) -> None:
        self._places.append(place.address)
        self._functions[place.address] = place.function
        self._context.rule(
            place.address,
            role,
            kind=kind,
            flags=flags,
            word=word,
            sleeps=sleeps,
            entry=False,
            own=True,
            register=place.register,
        )

    def _chain(self, trace: Trace) -> Chain:
        """The calls of a trace; what stands where a section without any instruction begins is the next line's."""
        chain = self._examination.chain(trace)
        place = self._lines.get(trace.frames[0].address) if trace.frames else None
        return (replace(chain[0], file=place[0], line=place[1]), *chain[1:]) if place and chain else chain

    def _leave_places(self) -> None:
        for address in set(self._places):
            self._examination.box.inspect.watch.unrule(address)
        self._places.clear()

    # -- what the watcher asks ---------------------------------------------------------------------------------

    def _asked(self, question: Question, rule: int) -> int:
        event, function = self._context.event(), self._functions.get(rule, "")
        if question is Question.TRACE:
            self._traces.setdefault((event.caller, event.sp), self._now(event, limit=24))
        elif question is Question.SLEEP:
            self._may_sleep(function, event)
        elif question is Question.DEADLOCK:
            self._would_deadlock(event)
        elif question is Question.NEW_ORDER:
            return self._is_new_order(event)
        elif question is Question.NEW_CONTEXT:
            self._look_at_interrupts(self._held(event), function)
        elif question is Question.NOT_HELD:
            self._not_held(event)
        elif question is Question.OFF:
            self._was_off(self._held(self._context.event(since=True)), event)
        elif question is Question.OPEN:
            self._look_at_open(event, entered=function == self._examination.box.arch.syscalls.entry)
        elif question is Question.FREED:
            self._book.forget(event.address)
            self._contexts.pop(event.address, None)
        return 0

    def _now(self, event: HeldLock, *, limit: int = 48) -> Trace:
        """The calls at this moment, with that which the module has made."""
        own = event.caller in self._places
        return self._examination.trace(limit=limit, caller=0 if own else event.caller)

    def _held(self, row: HeldLock) -> Held:
        trace = self._traces.get((row.caller, row.sp)) or Trace((), self._examination.placement)
        return Held(KINDS[row.kind], row.address, trace, _state(row), row.time)

    def _by(self, stack: int) -> list[Held]:
        """What is held by whoever runs on a stack, in the order of taking."""
        return [self._held(row) for row in self._context.held(stack)]

    # -- sleeping ----------------------------------------------------------------------------------------------

    def _may_sleep(self, name: str, event: HeldLock) -> None:
        state = _state(event)
        if (state.may_sleep and not self._holds_uncounted(event)) or state.is_spoilt:
            return
        if name in context_table().faults and self._cpu.faults_disabled():
            return
        self._report_sleep(name, event, state)

    def _holds_uncounted(self, event: HeldLock) -> bool:
        """Whether the task holds what forbids sleeping and this kernel does not count. A lock has to say so itself: a
        function of the kernel's may have released it."""
        return any(
            one.kind in self._uncounted and (not one.is_lock or self._is_held(one.kind, one.address))
            for one in self._by(self._addresses.stack_of(event.sp))
        )

    def _report_sleep(self, name: str, event: HeldLock, state: CpuState) -> None:
        examination = self._examination
        why, thing = state.why_not(), None
        culprit = self._culprit(self._addresses.stack_of(event.sp), state)
        if culprit is not None:
            chain = self._chain(culprit.trace)
            what = f"{culprit.kind} {examination.symbol(culprit.address)}".rstrip() if culprit.is_lock else culprit.kind
            thing = Resource(what, culprit.address, made_at=chain)
            frame = own_frame(chain)
            at = f" (since {frame.file}:{frame.line})" if frame and frame.line else ""
            why = f"{what} is held{at}" if culprit.is_lock else f"{why or _WHY.get(culprit.kind, '')}{at}"
        examination.report(
            "atomic-sleep",
            Severity.ERROR,
            f"{name}() may sleep, but {why}",
            chain=examination.chain(self._now(event)),
            object=thing,
            advice=_sleep_advice(name, name in self._flags),
        )

    def _culprit(self, stack: int, state: CpuState) -> Held | None:
        """What the module itself has taken or turned off, so that nothing may sleep now."""
        kinds = (*SPINNING, PREEMPTION, INTERRUPTS_OFF_SECTION, RCU)
        held = [one for one in self._by(stack) if one.kind in kinds]
        locks = [one for one in held if one.is_lock]
        return locks[-1] if locks else held[-1] if held else None

    # -- locks -------------------------------------------------------------------------------------------------

    def _is_new_order(self, event: HeldLock) -> int:
        """A lock is about to be taken while others are held: note in which order."""
        lock = self._held(event)
        circle, new = self._book.take(self._by(self._addresses.stack_of(event.sp)), lock)
        if circle:
            self._report_order(circle)
        return int(new)

    def _not_held(self, event: HeldLock) -> None:
        kind = KINDS[event.kind]
        if not self._is_held(kind, event.address):
            self._report_lock(
                "double-unlock",
                event,
                "is released, but nobody holds it",
                "Release it once on each way through the function.",
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

    def _would_deadlock(self, event: HeldLock) -> None:
        kind, address = KINDS[event.kind], event.address
        row = self._context.holder(address)
        holder = self._held(row) if row is not None else None
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
                    event,
                    f"is taken, but is held already: {who}",
                    "Do not take it again: split off a function that is called with the lock held.",
                    holder,
                )
                if kind in SPINNING:  # nothing comes after it
                    where = self._examination.box.inspect.symbols.describe(self._machine.registers().pc)
                    raise BoxHungError("the CPU spins on a lock that it holds", pc=where)

    def _report_lock(
        self, finding: str, event: HeldLock, message: str, advice: str, holder: Held | None = None
    ) -> None:
        examination = self._examination
        label = f"{KINDS[event.kind]} {examination.symbol(event.address)}".rstrip()
        made = examination.chain(holder.trace) if holder is not None else ()
        examination.report(
            finding,
            Severity.ERROR,
            f"{label} {message}",
            chain=examination.chain(self._now(event)),
            object=Resource(label, event.address, made_at=made),
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

    # -- interrupts --------------------------------------------------------------------------------------------

    def _look_at_interrupts(self, lock: Held, function: str) -> None:
        """A lock that an interrupt takes must not be held where that interrupt may come; functions with "_irq" and
        "_bh" in their names see to that themselves."""
        seen, state = self._contexts.setdefault(lock.address, {}), lock.state
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

    def _was_off(self, since: Held, event: HeldLock) -> None:
        """Interrupts are about to be turned on that were turned off at `since`."""
        off = event.time - since.time
        if off > self._interrupts_off:
            examination = self._examination
            chain = examination.chain(since.trace)
            examination.report(
                "interrupts-off",
                Severity.WARNING,
                f"interrupts were off for {off / 1e6:.0f} ms",
                chain=chain,
                object=Resource("interrupts turned on again", made_at=examination.chain(self._now(event))),
                advice="Do the long part with interrupts on, in a work item or a threaded interrupt handler.",
            )

    # -- what stays open ---------------------------------------------------------------------------------------

    def _look_at_open(self, event: HeldLock, *, entered: bool) -> None:
        """A system call begins: the one before has returned to user space, and must have left nothing open. Or one is
        over: interrupts that the module has turned off must be on again."""
        stack, state = self._addresses.stack_of(event.sp), _state(event)
        if entered:
            if self._examination.module is not None:
                self._report_open(stack, state, "on return to user space")
            return
        held = self._by(stack)
        off = [one for one in held if one.kind == INTERRUPTS_OFF_SECTION]
        if off:
            self._context.drop(stack, KINDS.index(INTERRUPTS_OFF_SECTION))
        for one in off if not state.interrupts else ():
            self._report_off(one)
        if len(held) > len(off):
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
        everything = self._by(stack)
        self._context.drop(stack)
        for held in everything:
            label = f"{held.kind} {examination.symbol(held.address)}".rstrip()
            if held.is_lock:
                still, verb = self._is_held(held.kind, held.address), "is still held"
            elif held.kind == RCU:
                still, verb = RCU in self._uncounted or bool(state.rcu), "is still open"
            else:
                off = PREEMPTION in self._uncounted or bool(state.count & 0xFF)
                still, verb = held.kind == PREEMPTION and off, "is still off"
            if still:
                chain = self._chain(held.trace)
                examination.report(
                    "lock-imbalance",
                    Severity.ERROR,
                    f"{label} {verb} {when}",
                    chain=chain,
                    object=Resource(label, held.address, made_at=chain),
                    advice="Undo it on each way out of the function, error paths too.",
                )
                counted = held.kind in (PREEMPTION, RCU) and held.kind not in self._uncounted
                broken |= held.kind in SPINNING or counted
        self._set_base(state.count)  # a count that is off stays off: once is enough
        if broken:
            raise BoxError("the kernel cannot go on: the module has left it where nothing may sleep", log=[])

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


def _state(row: HeldLock) -> CpuState:
    return CpuState(row.preempt_count, row.interrupts, row.rcu)


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
