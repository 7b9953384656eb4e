"""An examination: one life of a module in a clean box, with checks that watch it.

    examination = Examination(box, ModuleFile("hello.ko"), [Memory(), LeftBehind()])
    for finding in examination.run(exercise):
        print(finding)

    reset -> attach -> insmod: linked -> init -> exercise -> rmmod: exit -> settle -> gone -> detach
                                  failed init ----------------------------^

What is watched is decided by the checks alone; the box, the kernel and the module are as they are anywhere else.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from kobox.arch.unwind import StackFrame
from kobox.box.box import Box
from kobox.box.inspect.oops import KernelReport
from kobox.box.inspect.printk import LogRecord
from kobox.box.inspect.probes import FROM_MODULE, Callback, Hit, Probe
from kobox.box.inspect.symbols import LoadedAt
from kobox.checks.module.layout import Placement
from kobox.checks.module.sources import SourceLines
from kobox.checks.module.tail_calls import TailCalls
from kobox.checks.report.finding import (
    Chain,
    Finding,
    Frame,
    Resource,
    Severity,
    TwoCpuSchedule,
    chain_of,
    frame_of,
)
from kobox.checks.resources.pending_work import PendingWork
from kobox.errors import (
    BoxError,
    BoxHungError,
    BoxTimeoutError,
    KoboxError,
    ModuleFormatError,
    ModuleLoadError,
    ModuleUnloadError,
)
from kobox.ko.demangle import demangle
from kobox.ko.elf import SHF_EXECINSTR
from kobox.ko.modulefile import ModuleFile
from kobox.machine.native_core import Event

SETTLE = 2.0
"""Virtual seconds that a box is given after unload: RCU callbacks, delayed work and what timers free."""


Exercise = Callable[[Box], Any]

_STRIDE = 16  # basic blocks at most after which the CPU of a kernel that hangs is looked at again
_LOOKS = 2000  # and how often
_SIZE_WARNINGS = (" mm/page_alloc.c:", " mm/util.c:", " mm/slab_common.c:", " mm/vmalloc.c:", " mm/slub.c:")


@dataclass(frozen=True, slots=True)
class Trace:
    """The calls at one moment, as addresses: cheap to take and to keep. `Examination.chain` says what they are."""

    frames: tuple[StackFrame, ...]
    placement: Placement | None  # where the module lay then


@dataclass(frozen=True, slots=True)
class Counted:
    """A kobject: memory that holds it is freed by its release function, when nobody has a reference."""

    what: str
    trace: Trace


@dataclass(frozen=True, slots=True)
class Shown:
    """A file of debugfs that shows a variable: its dentry, and its name."""

    entry: int
    name: str


class Stage(StrEnum):
    """What goes on in an examination."""

    BEFORE = "before"
    INIT = "init"
    EXERCISE = "exercise"
    EXIT = "exit"
    FAILED = "failed"  # init has returned an error
    AFTER = "after"


class Check:
    """What watches a module for one kind of mistake. One object serves one examination after the other."""

    name = ""

    def attach(self, examination: Examination) -> None:
        """The box is clean and the module not there yet: set probes."""

    def linked(self, examination: Examination) -> None:
        """The module is in memory (`examination.module`), its init has not run."""

    def initialised(self, examination: Examination) -> None:
        """The module's init has returned, and said that all is well; nothing has been done after that."""

    def exited(self, examination: Examination) -> None:
        """The module's exit function has returned, or its init with an error; nothing has been done after that."""

    def leaving(self, examination: Examination) -> None:
        """The module is about to be freed: its exit has returned, or its init failed; its memory is still there."""

    def gone(self, examination: Examination) -> None:
        """The module is unloaded and the box has settled: report what is left."""

    def stuck(self, examination: Examination) -> None:
        """The module cannot be unloaded."""

    def detach(self, examination: Examination) -> None:
        """The examination is over, whatever became of it: take everything away that `attach` has set."""

    def explain(self, finding: Finding) -> Finding:
        """The same finding of the kernel's own, or a better one: asked after `detach`."""
        return finding


