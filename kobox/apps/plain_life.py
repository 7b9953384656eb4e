"""The life of modules by what any kernel offers: load, log, /sys, unload. It is the same code for a box and a virtual
machine, so that the two can be compared.

for event in PlainLife(place).tell(modules, parameters):
    print(event)
print(difference(one_place, other_place))        # the first line in which two lives differ
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol

from kobox.apps.run_events import StoryEvent
from kobox.box.box import Box
from kobox.box.inspect.oops import is_detail
from kobox.errors import KoboxError
from kobox.kernel.interface import Kernel
from kobox.kmod.modprobe import modprobe
from kobox.kmod.module_tree import ModuleTree
from kobox.ko.modulefile import ModuleFile

_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_WARNING = 4
# What the loader says of any module that was built by hand, at the level of a warning.
_TAINTS = re.compile(r"taint|module verification failed")


class LoggingKernel(Protocol):
    """A place with a kernel, and its log."""

    @property
    def kernel(self) -> Kernel:
        """Files and modules."""

    def new_lines(self) -> list[tuple[int, float, str]]:
        """(level, seconds since boot, text) of the log since the last call."""


class BoxPlace:
    """A box as such a place."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._next = box.log.next_seq

    @property
    def kernel(self) -> Kernel:
        """The box."""
        return self._box

    def new_lines(self) -> list[tuple[int, float, str]]:
        """The log since the last call."""
        records = self._box.log.since(self._next)
        self._next = records[-1].seq + 1 if records else self._next
        return [(record.level, record.time, record.text) for record in records]


class PlainLife:
    """Tells the life of modules in one place. `ok` and `problems` are complete when the telling is."""

    def __init__(self, place: LoggingKernel, tree: ModuleTree | None = None, *, unload: bool = True) -> None:
        self._place, self._tree, self._unload = place, tree, unload
        self._time = 0.0
        self._loaded: list[str] = []
        self.problems: list[str] = []

    @property
    def ok(self) -> bool:
        """Whether all were loaded and unloaded, and the kernel said nothing at warning level."""
        return not self.problems

    def tell(self, modules: Sequence[ModuleFile], parameters: Sequence[str]) -> Iterator[StoryEvent]:
        """Load modules in order, look, and unload them in reverse."""
        self._place.new_lines()
        for module, text in zip(modules, parameters, strict=True):
            yield self._event("load", f"load {module.name} {text}".rstrip(), module=module.name)
            if not (yield from self._load(module, text)):
                break
        for name in reversed(self._loaded) if self._unload else ():
            yield self._event("unload", f"unload {name}", module=name)
            yield from self._tried(name, "not unloaded", partial(self._place.kernel.delete_module, name))
        text = f"ok: {', '.join(self._loaded)} loaded" + (" and unloaded" if self._unload else "")
        if self.problems:
            text = f"FAILED: {'; '.join(dict.fromkeys(self.problems))}"
        yield self._event("verdict", text, ok=self.ok, loaded=self._loaded, problems=self.problems)

    def _load(self, module: ModuleFile, parameters: str) -> Generator[StoryEvent, None, bool]:
        kernel = self._place.kernel
        yield from self._needed(module)
        done = yield from self._tried(
            module.name, "not loaded", partial(kernel.init_module, module.content, parameters)
        )
        if done:
            self._loaded.append(module.name)
            yield from self._shown(module.name)
        return done

    def _needed(self, module: ModuleFile) -> Iterator[StoryEvent]:
        """Load what a module needs of the kernel's own tree."""
        for name in module.depends:
            if self._tree is not None and not self._place.kernel.exists(f"/sys/module/{name.replace('-', '_')}"):
                with suppress(LookupError):  # the kernel will say what it misses
                    loaded = modprobe(self._place.kernel, self._tree, name).loaded
                    yield self._event("load", f"needs {', '.join(loaded)}: loaded", modules=list(loaded))
        self._place.new_lines()  # what dependencies say is not this module's doing

    def _tried(self, name: str, what: str, call: Callable[[], None]) -> Generator[StoryEvent, None, bool]:
        """Make a call that may be refused, and tell what the kernel says meanwhile; whether it was done."""
        problem = ""
        try:
            call()
        except KoboxError as error:
            problem = error.message.partition("\n")[0]
        except OSError as error:
            problem = str(error.strerror)
        yield from self._log()
        if problem:
            self.problems.append(f"{name} {what}: {problem}")
            yield self._event("failed", f"{name} {what}: {problem}", module=name)
        return not problem

    def _shown(self, name: str) -> Iterator[StoryEvent]:
        """What /sys/module has of a module."""
        kernel, place = self._place.kernel, f"/sys/module/{name}"
        with suppress(OSError):
            yield self._event("appeared", f"{place}: {' '.join(sorted(kernel.listdir(place)))}")
        with suppress(OSError):
            for one in sorted(kernel.listdir(f"{place}/parameters")):
                with suppress(OSError):
                    value = kernel.read_text(f"{place}/parameters/{one}").strip()
                    yield self._event("parameter", f"{one} = {value}", name=one, value=value)

    def _log(self) -> Iterator[StoryEvent]:
        for level, time, text in self._place.new_lines():
            self._time = time
            if level <= _WARNING and not _TAINTS.search(text):
                self.problems.append(text)
            yield self._event("log", text, level=_LEVELS[level])

    def _event(self, kind: str, text: str, **data: object) -> StoryEvent:
        return StoryEvent(kind, text, self._time, data)


