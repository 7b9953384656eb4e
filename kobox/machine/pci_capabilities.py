"""Capabilities of a PCI function: what stands in configuration space behind its header, and which bits can be written.

    0x34 ->  power management -> MSI -> MSI-X -> vital product data -> PCI Express
    0x100 -> advanced error reporting -> serial number -> single root I/O virtualization     (PCI Express only)

Sources: PCI Local Bus Specification 3.0, 6.7 and 6.8; PCI Power Management 1.2, 3.2; PCI Express Base Specification
5.0, 7.5.3 and 7.8; Single Root I/O Virtualization 1.1, 3.3.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from kobox.errors import KoboxError

POWER, MSI, VITAL, MSIX, EXPRESS, END = 0xA0, 0xA8, 0xB8, 0xC0, 0xCC, 0x100
"""Where the capabilities stand."""
ERRORS, SERIAL, VIRTUAL, EXTENDED_END = 0x100, 0x150, 0x160, 0x1A0
"""Where the extended capabilities stand."""
POWER_CONTROL = POWER + 4
ERROR_STATUS, ERROR_SEVERITY = (ERRORS + 0x04, ERRORS + 0x10), ERRORS + 0x0C
"""The status of uncorrectable errors and of correctable ones; which of the uncorrectable ones are fatal."""
ROOT_ERRORS, ROOT_SOURCES = ERRORS + 0x30, ERRORS + 0x34
DEVICE_CONTROL, LINK_STATUS = EXPRESS + 8, EXPRESS + 0x12
VIRTUAL_CONTROL, VIRTUAL_COUNT, VIRTUAL_LINK = VIRTUAL + 8, VIRTUAL + 0x10, VIRTUAL + 0x12
VIRTUAL_OFFSET, VIRTUAL_BARS = VIRTUAL + 0x14, VIRTUAL + 0x24
PENDING = 0x800  # where the pending bits of MSI-X are, in the BAR of its table
MOST_VIRTUAL = 32
_SPEEDS = range(1, 6)  # 2.5, 5, 8, 16 and 32 GT/s
_WIDTHS = (1, 2, 4, 8, 12, 16, 32)
_PAYLOADS = (128, 256, 512, 1024, 2048, 4096)
_ROOT_PORT = 4


class Express(NamedTuple):
    """PCI Express: `speed` of the link is 1 to 5 (2.5, 5, 8, 16, 32 GT/s), `width` its lanes, `payload` the largest
    packet in bytes, `resets` whether the function can be reset alone (FLR)."""

    speed: int = 1
    width: int = 1
    payload: int = 256
    resets: bool = True

    def check(self) -> None:
        """Raise `KoboxError` when there is no such link."""
        if self.speed not in _SPEEDS or self.width not in _WIDTHS or self.payload not in _PAYLOADS:
            raise KoboxError(
                f"{self}: there is no such link",
                hint=f"speed: 1 to 5; width: one of {_WIDTHS}; payload: one of {_PAYLOADS} bytes.",
            )


class Capability(NamedTuple):
    """One capability: `body` is what follows its header, of which the bits in `writable` can be written, and those in
    `cleared` are cleared by writing ones. Both begin where `body` begins."""

    at: int
    kind: int
    body: bytes
    writable: bytes = b""
    cleared: bytes = b""
    version: int = 1


def power() -> Capability:
    """Power management with D0 and D3; coming back from D3 keeps the registers."""
    return Capability(POWER, 0x01, struct.pack("<HHxx", 0x0003, 0x0008), struct.pack("<HH", 0, 0x0003))


def msi(vectors: int) -> Capability:
    """MSI with 64-bit addresses."""
    shift = (vectors - 1).bit_length()
    writable = struct.pack("<HIIH", 0x0071, 0xFFFFFFFC, 0xFFFFFFFF, 0xFFFF)
    return Capability(MSI, 0x05, struct.pack("<HIIH", 0x0080 | shift << 1, 0, 0, 0), writable)


def msix(vectors: int, bar: int) -> Capability:
    """MSI-X with its table and its pending bits in a BAR."""
    return Capability(MSIX, 0x11, struct.pack("<HII", vectors - 1, bar, PENDING | bar), struct.pack("<H", 0xC000))


def vital() -> Capability:
    """Vital product data: an address and four bytes of data."""
    return Capability(VITAL, 0x03, bytes(6), b"\xff" * 6)


def express(link: Express, *, is_bridge: bool) -> Capability:
    """PCI Express, version 2: an endpoint, or a root port with one place behind it."""
    payload = _PAYLOADS.index(link.payload)
    flags = 2 | (_ROOT_PORT << 4 | 1 << 8 if is_bridge else 0)
    device = payload | 1 << 15 | (1 << 28 if link.resets and not is_bridge else 0)
    speeds = (1 << link.speed + 1) - 2  # in the register, bit 1 is 2.5 GT/s
    status = link.speed | link.width << 4 | (1 << 13 if is_bridge else 0)
    body = struct.pack("<HIHHIHH", flags, device, 0x2810, 0, link.speed | link.width << 4, 0, status)
    body += struct.pack("<IHHHHI", 0, 0, 1 << 6 if is_bridge else 0, 0, 0, 0)  # slot, root
    body += struct.pack("<IHHIHH", 0x1F, 0, 0, speeds, link.speed, 0)
    writable = struct.pack("<HIHHIHH", 0, 0, 0x7FFF, 0, 0, 0x0FDB, 0)
    writable += struct.pack("<IHHHHI", 0, 0x1FFF if is_bridge else 0, 0, 0x1F if is_bridge else 0, 0, 0)
    writable += struct.pack("<IHHIHH", 0, 0xFFFF, 0, 0, 0xFFFF, 0)
    cleared = struct.pack("<HIHHIHH", 0, 0, 0, 0x000F, 0, 0, 0xC000)
    return Capability(EXPRESS, 0x10, body, writable, cleared)


def errors() -> Capability:
    """Advanced error reporting: status (cleared by writing ones), mask and severity of uncorrectable errors, status and
    mask of correctable ones, control, the header of the packet; of root ports: command, status, sources."""
    body = struct.pack("<IIIIII", 0, 0, 0x00462030, 0, 0x2000, 0xA0) + bytes(16) + bytes(12)
    writable = struct.pack("<IIIIII", 0, 0x07FFF030, 0x07FFF030, 0, 0xF1C1, 0x0140) + bytes(16) + b"\7"
    cleared = struct.pack("<IIIIII", 0x07FFF030, 0, 0, 0xF1C1, 0, 0) + bytes(20) + b"\x7f"
    return Capability(ERRORS, 0x0001, body, writable, cleared, version=2)


def serial(number: int) -> Capability:
    """The serial number of the device, 64 bits."""
    return Capability(SERIAL, 0x0003, struct.pack("<Q", number & (1 << 64) - 1))


def virtual(count: int, device: int, bars: bytes, masks: bytes) -> Capability:
    """Single root I/O virtualization: `count` functions with the ID `device`, whose BARs, all of one kind, are
    `bars`. The offset of the first of them is entered when the card is plugged in."""
    body = struct.pack("<IHHHHHHHHHHII", 0, 0, 0, count, count, 0, 0, 0, 1, 0, device, 1, 1)
    writable = struct.pack("<IHHHHHHHHHHII", 0, 0x0019, 0, 0, 0, 0xFFFF, 0, 0, 0, 0, 0, 0, 0xFFFFFFFF)
    return Capability(VIRTUAL, 0x0010, body + bars, writable + masks)


def own(kind: int, content: bytes, at: int) -> Capability:
    """A capability whose content, behind its header, is the device's own and can be written."""
    return Capability(at, kind, content, b"\xff" * len(content))


def header_size(at: int) -> int:
    """How many bytes the header of a capability has that stands there: its kind, and where the next one is."""
    return 2 if at < END else 4


def enter(config: bytearray, writable: bytearray, cleared: bytearray, found: list[Capability]) -> None:
    """Write capabilities into configuration space, each with a link to the next one."""
    plain = sorted(one for one in found if one.at < END)
    extended = sorted(one for one in found if one.at >= END)
    for rows in (plain, extended):
        for one, after in zip(rows, [*rows[1:], None], strict=False):
            following = after.at if after is not None else 0
            if one.at < END:
                head = struct.pack("<BB", one.kind, following)
            else:
                head = struct.pack("<I", one.kind | one.version << 16 | following << 20)
            start = one.at + len(head)
            writable[one.at : start] = bytes(len(head))
            config[one.at : start + len(one.body)] = head + one.body
            writable[start : start + len(one.writable)] = one.writable
            cleared[start : start + len(one.cleared)] = one.cleared
    if plain:
        config[0x34] = plain[0].at