class Examination:
    """One load, exercise and unload of a module under the eyes of `checks`. See the module's docstring."""

    def __init__(
        self, box: Box, file: ModuleFile, checks: Sequence[Check], *, parameters: str = "", loads: int = 1
    ) -> None:
        self.box = box
        self.file = file
        self.checks = list(checks)
        self.parameters = parameters
        self.loads = loads
        self.stage = Stage.BEFORE
        self.module: LoadedAt | None = None
        self.placement: Placement | None = None  # of the module that is loaded, or was last
        self.findings: list[Finding] = []
        self.unchecked: list[str] = []  # what checks could not look at, in words
        self.error: Exception | None = None  # what ended it early: init's error, a dead box
        self.lives = 0  # how often the module was loaded and unloaded again
        self.armed: dict[int, Trace] = {}  # timers, work items and their kin: who has armed them last
        self.counted: dict[int, Counted] = {}  # kobjects that the module has made ready, by address
        self.shown: dict[int, Shown] = {}  # files that show variables, by the variable's address
        self.fault = ""  # the ID of what is made to fail
        self.told_of_failures: list[Callable[[int], None]] = []  # each is given the error of a call that fails
        self._driven = False  # others load and unload it
        self._gone = False  # the module has left, and the box has not settled yet
        self._keys: set[Any] = set()
        self._probes: list[Any] = []
        self._of_this_life: list[Any] = []  # probes on the module's own functions
        self._attached: list[Check] = []
        self._watched: set[tuple[int, int]] = set()  # code that the machine looks at: (start, size)
        self._frames: dict[int, Frame] = {}  # of the kernel's own code, by address
        self._tail_calls = TailCalls(box, file)
        self.sources = SourceLines(file)

    # -- for checks --------------------------------------------------------------------------------------------

    def report(
        self,
        kind: str,
        severity: Severity,
        message: str,
        *,
        chain: Chain = (),
        object: Resource | None = None,
        advice: str = "",
        records: Sequence[LogRecord] = (),
        other: Chain = (),
        schedule: TwoCpuSchedule | None = None,
    ) -> None:
        """Add a finding, once for each mistake."""
        found = Finding(
            kind, severity, message, chain, object, str(self.stage), self.fault, advice, tuple(records), other, schedule
        )
        if found.key not in self._keys:
            self._keys.add(found.key)
            self.findings.append(found)

    def leave_out(self, what: str) -> None:
        """Say what cannot be looked at here, in words: nothing that was not checked is called clean."""
        if what not in self.unchecked:
            self.unchecked.append(what)

    def probe(
        self, where: str | int, on_entry: Callback | None = None, on_return: Callback | None = None, *, when: int = 0
    ) -> Probe:
        """A probe for the length of the examination; `when` as for `Probes.add`. With FROM_MODULE it counts what the
        module's own code calls."""
        probe = self.box.probe(where, on_entry, on_return, when=when)
        self._probes.append(probe)
        return probe

    def probe_code(self, address: int, on_entry: Callback | None = None, on_return: Callback | None = None) -> Probe:
        """A probe on the module's own code, for as long as the module is there."""
        probe = self.box.probe(address, on_entry, on_return)
        self._of_this_life.append(probe)
        return probe

    def trace(self, hit: Hit | None = None, *, limit: int = 48, caller: int = 0) -> Trace:
        """The calls at this moment. A call that the module has made by a jump, at the end of a function, leaves
        nothing on the stack: in a probe that is told by FROM_MODULE, or with `caller`, it stands in the chain all the
        same."""
        frames = self.box.inspect.unwinder.walk(hit.registers if hit is not None else None, limit=limit)
        if hit is not None and not caller and len(frames) > 1:
            watch = self.box.inspect.watch
            caller = watch.caller if hit.probe.when & FROM_MODULE or watch.from_module else 0
        if caller and len(frames) > 1 and caller != frames[1].address:
            frames = (frames[0], StackFrame(caller, frames[0].cfa, True), *frames[1:])
        return Trace(frames, self.placement)

    def chain(self, trace: Trace | Hit | None = None) -> Chain:
        """What calls a trace holds (None: those of this moment), innermost first: kernel functions with their offsets,
        the module's with file and line and with the functions inlined there."""
        if not isinstance(trace, Trace):
            trace = self.trace(trace)
        found: list[Frame] = []
        for frame in trace.frames:
            place = trace.placement.find(frame.inside) if trace.placement is not None else None
            if place is None:
                found.append(self._kernel_frame(frame))
            else:
                found.extend(self._module_frames(frame, *place))
        return self._with_tail_call(tuple(found), trace.placement)

    def _with_tail_call(self, chain: Chain, placement: Placement | None) -> Chain:
        """The same calls, with the frame of a function of the module that ended in a jump to the kernel's code."""
        if placement is None or not chain or any(frame.module for frame in chain):
            return chain
        found = self._tail_calls.find([frame.function for frame in chain], placement)
        place = placement.find(found[0]) if found is not None else None
        if found is None or place is None:
            return chain
        return (*chain[: found[1]], *self._module_frames(StackFrame(found[0], 0, True), *place), *chain[found[1] :])

    def symbol(self, address: int) -> str:
        """The module's own name for an address: of the variable or function there; "" for other places."""
        place = self.placement.find(address) if self.placement is not None else None
        if place is None:
            return ""
        for variable in self.file.debug.variables:
            if variable.section == place[0] and variable.offset <= place[1] < variable.offset + variable.size:
                return variable.name
        function = self.file.debug.function_at(*place)
        return function.name if function else ""

    def in_module(self, address: int) -> bool:
        """Whether an address lies in the module, while it is loaded."""
        return self.module is not None and address in self.module

    def _kernel_frame(self, frame: StackFrame) -> Frame:
        if frame.address not in self._frames:
            symbol = None
            with suppress(KoboxError, ValueError):  # the list of modules may be spoilt
                symbol = self.box.inspect.symbols.lookup(frame.inside)
            if symbol is None:
                return Frame(f"{frame.address:#x}", address=frame.address)
            found = Frame(demangle(symbol.name), frame.address - symbol.address, symbol.module, address=frame.address)
            if symbol.module:
                return found
            self._frames[frame.address] = found
        return self._frames[frame.address]

    def _module_frames(self, frame: StackFrame, section: int, offset: int) -> list[Frame]:
        function = self.file.debug.function_at(section, offset)
        name = function.name if function else self.file.elf.section_name(section).decode(errors="replace")
        start = function.offset if function else 0
        behind = frame.address - frame.inside
        module = self.file.name
        try:
            places = self.file.debug.lines(section, offset)
        except ModuleFormatError:
            places = ()
        if not places:
            return [Frame(demangle(name), offset + behind - start, module, address=frame.address)]
        shown = demangle(name)
        return [
            Frame(
                shown if shown != name and not place.inlined else place.function or name,
                0 if place.inlined else offset + behind - start,
                module,
                place.file,
                place.line,
                place.inlined,
                frame.address,
            )
            for place in places
        ]

    # -- running -----------------------------------------------------------------------------------------------

    def run(self, exercise: Exercise | None = None) -> list[Finding]:
        """Do it, in a box reset before; the findings, in order. Raises what `exercise` raises, but for the box's own
        errors: those end the examination, and are findings or `error`."""
        self.begin()
        try:
            for _ in range(self.loads):
                if not self._live(exercise):
                    break
        except BoxError as error:
            self.error = error
            self._give_up(error)
        finally:
            self.finish()
        return self.findings

    def drive(self, tests: Sequence[Exercise]) -> list[Finding]:
        """Do each of `tests`, which load, use and unload the module themselves, in a box reset before; the findings."""
        self._driven = True
        for test in tests:
            self.stage = Stage.BEFORE
            self.begin()
            try:
                self._exercise(test)
            except BoxError as error:
                self.error = error
                self._give_up(error)
            finally:
                self.lives += self._gone
                self.finish()
                self.module, self._gone = None, False
        return self.findings

    def begin(self) -> None:
        """Make the box clean and let the checks begin: for those who load and unload the module themselves, and call
        `finish` in the end."""
        self.box.reset()
        self.box.inspect.watch.forget()
        self._watched.clear()
        try:
            for check in self.checks:
                self._attached.append(check)
                check.attach(self)
            self._watch_linking()
        except BaseException:
            self._attached.pop()  # the one that failed has nothing to take away
            self.finish()
            raise

    def came_back(self) -> None:
        """The box was restored to a state in which the module is loaded: it has not left."""
        self._gone = False
        self.stage = Stage.EXERCISE

    def finish(self) -> None:
        """Let the checks end, and hear what the kernel has to say."""
        try:
            if self._gone and self.box.alive:
                self._over(Stage.AFTER)
        except BoxError as error:  # what the module has left behind ends the kernel
            self.error = error
            self._give_up(error)
        finally:
            for check in self._attached:
                check.detach(self)
            self._attached.clear()
            for probe in (*self._probes, *self._of_this_life):
                probe.remove()
            self._probes.clear()
            self._of_this_life.clear()
            if self.placement is not None:
                self._tail_calls.note_executed(self.placement)
            self.box.inspect.watch.forget()
            self._hear_the_kernel()

    def _live(self, exercise: Exercise | None) -> bool:
        self.stage = Stage.INIT
        try:
            loaded = self.box.insmod(self.file.content, self.parameters)
        except ModuleLoadError as error:
            self.error = error
            if self.lives:
                self.report(
                    "reload-failed",
                    Severity.ERROR,
                    f"load number {self.lives + 1} failed, the first worked: {error.strerror}",
                    advice="Its exit function, or its statics, leave something behind that the next init trips over.",
                )
            self._over(Stage.FAILED)
            return False
        self.stage = Stage.EXERCISE
        self._drop_probes_of_init()
        if exercise is not None:
            self._exercise(exercise)
        if self._gone:  # the exercise has unloaded it
            self._over(Stage.AFTER)
            self.lives += 1
            return True
        self.stage = Stage.EXIT
        try:
            loaded.unload()
        except ModuleUnloadError as error:
            self.error = error
            for check in self.checks:
                check.stuck(self)
            return False
        self._over(Stage.AFTER)
        self.lives += 1
        return True

    def _exercise(self, exercise: Exercise) -> None:
        """Run it, and close what it has left open: a file that is open keeps the module."""
        first_free = self.box.syscall("open", "/", 0)
        self.box.syscall("close", first_free)
        try:
            exercise(self.box)
        except BoxError:
            raise
        except Exception as error:
            if self.fault:  # a call that fails is what was asked for
                return
            self.report(
                "exercise-failed",
                Severity.ERROR,
                f"the exercise failed: {type(error).__name__}: {error}",
                advice="The module does not do what the exercise expects, or the exercise expects the wrong thing.",
            )
        finally:
            if self.box.alive:
                with suppress(OSError):
                    self.box.syscall("close_range", first_free, 0xFFFFFFFF, 0)

    def _over(self, stage: Stage) -> None:
        self.stage = stage
        self._gone = False
        self.box.sleep(SETTLE)
        for check in self.checks:
            check.gone(self)
        self.module = None
        for probe in self._of_this_life:
            probe.remove()
        self._of_this_life.clear()
        if self.placement is not None:
            self._tail_calls.note_executed(self.placement)
        self.box.inspect.watch.leave()
        self._watched.clear()

    def _watch_linking(self) -> None:
        name = self.file.name

        def came(hit: Hit) -> None:
            found = next((part for part in self.box.inspect.symbols.modules() if part.name == name), None)
            if found is not None and (self.module is None or self._gone):
                self._gone = False
                self.module = found
                if self._driven:
                    self.stage = Stage.INIT
                self.placement = Placement.of(self.box, found, self.file)
                self._watch_code()
                self._watch_functions(found)
                for check in self.checks:
                    check.linked(self)

        def leaves(hit: Hit) -> None:
            if self.module is not None and hit.registers.argument(0) == self.module.address:
                self._gone = True
                for check in self.checks:
                    check.leaving(self)

        def has_come(hit: Hit) -> None:
            if self._driven and hit.result == 0:
                self.stage = Stage.EXERCISE
                self._drop_probes_of_init()

        def must_go(hit: Hit) -> None:
            self.stage = Stage.EXIT

        self.probe("do_init_module", came, has_come if self._driven else None)
        self.probe("free_module", leaves)
        if self._driven:
            name_of_call = f"{self.box.arch.syscalls.prefix}delete_module"
            if self.box.inspect.symbols.of_kernel(name_of_call) is not None:
                self.probe(name_of_call, must_go)

    def _watch_functions(self, module: LoadedAt) -> None:
        """Be told when init and exit have returned."""
        btf, read = self.box.inspect.symbols.btf, self.box.machine.read

        running = [True]  # init; later its place may be another module's, which the kernel loads for this one

        def init_returned(hit: Hit) -> None:
            if self.module is module and running:
                running.clear()
                failed = (hit.result or 0) >> 31 & 1  # an int; what is above zero is a success, with a warning
                for check in self.checks:
                    (check.exited if failed else check.initialised)(self)
                if not failed:  # else the module goes as a whole, after what is still to run (do_init_module)
                    self._leave_init_code()

        def exit_returned(hit: Hit) -> None:
            if self.module is module:
                for check in self.checks:
                    check.exited(self)

        def exit_begins(hit: Hit) -> None:
            self.stage = Stage.EXIT

        for member, begins, returned in (("init", None, init_returned), ("exit", exit_begins, exit_returned)):
            function = int.from_bytes(read(module.address + btf.offset("module", member), 8), "little")
            if function:
                self.probe_code(function, begins, returned)

    def _leave_init_code(self) -> None:
        """Init has run: the kernel frees its code, and another module may come to lie there."""
        assert self.placement is not None
        for number, start in self.placement.starts.items():
            if self.file.elf.section_name(number).startswith(b".init"):
                self.box.inspect.watch.retire(start)

    def _drop_probes_of_init(self) -> None:
        """Remove the probes on code of init: another module that lies there has functions of its own."""
        if self.placement is None:
            return
        for probe in list(self._of_this_life):
            place = self.placement.find(probe.address or 0)
            if place is not None and self.file.elf.section_name(place[0]).startswith(b".init"):
                self._of_this_life.remove(probe)
                probe.remove()

    def _give_up(self, error: BoxError) -> None:
        """A call that did not come back is a finding; what has killed a process or the kernel stands in the kernel's
        log."""
        if isinstance(error, (BoxHungError, BoxTimeoutError)):
            how = "it spins" if isinstance(error, BoxHungError) else "it sleeps for something that does not happen"
            chain, asleep = self._where_stuck()
            if isinstance(error, BoxHungError) and asleep:
                how = "it sleeps, and something else spins"
            if isinstance(error, BoxHungError) and not any(frame.module for frame in chain):
                chain = self._comes_by() or chain
            if not chain and (frame := frame_of(error.pc)):
                chain = tuple(self.with_lines(frame, True))
            self.report(
                "hang",
                Severity.ERROR,
                f"{self.stage!s} does not come back: {how}",
                chain=chain,
                advice="Look for a loop that nobody ends, a lock taken twice, a wait without its wake-up.",
            )

    def _where_stuck(self) -> tuple[Chain, bool]:
        """The calls through the module that do not come back, and whether it is a task that sleeps there; () when
        neither what runs now nor a task that sleeps is in it."""
        module, box = self.module, self.box
        if module is None:
            return (), False
        try:
            running = box.inspect.unwinder.walk()
            chain = self.chain(Trace(running, self.placement))
            if any(frame.module == self.file.name for frame in chain):
                return chain, False
            asleep = PendingWork(box).asleep_in(module, box.machine.sp)
        except (KoboxError, ValueError):
            return (), False
        return self.chain(Trace(asleep, self.placement)), bool(asleep)

    def _comes_by(self) -> Chain:
        """The calls through the module where the kernel goes round and calls it each time, as a timer that is always
        due: the CPU is looked at a few blocks later, until it is in the module; () when it does not come there."""
        machine = self.box.machine
        with suppress(KoboxError, ValueError):
            chance = random.Random(_LOOKS)  # steps of one length might go past the module each time
            for _ in range(_LOOKS):
                if machine.run(blocks=chance.randint(1, _STRIDE)) is not Event.SLICE:
                    break
                if self.in_module(machine.pc):
                    return self.chain(Trace(self.box.inspect.unwinder.walk(), self.placement))
        return ()

    def _watch_code(self) -> None:
        """Tell the machine which code is the module's, for probes' FROM_MODULE."""
        assert self.placement is not None
        for number, start in self.placement.starts.items():
            section = self.file.elf.section_at(number)
            if section.flags & SHF_EXECINSTR and section.size and (start, section.size) not in self._watched:
                self._watched.add((start, section.size))
                self.box.inspect.watch.code(start, start + section.size)

    def _hear_the_kernel(self) -> None:
        """What the kernel itself has said is wrong."""
        with suppress(KoboxError):
            for found in kernel_findings(self.box):
                frames = found.chain or _named_in(found.message)
                chain = tuple(part for n, frame in enumerate(frames) for part in self.with_lines(frame, not n))
                chain = self._with_tail_call(chain, self.placement)
                message = found.message + self._in_memory_gone(found.message)
                found = replace(found, chain=chain, message=message, severity=self._severity(found, chain))
                for check in self.checks:
                    found = check.explain(found)
                self.report(
                    found.kind,
                    found.severity,
                    found.message,
                    chain=found.chain,
                    object=found.object,
                    advice=found.advice,
                    records=found.records,
                )

    def _severity(self, found: Finding, chain: Chain) -> Severity:
        """A warning of the kernel's in a call of the module is an error of the module; what the kernel says while it
        runs another module only is not blamed on this one. That a size is too large, a driver may leave to the
        allocator."""
        if found.kind != "kernel-warning" or any(place in found.message for place in _SIZE_WARNINGS):
            return found.severity
        modules = {frame.module for frame in chain if frame.module}
        if self.file.name in modules:
            return Severity.ERROR
        return Severity.NOTE if modules else found.severity

    def _in_memory_gone(self, message: str) -> str:
        """What a page fault's address was, when the module lay there and is gone."""
        fault = re.search(r"page fault for address: ([0-9a-f]+)", message)
        gone = self.module is None or self._gone or self.stage in (Stage.FAILED, Stage.AFTER)
        if fault is None or not gone or self.placement is None:
            return ""
        address = int(fault[1], 16)
        if self.placement.find(address) is None:
            return ""
        return f": {self.symbol(address) or 'memory'} of {self.file.name}, which is gone"

    def with_lines(self, frame: Frame, exact: bool) -> list[Frame]:
        """A frame of the kernel's own report, with the lines of the module's source."""
        if frame.module != self.file.name:
            return [frame]
        function = next((one for one in self.file.debug.functions if one.name == frame.function), None)
        if function is None:
            return [frame]
        address = function.offset + frame.offset
        if not exact and not frame.offset and self.placement is not None:
            # behind a call that never returns, at the end of another function, and perhaps of another section
            behind = self.placement.starts.get(function.section, 0) + function.offset
            place = self.placement.find(behind - 1)
            if place is not None:
                return self._module_frames(StackFrame(behind, 0), *place)
        return self._module_frames(StackFrame(address, 0, exact), function.section, address - (not exact))


def kernel_findings(box: Box) -> list[Finding]:
    """What the kernel of a box has reported since it was clean, as findings."""
    return [
        Finding(
            found.kind,
            Severity(found.severity),
            _sentence(found),
            chain_of([record.text for record in found.records]),
            records=tuple(found.records),
        )
        for found in box.findings
    ]


def _named_in(message: str) -> Chain:
    """The function of a module that a line of the kernel's blames, where the kernel prints no calls."""
    found = re.search(r"^seq_file: buggy \.next function (\w+) \[(\w+)\]", message)  # fs/seq_file.c
    return (Frame(found[1], 0, found[2]),) if found else ()


def _sentence(found: KernelReport) -> str:
    """The kernel's own sentence: what WARN() was given stands before the line that begins with WARNING."""
    texts = [record.text for record in found.records]
    if not found.message.startswith("WARNING: ") or found.message not in texts:
        return found.message
    before = [text for text in texts[: texts.index(found.message)] if not text.startswith("------------[")]
    return f"{before[0]} ({found.message})" if before else found.message
