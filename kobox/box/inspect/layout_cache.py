"""Where the kernel's variables are, and the members of its structures: what was once looked up is kept in a file.

    {"variables": {"init_task": 18446744071603945536}, "members": {"task_struct.pid": [1312, 4, "int"], "net.x": null}}
    sum of the line above

The sum tells a damaged file, which is made again. What is looked up comes from the snapshot's own tables, never from
the memory of a box, in which a module may have changed them. The symbol table takes a tenth of a second to read and
BTF another; the few places that a program asks for are the same each time, since a box's kernel is always at the same
addresses.

A process behind a wall (`kobox.isolation.wall`) can keep nothing: it leaves word of what it missed, for the next."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.atomic_file import write_file
from kobox.errors import KoboxError
from kobox.json_text import parse_json

if TYPE_CHECKING:
    from kobox.box.inspect.btf import Btf
    from kobox.box.inspect.missed_places import MissedPlaces
    from kobox.box.inspect.symbols import Symbols

Place = tuple[int, int, str]

_MOST_LEARNT = 5000  # places in a file: what is behind a wall may ask for anything


class LayoutCache:
    """The places of one kernel. `symbols()` is asked for what the file `cache` does not have."""

    def __init__(self, symbols: Callable[[], Symbols], cache: Path | None) -> None:
        self._symbols = symbols
        self._cache = cache
        self._variables: dict[str, int] = {}
        self._members: dict[str, Place | None] = {}
        self._new = False
        self._btf: Btf | None = None
        self._missed: MissedPlaces | None = None
        if cache is not None:
            self._read(cache)

    @classmethod
    def of(cls, btf: Btf, variables: Mapping[str, int]) -> LayoutCache:
        """Only these variables, and all members of a kernel's types; nothing is kept."""

        def unknown() -> Symbols:
            raise KoboxError("no other variable is known")

        made = cls(unknown, None)
        made._variables, made._btf = dict(variables), btf
        return made

    def address(self, variable: str) -> int:
        """The address of a variable or function of the kernel, or of a module. Raises `SymbolNotFoundError`."""
        found = self._variables.get(variable)
        if not found:
            symbols = self._symbols()
            found = symbols.of_kernel(variable)
            if found is None:
                return int(symbols.address(variable))  # a module's is another the next time
            self._variables[variable] = found
            self._miss("variable", variable)
        return found

    def find(self, variable: str) -> int | None:
        """The address of a variable or function of the kernel itself; None when it has none of that name, which is
        remembered too."""
        if variable not in self._variables:
            self._variables[variable] = self._symbols().of_kernel(variable) or 0
            self._miss("variable", variable)
        return self._variables[variable] or None

    def member(self, path: str) -> Place:
        """(offset from the start of the outermost structure, size in bytes, type) of "structure.member", and on through
        members that are structures; of "structure" alone, the whole. Raises `BtfError` for what this kernel does not
        have."""
        place = self._members.get(path)
        if place is not None:
            return place
        from kobox.box.inspect.btf import BtfError  # late: who knows all places needs none of that

        if path in self._members:
            raise BtfError(f"this kernel has no {path}")
        self._miss("member", path)
        try:
            place = self._members[path] = self._find(path)
        except BtfError:
            self._members[path] = None
            raise
        return place

    def keep(self) -> None:
        """Write down what is new."""
        if not self._new or self._cache is None:
            return
        self._new = False
        content = json.dumps({"variables": self._variables, "members": self._members}).encode()
        with suppress(OSError):  # what cannot be kept is looked up again
            write_file(self._cache, content + b"\n" + _sum(content) + b"\n", follow=False, flush=False)

    def keep_before_a_wall(self) -> None:
        """Write down what is new, and what earlier processes behind a wall have missed. This process will be behind
        one: what it looks up from now on is kept by the next."""
        if self._cache is None:
            return
        from kobox.box.inspect.missed_places import MissedPlaces

        with suppress(OSError):
            missed = MissedPlaces(self._cache.with_name(f"{self._cache.name}-missed"))
            for kind, name in missed.take():
                if len(self._variables) + len(self._members) < _MOST_LEARNT:
                    with suppress(KoboxError, ValueError):
                        self.find(name) if kind == "variable" else self.member(name)
            self.keep()
            self._missed = missed

    def _miss(self, kind: str, name: str) -> None:
        self._new = True
        if self._missed is not None:
            self._missed.add(kind, name)

    def _read(self, cache: Path) -> None:
        try:
            content, found, _ = cache.read_bytes().split(b"\n")
            if found != _sum(content):
                return
            data = parse_json(content)
            variables = {str(name): int(address) for name, address in data["variables"].items()}
            members = {
                str(path): None if place is None else (int(place[0]), int(place[1]), str(place[2]))
                for path, place in data["members"].items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            return
        self._variables, self._members = variables, members

    def _find(self, path: str) -> Place:
        btf = self._btf or self._symbols().btf
        structure, *members = path.split(".")
        if not members:
            return 0, btf.size(structure), f"struct {structure}"
        offset, size, kind = 0, 0, f"struct {structure}"
        for member in members:
            inner, size, kind = btf.member(kind.rpartition(" ")[2], member)
            offset += inner
        return offset, size, kind


def _sum(content: bytes) -> bytes:
    return b"%08x" % zlib.crc32(content)
