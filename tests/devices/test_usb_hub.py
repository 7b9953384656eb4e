"""A USB hub: devices behind it work as in a port of the controller, with the kernel's own hub driver."""

from __future__ import annotations

import os
import struct
from typing import ClassVar

import pytest

from kobox.box.box import Box
from kobox.devices.usb import Interface, SetupPacket, StallError, UsbDevice
from kobox.devices.usb_hub import UsbHub
from kobox.devices.usb_keyboard import UsbKeyboard
from kobox.devices.usb_serial import Cp2102
from kobox.devices.usb_storage import UsbStick
from kobox.errors import KoboxError

_EVENT = struct.Struct("<16xHHi")
_KEY = 1


def keys(box: Box, keyboard: UsbKeyboard, text: str) -> list[tuple[int, int]]:
    """What /dev/input/event0 says while a text is typed: (key, whether it is down)."""
    fd = box.syscall("open", "/dev/input/event0", os.O_RDONLY | os.O_NONBLOCK)
    keyboard.type(text)
    box.sleep(0.2)
    buffer = bytearray(4096)
    size = box.syscall("read", fd, buffer, len(buffer))
    box.syscall("close", fd)
    return [(code, value) for kind, code, value in _EVENT.iter_unpack(buffer[:size]) if kind == _KEY]


def test_a_stick_and_a_keyboard_behind_a_hub(full_box: Box) -> None:
    for module in ("usb_storage", "sd_mod", "usbhid", "hid_generic", "evdev", "cp210x"):
        full_box.modprobe(module)
    stick, keyboard, line = UsbStick(8 << 20), UsbKeyboard(), Cp2102()
    hub = full_box.plug(UsbHub(stick, keyboard))
    assert (hub.driver, stick.driver, keyboard.driver) == ("hub", "usb-storage", "usbhid")
    assert (hub.where, stick.where, keyboard.where) == ("USB 1-1", "USB 1-1.1", "USB 1-1.2")
    full_box.sleep(5)
    with full_box.open("/dev/sda", "r+b") as disk:
        disk.write(b"behind a hub")
        disk.seek(0)
        assert disk.read(12) == b"behind a hub"
    assert keys(full_box, keyboard, "a") == [(30, 1), (30, 0)]
    assert hub.connect(line) == 3
    assert (line.driver, line.where) == ("cp210x", "USB 1-1.3")
    stick.unplug()
    full_box.sleep(1)
    assert not stick.plugged
    assert "sda" not in full_box.listdir("/sys/block")
    assert keys(full_box, keyboard, "b") == [(48, 1), (48, 0)]
    hub.unplug()
    assert not any(one.plugged for one in (hub, keyboard, line))
    full_box.sleep(1)
    assert [name for name in full_box.listdir("/sys/bus/usb/devices") if name.startswith("1-1")] == []
    assert not full_box.findings


def test_hubs_behind_hubs_and_checkpoints(full_box: Box) -> None:
    full_box.modprobe("cp210x")
    deep, line = UsbHub(), Cp2102()
    for _ in range(3):
        deep = UsbHub(deep) if deep.attached else UsbHub(line)
    full_box.plug(deep)
    assert (line.driver, line.where) == ("cp210x", "USB 1-1.1.1.1")
    with full_box.checkpoint() as before:
        line.unplug()
        assert not line.plugged
        before.restore()
        assert line.plugged
        assert line.driver == "cp210x"
    with full_box.open("/dev/ttyUSB0", "r+b", flags=os.O_NOCTTY) as file:
        file.write(b"through three hubs\n")
        full_box.sleep(0.1)
    assert bytes(line.sent) == b"through three hubs\r\n"
    assert not full_box.findings


class Fast(UsbDevice):
    speed: ClassVar[str] = "super"
    interfaces: ClassVar = (Interface(0xFF),)


def test_what_does_not_fit_into_a_hub() -> None:
    hub = UsbHub(*(UsbKeyboard() for _ in range(4)))
    with pytest.raises(KoboxError, match="all 4 ports of the hub are taken"):
        hub.connect(UsbKeyboard())
    with pytest.raises(KoboxError, match="Fast is a USB 3 device"):
        UsbHub(Fast())


# Requests that a host may make: kind, request, value, index; None where it stalls.
REQUESTS = [
    (0xA0, 6, 0x2900, 0, bytes.fromhex("0929040900010000ff")),
    (0xA0, 0, 0, 0, bytes(4)),
    (0xA3, 0, 0, 1, struct.pack("<HH", 0, 1)),  # no power yet; something is connected
    (0xA3, 0, 0, 2, bytes(4)),
    (0xA3, 0, 0, 0, None),
    (0xA3, 0, 0, 5, None),
    (0xA0, 99, 0, 0, None),
    (0x23, 3, 8, 9, None),
    (0x23, 99, 8, 1, None),
    (0x23, 8, 0, 1, b""),  # the buffer of a transaction translator
]


@pytest.mark.parametrize(("kind", "request_", "value", "index", "answer"), REQUESTS)
def test_requests(kind: int, request_: int, value: int, index: int, answer: bytes | None) -> None:
    hub, setup = UsbHub(UsbKeyboard()), SetupPacket(kind, request_, value, index, 64)
    if answer is None:
        with pytest.raises(StallError):
            hub.control(setup, b"")
    else:
        assert hub.control(setup, b"") == answer


# What is done to a port with a low-speed device in it, and what its status is then: power, connected, low speed, and …
POWERED, ENABLED, SUSPENDED = 0x301, 2, 4
LIVES = [
    ([(3, 8)], POWERED, 1),
    ([(3, 8), (1, 16)], POWERED, 0),
    ([(3, 8), (3, 4)], POWERED | ENABLED, 0x11),
    ([(3, 8), (3, 4), (1, 20), (1, 16)], POWERED | ENABLED, 0),
    ([(3, 8), (3, 4), (3, 2)], POWERED | ENABLED | SUSPENDED, 0x11),
    ([(3, 8), (3, 4), (3, 2), (1, 2)], POWERED | ENABLED, 0x15),
    ([(3, 8), (3, 4), (1, 1)], POWERED, 0x11),
    ([(3, 8), (3, 4), (1, 8)], 0, 0x11),
    ([(3, 4)], 0, 1),  # no reset without power
    ([(3, 8), (3, 2)], POWERED, 1),  # what is not enabled does not sleep
]


@pytest.mark.parametrize(("features", "status", "changes"), LIVES)
def test_a_port(features: list[tuple[int, int]], status: int, changes: int) -> None:
    hub = UsbHub(UsbKeyboard())
    for request, feature in features:
        hub.control(SetupPacket(0x23, request, feature, 1, 0), b"")
    assert struct.unpack("<HH", hub.control(SetupPacket(0xA3, 0, 0, 1, 4), b"")) == (status, changes)
    assert hub.data_in(0x81, 1) == (b"\x02" if changes and status else None)
