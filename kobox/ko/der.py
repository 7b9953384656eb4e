"""A reader of DER, small: enough to find the fields of a PKCS #7 message (ITU-T X.690).

An element is a tag of one byte, a length, and so many bytes of content. The length is one byte up to 127; beyond
that one byte of 128 + n, then n bytes, the highest first.

Every `modinfo` reads a signature this way: importing an ASN.1 library takes longer than all of that command. Signing
and verifying use a library (`kobox.signing`).
"""

from __future__ import annotations

from kobox.startup import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


OID, OCTETS, INTEGER, SEQUENCE, SET = 0x06, 0x04, 0x02, 0x30, 0x31


class Element(NamedTuple):
    """One element: its tag with the class and constructed bits, and its content."""

    tag: int
    content: bytes

    @property
    def inside(self) -> Iterator[Element]:
        """The elements that it consists of. Raises `ValueError`."""
        return elements(self.content)


def elements(data: bytes) -> Iterator[Element]:
    """The elements of these bytes, one after the other. Raises `ValueError`."""
    at = 0
    while at < len(data):
        tag, size, start = _header(data, at)
        at = start + size
        if at > len(data):
            raise ValueError(f"an element of {size} bytes reaches beyond the end")
        yield Element(tag, data[start:at])


def _header(data: bytes, at: int) -> tuple[int, int, int]:
    """(tag, size of the content, where the content begins)."""
    if at + 2 > len(data):
        raise ValueError("an element is cut short")
    tag, size = data[at], data[at + 1]
    if tag & 0x1F == 0x1F:
        raise ValueError("a tag of several bytes, which no signature has")
    if size < 0x80:
        return tag, size, at + 2
    count = size & 0x7F
    if not 0 < count <= 4 or at + 2 + count > len(data):
        raise ValueError("a length that can't be true")
    return tag, int.from_bytes(data[at + 2 : at + 2 + count]), at + 2 + count


def dotted(content: bytes) -> str:
    """An object identifier's content as `1.2.840.113549`. Raises `ValueError`."""
    if not content or content[-1] & 0x80:
        raise ValueError("an object identifier without end")
    numbers, value = [], 0
    for byte in content:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


# Strings by their tag; what is not listed is ASCII.
_ENCODINGS = {0x0C: "utf-8", 0x14: "latin-1", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}


def text(element: Element) -> str:
    """A string of any type; bytes that it can't have are replaced."""
    return element.content.decode(_ENCODINGS.get(element.tag, "ascii"), "replace")