# -- comparing -----------------------------------------------------------------------------------------------------


class Difference(NamedTuple):
    """Where two lives part: how many lines were the same, and the line of each (None: it has ended)."""

    same: int
    one: str | None
    other: str | None


_COMPARED = ("load", "log", "failed", "appeared", "parameter", "unload")
# What differs between two machines and says nothing of a module.
_MACHINE = (
    (re.compile(r"\bCPU#?:? ?\d+|\bPID: \d+|\bComm: \S+|\bT\d+\b|\bpid \d+"), "…"),
    (re.compile(r"\b(0x)?[0-9a-f]{8,16}\b"), "ADDRESS"),
    (re.compile(r"\[#\d+\]"), "[#1]"),
    (re.compile(r"\bkobox/\d+|\binit/\d+"), "…"),
)
# Lines of reports that are the machine's: its name, where its processes were, and how the kernel came to the module.
_ABSENT = re.compile(
    r"Hardware name:|Modules linked in:|Code: |random: crng|clocksource:|Call Trace|</?TASK>|^\w+: [0-9a-f]{4}:0x"
    r"|^\s*(\? )?[\w.]+\+0x[0-9a-f]+/0x[0-9a-f]+$"
)


def comparable(events: Iterable[StoryEvent]) -> list[str]:
    """The lines of a life that two kernels of the same release have to share."""
    return [
        _plain(event.text)
        for event in events
        if event.kind in _COMPARED
        and not (event.kind == "log" and (_ABSENT.search(event.text) or is_detail(event.text)))
    ]


def difference(one: Sequence[str], other: Sequence[str]) -> Difference | None:
    """The first line in which two lives differ; None where they are the same."""
    for number in range(max(len(one), len(other))):
        here = one[number] if number < len(one) else None
        there = other[number] if number < len(other) else None
        if here != there:
            return Difference(number, here, there)
    return None


def difference_facts(lines: int, found: Difference | None) -> dict[str, int | str | bool | None]:
    """What came of comparing two lives, of which the first has so many lines, as JSON holds it."""
    return {
        "same": found is None,
        "lines": lines,
        "line": found.same + 1 if found is not None else None,
        "box": found.one if found is not None else None,
        "vm": found.other if found is not None else None,
    }


def _plain(text: str) -> str:
    for pattern, stands in _MACHINE:
        text = pattern.sub(stands, text)
    return text
