"""What is there in a box that modules make: devices, entries of /proc and /sys, registrations.

Devices, classes, drivers and modules come and go with a uevent (lib/kobject_uevent.c), which the box's kernel sends to
a netlink socket. The rest is read from the kernel's memory before and after (`kobox/box/inspect/registries.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from kobox.box.box import Box
from kobox.box.inspect.objects import Objects
from kobox.box.inspect.registries import KEPT_BY_THE_KERNEL, REGISTRIES, Registered
from kobox.errors import KoboxError

Registry: TypeAlias = Callable[[Objects], Iterator[Registered]]

# A kernel without type information is asked: it lists processes last, and makes an inode for each.
_ASKED = ("/proc", "/proc/1/net", "/sys/kernel/debug")


class Change(NamedTuple):
    """Something that has appeared, or is gone. `facts` are a uevent's, or its path or name."""

    appeared: bool
    what: str
    facts: dict[str, str]


class Surroundings:
    """Looks at one box again and again. `present` is what has appeared since it was made, and is still there."""

    def __init__(self, box: Box) -> None:
        self._box = box
        box.uevents()  # what came before is not ours
        self._registries: dict[Registry, dict[int, str]] = {registry: {} for registry in REGISTRIES}
        self._before = self._registered()
        self._given = self._addresses()
        self.present: dict[str, dict[str, str]] = {}

    def changes(self) -> Iterator[Change]:
        """What has changed since the last call."""
        for action, facts in self._box.uevents() if self._box.alive else ():
            facts.pop("seqnum", None)
            if action in ("add", "remove"):
                yield self._change(action == "add", _describe(facts), facts)
        now = self._registered()
        for appeared, names in ((True, now - self._before), (False, self._before - now)):
            for name in sorted(names):
                # What stands in a directory that is new comes with that.
                if name.startswith("/") and name.rpartition("/")[0] in names:
                    continue
                facts = {"path": name} if name.startswith("/") else {"name": name}
                yield self._change(appeared, name, facts)
        self._before = now

    def forget(self) -> None:
        """Take what is there now as given."""
        present = dict(self.present)
        for _ in self.changes():
            pass
        self.present = present
        self._given = self._addresses()

    def left(self) -> dict[str, dict[str, str]]:
        """What is still there, but for what the kernel keeps by itself."""
        return {what: facts for what, facts in self.present.items() if not what.startswith(KEPT_BY_THE_KERNEL)}

    def left_at(self) -> set[int]:
        """The addresses of what is still there, but for what the kernel keeps by itself."""
        return self._addresses() - self._given

    def _addresses(self) -> set[int]:
        rows = (row for known in self._registries.values() for row in known.items())
        return {at for at, name in rows if not name.startswith(KEPT_BY_THE_KERNEL)}

    def _change(self, appeared: bool, what: str, facts: dict[str, str]) -> Change:
        if appeared:
            self.present[what] = facts
        else:
            self.present.pop(what, None)
        return Change(appeared, what, facts)

    def _registered(self) -> set[str]:
        try:
            objects = self._box.inspect.objects
        except (KoboxError, ValueError):
            return self._asked()
        for registry in tuple(self._registries):
            known = self._registries[registry]
            try:
                # What a module has left there may lie in memory that is gone: its name is known from before.
                self._registries[registry] = {at: name or known.get(at, "") for at, name in registry(objects)}
            except KoboxError:  # this kernel has no such table
                del self._registries[registry]
            except ValueError:  # it leads into memory that is gone, so nothing in it was taken away
                continue
        if not self._registries:
            return self._asked()
        return {name for names in self._registries.values() for name in names.values() if name}

    def _asked(self) -> set[str]:
        found: set[str] = set()
        for directory in _ASKED:
            shown = directory.replace("/1/", "/")
            with suppress(OSError, KoboxError):
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
