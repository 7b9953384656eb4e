"""USB devices with Debian's own drivers: a stick with a file system, a serial converter, a keyboard, Ethernet."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import ClassVar

import pytest

from kobox.box.box import Box
from kobox.devices.medium import Medium
from kobox.devices.scsi import ScsiDevice
from kobox.devices.usb import Endpoint, Interface, SetupPacket, UsbDevice
from kobox.devices.usb_ethernet import UsbEthernet
from kobox.devices.usb_ftdi import Ft232
from kobox.devices.usb_keyboard import UsbKeyboard
from kobox.devices.usb_serial import Cp2102
from kobox.devices.usb_storage import UsbStick
from kobox.errors import KoboxError
from tests.debian import Programs
from tests.devices.test_network_cards import HIS, ping


def test_a_stick_is_mounted_written_and_pulled_out(
    full_box: Box, ext4: Path, ext4_programs: Programs, tmp_path: Path
) -> None:
    for module in ("usb_storage", "sd_mod", "ext4"):
        full_box.modprobe(module)
    medium = Medium(ext4)
    stick = full_box.plug(UsbStick(medium))
    assert stick.driver == "usb-storage"
    full_box.sleep(5)
    full_box.files.mkdir("/mnt/stick")
    full_box.files.mount("/dev/sda", "/mnt/stick", "ext4")
    content = hashlib.shake_128(b"stick").digest(2 << 20)
    full_box.write_bytes("/mnt/stick/file", content)
    full_box.files.umount("/mnt/stick")
    assert not full_box.findings
    stick.unplug()
    assert not stick.plugged
    full_box.sleep(1)
    assert "sda" not in full_box.listdir("/sys/block")
    out = tmp_path / "out.img"
    medium.write_to(out)
    ext4_programs.run("e2fsck", "-fn", out)
    ext4_programs.run("debugfs", "-R", f"dump /file {tmp_path}/dumped", out)
    assert (tmp_path / "dumped").read_bytes() == content
    assert not full_box.findings


def test_a_serial_converter(full_box: Box) -> None:
    full_box.modprobe("cp210x")
    converter = full_box.plug(Cp2102())
    assert converter.driver == "cp210x"
    with full_box.open("/dev/ttyUSB0", "r+b", flags=os.O_NOCTTY) as line:
        line.write(b"to the wire\n")
        full_box.sleep(0.1)
        assert converter.sent == b"to the wire\r\n"
        converter.feed(b"from the wire\n")
        assert line.read(100) == b"from the wire\n"
        assert converter.lines == 3  # DTR and RTS
    assert converter.baud_rate == 9600
    converter.unplug()
    assert not full_box.findings


def test_a_converter_of_ftdi(full_box: Box) -> None:
    full_box.modprobe("ftdi_sio")
    converter = full_box.plug(Ft232())
    assert converter.driver == "ftdi_sio"
    text = bytes(range(32, 127)) * 3 + b"\n"
    with full_box.open("/dev/ttyUSB0", "r+b", flags=os.O_NOCTTY) as line:
        line.write(b"to the wire\n")
        full_box.sleep(0.1)
        assert converter.sent == b"to the wire\r\n"
        converter.feed(text)  # more than one packet
        full_box.sleep(0.1)
        assert line.read(4096) == text
        assert converter.lines == 3  # DTR and RTS
    assert converter.baud_rate == 9600
    converter.unplug()
    assert not full_box.findings


# Divisor as ftdi_sio's ftdi_232bm_baud_base_to_divisor() makes it -> baud, to a percent.
RATES = {0: 3_000_000, 1: 2_000_000, 0x1A: 115_200, 0x4138: 9600, 0x809C: 19200, 0xC034: 57600, 0x10002: 1_263_157}


@pytest.mark.parametrize("divisor", RATES)
def test_baud_rates_of_ftdi(divisor: int) -> None:
    converter = Ft232()
    converter.control_out(SetupPacket(0x40, 3, divisor & 0xFFFF, divisor >> 16, 0), b"")
    assert converter.baud_rate == pytest.approx(RATES[divisor], rel=0.01)


def test_a_keyboard(full_box: Box) -> None:
    for module in ("usbhid", "hid_generic", "evdev"):
        full_box.modprobe(module)
    keyboard = full_box.plug(UsbKeyboard())
    assert keyboard.driver == "usbhid"
    (event,) = [
        name
        for name in full_box.listdir("/sys/class/input")
        if name.startswith("event") and "kobox" in full_box.read_text(f"/sys/class/input/{name}/device/name")
    ]
    with full_box.open(f"/dev/input/{event}", "rb") as file:
        keyboard.type("Ab1!")
        full_box.sleep(0.1)
        events = struct.iter_unpack("<16xHHi", file.read(24 * 64) or b"")
        pressed = [code for kind, code, value in events if kind == 1 and value == 1]
    assert pressed == [42, 30, 48, 2, 42, 2]  # shift A, B, 1, shift 1
    with pytest.raises(KoboxError, match="no key"):
        keyboard.type("€")
    assert not full_box.findings


def test_a_network_adapter(full_box: Box) -> None:
    full_box.modprobe("cdc_ether")
    adapter = full_box.plug(UsbEthernet())
    assert adapter.driver == "cdc_ether"
    (card,) = full_box.network
    assert card.name == "usb0"  # the kernel's name for a local hardware address
    assert card.mac == adapter.port.mac.hex(":")
    card.up(f"{HIS}/24")
    full_box.sleep(1)
    for size in (10, 470, 1000):
        assert ping(full_box, size, card) == (bytes(range(256)) * 4)[:size]
    assert not full_box.findings


def test_devices_go_back_with_checkpoints(full_box: Box) -> None:
    full_box.modprobe("cp210x")
    converter = full_box.plug(Cp2102())
    with full_box.open("/dev/ttyUSB0", "r+b", flags=os.O_NOCTTY) as line:
        with full_box.checkpoint():
            line.write(b"lost")
            full_box.sleep(0.1)
            assert converter.sent == b"lost"
            converter.unplug()
        assert converter.plugged
        assert converter.sent == b""
        line.write(b"kept")
        full_box.sleep(0.1)
        converter.feed(b"answer\n")
        assert line.read(20) == b"answer\n"
    assert converter.sent.startswith(b"kept")  # and the terminal's echo


@pytest.mark.parametrize("speed", ["low", "full", "high", "super"])
def test_every_speed(full_box: Box, speed: str) -> None:
    full_box.modprobe("cp210x")

    class Converter(Cp2102):
        pass

    Converter.speed = speed
    if speed == "low":
        Converter.interfaces = (Interface(3, endpoints=(Endpoint(0x81, "interrupt", 8, 10),)),)
    if speed == "super":
        Converter.interfaces = (Interface(0xFF, endpoints=(Endpoint(0x81, "bulk", 1024), Endpoint(1, "bulk", 1024))),)
    device = full_box.plug(Converter())
    megabits = {"low": "1.5", "full": "12", "high": "480", "super": "5000"}
    assert full_box.read_text(f"{device.sysfs[0]}/speed").strip() == megabits[speed]
    assert not full_box.findings


class Silent(UsbDevice):
    interfaces: ClassVar = (Interface(0xFF),)

    def control(self, setup: SetupPacket, data: bytes) -> bytes:
        self.stall()


class Raising(UsbDevice):
    def control(self, setup: SetupPacket, data: bytes) -> bytes:
        raise ZeroDivisionError("nothing left")


@pytest.mark.parametrize(
    ("device", "words"),
    [(Silent, "the kernel does not take it: usb .*"), (Raising, r"test_usb.py:\d+: the model Raising failed: ZeroDiv")],
)
def test_what_goes_wrong(full_box: Box, device: type[UsbDevice], words: str) -> None:
    with pytest.raises(KoboxError, match=words):
        full_box.plug(device())
    full_box.sleep(1)


def test_no_port_is_left(full_box: Box) -> None:
    for _ in range(4):
        full_box.plug(Cp2102())
    with pytest.raises(KoboxError, match="all 4 USB ports of that speed are taken"):
        full_box.plug(Cp2102())


def test_a_kernel_without_the_driver(box: Box) -> None:
    with pytest.raises(KoboxError, match="xhci_pci"):
        box.plug(Cp2102())


def test_a_stick_of_any_scsi_device(full_box: Box) -> None:
    """A unit that answers nothing is a device all the same, and its driver says so."""
    full_box.modprobe("usb_storage")
    assert full_box.plug(UsbStick(ScsiDevice())).driver == "usb-storage"
    full_box.sleep(5)
    assert not full_box.findings
