"""SPI devices that Python plays, with the kernel's own spidev, and how ACPI describes them."""

from __future__ import annotations

from typing import ClassVar

import pytest

from kobox.box.box import Box
from kobox.devices.i2c_chips import Lm75
from kobox.devices.spi import SpiDevice, SpiError
from kobox.errors import KoboxError


class Echo(SpiDevice):
    """Answers each word with the one before it; `seen` has messages."""

    hid = "SPT0001"
    properties: ClassVar = {"acme,colour": "green", "acme,sizes": [1, 2, 3]}

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self._message = b""

    def select(self) -> None:
        self._message = b""

    def exchange(self, word: int) -> int:
        self._message += bytes([word])
        return self._message[-2] if len(self._message) > 1 else 0xFF

    def deselect(self) -> None:
        if self._message:
            self.seen.append(self._message)


def test_messages_by_spidev(full_box: Box) -> None:
    device = full_box.plug(Echo())
    assert device.driver == "spidev"
    assert device.where == "SPI spi-SPT0001:00"
    with full_box.open("/dev/spidev0.0", "r+b") as file:
        file.write(b"one")
        file.write(bytes(range(256)) * 8)
        assert device.seen == [b"one", bytes(range(256)) * 8]
        assert file.read(3) == b"\xff\0\0"
        with full_box.checkpoint():
            file.write(b"forgotten")
            assert len(device.seen) == 4
        assert len(device.seen) == 3
    second = full_box.plug(Echo())  # on a controller of its own
    with full_box.open("/dev/spidev1.0", "r+b") as file:
        file.write(b"two")
    assert (device.seen[0], second.seen) == (b"one", [b"two"])
    with pytest.raises(KoboxError, match="both SPI buses have a device"):
        full_box.plug(Echo())
    device.unplug()
    assert not device.plugged
    assert "spidev0.0" not in full_box.listdir("/dev")
    assert not full_box.findings


def test_a_model_that_raises_tells_its_line(full_box: Box) -> None:
    class Broken(Echo):
        def exchange(self, word: int) -> int:
            return [][word]  # type: ignore[no-any-return]

    full_box.plug(Broken())
    with (
        full_box.open("/dev/spidev0.0", "r+b") as file,
        pytest.raises(KoboxError, match=r"test_spi.py:\d+: the model Broken failed: IndexError"),
    ):
        file.write(b"x")


class Lossy(Echo):
    """Loses the words whose number is `lost`."""

    lost = -1

    def __init__(self) -> None:
        super().__init__()
        self.words = 0
        self.bit_counts: set[int] = set()

    def exchange(self, word: int) -> int:
        self.words += 1
        self.bit_counts.add(self.bits)
        if self.words - 1 == self.lost:
            raise SpiError
        return super().exchange(word)


@pytest.mark.parametrize("lost", [0, 5, 200, 599])
def test_a_word_that_is_lost_fails_the_transfer_and_the_bus_lives(full_box: Box, lost: int) -> None:
    device = full_box.plug(Lossy())
    with full_box.open("/dev/spidev0.0", "r+b") as file:
        device.lost = lost
        with pytest.raises(OSError, match="Input/output error"):
            file.write(bytes(600))
        assert "FIFO overrun" in full_box.log.text()
        device.lost = -1
        file.write(b"again")
        assert device.seen[-1] == b"again"
    assert device.bit_counts == {8}
    assert not full_box.findings


class Nameless(SpiDevice):
    pass


def test_what_goes_wrong(full_box: Box, box: Box) -> None:
    with pytest.raises(KoboxError, match="neither `hid` nor `compatible`"):
        full_box.plug(Nameless())
    with pytest.raises(KoboxError, match="no driver for the controller"):
        box.plug(Echo())


class Described(Lm75):
    device_name = ""
    compatible = "national,lm75"


def test_an_i2c_device_that_acpi_describes(full_box: Box) -> None:
    full_box.modprobe("lm75")
    plain = full_box.plug(Lm75(19.0))
    device = full_box.plug(Described(33.0, address=0x49))
    assert (plain.driver, device.driver) == ("lm75", "lm75")
    assert device.where == "I2C i2c-PRP0001:00"
    (hwmon,) = (full_box.path(device.sysfs[0]) / "hwmon").iterdir()
    assert (hwmon / "temp1_input").read_text() == "33000\n"
    device.unplug()
    assert device.driver is None
    assert plain.driver == "lm75"
    assert not full_box.findings
