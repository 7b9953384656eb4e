"""The story of a module in a box: load it, see what it did, unload it, judge.

    for event in Story(box).tell([module]):
        print(event)

Devices, classes, drivers and modules come and go with a uevent (lib/kobject_uevent.c), which the box's kernel sends to
a netlink socket; /proc and debugfs, which send none, are looked at before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from kobox.box.box import Box
from kobox.box.inspect import procfs as entries
from kobox.box.inspect.printk import LogRecord
from kobox.box.module_handle import LoadedModule
from kobox.errors import BoxError, KernelError, KoboxError
from kobox.ko.modulefile import ModuleFile

_LISTED = (
    ("/proc", "/proc", entries.names_in_proc),
    ("/proc/net", "/proc/1/net", entries.names_in_proc_net),
    ("/sys/kernel/debug", "/sys/kernel/debug", entries.names_in_debugfs),
)


class StoryEvent(NamedTuple):
    """One thing that happened. `kind`: load, log, appeared, gone, parameter, reference, unload, left, failed, verdict.

    `time` is in virtual seconds since boot; `data` holds the facts behind `text`, ready for JSON.
    """

    kind: str
    text: str
    time: float
    data: dict[str, Any]


class Verdict:
    """How it went. `ok`: everything was loaded and unloaded, and the kernel reported no warning, bug or oops."""

    def __init__(self) -> None:
        self.ok = True
        self.loaded: list[str] = []
        self.unloaded: list[str] = []
        self.problems: list[str] = []

    def fail(self, problem: str) -> None:
        """Remember a problem."""
        self.ok = False
        self.problems.append(problem)


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
        self._said = box.log.next_seq
        box.uevents()  # what came before is not ours
        self._before = self._listing()
        self._appeared: dict[str, StoryEvent] = {}
        self._live = live
        self.verdict = Verdict()

    def tell(self, modules: Sequence[ModuleFile | bytes], parameters: str = "") -> Iterator[StoryEvent]:
        """Load modules in the given order (`parameters` go to the last one), then unload them in reverse."""
        undo = self._box.events.slice.subscribe(self._tell_live) if self._live is not None else lambda: None
        try:
            yield from self._whole(modules, parameters)
        finally:
            undo()

    def _tell_live(self) -> None:
        assert self._live is not None
        for event in self._log():
            self._live(event)

    def _whole(self, modules: Sequence[ModuleFile | bytes], parameters: str) -> Iterator[StoryEvent]:
        handles: list[LoadedModule] = []
        for number, module in enumerate(modules):
            last = number == len(modules) - 1
            handle = None
            for event in self._load(module, parameters if last else ""):
                if isinstance(event, LoadedModule):
                    handle = event
                else:
                    yield event
            if handle is not None:
                handles.append(handle)
            elif not self._keep_going:
                break
        if self._unload:
            for handle in reversed(handles):
                yield from self._take_out(handle)
            if handles:
                yield from self._left_behind()
        yield from self._judge()

    # -- loading -----------------------------------------------------------------------------------------------

    def _load(self, module: ModuleFile | bytes, parameters: str) -> Iterator[StoryEvent | LoadedModule]:
        name = module.name if isinstance(module, ModuleFile) else "module"
        yield self._event("load", f"load {name} {parameters}".rstrip(), module=name, parameters=parameters)
        try:
            if isinstance(module, ModuleFile):
                yield from self._dependencies(module)
            handle = self._box.insmod(module.content if isinstance(module, ModuleFile) else module, parameters)
        except KoboxError as error:
            yield from self._log()
            yield self._failure("not loaded", name, error)
            return
        self.verdict.loaded.append(handle.name)
        yield from self._log()
        yield from self._changes()
        if isinstance(module, ModuleFile):
            yield from self._parameters(handle, module)
        yield from self._references(handle)
        yield handle

    def _dependencies(self, module: ModuleFile) -> Iterator[StoryEvent]:
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
        yield from self._log()
        before = dict(self._appeared)
        for _ in self._changes():
            pass  # what dependencies bring along is not this module's doing, and stays
        self._appeared = before

    def _parameters(self, handle: LoadedModule, module: ModuleFile) -> Iterator[StoryEvent]:
        described = {parameter.name: parameter for parameter in module.parameters}
        if not described:
            return
        for name, parameter in described.items():
            value = handle.parameters.get(name)
            mode = 0
            if value is not None:
                mode = self._box.stat(f"/sys/module/{handle.name}/parameters/{name}").st_mode & 0o777
            shown = f"= {value}" if value is not None else "(not shown in /sys)"
            what = " ".join(filter(None, (f"({parameter.type})" if parameter.type else "", parameter.description)))
            facts = {"name": name, "type": parameter.type, "value": value, "mode": f"{mode:04o}"}
            yield self._event(
                "parameter", f"{name} {shown}  {what}".rstrip(), **facts, description=parameter.description
            )

    def _references(self, handle: LoadedModule) -> Iterator[StoryEvent]:
        line = next(
            (row for row in self._box.read_text("/proc/modules").splitlines() if row.startswith(f"{handle.name} ")), ""
        )
        fields = line.split()
        if len(fields) < 6:
            return
        size, count, users = int(fields[1]), fields[2], [u for u in fields[3].split(",") if u not in ("", "-")]
        taints = fields[6] if len(fields) > 6 else ""
        text = f"{handle.name}: {size} bytes, {count} references" + (f", used by {', '.join(users)}" if users else "")
        facts = {
            "module": handle.name,
            "size": size,
            "refcount": int(count) if count != "-" else None,
            "users": users,
            "taints": taints,
        }
        yield self._event("reference", text + (f", taints {taints}" if taints else ""), **facts)

    # -- unloading ---------------------------------------------------------------------------------------------

    def _take_out(self, handle: LoadedModule) -> Iterator[StoryEvent]:
        if not self._box.alive:
            return
        yield self._event("unload", f"unload {handle.name}", module=handle.name)
        try:
            handle.unload()
            self.verdict.unloaded.append(handle.name)
        except KoboxError as error:
            yield from self._log()
            yield self._failure("not unloaded", handle.name, error)
            return
        yield from self._log()
        yield from self._changes()

    def _left_behind(self) -> Iterator[StoryEvent]:
        if not self._box.alive or self.verdict.problems:
            return
        for what, event in self._appeared.items():
            yield self._event("left", f"left behind: {what}", **event.data)
            self.verdict.fail(f"left {what} behind")

    def _judge(self) -> Iterator[StoryEvent]:
        for finding in self._box.findings:
            self.verdict.fail(str(finding))
        names = ", ".join(self.verdict.loaded) or "nothing"
        if self.verdict.ok:
            text = (
                f"ok: {names} loaded"
                + (" and unloaded" if self._unload else "")
                + "; the kernel has nothing to complain of"
            )
        else:
            text = "FAILED: " + "; ".join(dict.fromkeys(self.verdict.problems))
        facts = {
            "ok": self.verdict.ok,
            "loaded": self.verdict.loaded,
            "unloaded": self.verdict.unloaded,
            "problems": list(dict.fromkeys(self.verdict.problems)),
        }
        yield self._event("verdict", text, **facts)

    # -- what is to be seen ------------------------------------------------------------------------------------

    def _event(self, kind: str, text: str, **data: Any) -> StoryEvent:
        return StoryEvent(kind, text, self._box.time if not self._box.closed else 0.0, data)

    def _failure(self, what: str, name: str, error: KoboxError) -> StoryEvent:
        log = list(getattr(error, "log", ()))
        message = error.message.split("\n", 1)[0]
        self.verdict.fail(f"{name} {what}: {_reason(error)}")
        facts: dict[str, Any] = {"module": name, "error": type(error).__name__, "log": log, "hint": error.hint}
        if isinstance(error, KernelError):
            facts["errno"] = error.errno
        if isinstance(error, BoxError) and error.pc:
            facts["pc"] = error.pc
        return self._event("failed", message, **facts)

    def _log(self) -> Iterator[StoryEvent]:
        for record in self._box.log.since(self._said):
            self._said = record.seq + 1
            yield self._log_event(record)

    def _log_event(self, record: LogRecord) -> StoryEvent:
        facts = {"seq": record.seq, "level": record.level_name, "text": record.text}
        return StoryEvent("log", record.text, record.time, facts)

    def _changes(self) -> Iterator[StoryEvent]:
        for action, facts in self._box.uevents() if self._box.alive else ():
            facts.pop("seqnum", None)
            what = _describe(facts)
            if action == "add":
                event = self._appeared[what] = self._event("appeared", what, **facts)
                yield event
            elif action == "remove":
                self._appeared.pop(what, None)
                yield self._event("gone", what, **facts)
        now = self._listing()
        for path in sorted(now - self._before):
            event = self._appeared[path] = self._event("appeared", path, path=path)
            yield event
        for path in sorted(self._before - now):
            self._appeared.pop(path, None)
            yield self._event("gone", path, path=path)
        self._before = now

    def _listing(self) -> set[str]:
        found: set[str] = set()
        for shown, directory, names in _LISTED:
            try:
                found.update(f"{shown}/{name}" for name in names(self._box.inspect.objects))
            except (KoboxError, ValueError):  # a kernel without type information: it is asked
                with suppress(OSError, KoboxError):
                    # It lists processes last, and makes an inode for each: nobody wants them here.
                    found.update(f"{shown}/{name}" for name in self._box.files.scandir(directory, str.isdigit))
        return found


def _describe(facts: dict[str, str]) -> str:
    """One uevent in a person's words."""
    subsystem, path = facts.get("subsystem", ""), facts.get("devpath", "")
    if "devname" in facts:
        kind = "block" if subsystem == "block" else "char"
        return f"/dev/{facts['devname']} ({kind} {facts.get('major')}:{facts.get('minor')}, class {subsystem})"
    if subsystem == "net":
        return f"network interface {facts.get('interface', '')}"
    return f"/sys{path}" + (f" ({subsystem})" if subsystem not in ("", "module") else "")


def _reason(error: KoboxError) -> str:
    text = error.message.split("\n", 1)[0]
    return text.rsplit(": ", 1)[-1] if isinstance(error, KernelError) else text
