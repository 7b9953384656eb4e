"""The symbols that the kernel itself exports, from a file of its build: System.map or Module.symvers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class SymbolFile(NamedTuple):
    """What the kernel itself exports, by System.map (without CRCs) or Module.symvers (with them)."""

    crcs: Mapping[bytes, int]
    has_crcs: bool

    @classmethod
    def from_system_map(cls, path: str) -> SymbolFile:
        """Read `ADDRESS TYPE __ksymtab_NAME` lines. Raises `OSError`."""
        found = {}
        for line in _read(path).splitlines():
            words = line.split()
            if len(words) >= 3 and words[2].startswith(b"__ksymtab_"):
                found[words[2][10:]] = 0
        return cls(found, False)

    @classmethod
    def from_symvers(cls, path: str) -> SymbolFile:
        """Read `0xCRC NAME vmlinux ...` lines. Raises `OSError`."""
        found = {}
        for line in _read(path).splitlines():
            words = line.split()
            if len(words) >= 3 and words[2] == b"vmlinux":
                try:
                    found[words[1]] = int(words[0], 16)
                except ValueError:
                    continue
        return cls(found, True)


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()
