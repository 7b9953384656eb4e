"""The story of a module in a box: load it, see what it did, unload it, judge.

for event in Story(box).tell([module]):
    print(event)
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kobox.apps.run_events import (
    RunVerdict,
    StoryEvent,
    counted,
    error_facts,
    first_line,
    init_facts,
    reason,
    refused,
    report_facts,
)
from kobox.apps.run_left import dangling
from kobox.apps.run_shown import parameters, references
from kobox.apps.surroundings import Surroundings
from kobox.box.box import Box
from kobox.box.inspect.gone_modules import data_of_modules
from kobox.box.inspect.module_memory import ModuleMemory, memory_of, sections_of_variables, with_variables
from kobox.box.inspect.printk import LogRecord
from kobox.box.module_handle import LoadedModule
from kobox.errors import KoboxError, ModuleLoadError, ModuleUnloadError, ProcessDiedError
from kobox.kernel.sysfs_modules import section_addresses
from kobox.ko.demangle import demangle_text
from kobox.ko.modulefile import ModuleFile

if TYPE_CHECKING:
    from kobox.apps.run_reports import RunReport
    from kobox.box.inspect.init_trace import InitOutcome
    from kobox.devices.model import HardwareModel

_LATER = 1.0  # virtual seconds that work, timers and threads of a module have, once it is loaded and once it is gone
# What a module calls to have its code called later, or by somebody else (a function's name begins so).
_CALLED_LATER = re.compile(
    r"(mod_timer|add_timer|hrtimer_(start|init|setup)|timer_|init_timer|queue_(delayed_)?work|schedule_(delayed_)?work"
    r"|delayed_work_timer|kthread_|wake_up_process|__tasklet_|call_rcu|call_srcu|kvfree_call_rcu|async_schedule"
    r"|irq_work_|request_threaded_irq|__queue_|smp_call)"
)
_SETTLING = 0.1  # virtual seconds that what is freed late has, before it counts as left behind
_DISABLING = 60  # virtual seconds that a livepatch has to be disabled
_WARNING = 4  # what is said at a higher level is no report
_KEYS = (errno.ENOKEY, errno.EKEYREJECTED, errno.EBADMSG)


class Story:
    """Tells what modules do in one box. `verdict` is complete when the telling is.

    `live`, if given, gets log events while a long call is still under way; they are not told again.
    """

    def __init__(
        self,
        box: Box,
        *,
        unload: bool = True,
        keep_going: bool = False,
        live: Callable[[StoryEvent], None] | None = None,
    ) -> None:
        self._box = box
        self._unload = unload
        self._keep_going = keep_going
        self._said = self._judged = box.log.next_seq
        self._surroundings = Surroundings(box)
        self._live = live
        self._devices: dict[HardwareModel, str] = {}  # what is plugged in, and the driver that has it
        self._files: list[ModuleFile] = []
        self._memory: dict[str, ModuleMemory] = {}  # what each module has, or had
        self._before: dict[int, bytes] = {}  # the data of other modules before these were loaded
        self._done: list[tuple[bytes, str]] = []  # what was loaded, with its parameters
        self._errors = self._warnings = 0  # lines of the log at these levels
        self.verdict = RunVerdict()

    def plugged(self, devices: Sequence[HardwareModel]) -> None:
        """Devices were plugged into the box: which driver takes each will be told."""
        self._devices = dict.fromkeys(devices, "")
        self._surroundings.forget()  # what they brought along is no module's doing
        self._said = self._judged = self._box.log.next_seq

    def tell(self, modules: Sequence[ModuleFile | bytes], parameters: str | Sequence[str] = "") -> Iterator[StoryEvent]:
        """Load modules in the given order, then unload them in reverse. `parameters` are those of each, or, as one
        text, those of the last one."""
        undo = self._box.events.slice.subscribe(self._tell_live) if self._live is not None else lambda: None
        given = [*[""] * (len(modules) - 1), parameters] if isinstance(parameters, str) else list(parameters)
        try:
            for event in self._whole(modules, given):  # the log stays as the kernel wrote it
                yield event if event.kind == "log" else event._replace(text=demangle_text(event.text))
        finally:
            undo()

    def _tell_live(self) -> None:
        assert self._live is not None
        for event in self._log():
            self._live(event)

    def _whole(self, modules: Sequence[ModuleFile | bytes], parameters: Sequence[str]) -> Iterator[StoryEvent]:
        handles: list[LoadedModule] = []
        for module, text in zip(modules, parameters, strict=True):
            before = len(self.verdict.loaded)
            yield from self._load(module, text, handles)
            if len(self.verdict.loaded) == before and not self._keep_going:
                break
        if self._unload:
            if handles:
                yield from self._meanwhile("after load")
            for handle in reversed(handles):
                yield from self._take_out(handle)
            if handles:
                yield from self._meanwhile("after unload")
                yield from self._left_behind()
        yield self._judge()

    def _meanwhile(self, phase: str) -> Iterator[StoryEvent]:
        """Let time pass where modules have work, timers or threads: what is wrong with them shows then."""
        if not self._box.alive or not any(_called_later(file) for file in self._files):
            return
        error = ""
        try:
            self._box.sleep(_LATER)
        except KoboxError as stopped:
            error = first_line(stopped)
        yield from self._log()
        yield from self._changes()
        problems = len(self.verdict.problems)
        yield from self._reports(phase, "")
        if error and len(self.verdict.problems) == problems:
            yield self._failed(f"{error} ({phase})", {})

    # -- loading -----------------------------------------------------------------------------------------------

    def _load(self, module: ModuleFile | bytes, parameters: str, handles: list[LoadedModule]) -> Iterator[StoryEvent]:
        name = module.name if isinstance(module, ModuleFile) else "module"
        yield self._event("load", f"load {name} {parameters}".rstrip(), module=name, parameters=parameters)
        file = module if isinstance(module, ModuleFile) else ModuleFile(module)
        self._files.append(file)
        try:
            yield from self._dependencies(file)
        except KoboxError as error:
            yield from self._log()
            needed = getattr(error, "module", "") or "another module"
            yield self._failed(f"{name} not loaded: it needs {needed}: {reason(error)}", error_facts(name, error))
            return
        with suppress(KoboxError, ValueError):  # a kernel without type information
            self._before = data_of_modules(self._box.inspect.objects) | self._before
        try:
            handle = self._box.insmod(file.content, parameters)
        except KoboxError as error:
            yield from self._log()
            yield from self._reports(f"while loading {name}", "init_module")
            if not self._requested(file, error):
                yield self._not_loaded(file, parameters, error)
                return
            yield self._event(
                "reference", f"{name} is loaded already: a module that it needs has asked for it", module=name
            )
            handle = LoadedModule(self._box, file.name, self._box.log.next_seq)
        self._done.append((file.content, parameters))
        self.verdict.loaded.append(handle.name)
        handles.append(handle)
        yield from self._loaded(handle, file)

    def _loaded(self, handle: LoadedModule, file: ModuleFile) -> Iterator[StoryEvent]:
        """What is to be seen of a module that was loaded."""
        yield from self._log()
        changes = list(self._changes())
        yield from changes
        yield from parameters(self._box, handle.name, file)
        yield from references(self._box, handle.name)
        self._remember(handle.name, file)
        yield from self._bound()
        yield from self._reports(f"while loading {file.name}", "init_module")
        made = [event for event in changes if event.kind == "appeared"]
        if made and self._box.alive:
            yield from self._read_made(made, handle.name)

    def _read_made(self, made: Sequence[StoryEvent], name: str) -> Iterator[StoryEvent]:
        """Read the files that a module has made. What reading changes is undone."""
        from kobox.apps.made_files import read_a_little, readable

        events: list[StoryEvent] = []
        said, judged = self._said, self._judged
        with suppress(KoboxError):
            for path in readable(self._box, [event.data for event in made], self._memory.get(name)):
                with self._box.checkpoint():
                    problem = read_a_little(self._box, path)
                    events += self._log()
                    told = len(self.verdict.problems)
                    events += self._reports(f"while reading {path}", "")
                    if problem and len(self.verdict.problems) == told:
                        events.append(self._failed(f"reading {path}: {problem}", {"path": path}))
                self._said, self._judged = said, judged
        self._said, self._judged = said, judged
        yield from events

    def _remember(self, name: str, file: ModuleFile) -> None:
        """Keep where a module lies: what still leads there when it is unloaded is a mistake."""
        with suppress(KoboxError, ValueError):  # a kernel without type information
            memory = memory_of(self._box.inspect.objects, name)
            if memory is not None and self._box.inspect.objects.find("_edata") is None:  # it names no variables
                wanted = sections_of_variables(file.elf).values()
                memory = with_variables(memory, file.elf, section_addresses(self._box, name, wanted))
            if memory is not None:
                self._memory[name] = memory

    def _bound(self) -> Iterator[StoryEvent]:
        """Which devices a driver has taken since the last time."""
        for device, before in self._devices.items():
            driver = device.driver or ""
            if driver != before:
                self._devices[device] = driver
                text = f"{device.where}: {f'taken by {driver}' if driver else f'given back by {before}'}"
                yield self._event("reference", text, address=device.where.partition(" ")[2], driver=driver or None)

    def _dependencies(self, module: ModuleFile, *, tell: bool = True) -> Iterator[StoryEvent]:
        """Modules of the kernel's own tree that this one needs; those that come from elsewhere are loaded already."""
        if not module.depends or not len(self._box.events.load):
            return
        present = set(self._box.modules)
        for name in module.depends:
            if name.replace("-", "_") not in present:
                try:
                    loaded = self._box.modprobe(name)
                except LookupError:  # the kernel will say what it misses
                    yield self._event("load", f"needs {name}, which is not in the kernel's tree", modules=[])
                    continue
                if loaded.loaded:
                    yield self._event("load", f"needs {', '.join(loaded.loaded)}: loaded", modules=list(loaded.loaded))
        if not tell:
            return
        yield from self._log()
        self._judged = self._said
        self._surroundings.forget()  # what dependencies bring along is not this module's doing, and stays

    def _not_loaded(self, module: ModuleFile, parameters: str, error: KoboxError) -> StoryEvent:
        facts = error_facts(module.name, error)
        if isinstance(error, ProcessDiedError):
            return self._failed(f"{module.name} not loaded: its init was killed by an oops", facts)
        if not isinstance(error, ModuleLoadError):
            return self._failed(f"{module.name} not loaded: {first_line(error)}", facts)
        outcome = self._traced(module, parameters, error.errno or 0) if self._box.alive else None
        if outcome is not None and outcome.reached:
            from kobox.box.inspect.init_cause import init_cause

            facts["init"] = init_facts(outcome)
            said = init_cause(module, outcome, error.errno or 0)
            return self._failed(f"{module.name} not loaded: all checks passed; {said}", facts)
        facts["hint"] = facts["hint"] or refused(module, error, self._box.image.architecture)
        return self._failed(f"{module.name} not loaded: {reason(error)}", facts)

    def _requested(self, module: ModuleFile, error: KoboxError) -> bool:
        """Whether a module is there because one of those that it needs has requested it while it was loaded."""
        loaded = isinstance(error, ModuleLoadError) and error.errno == errno.EEXIST
        return loaded and bool(module.depends) and module.name in self._box.modules

    def _traced(self, module: ModuleFile, parameters: str, number: int) -> InitOutcome | None:
        """What its init did when the kernel answered `number`: the same load once more, and back again. A load that has
        failed leaves things as they were, or else the whole story is played again from the box's beginning: a
        checkpoint before every load would make each of them slower."""
        from kobox.box.inspect.init_trace import trace_init

        with suppress(KoboxError), self._box.checkpoint():
            outcome = trace_init(self._box, module.content, parameters)
            if outcome.reached and outcome.returned == -number:
                return outcome
        with suppress(KoboxError), self._box.checkpoint():
            self._box.reset()
            for device in self._devices:
                self._box.plug(device)
            for content, text in self._done:
                self._box.insmod(content, text)
            for _ in self._dependencies(module, tell=False):
                pass
            return trace_init(self._box, module.content, parameters)
        return None

    # -- unloading ---------------------------------------------------------------------------------------------

    def _take_out(self, handle: LoadedModule) -> Iterator[StoryEvent]:
        if not self._box.alive:
            return
        phase = f"while unloading {handle.name}"
        try:
            yield from self._disable_livepatch(handle)
            yield from self._unload_requested(handle)
            yield self._event("unload", f"unload {handle.name}", module=handle.name)
            handle.unload()
            self.verdict.unloaded.append(handle.name)
        except KoboxError as error:
            yield from self._log()
            yield from self._reports(phase, "cleanup_module")
            yield self._not_unloaded(handle, error)
            return
        yield from self._log()
        yield from self._changes()
        yield from self._reports(phase, "cleanup_module")

    def _unload_requested(self, handle: LoadedModule) -> Iterator[StoryEvent]:
        """Modules that use this one and were loaded on its request go first, as with `modprobe -r --remove-holders`."""
        for holder in handle.holders:
            if holder not in self.verdict.loaded:
                yield self._event("unload", f"unload {holder}, which was loaded on request", module=holder)
                self._box.rmmod(holder)

    def _disable_livepatch(self, handle: LoadedModule) -> Iterator[StoryEvent]:
        """A livepatch is in use until it is disabled (Documentation/livepatch/livepatch.rst)."""
        place = self._box.path(f"/sys/kernel/livepatch/{handle.name}")
        if not place.exists():
            return
        yield self._event("unload", f"disable livepatch {handle.name}", module=handle.name)
        with suppress(OSError):
            (place / "enabled").write_text("0")
            for _ in range(_DISABLING):
                if not place.exists():
                    break
                self._box.sleep(1)
        yield from self._log()

    def _not_unloaded(self, handle: LoadedModule, error: KoboxError) -> StoryEvent:
        facts = error_facts(handle.name, error)
        said = reason(error)
        if isinstance(error, ProcessDiedError):
            said = "its exit was killed by an oops"
        elif isinstance(error, ModuleUnloadError):
            with suppress(OSError, KoboxError, ValueError):
                held, holders = handle.refcount, handle.holders
                if error.errno == errno.EAGAIN and held > 0:
                    said += f": it is in use: {counted(held, 'reference')}"
                    said += f", by {', '.join(holders)}" if holders else ""
            if error.errno == errno.EBUSY and not facts["hint"]:
                facts["hint"] = "A module without an exit function stays until the kernel is restarted."
        return self._failed(f"{handle.name} not unloaded: {said}", facts)

    def _left_behind(self) -> Iterator[StoryEvent]:
        if not self._box.alive or self.verdict.problems:
            return
        if self._surroundings.left():
            with suppress(KoboxError):
                self._box.sleep(_SETTLING)
            yield from self._changes()
        left = self._surroundings.left()
        if any(what.startswith("/sys/module/") for what in left):
            left = {}  # the kernel has loaded another module on request, which stays with all that is its own
        for what, facts in left.items():
            yield self._event("left", f"left behind: {what}", **facts)
            self.verdict.fail(f"left {what} behind")
        for what, holders in dangling(self._box, self._gone(), self._surroundings.left_at(), self._before).items():
            text = f"{what} (in {', '.join(holders)})"
            yield self._event("left", f"left behind: {text}, which the kernel still uses", name=what, holders=holders)
            self.verdict.fail(f"left {text} behind")

    def _judge(self) -> StoryEvent:
        names = ", ".join(self.verdict.loaded) or "nothing"
        problems = list(dict.fromkeys(self.verdict.problems))
        text = f"ok: {names} loaded" + (" and unloaded" if self._unload else "") + f"; {self._logged()}"
        if not self.verdict.ok:
            text = "FAILED: " + "; ".join(problems)
        facts = {
            "ok": self.verdict.ok,
            "loaded": self.verdict.loaded,
            "unloaded": self.verdict.unloaded,
            "problems": problems,
        }
        return self._event("verdict", text, **facts)

    def _logged(self) -> str:
        """What stands in the log at the levels of warnings and errors, and is no report."""
        kinds = (("error", self._errors), ("warning", self._warnings))
        found = [f"{number} {kind}{'' if number == 1 else 's'}" for kind, number in kinds if number]
        return f"the log has {' and '.join(found)}" if found else "no warnings, no errors"

    # -- what is to be seen ------------------------------------------------------------------------------------

    def _time(self) -> float:
        return self._box.time if not self._box.closed else 0.0

    def _event(self, kind: str, text: str, **data: object) -> StoryEvent:
        return StoryEvent(kind, text, self._time(), data)

    def _failed(self, text: str, facts: dict[str, Any]) -> StoryEvent:
        self.verdict.fail(text)
        return StoryEvent("failed", text, self._time(), facts)

    def _reports(self, phase: str, entered_by: str) -> Iterator[StoryEvent]:
        """What the kernel has reported since the last time."""
        records = self._box.log.since(self._judged)
        self._judged = records[-1].seq + 1 if records else self._judged
        if not any(_may_be_a_report(record) for record in records):
            return
        from kobox.apps import run_reports
        from kobox.apps.run_reports import reports

        for report in reports(records, self._files, entered_by=entered_by, gone=self._gone()):
            if report.kind == "kernel-message" and _told_by_failure(report):
                continue
            self.verdict.fail(f"{report} ({phase})")
            text = "\n".join(run_reports.lines(report, phase))
            yield StoryEvent("report", text, self._time(), report_facts(report, phase))

    def _gone(self) -> list[ModuleMemory]:
        """The memory of the modules that were unloaded."""
        return [self._memory[name] for name in self.verdict.unloaded if name in self._memory]

    def _log(self) -> Iterator[StoryEvent]:
        for record in self._box.log.since(self._said):
            self._said = record.seq + 1
            yield self._log_event(record)

    def _log_event(self, record: LogRecord) -> StoryEvent:
        self._errors += record.level < _WARNING
        self._warnings += record.level == _WARNING and "taint" not in record.text
        facts = {"seq": record.seq, "level": record.level_name, "text": record.text}
        return StoryEvent("log", record.text, record.time, facts)

    def _changes(self) -> Iterator[StoryEvent]:
        for change in self._surroundings.changes():
            yield self._event("appeared" if change.appeared else "gone", change.what, **change.facts)


def _may_be_a_report(record: LogRecord) -> bool:
    """Whether it is worth looking for reports: those of the kernel's warnings, and one that it makes in passing."""
    return (record.level <= _WARNING and "taint" not in record.text) or record.text.startswith("seq_file: buggy")


def _called_later(module: ModuleFile) -> bool:
    return any(_CALLED_LATER.match(one.name) for one in module.imports)


def _told_by_failure(report: RunReport) -> bool:
    """What the loader says when it refuses a module is in the failure itself."""
    return "Unknown symbol" in report.what
