"""What depmod must know of modules: five lists of names each, and why a file could not be read.

Many modules' facts are one piece of bytes, from the files into the indexes and into the cache:

    u32 count, u32 sizes[count][6], then all fields: aliases, softdeps, weakdeps, exports, needs, error

A field is names joined by NUL. `facts.c` makes them; what it leaves, since it is packed or damaged, is read
here.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from kobox.errors import ModuleFormatError

if TYPE_CHECKING:
    from kobox.ko.modulefile import ModuleFile

ALIASES, SOFTDEPS, WEAKDEPS, EXPORTS, NEEDS, ERROR = range(6)
FIELDS = 6


class Facts:
    """The facts of modules, numbered from 0. Raises `struct.error` or `ValueError` for bytes that are not such."""

    __slots__ = ("_starts", "count", "packed")

    def __init__(self, packed: bytes) -> None:
        self.packed = packed
        (self.count,) = struct.unpack_from("=I", packed)
        sizes = struct.unpack_from(f"={FIELDS * self.count}I", packed, 4)
        self._starts = list(accumulate(sizes, initial=4 + 4 * len(sizes)))
        if self._starts[-1] != len(packed):
            raise ValueError("the sizes are not those of the content")

    @classmethod
    def join(cls, modules: Sequence[tuple[Facts, int]]) -> Facts:
        """The facts of some modules, each given as facts and a number in them."""
        sizes, content = [], []
        at = 0
        while at < len(modules):
            # Most stand one behind the other already.
            facts, first = modules[at]
            end = at + 1
            while end < len(modules) and modules[end] == (facts, first + end - at):
                end += 1
            last = first + end - at
            sizes.append(facts.packed[4 + 4 * FIELDS * first : 4 + 4 * FIELDS * last])
            content.append(facts.packed[facts._starts[FIELDS * first] : facts._starts[FIELDS * last]])
            at = end
        return cls(b"".join([struct.pack("=I", len(modules)), *sizes, *content]))

    @classmethod
    def of(cls, fields: Sequence[bytes]) -> Facts:
        """Those of one module."""
        return cls(struct.pack(f"=I{FIELDS}I", 1, *map(len, fields)) + b"".join(fields))

    def field(self, number: int, field: int) -> bytes:
        """A field of a module: names joined by NUL, b"" for none."""
        at = FIELDS * number + field
        return self.packed[self._starts[at] : self._starts[at + 1]]

    def having(self, field: int) -> Iterator[tuple[int, bytes]]:
        """(number, field) of every module where it is not empty."""
        starts, packed = self._starts, self.packed
        begins, ends = starts[field::FIELDS], starts[field + 1 :: FIELDS]
        for number, (begin, end) in enumerate(zip(begins, ends, strict=False)):
            if begin != end:
                yield number, packed[begin:end]

    def errors(self) -> list[str]:
        """What is wrong with the modules that could not be read."""
        return [text.decode("utf-8", "surrogateescape") for _, text in self.having(ERROR)]


NOTHING = Facts(struct.pack("=I", 0))


def read_facts(path: str) -> Facts:
    """The facts of the module at a path; for an unreadable one only the error is set."""
    from kobox.kmod.index import native_core as native
    from kobox.ko import compression

    try:
        with open(path, "rb", buffering=0, opener=_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModuleFormatError("not a regular file", path=path)
            head = file.read(compression.HEAD)
            # What is not packed, gather.c has seen and left: something is wrong with it.
            if compression.recognise(head) and status.st_size <= compression.LIMIT:
                packed = native.facts_of(compression.decompress(head + file.readall(), path=path))
                if packed is not None:
                    return Facts(packed)
        from kobox.ko.modulefile import ModuleFile

        return _unusual(ModuleFile(path))
    except ModuleFormatError as error:
        text = error.message
    except OSError as error:
        text = f"{path}: {error.strerror}"
    return Facts.of((b"", b"", b"", b"", b"", text.encode("utf-8", "surrogateescape")))


def _at_once(path: str, flags: int) -> int:
    """Opens a FIFO without waiting for somebody to write there."""
    return os.open(path, flags | os.O_NONBLOCK)


def _unusual(module: ModuleFile) -> Facts:
    """The facts of a module that `facts.c` did not read. Raises `ModuleFormatError` if there is a reason for that."""
    needs = [each.name for each in module.imports]
    exports = [each.name for each in module.exports]
    lists = (module.aliases, module.softdeps, module.weakdeps, exports, dict.fromkeys([*needs, *module.versions]), ())
    return Facts.of(["\0".join(names).encode("utf-8", "surrogateescape") for names in lists])
