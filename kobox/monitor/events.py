"""What happened between two looks at a kernel, and in its log meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from kobox.explain.log import causes_in
from kobox.monitor.log_source import KernelLine
from kobox.monitor.status import TAINTS, KernelModules, MonitoredModule
from kobox.monitor.uevents import ModuleUevent
from kobox.printable import one_line

_MOST_LINES = 400  # that are taken apart for causes together
_CRASHES = re.compile(
    r"^(BUG:|Oops|WARNING: |kernel BUG at|general protection fault|Unable to handle|INFO: task .* blocked)"
)
_CRASH_RULES = ("oops", "warning", "hung")


class EventKind(StrEnum):
    """What happened."""

    LOADED = "loaded"
    UNLOADED = "unloaded"
    FAILED = "failed"  # the kernel refused a module, and the log says why
    PARAMETER = "parameter"
    STATE = "state"
    TAINT = "taint"  # the kernel's own
    CRASH = "crash"


@dataclass(frozen=True, slots=True)
class ModuleEvent:
    """Something that happened: `time` in seconds since the epoch; `module` is "" where none is known to be concerned;
    `advice` is what can be done, where that is known."""

    time: float
    kind: EventKind
    module: str
    detail: str
    advice: str = ""
    rule: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.kind} {self.module or 'kernel'}: {self.detail}"


def changes(before: KernelModules, after: KernelModules, time: float) -> Iterator[ModuleEvent]:
    """What differs between two looks. A module of the same name that was loaded anew in between is not seen, unless its
    size or version differs."""
    old, new = before.modules, after.modules
    if all(new.get(name) is module for name, module in old.items()) and len(old) == len(new):
        old = new = {}
    for name in old:
        if name not in new or _is_another(old[name], new[name]):
            yield ModuleEvent(time, EventKind.UNLOADED, name, "")
    for name, module in new.items():
        if name not in old or _is_another(old[name], module):
            yield ModuleEvent(time, EventKind.LOADED, name, _described(module))
        elif old[name] is not module:
            yield from _changed(old[name], module, time)
    if after.tainted & ~before.tainted:
        bits = [str(bit) for bit in range(64) if (after.tainted & ~before.tainted) >> bit & 1]
        detail = f"the kernel is tainted by bit {', '.join(bits)}; the mask is {after.tainted}"
        yield ModuleEvent(time, EventKind.TAINT, "", detail)


def came_and_went(
    told: Sequence[ModuleUevent], before: KernelModules, after: KernelModules, time: float
) -> Iterator[ModuleEvent]:
    """What the kernel told of modules that two looks cannot show: they were there at both, or at none, and came and
    went, or went and came, in between."""
    by_module: dict[str, list[ModuleUevent]] = {}
    for one in told:
        by_module.setdefault(one.module, []).append(one)
    for name, actions in by_module.items():
        was, there = name in before.modules, name in after.modules
        if was != there or (was and _is_another(before.modules[name], after.modules[name])):
            actions = _without_net(actions, there)
        for one in actions:
            detail = _described(after.modules[name]) if one.added and there else ""
            yield named(ModuleEvent(time, EventKind.LOADED if one.added else EventKind.UNLOADED, name, detail), [one])


def named(event: ModuleEvent, told: Sequence[ModuleUevent]) -> ModuleEvent:
    """The event with the program that did it, where the kernel told that."""
    if event.kind not in (EventKind.LOADED, EventKind.UNLOADED):
        return event
    added = event.kind is EventKind.LOADED
    by = next((one.by for one in reversed(told) if (one.module, one.added) == (event.module, added) and one.by), "")
    return replace(event, detail=", ".join(filter(None, (event.detail, f"by {one_line(by)}")))) if by else event


def _without_net(actions: list[ModuleUevent], there: bool) -> list[ModuleUevent]:
    """The actions without the one that leads to the state of the second look: `changes` reports that one."""
    last = max((n for n, one in enumerate(actions) if one.added == there), default=-1)
    return [one for n, one in enumerate(actions) if n != last]


def told_by(lines: Sequence[KernelLine], time: float) -> Iterator[ModuleEvent]:
    """Refused modules and crashes that lines of the log tell, with the cause and what to do where that is known."""
    crashed = any(_CRASHES.match(line.text) for line in lines)
    texts = [one_line(line.text) for line in lines]
    if not crashed:  # what is said again and again is said once; of a crash each line is where it belongs
        texts = list(dict.fromkeys(texts))
    for first in range(0, len(texts), _MOST_LINES):
        yield from _causes(texts[first : first + _MOST_LINES], time, crashed)


def _causes(texts: Sequence[str], time: float, crashed: bool) -> Iterator[ModuleEvent]:
    for cause in causes_in("\n".join(texts)):
        if not cause.fatal and not cause.module:
            continue
        kind = (
            EventKind.CRASH
            if cause.rule.startswith(_CRASH_RULES) or (crashed and not cause.module)
            else EventKind.FAILED
        )
        if kind is EventKind.FAILED and not cause.fatal:
            continue
        yield ModuleEvent(time, kind, cause.module, cause.why, cause.advice, cause.rule)


def _is_another(old: MonitoredModule, new: MonitoredModule) -> bool:
    return (old.size, old.srcversion) != (new.size, new.srcversion) and old.state == new.state == "live"


def _described(module: MonitoredModule) -> str:
    facts = [f"{module.size} bytes"]
    if module.version:
        facts.append(f"version {one_line(module.version)}")
    facts += [TAINTS.get(letter, letter) for letter in module.taint]
    return ", ".join(facts)


def _changed(old: MonitoredModule, new: MonitoredModule, time: float) -> Iterator[ModuleEvent]:
    if old.state != new.state:
        yield ModuleEvent(time, EventKind.STATE, new.name, f"{old.state} -> {new.state}")
    for name in sorted({*old.parameters, *new.parameters}):
        a, b = old.parameters.get(name), new.parameters.get(name)
        if a != b and a is not None and b is not None:
            yield ModuleEvent(time, EventKind.PARAMETER, new.name, f"{name}: {one_line(a)} -> {one_line(b)}")
