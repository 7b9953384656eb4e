"""Memory of the box that a device has filled, or that says something of it: what is read there is followed."""

from __future__ import annotations

from collections.abc import Iterator

from kobox.box.box import Box
from kobox.devices.phantom_policy import FIRMWARE, HEADER, Policy, PolicyAnswers, Read, RegisterAt
from kobox.machine.taint import Taint

_PAGE = 4096
_LARGEST_FILE = 1 << 20


def with_file(policy: Policy, offset: int, wanted: int) -> Policy | None:
    """The device whose driver finds such a byte in the size of a file of firmware; None when there can be none."""
    number, byte = divmod(offset - FIRMWARE, 8)
    names = list(policy.firmware)
    if number >= len(names):
        return None
    size = bytearray(policy.firmware[names[number]].to_bytes(8, "little"))
    size[byte] = wanted
    whole = int.from_bytes(size, "little")
    return policy.with_firmware(names[number], whole) if 0 < whole <= _LARGEST_FILE else None


def tell(box: Box, taint: Taint | None, device: PolicyAnswers, address: int, data: bytes, offset: int) -> None:
    """Follow what the kernel knows of a device: `data` at a virtual address, called by its offset in `HEADER`."""
    done = 0
    for first, count in label(box, taint, address, len(data)):
        device.reads += [
            Read(first + n, RegisterAt(HEADER, offset + done + n), 0, 1, data[done + n]) for n in range(count)
        ]
        done += count


def label(box: Box, taint: Taint | None, address: int, size: int) -> Iterator[tuple[int, int]]:
    """Follow `size` bytes at a virtual address: (number of the first byte's read, how many bytes) for each page."""
    while size > 0 and taint is not None:
        piece = min(size, _PAGE - address % _PAGE)
        physical = box.machine.translate(address)
        if physical is None:
            return
        yield taint.sent(physical, piece), piece
        address, size = address + piece, size - piece
