"""Quantities and places in words: "1 byte", "a 64-byte kmalloc object", "8 bytes past the end of"."""

from __future__ import annotations


def quantity(count: int, noun: str) -> str:
    """ "1 byte", "3 bytes", "2 entries"."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("ry") else f"{count} {noun}s"


def sized(size: int, noun: str) -> str:
    """ "a 64-byte kmalloc object", "an 8-byte kmalloc object"."""
    digits = str(size)
    vowel = digits.startswith("8") or (digits.startswith(("11", "18")) and len(digits) % 3 == 2)
    return f"{'an' if vowel else 'a'} {size}-byte {noun}"


def beside(address: int, start: int, end: int, what: str) -> str:
    """Where an address lies that has left `what`, which lies from `start` to `end`."""
    if address < start:
        return f"{quantity(start - address, 'byte')} before the start of {what}"
    if address >= end:
        return f"{quantity(address - end, 'byte')} past the end of {what}"
    return f"across the end of {what}"
