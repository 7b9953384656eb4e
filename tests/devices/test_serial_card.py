"""A serial port on a PCI card, with the kernel's own 8250 driver."""

from __future__ import annotations

import os

from kobox.box.box import Box
from kobox.devices.serial_card import SerialCard


def test_text_both_ways(full_box: Box) -> None:
    card = full_box.plug(SerialCard())
    assert card.driver == "serial"
    (name,) = full_box.listdir(f"{card.sysfs[0]}/tty")
    assert "is a 16550A" in full_box.log.text()
    with full_box.open(f"/dev/{name}", "r+b", flags=os.O_NOCTTY) as line:
        line.write(b"to the wire\n" * 100)
        card.feed(b"from the wire\n")
        assert line.read(100) == b"from the wire\n"
        full_box.sleep(1)
        assert card.sent.startswith(b"to the wire\r\n" * 100)
        assert card.baud_rate == 9600
    card.unplug()
    assert not full_box.findings


def test_it_goes_back_with_checkpoints(full_box: Box) -> None:
    card = full_box.plug(SerialCard())
    (name,) = full_box.listdir(f"{card.sysfs[0]}/tty")
    with full_box.open(f"/dev/{name}", "wb", flags=os.O_NOCTTY) as line:
        with full_box.checkpoint():
            line.write(b"forgotten")
            full_box.sleep(0.1)
            assert card.sent == b"forgotten"
        line.write(b"kept")
        full_box.sleep(0.1)
    assert card.sent == b"kept"
