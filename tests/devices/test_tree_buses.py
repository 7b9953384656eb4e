"""I2C and SPI devices on a board that a device tree announces, by Debian's own drivers of controllers and chips."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.devices.i2c_chips import At24
from kobox.devices.platform import PlatformDevice
from kobox.devices.primecell import FixedClock
from kobox.devices.spi import SpiDevice
from kobox.errors import KoboxError
from kobox.images.store import KernelImage


@pytest.fixture(scope="module")
def booted(riscv64_kernel: KernelImage) -> Iterator[Box]:
    with boot(riscv64_kernel) as box:
        yield box


@pytest.fixture
def board(booted: Box) -> Box:
    booted.reset()
    return booted


class Panel(PlatformDevice):
    compatible = "acme,panel"


class DescribedAt24(At24):
    device_name = ""
    compatible = "atmel,24c02"
    properties: ClassVar = {"pagesize": 8}


class At25(SpiDevice):
    """An EEPROM of 256 bytes: 2 writes, 3 reads, 5 says whether it is busy, 6 allows one write."""

    compatible = "atmel,at25"
    properties: ClassVar = {"size": 256, "pagesize": 16, "address-width": 8}
    max_speed = 5_000_000

    def __init__(self) -> None:
        self.memory = bytearray(range(256))
        self.sent: list[int] = []
        self.may_write = False

    def select(self) -> None:
        self.sent = []

    def exchange(self, word: int) -> int:
        self.sent.append(word)
        command, at = self.sent[0], len(self.sent) - 3
        if command == 6:
            self.may_write = True
        if at < 0:
            return 2 * self.may_write if command == 5 else 0xFF
        place = (self.sent[1] + at) % 256
        if command == 2 and self.may_write:
            self.memory[place] = word
        return self.memory[place] if command == 3 else 0xFF

    def deselect(self) -> None:
        self.may_write &= bool(self.sent) and self.sent[0] != 2


@pytest.mark.parametrize("kind", [At24, DescribedAt24])
def test_an_i2c_chip_is_read_and_written(board: Box, kind: type[At24]) -> None:
    chip = board.plug(kind())
    board.modprobe("at24")
    assert chip.driver == "at24"
    place = board.path(chip.sysfs[0])
    chip.memory[16:20] = b"tree"
    with board.open(str(place / "eeprom"), "r+b") as file:
        file.seek(16)
        assert file.read(4) == b"tree"
        file.seek(32)
        file.write(b"box")
    assert chip.memory[32:35] == b"box"
    assert (place / "of_node").exists() is bool(kind.compatible)
    chip.unplug()
    assert not chip.plugged


def test_an_spi_chip_is_read_and_written(board: Box) -> None:
    chip = board.plug(At25())
    board.modprobe("at25")
    assert chip.driver == "at25"
    with board.open(chip.sysfs[0] + "/eeprom", "r+b") as file:
        file.seek(0x20)
        assert file.read(24) == bytes(range(0x20, 0x38))
        file.seek(0x40)
        file.write(b"twenty bytes, page 16")
    assert bytes(chip.memory[0x40:0x55]) == b"twenty bytes, page 16"


def test_two_chips_with_nodes_have_a_bus_each(board: Box) -> None:
    first, second = board.plug(DescribedAt24()), board.plug(DescribedAt24())
    board.modprobe("at24")
    assert (first.driver, second.driver) == ("at24", "at24")
    assert first.sysfs[0] != second.sysfs[0]


def test_a_checkpoint_of_devices_that_refer_to_others(board: Box) -> None:
    slow, fast = board.plug(FixedClock(1_000)), board.plug(FixedClock(2_000))
    panel = Panel()
    panel.properties = {"clocks": [slow, fast]}
    board.plug(panel)
    with board.checkpoint():
        pass
    assert panel.properties["clocks"] == [slow, fast]


def test_a_checkpoint_keeps_what_a_chip_holds(board: Box) -> None:
    chip = board.plug(DescribedAt24())
    board.modprobe("at24")
    with board.checkpoint():
        board.write_bytes(chip.sysfs[0] + "/eeprom", b"gone")
        assert chip.memory[:4] == b"gone"
    assert chip.memory[:4] != b"gone"
    assert board.read_bytes(chip.sysfs[0] + "/eeprom")[:4] == bytes(chip.memory[:4])


def test_a_kernel_without_the_driver(arm64_kernel: KernelImage) -> None:
    with boot(arm64_kernel) as box:
        for chip, driver in ((At24(), "i2c-designware-platform"), (At25(), "spi-sifive")):
            with pytest.raises(KoboxError, match=driver):
                box.plug(chip)
            assert not chip.plugged
