"""Chips on an I2C bus with Debian's own drivers: an EEPROM, a sensor, a clock, and what nobody answers."""

from __future__ import annotations

from datetime import datetime

import pytest

from kobox.box.box import Box
from kobox.devices.i2c import I2cDevice
from kobox.devices.i2c_chips import At24, Ds1307, Lm75
from kobox.devices.i801 import I801
from kobox.errors import KoboxError


def test_an_eeprom(full_box: Box) -> None:
    full_box.modprobe("at24")
    chip = full_box.plug(At24(b"serial number 4711"))
    assert chip.driver == "at24"
    (place,) = chip.sysfs
    assert full_box.read_bytes(f"{place}/eeprom") == b"serial number 4711".ljust(256, b"\xff")
    full_box.write_bytes(f"{place}/eeprom", b"SERIAL NUMBER 4712, and more than a page")
    assert chip.content.startswith(b"SERIAL NUMBER 4712, and more than a page\xff")
    with full_box.checkpoint():
        full_box.write_bytes(f"{place}/eeprom", bytes(256))
        assert chip.content == bytes(256)
    assert chip.content.startswith(b"SERIAL")
    chip.unplug()
    assert not chip.plugged
    assert not full_box.exists(place)
    assert not full_box.findings


def test_a_sensor(full_box: Box) -> None:
    full_box.modprobe("lm75")
    chip = full_box.plug(Lm75(21.5))
    other = full_box.plug(Lm75(-10.0, address=0x4B))
    assert (chip.driver, other.driver) == ("lm75", "lm75")
    (hwmon,) = (full_box.path(chip.sysfs[0]) / "hwmon").iterdir()
    assert (hwmon / "temp1_input").read_text() == "21500\n"
    chip.celsius = 23.0
    full_box.sleep(2)
    assert (hwmon / "temp1_input").read_text() == "23000\n"
    (hwmon / "temp1_max").write_text("22000")
    assert chip.overheated
    (hwmon,) = (full_box.path(other.sysfs[0]) / "hwmon").iterdir()
    assert (hwmon / "temp1_input").read_text() == "-10000\n"
    assert not full_box.findings


def test_a_clock_runs_in_virtual_time(full_box: Box) -> None:
    clock = full_box.plug(Ds1307(datetime(2031, 2, 28, 23, 59, 50)))
    full_box.sleep(60)
    assert clock.now.replace(microsecond=0) == datetime(2031, 3, 1, 0, 0, 50)
    clock.reading(0)
    assert bytes(clock.memory[1:7]) == bytes.fromhex("000007010331")
    clock.memory[0:7] = bytes.fromhex("30590203040532")
    clock.written(0)
    assert clock.now.replace(microsecond=0) == datetime(2032, 5, 4, 2, 59, 30)


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ([At24(), At24()], "address 0x50 of the I2C bus is taken by At24"),
        ([At24(address=0x7F)], "At24.address is 0x7f"),
        ([At24(address=0)], "At24.address is 0x0"),
    ],
    ids=["taken", "too high", "too low"],
)
def test_addresses_that_cannot_be(full_box: Box, devices: list[At24], words: str) -> None:
    for device in devices[:-1]:
        full_box.plug(device)
    with pytest.raises(KoboxError, match=words):
        full_box.plug(devices[-1])


def test_nobody_is_there(full_box: Box) -> None:
    full_box.modprobe("i2c-i801")
    full_box.modprobe("lm75")
    full_box.plug(I801())
    (adapter,) = [name for name in full_box.listdir("/sys/bus/i2c/devices") if name.startswith("i2c-")]
    full_box.write_bytes(f"/sys/bus/i2c/devices/{adapter}/new_device", b"lm75 0x48")
    assert not full_box.exists("/sys/bus/i2c/devices/0-0048/driver")
    assert not full_box.findings


def test_a_model_that_raises_tells_its_line(full_box: Box) -> None:
    class Broken(I2cDevice):
        device_name, address = "lm75", 0x48

        def start(self, *, read: bool) -> None:
            raise ValueError("no such luck")

    full_box.modprobe("lm75")
    with pytest.raises(KoboxError, match=r"test_i2c.py:\d+: the model Broken failed: ValueError: no such luck"):
        full_box.plug(Broken())


def test_a_kernel_without_the_driver(box: Box) -> None:
    with pytest.raises(KoboxError, match="i2c-i801"):
        box.plug(At24())


class PlainLm75(Lm75):
    plain_messages = True


class PlainAt24(At24):
    plain_messages = True


def test_plain_messages(full_box: Box) -> None:
    full_box.modprobe("lm75")
    full_box.modprobe("at24")
    sensor, memory = full_box.plug(PlainLm75(21.5)), full_box.plug(PlainAt24(b"serial number 4711"))
    assert (sensor.driver, memory.driver) == ("lm75", "at24")
    (hwmon,) = (full_box.path(sensor.sysfs[0]) / "hwmon").iterdir()
    assert (hwmon / "temp1_input").read_text() == "21500\n"
    (place,) = memory.sysfs
    assert full_box.read_bytes(f"{place}/eeprom") == b"serial number 4711".ljust(256, b"\xff")
    full_box.write_bytes(f"{place}/eeprom", b"SERIAL" * 40)
    assert memory.content.startswith(b"SERIAL" * 40)
    old = full_box.plug(Lm75(10.0, address=0x49))  # the SMBus controller is beside it
    assert old.driver == "lm75"
    sensor.unplug()
    memory.unplug()
    assert not full_box.findings


def test_nobody_acknowledges_a_plain_message(full_box: Box) -> None:
    class Mute(PlainAt24):
        def write_byte(self, byte: int) -> None:
            self.refuse()

    full_box.modprobe("at24")
    chip = full_box.plug(Mute())
    assert chip.driver is None  # at24 reads the first byte
    assert not full_box.findings
