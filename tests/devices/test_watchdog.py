"""A watchdog with Debian's driver: it is fed, it bites, and it stops."""

from __future__ import annotations

from kobox.box.box import Box
from kobox.devices.i6300esb import I6300Esb

WDIOC_SETTIMEOUT = 0xC0045706


def test_a_watchdog_is_fed_and_bites(full_box: Box) -> None:
    full_box.modprobe("i6300esb")
    watchdog = full_box.plug(I6300Esb())
    assert watchdog.driver is not None
    assert (watchdog.running, watchdog.timeout) == (False, 30.0)
    device = full_box.open("/dev/watchdog0", "r+b")
    assert watchdog.running
    device.ioctl(WDIOC_SETTIMEOUT, bytearray((10).to_bytes(4, "little")))
    assert watchdog.timeout == 10.0
    for _ in range(5):
        full_box.sleep(8)
        device.write(b"fed")
    assert watchdog.bites == 0
    with full_box.checkpoint():
        full_box.sleep(11)
        assert watchdog.bites == 1
    assert watchdog.bites == 0
    full_box.sleep(1)
    device.write(b"V")  # the magic close
    device.close()
    assert not watchdog.running
    full_box.sleep(60)
    assert watchdog.bites == 0
    assert not full_box.findings
