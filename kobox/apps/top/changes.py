"""What `kobox top` changes in a kernel: load, unload, set, blacklist; each with the way back.

A blacklist is a file of modprobe.d(5): its modules are no longer loaded for their aliases (for a device that appears).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kobox.atomic_file import write_file
from kobox.errors import KernelError, KoboxError
from kobox.kernel import sysfs_modules
from kobox.kernel.host import Host
from kobox.kernel.interface import Kernel
from kobox.kmod.insmod import insmod
from kobox.kmod.rmmod import rmmod
from kobox.ko.modulefile import ModuleFile
from kobox.ko.name import canonical
from kobox.printable import one_line

BLACKLIST = "/etc/modprobe.d/kobox-top.conf"
_HEAD = "# Written by kobox top (its key b).\n"
_MOST_UNDO = 100
FileOf = Callable[[str], Path | None]
"""Finds the file of a loaded module by its name."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A change that was made: what it was, and what takes it back."""

    what: str
    back: Callable[[], object]


class ModuleChanges:
    """Changes modules of a kernel. Each method returns what to say; it raises `KoboxError` with the kernel's reason."""

    def __init__(self, kernel: Kernel, file_of: FileOf) -> None:
        self._kernel, self._file_of = kernel, file_of
        self._steps: list[_Step] = []

    def load(self, words: Sequence[str]) -> str:
        """Load a file with its parameters."""
        before = self._names()
        self._try(lambda: insmod(self._kernel, words[0], " ".join(map(_quoted, words[1:]))))
        new = sorted(self._names() - before)
        self._did(f"{' '.join(new)} was loaded", lambda: [rmmod(self._kernel, name) for name in new])
        return ""

    def unload(self, names: Iterable[str]) -> str:
        """Unload modules, those first that use others of them. When one is refused, the rest stays as it is."""
        done = []
        try:
            for name in self._users_first(names):
                path, values = self._file_of(name), self._values(name)
                self._try(lambda name=name: rmmod(self._kernel, name))  # type: ignore[misc]
                done.append((name, path, values))
        finally:
            known = [(name, path, values) for name, path, values in done if path is not None]
            if known and len(known) == len(done):
                self._did(f"{' '.join(name for name, _, _ in done)} was unloaded", lambda: self._reload(known))
        without = [name for name, path, _ in done if path is None]
        return f"{' '.join(without)} cannot be loaded again by undo: its file is not known" if without else ""

    def set_parameter(self, name: str, parameter: str, value: str) -> str:
        """Set a parameter."""
        path = f"/sys/module/{name}/parameters/{parameter}"
        old = self._values(name).get(parameter)
        self._try(lambda: self._kernel.write_bytes(path, value.encode()))
        if old is not None:
            before = (old or "\n").encode()  # a file of sysfs takes no write of no bytes
            self._did(f"{name}: {parameter} was set to {value}", lambda: self._kernel.write_bytes(path, before))
        return ""

    def blacklist(self, names: Iterable[str]) -> str:
        """Add modules to the blacklist, or take them off if all of them are on it."""
        before = self._blacklist_text()
        on = self.blacklisted()
        wanted = sorted(set(names))
        if on.issuperset(wanted):
            left = "".join(f"blacklist {name}\n" for name in sorted(on.difference(wanted)))
            said = f"{' '.join(wanted)} taken off {BLACKLIST}"
        else:
            left = "".join(f"blacklist {name}\n" for name in sorted(on.union(wanted)))
            said = f"{' '.join(wanted)} written to {BLACKLIST}: loaded for no device that appears; what is loaded stays"
        self._try(lambda: self._write_blacklist(_HEAD + left))
        self._did(said, lambda: self._write_blacklist(before))
        return said

    def blacklisted(self) -> set[str]:
        """The modules of this program's own file in modprobe.d."""
        words = [line.split() for line in self._blacklist_text().splitlines()]
        return {canonical(line[1]) for line in words if len(line) == 2 and line[0] == "blacklist"}

    def undo(self) -> str:
        """Take the last change back; "" when there is none. What cannot be taken back stays the last change."""
        if not self._steps:
            return ""
        step = self._steps[-1]
        self._try(step.back)
        self._steps.pop()
        return f"undone: {step.what}"

    def values(self, name: str) -> dict[str, str]:
        """Parameters that can be set (sysfs: writable by the owner), and their values now."""
        found = {}
        for parameter, value in self._values(name).items():
            try:
                mode = self._kernel.stat(f"/sys/module/{name}/parameters/{parameter}").st_mode
            except OSError:
                continue
            if mode & 0o200:
                found[parameter] = value
        return found

    def _did(self, what: str, back: Callable[[], object]) -> None:
        self._steps = [*self._steps[-_MOST_UNDO:], _Step(what, back)]

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except KernelError as error:
            raise KoboxError(f"{error.message}. {error.hint}".strip()) from None
        except OSError as error:
            raise KoboxError(f"{error.filename or 'the kernel'}: {error.strerror}") from None

    def _reload(self, modules: Sequence[tuple[str, Path, dict[str, str]]]) -> None:
        """Load again what was unloaded, the last one first: others may need it. What is loaded meanwhile is left."""
        for name, path, values in reversed(modules):
            if name in self._names():
                continue
            known = {one.name for one in ModuleFile(path).parameters}
            words = [f'{key}="{value}"' for key, value in values.items() if key in known and value]
            insmod(self._kernel, str(path), " ".join(words))

    def _users_first(self, names: Iterable[str]) -> list[str]:
        users = {one.name: set(one.users) for one in sysfs_modules.loaded_modules(self._kernel)}
        left, order = set(names), []
        while left:
            free = sorted(name for name in left if not users.get(name, set()) & left) or sorted(left)
            order += free
            left.difference_update(free)
        return order

    def _names(self) -> set[str]:
        return {one.name for one in sysfs_modules.loaded_modules(self._kernel)}

    def _values(self, name: str) -> dict[str, str]:
        """A module's parameters now: those of a look may be older."""
        try:
            return sysfs_modules.parameters(self._kernel, name)
        except OSError:
            return {}

    def _blacklist_text(self) -> str:
        try:
            return self._kernel.read_text(BLACKLIST)
        except OSError:
            return ""

    def _write_blacklist(self, text: str) -> None:
        """On this machine as a whole or not at all; a directory that is missing is made."""
        folder = os.path.dirname(BLACKLIST)
        if not self._kernel.exists(folder):
            self._kernel.mkdir(folder)
        if isinstance(self._kernel, Host):
            write_file(BLACKLIST, text.encode())
        else:
            self._kernel.write_bytes(BLACKLIST, text.encode())


def _quoted(word: str) -> str:
    """NAME="two words", as the kernel's parser takes it (kernel/params.c)."""
    name, equals, value = word.partition("=")
    return f'{name}{equals}"{value}"' if " " in value else word


def reason(error: OSError) -> str:
    """What an error of a kernel's says, as a line."""
    return one_line(f"{error.filename or 'the kernel'}: {error.strerror or errno.errorcode.get(error.errno or 0, '')}")
