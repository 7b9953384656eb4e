"""ACPI's machine language (AML), as far as tables of devices need it: names, packages, resources.

device("UART", name("_HID", "KOBX0001"), name("_CRS", resources(memory(0xFD000000, 0x1000), interrupt(12))))

Source: ACPI specification 6.4, chapters 6.4 (resources) and 20.2 (AML).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reference:
    """The name of an object, as an element of a package: "\\_SB_.PCI0.I001"."""

    path: str

    @property
    def encoded(self) -> bytes:
        """The NameString (20.2.2)."""
        parts = self.path.removeprefix("\\").split(".")
        prefix = {1: b"", 2: b"\x2e"}.get(len(parts), b"\x2f" + bytes([len(parts)]))
        return b"\\" + prefix + b"".join(_symbol(part) for part in parts)


Value = int | str | bytes | Reference | Sequence["Value"]
DEVICE_PROPERTIES = bytes.fromhex("14d8ffdaba6e8c4d8a91bc9bbf4aa301")  # daffd814-6eba-4d8c-8a91-bc9bbf4aa301


def sized(body: bytes) -> bytes:
    """PkgLength, which counts itself, and what it is the length of (20.2.4)."""
    size = len(body) + 1
    if size < 64:
        return bytes([size]) + body
    for more in (1, 2, 3):
        if (whole := size + more) < 1 << 4 + 8 * more:
            return bytes([more << 6 | whole & 15]) + (whole >> 4).to_bytes(more, "little") + body
    raise ValueError(f"{len(body)} bytes are too many for one object of AML")


def value(content: Value) -> bytes:
    """A constant: an integer, a string, a buffer or a package."""
    if isinstance(content, Reference):
        return content.encoded
    if isinstance(content, bool | int):
        number = int(content) & (1 << 64) - 1
        for prefix, size in ((0x0A, 1), (0x0B, 2), (0x0C, 4), (0x0E, 8)):
            if number < 1 << 8 * size:
                return bytes([prefix]) + number.to_bytes(size, "little")
    if isinstance(content, str):
        return b"\x0d" + content.encode("ascii", "replace") + b"\0"
    if isinstance(content, bytes):
        return b"\x11" + sized(value(len(content)) + content)
    assert not isinstance(content, int)
    return b"\x12" + sized(bytes([len(content)]) + b"".join(value(item) for item in content))


def name(symbol: str, content: Value) -> bytes:
    """Name (symbol, content)."""
    return b"\x08" + _symbol(symbol) + value(content)


def device(symbol: str, *parts: bytes) -> bytes:
    """Device (symbol) { parts }."""
    return b"\x5b\x82" + sized(_symbol(symbol) + b"".join(parts))


def scope(path: bytes, *parts: bytes) -> bytes:
    """Scope (path) { parts }; `path` is an encoded name, such as b"\\\\_SB_"."""
    return b"\x10" + sized(path + b"".join(parts))


def _symbol(text: str) -> bytes:
    return text.encode().ljust(4, b"_")[:4]


def resources(*parts: bytes) -> bytes:
    """A resource template: a buffer with an end tag."""
    return b"".join(parts) + b"\x79\0"


def memory(address: int, size: int) -> bytes:
    """Memory32Fixed (ReadWrite, address, size)."""
    return struct.pack("<BHBII", 0x86, 9, 1, address, size)


def ports(address: int, size: int) -> bytes:
    """IO (Decode16, address, address, 1, size)."""
    if size > 255:  # the I/O port descriptor counts no further: a word address space descriptor, both ends fixed
        return struct.pack("<BHBBBHHHHH", 0x88, 13, 1, 0x0D, 3, 0, address, address + size - 1, 0, size)
    return struct.pack("<BBHHBB", 0x47, 1, address, address, 1, size)


def interrupt(number: int) -> bytes:
    """Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { number }."""
    return struct.pack("<BHBBI", 0x89, 6, 0b1001, 1, number)


def spi_connection(controller: str, select: int, *, speed: int, bits: int, mode: int) -> bytes:
    """SPISerialBusV2 (select, PolarityLow, FourWireMode, bits, ControllerInitiated, speed, …, controller)."""
    body = struct.pack("<IBBBH", speed, bits, mode & 1, mode >> 1 & 1, select)
    return _serial_bus(2, body, controller)


def i2c_connection(controller: str, address: int, *, speed: int = 100_000) -> bytes:
    """I2CSerialBusV2 (address, ControllerInitiated, speed, AddressingMode7Bit, controller)."""
    return _serial_bus(1, struct.pack("<IH", speed, address), controller)


def gpio_connection(controller: str, line: int, interrupt: str = "") -> bytes:
    """GpioIo (Shared, PullDefault, 0, 0, IoRestrictionNone, controller) { line }, or GpioInt with a trigger: "rising",
    "falling", "both", "high", "low" (6.4.3.8.1)."""
    edge, polarity = _TRIGGERS.get(interrupt, (0, 0))
    flags = edge | polarity << 1 | 1 << 3 if interrupt else 1 << 3
    table, source = 23, 25
    name_ = controller.encode() + b"\0"
    body = struct.pack(
        "<BBHHBHHHBHHH", 1, 0 if interrupt else 1, 1, flags, 0, 0, 0, table, 0, source, source + len(name_), 0
    )
    whole = body + struct.pack("<H", line) + name_
    return b"\x8c" + struct.pack("<H", len(whole)) + whole


# For each kind of interrupt: whether it is by edge, and the polarity (0 high, 1 low, 2 both).
_TRIGGERS = {"rising": (1, 0), "falling": (1, 1), "both": (1, 2), "high": (0, 0), "low": (0, 1)}


def client(symbol: str, number: int, hid: str, compatible: str, resource: bytes, extra: Mapping[str, Value]) -> bytes:
    """Device (symbol) of a client on a serial bus: known by `hid`, or as `compatible` ("PRP0001")."""
    pairs = {**({"compatible": compatible} if compatible else {}), **extra}
    identity = (name("_HID", hid or "PRP0001"), name("_UID", number), name("_CRS", resources(resource)))
    return device(symbol, *identity, *([properties(pairs)] if pairs else []))


def _serial_bus(kind: int, body: bytes, controller: str) -> bytes:
    """A serial bus connection descriptor of a consumer (6.4.3.8.2)."""
    head = struct.pack("<BBBBHBH", 1, 0, kind, 2, 0, 1, len(body))
    whole = head + body + controller.encode() + b"\0"
    return b"\x8e" + struct.pack("<H", len(whole)) + whole


def properties(pairs: Mapping[str, Value]) -> bytes:
    """Name (_DSD, …): device properties."""
    rows: list[Value] = [[key, content] for key, content in pairs.items()]
    return name("_DSD", [DEVICE_PROPERTIES, rows])


def table(signature: bytes, revision: int, body: bytes) -> bytes:
    """A table with its header."""
    header = struct.pack(
        "<4sIBB6s8sI4sI", signature, 36 + len(body), revision, 0, b"KOBOX ", b"KOBOXPC ", 1, b"KOBX", 1
    )
    return summed(header + body, 9)


def summed(block: bytes, at: int) -> bytes:
    """Bytes with the one at `at` set so that all add up to zero."""
    return block[:at] + bytes([-sum(block) & 0xFF]) + block[at + 1 :]
