"""Virtio devices of any type as models: entropy, a console, a mouse; and models that fail."""

from __future__ import annotations

import os
import struct

import pytest

from kobox.box.box import Box
from kobox.devices.virtio import VirtioModel
from kobox.devices.virtio_keyboard import VirtioKeyboard
from kobox.errors import KoboxError


class Rng(VirtioModel):
    device_type = 4
    asked = 0

    def notified(self, queue: int) -> None:
        for buffer in self.buffers(queue):
            self.asked += 1
            buffer.write(bytes([self.asked]) * buffer.room)
            buffer.done()


def test_entropy(full_box: Box) -> None:
    full_box.modprobe("virtio_rng")
    model = full_box.plug(Rng())
    assert model.driver == "virtio_rng"
    assert model.where == "virtio virtio0"
    with full_box.open("/dev/hwrng", "rb") as file:
        assert set(file.read(16) or b"") <= set(range(1, 256))
    asked = model.asked
    with full_box.checkpoint(), full_box.open("/dev/hwrng", "rb") as file:
        file.read(512)
        assert model.asked > asked
    assert model.asked == asked
    model.unplug()
    assert not model.plugged
    assert model.driver is None
    assert not full_box.findings


class Port(VirtioModel):
    """A console: queue 0 is what the box gets, queue 1 what it sends."""

    device_type = 3
    queue_count = 2

    def __init__(self) -> None:
        self.sent = b""

    def notified(self, queue: int) -> None:
        if queue == 1:
            for buffer in self.buffers(queue):
                self.sent += buffer.read()
                buffer.done()

    def feed(self, data: bytes) -> None:
        buffer = self.next_buffer(0)
        assert buffer is not None
        buffer.write(data)
        buffer.done()


def test_a_console_both_ways(full_box: Box) -> None:
    full_box.modprobe("virtio_console")
    model = full_box.plug(Port())
    assert model.driver == "virtio_console"
    with full_box.open("/dev/hvc0", "r+b") as file:
        file.write(b"out\n")
        model.feed(b"in\n")
        assert file.read(10) == b"in\n"
    assert model.sent.startswith(b"out\r\n")
    assert not full_box.findings


def test_a_model_that_raises_tells_its_line(full_box: Box) -> None:
    class Broken(Rng):
        def notified(self, queue: int) -> None:
            raise LookupError("which queue?")

    full_box.modprobe("virtio_rng")
    with pytest.raises(KoboxError, match=r"test_virtio.py:\d+: the model Broken failed: LookupError: which queue"):
        full_box.plug(Broken())


def test_what_cannot_be_plugged_in(full_box: Box) -> None:
    model = Rng()
    with pytest.raises(KoboxError, match="not plugged in"):
        model.unplug()
    with pytest.raises(KoboxError, match="not plugged in"):
        model.changed()
    full_box.plug(model)
    with pytest.raises(KoboxError, match="plugged in already"):
        full_box.plug(model)
    with pytest.raises(KoboxError, match="str is no device"):
        full_box.plug("e1000")  # type: ignore[type-var]


def test_there_are_sixteen_places(full_box: Box) -> None:
    for _ in range(16):
        full_box.plug(Rng())
    with pytest.raises(KoboxError, match="all 16 places"):
        full_box.plug(Rng())


def test_a_keyboard(full_box: Box) -> None:
    for module in ("virtio_input", "evdev"):
        full_box.modprobe(module)
    keyboard = full_box.plug(VirtioKeyboard())
    assert keyboard.driver == "virtio_input"
    event = full_box.listdir(f"{keyboard.sysfs[0]}/input/input0")
    node = f"/dev/input/{next(name for name in event if name.startswith('event'))}"
    fd, buffer = full_box.syscall("open", node, os.O_RDONLY | os.O_NONBLOCK), bytearray(4096)
    keyboard.type("aB\n")
    full_box.sleep(0.01)
    size = full_box.syscall("read", fd, buffer, len(buffer))
    rows = [struct.unpack_from("<HHi", buffer, at + 16) for at in range(0, size, 24)]
    assert [(code, value) for kind, code, value in rows if kind == 1] == [
        *((30, 1), (30, 0), (42, 1), (48, 1), (48, 0), (42, 0), (28, 1), (28, 0))
    ]
    with pytest.raises(KoboxError, match="no key"):
        keyboard.type("é")
    assert not full_box.findings
