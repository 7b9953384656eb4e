"""The ACPI tables of the machine: just enough for a kernel to find the local APIC, and with it a timer that
sleeps long.

    RSDP -> XSDT -> FADT -> DSDT (an empty namespace), FACS
                 -> MADT: one processor's local APIC; 8259s present; no IO-APIC

Source: ACPI specification 6.4, chapter 5.2. Ports PM1_EVENT and PM1_CONTROL belong to `core.c`.
"""

from __future__ import annotations

import struct

RSDP = 0xE0000
PM1_EVENT, PM1_CONTROL, SCI = 0x600, 0x604, 9
_TABLES = RSDP + 0x40


def tables() -> bytes:
    """All tables as one block of bytes, to be put at physical address `RSDP`."""
    place = _TABLES

    def put(table: bytes) -> int:
        nonlocal place
        at = place
        block.extend(bytes(at - RSDP - len(block)) + table)
        place = at + len(table) + 63 & -64
        return at

    block = bytearray()
    facs = put(struct.pack("<4sI24xBB30x", b"FACS", 64, 2, 0))
    dsdt = put(_table(b"DSDT", 2, b""))
    fadt = put(_table(b"FACP", 6, _fadt_body(facs, dsdt)))
    lapic = struct.pack("<BBBBI", 0, 8, 0, 0, 1)
    madt = put(_table(b"APIC", 5, struct.pack("<II", 0xFEE00000, 1) + lapic))
    xsdt = put(_table(b"XSDT", 1, struct.pack("<QQ", fadt, madt)))
    rsdp = struct.pack("<8sB6sBI", b"RSD PTR ", 0, b"KOBOX ", 2, 0)
    rsdp = _summed(rsdp, 8) + struct.pack("<IQB3x", 36, xsdt, 0)
    block[: len(rsdp)] = _summed(rsdp, 32)
    return bytes(block)


def _fadt_body(facs: int, dsdt: int) -> bytes:
    body = bytearray(276 - 36)

    def put(offset: int, layout: str, *values: int) -> None:
        struct.pack_into("<" + layout, body, offset - 36, *values)

    put(36, "II", facs, dsdt)
    put(46, "H", SCI)
    put(56, "I", PM1_EVENT)
    put(64, "I", PM1_CONTROL)
    put(88, "BB", 4, 2)  # lengths of the two blocks
    put(109, "H", 0x0001)  # boot architecture: legacy devices, no 8042
    put(112, "I", 1 << 0 | 1 << 2 | 1 << 4 | 1 << 5)  # WBINVD, C1; no power button, no sleep button
    put(131, "B", 4)  # minor version
    put(140, "Q", dsdt)
    for offset, address, bits in ((148, PM1_EVENT, 32), (172, PM1_CONTROL, 16)):
        put(offset, "BBBBQ", 1, bits, 0, 2, address)
    return bytes(body)


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    header = struct.pack(
        "<4sIBB6s8sI4sI", signature, 36 + len(body), revision, 0, b"KOBOX ", b"KOBOXPC ", 1, b"KOBX", 1
    )
    return _summed(header + body, 9)


def _summed(table: bytes, at: int) -> bytes:
    """The table with the byte at `at` set so that all bytes add up to zero."""
    return table[:at] + bytes([-sum(table) & 0xFF]) + table[at + 1 :]
