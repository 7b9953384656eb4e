"""The section .debug_frame: how a debugger finds the caller's frame, from any instruction of the kernel's.

Source: DWARF 4, section 6.4.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

_ADVANCE, _ADVANCE_1, _ADVANCE_2, _ADVANCE_4 = 0x40, 0x02, 0x03, 0x04
_NO_CIE = 0xFFFFFFFF


def debug_frame(rules: Iterable[tuple[int, bytes]], functions: Sequence[int], end: int, return_column: int) -> bytes:
    """The section. `rules` are (address, instructions) in order; `functions` the sorted addresses at which an entry of
    its own begins; `end` is where the code ends."""
    cie = struct.pack("<IB", _NO_CIE, 4) + b"\0" + struct.pack("<BBBB", 8, 0, 1, 0x78) + bytes((return_column,))
    cie += bytes(-(len(cie) + 4) % 8)
    out = bytearray(struct.pack("<I", len(cie)) + cie)
    for start, stop, rows in _functions(rules, functions, end):
        code, at = bytearray(), start
        for address, instructions in rows:
            code += _advance(address - at) + instructions
            at = address
        body = struct.pack("<IQQ", 0, start, stop - start) + code
        body += bytes(-(len(body) + 4) % 8)
        out += struct.pack("<I", len(body)) + body
    return bytes(out)


def _functions(
    rules: Iterable[tuple[int, bytes]], functions: Sequence[int], end: int
) -> Iterator[tuple[int, int, list[tuple[int, bytes]]]]:
    """(start, end, rules) of each function that has any. What held at its start comes first."""
    rows, n, held = list(rules), 0, b""
    for start, stop in zip(functions, [*functions[1:], end], strict=True):
        own: list[tuple[int, bytes]] = []
        while n < len(rows) and rows[n][0] < stop:
            if rows[n][0] <= start:
                held = rows[n][1]
            else:
                own.append(rows[n])
            n += 1
        if held or own:
            yield start, stop, [(start, held), *own] if held else own
        held = own[-1][1] if own else held


def _advance(distance: int) -> bytes:
    if not distance:
        return b""
    if distance < 0x40:
        return bytes((_ADVANCE | distance,))
    if distance < 1 << 8:
        return bytes((_ADVANCE_1, distance))
    if distance < 1 << 16:
        return struct.pack("<BH", _ADVANCE_2, distance)
    return struct.pack("<BI", _ADVANCE_4, distance)
