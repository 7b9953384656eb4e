"""Registers of hardware models: bits, fields, what the driver's writes change, and declarations that cannot be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kobox.devices import PciDevice, Register
from kobox.errors import KoboxError


class Model(PciDevice):
    bar0 = PciDevice.memory(0x100)
    control = Register(bar0, 0x00, bits={"run": 0, "mode": (4, 7), "top": 31}, reset=0x50)
    fixed = Register(bar0, 0x04, read_only=True, reset=7)
    status = Register(bar0, 0x08, clear_on_write=0xF0)
    byte = Register(bar0, 0x0C, size=1)
    short = Register(bar0, 0x0E, size=2)
    wide = Register(bar0, 0x10, size=8)

    def __init__(self) -> None:
        self.told: list[str] = []
        self.function  # noqa: B018 - makes the map of registers

    def reading(self, register: object) -> None:
        self.told.append(f"read {register.name}")  # type: ignore[attr-defined]

    def written(self, register: object) -> None:
        self.told.append(f"write {register.name}")  # type: ignore[attr-defined]


def test_bits_and_fields() -> None:
    model = Model()
    assert (model.control.value, model.control.run, model.control.mode) == (0x50, 0, 5)
    model.control.run = 1
    model.control.mode = 0x1F  # a field takes what fits
    model.control.top = True
    assert model.control.value == 0x800000F1
    assert int(model.control) == model.control.value
    model.control = 3  # type: ignore[assignment]
    assert model.control.value == 3
    with pytest.raises(AttributeError, match="no bits called 'mod'"):
        model.control.mod  # noqa: B018
    with pytest.raises(AttributeError, match="no bits called 'valu'"):
        model.control.valu = 3


def test_two_objects_share_nothing() -> None:
    first, second = Model(), Model()
    first.control.value = 1
    assert second.control.value == 0x50


# offset, size, value written, register, what it holds then
WRITES = [
    (0x00, 4, 0xFFFFFFFF, "control", 0xFFFFFFFF),
    (0x00, 1, 0xAA, "control", 0xAA),
    (0x01, 1, 0xBB, "control", 0xBB50),
    (0x02, 2, 0xCCDD, "control", 0xCCDD0050),
    (0x04, 4, 0, "fixed", 7),
    (0x0C, 4, 0x11223344, "byte", 0x44),
    (0x0C, 4, 0x11223344, "short", 0x1122),
    (0x10, 4, 0x99, "wide", 0x99),
    (0x14, 4, 0x99, "wide", 0x9900000000),
    (0x10, 8, 1 << 63, "wide", 1 << 63),
]


@pytest.mark.parametrize(("offset", "size", "value", "name", "holds"), WRITES)
def test_the_drivers_writes(offset: int, size: int, value: int, name: str, holds: int) -> None:
    model = Model()
    model.bar_write(0, offset, size, value)
    assert model.registers[name].value == holds
    assert f"write {name}" in model.told


def test_ones_clear_what_they_name() -> None:
    model = Model()
    model.status.value = 0xFF
    model.bar_write(0, 8, 4, 0x5A)  # bits 4 to 7 are cleared by ones, bits 0 to 3 are written
    assert model.status.value == 0xAA
    model.status.value = 0xFF
    model.bar_write(0, 9, 1, 0)  # another byte of it: nothing is cleared
    assert model.status.value == 0xFF


READS = [(0x00, 4, 0x50), (0x00, 1, 0x50), (0x01, 2, 0), (0x04, 8, 7), (0x80, 4, 0), (0x0C, 4, 0)]


@pytest.mark.parametrize(("offset", "size", "value"), READS)
def test_the_drivers_reads(offset: int, size: int, value: int) -> None:
    assert Model().bar_read(0, offset, size) == value


BAR = PciDevice.memory(0x10)


class Overlapping(PciDevice):
    bar0 = BAR
    x = Register(BAR, 0)
    y = Register(BAR, 2)


IMPOSSIBLE: list[tuple[str, Callable[[], object]]] = [
    ("of 3 bytes", lambda: Register(BAR, 0, size=3)),
    ("offset 0x10", lambda: Register(BAR, 0x10)),
    ("offset 0xe", lambda: Register(BAR, 0xE)),
    ("offset -0x4", lambda: Register(BAR, -4)),
    ("bits 32 to 32", lambda: Register(BAR, 0, bits={"a": 32})),
    ("bits 5 to 4", lambda: Register(BAR, 0, bits={"a": (5, 4)})),
    ("cannot be called 'value'", lambda: Register(BAR, 0, bits={"value": 1})),
    ("overlap at offset 0x2", lambda: Overlapping().registers),
    ("20 bytes; a power of two", lambda: type("A", (PciDevice,), {"bar0": PciDevice.memory(20)})().function),
    ("a function has six", lambda: type("A", (PciDevice,), {"bar5": PciDevice.memory(32, wide=True)})().function),
    ("vectors is 33", lambda: type("A", (PciDevice,), {"vectors": 33})().function),
]


@pytest.mark.parametrize(("text", "make"), IMPOSSIBLE, ids=[text for text, _ in IMPOSSIBLE])
def test_what_cannot_be_is_told_at_once(text: str, make: Callable[[], object]) -> None:
    with pytest.raises(KoboxError, match=text):
        make()
