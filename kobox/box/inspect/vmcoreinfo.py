"""vmcoreinfo: what the kernel itself publishes about its own data structures, for tools that read its memory.

`/sys/kernel/vmcoreinfo` names the physical address of an ELF note whose text has one fact a line
(Documentation/admin-guide/kdump/vmcoreinfo.rst):

    SYMBOL(prb)=ffffffff82a643e0     an address        OFFSET(printk_info.seq)=0   a member's offset
    SIZE(printk_info)=88             a size in bytes   LENGTH(…)=16                elements of an array
    NUMBER(VA_BITS)=48               a constant
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from kobox.errors import BoxError
from kobox.ko.binary import c_string


def parse_note(note: bytes) -> dict[str, str]:
    """The facts in the note's bytes: name, description size, type, then "VMCOREINFO" and the text."""
    namesz, descsz, _ = struct.unpack_from("<III", note)
    start = 12 + (namesz + 3 & ~3)
    text = c_string(note[start : start + descsz]).decode(errors="replace")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


class VmCoreInfo:
    """Facts by name. A fact that this kernel does not publish raises `BoxError` that names it."""

    def __init__(self, facts: Mapping[str, str]) -> None:
        self.facts = dict(facts)

    def symbol(self, name: str) -> int:
        """A symbol's address."""
        return int(self._get(f"SYMBOL({name})"), 16)

    def offset(self, member: str) -> int:
        """The offset of `struct.member`, in bytes."""
        return int(self._get(f"OFFSET({member})"))

    def size(self, name: str) -> int:
        """The size of a structure, in bytes."""
        return int(self._get(f"SIZE({name})"))

    def number(self, name: str) -> int:
        """A constant."""
        return int(self._get(f"NUMBER({name})"), 0)

    def has(self, fact: str) -> bool:
        """Whether a fact such as `SYMBOL(prb)` is there."""
        return fact in self.facts

    def _get(self, fact: str) -> str:
        try:
            return self.facts[fact]
        except KeyError:
            raise BoxError(f"this kernel's vmcoreinfo lacks {fact}", box_lives=True) from None
