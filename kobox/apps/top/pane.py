"""What `kobox top` says of one module, line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from kobox.errors import KoboxError
from kobox.ko.modulefile import ModuleFile
from kobox.monitor import EventKind, KernelModules, ModuleEvent, MonitoredModule
from kobox.monitor.log_source import KernelLine, lines_of
from kobox.monitor.module_facts import holders_tree
from kobox.monitor.status import TAINTS
from kobox.monitor.tracing import CallRate
from kobox.printable import one_line

_MOST_EVENTS, _MOST_LINES, _MOST_CALLS, _MOST_SYMBOLS = 5, 8, 8, 12
_CHANGED = re.compile(r"^(\S+): (.*) -> ")


@dataclass(frozen=True, slots=True)
class ModulePane:
    """All that is known of a module: the look, its events, the log's lines, lines of `module_facts`, its file, whether
    it is on the blacklist, its calls."""

    module: MonitoredModule
    status: KernelModules
    events: Sequence[ModuleEvent] = ()
    lines: Sequence[KernelLine] = ()
    facts: Sequence[str] = ()
    path: Path | None = None
    blacklisted: bool = False
    calls: CallRate | None = None
    now: float = 0

    def text(self) -> str:
        """The pane; a blank line between parts."""
        parts = [
            self._state(),
            self._parameters(),
            self._calls(),
            self._log(),
            _titled("used by", holders_tree(self.status.modules, self.module.name)),
            list(self.facts),
            _file(self.path),
            self._events(),
        ]
        return "\n\n".join("\n".join(map(one_line, part)) for part in parts if part)

    def _state(self) -> list[str]:
        one = self.module
        used = (
            "references are not counted"
            if one.refcount < 0
            else f"{one.refcount} reference{'' if one.refcount == 1 else 's'}"
        )
        lines = [one.name, f"{one.size:,} bytes, {one.state}, {used}"]
        lines += [f"  {TAINTS.get(letter, letter)}" for letter in one.taint]
        lines += ["  on the blacklist"] if self.blacklisted else []
        lines += [f"version {one.version}"] if one.version else []
        since = loaded_at(self.events, one.name)
        return lines + ([f"loaded {age(self.now - since)} ago"] if since is not None else [])

    def _parameters(self) -> list[str]:
        was = changed_parameters(self.events, self.module.name)
        return _titled(
            "parameters",
            [
                f"{name} = {value}{f'  (was {was[name]})' if was.get(name, value) != value else ''}"
                for name, value in self.module.parameters.items()
            ],
        )

    def _calls(self) -> list[str]:
        if self.calls is None:
            return []
        names = [f"{name}: {count} of the last calls" for name, count in self.calls.functions[:_MOST_CALLS]]
        return _titled(f"calls: {self.calls.per_second:,.0f} a second", names or ["none since the count began"])

    def _log(self) -> list[str]:
        return _titled("log", lines_of(self.lines, self.module.name)[-_MOST_LINES:])

    def _events(self) -> list[str]:
        found = [one for one in self.events if one.module == self.module.name]
        lines = []
        for one in found[-_MOST_EVENTS:]:
            lines += [f"{one.kind} {one.detail}", *([f"  {one.advice}"] if one.advice else [])]
        return _titled("events", lines)


def loaded_at(events: Sequence[ModuleEvent], name: str) -> float | None:
    """When a module was loaded; None if that was before the first look."""
    times = [one.time for one in events if one.module == name and one.kind is EventKind.LOADED]
    return times[-1] if times else None


def age(seconds: float) -> str:
    """A time span in one number: 12s, 3m, 5h, 9d."""
    for size, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{letter}"
    return f"{max(0, int(seconds))}s"


def changed_parameters(events: Sequence[ModuleEvent], name: str) -> dict[str, str]:
    """The parameters of a module that changed, with the value of the first look."""
    was: dict[str, str] = {}
    for one in events:
        if one.module == name and one.kind is EventKind.LOADED:
            was.clear()
        elif one.module == name and one.kind is EventKind.PARAMETER and (found := _CHANGED.match(one.detail)):
            was.setdefault(found[1], found[2])
    return was


def _titled(title: str, lines: Sequence[str]) -> list[str]:
    return [title, *(f"  {line}" for line in lines)] if lines else []


def _file(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        return list(_read_file(path, path.stat().st_mtime_ns))
    except (OSError, KoboxError) as error:
        return [f"{path}: {error}"]


@lru_cache(maxsize=32)
def _read_file(path: Path, changed: int) -> tuple[str, ...]:
    """A file is read once for each time at which it was `changed`: the pane is drawn anew with every look."""
    return tuple(_modinfo(ModuleFile(path), path))


def _modinfo(module: ModuleFile, path: Path) -> Iterator[str]:
    for key in ("description", "author", "license", "depends"):
        if value := module.modinfo.first(key):
            yield f"{key}: {value}"
    symbols = sorted(one.name for one in module.exports)
    if symbols:
        more = f" and {len(symbols) - _MOST_SYMBOLS} more" if len(symbols) > _MOST_SYMBOLS else ""
        yield f"exports {len(symbols)}: {' '.join(symbols[:_MOST_SYMBOLS])}{more}"
    yield str(path)
