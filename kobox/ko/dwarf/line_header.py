"""A check of line number programs, made before pyelftools reads one.

A program's header (DWARF 5, 6.2.4) has counts of directories and files. An entry whose format has no fields takes no
bytes, so a damaged count would be followed for ever; and each byte of a program can stand for a row. Here the counts
are compared with the bytes that are there.
"""

from __future__ import annotations

import struct

LARGEST = 2 << 20
"""Bytes that a line number program may have; those of the kernel's largest sources have a fifth of that."""

# DW_FORM_* that a table of directories or files may use, by their number: bytes, or what tells the length.
_FIXED = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16}  # data1, data2, data4, data8, data16
_OFFSETS = (0x0E, 0x1F)  # strp, line_strp
_STRING, _UDATA, _BLOCK = 0x08, 0x0F, 0x09


def check(data: memoryview, order: str, start: int) -> int:
    """The bytes of the program at `start` of .debug_line, its length included. Raises `ValueError`, `struct.error`."""
    length: int = struct.unpack_from(f"{order}I", data, start)[0]
    if length > LARGEST:
        raise ValueError(f"a line number program of {length} bytes")
    end = start + 4 + length
    (version,) = struct.unpack_from(f"{order}H", data, start + 4)
    if end > len(data):
        raise ValueError(f"the line number program at {start:#x} reaches beyond the end")
    if version >= 5:
        _Tables(data, end).check(start)
    return end - start


class _Tables:
    """Goes through the tables of directories and files of a version 5 header."""

    def __init__(self, data: memoryview, end: int) -> None:
        self._data = data
        self._end = end
        self._at = 0

    def check(self, start: int) -> None:
        # unit_length, version, address_size, segment_selector_size, header_length, minimum_instruction_length,
        # maximum_operations, default_is_stmt, line_base, line_range: 17 bytes, then opcode_base.
        self._at = start + 17
        self._skip(self._byte() - 1)
        for _ in range(2):
            forms = [(self._leb(), self._leb())[1] for _ in range(self._byte())]
            count = self._leb()
            if count and not forms:
                raise ValueError(f"{count} directories or files without a name")
            for _ in range(count):
                for form in forms:
                    self._entry(form)

    def _entry(self, form: int) -> None:
        if form in _FIXED:
            self._skip(_FIXED[form])
        elif form in _OFFSETS:
            self._skip(4)
        elif form == _STRING:
            while self._byte():
                pass
        elif form == _UDATA:
            self._leb()
        elif form == _BLOCK:
            self._skip(self._leb())
        else:
            raise ValueError(f"form {form:#x} in a table of files")

    def _skip(self, size: int) -> None:
        if not 0 <= size <= self._end - self._at:
            raise ValueError(f"a table of files reaches beyond its program at {self._at:#x}")
        self._at += size

    def _byte(self) -> int:
        self._skip(1)
        return self._data[self._at - 1]

    def _leb(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value
            if shift > 63:
                raise ValueError(f"a number at {self._at:#x} has more than 64 bits")
