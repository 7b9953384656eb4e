"""What the cases of bench/turned_fixes whose bug is a race do with their drivers: calls that two CPUs make at once."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kobox.box.box import Box
from kobox.checks.fuzz.program import ExerciseStep, Program, step


def _nothing(box: Box) -> None:
    """The driver needs nothing."""


def _made_by_uhid(box: Box) -> None:
    """A HID device: UHID_CREATE2 with a report descriptor of one button (include/uapi/linux/uhid.h)."""
    box.modprobe("uhid")
    box.modprobe("hid-generic")
    report = bytes.fromhex("05010900a10105091901290815002501750195088102c0")
    names = b"case".ljust(128, b"\0") + bytes(64) + bytes(64)
    device = names + struct.pack("<HHIIII", len(report), 3, 1, 1, 0, 0) + report
    file = box.syscall("open", "/dev/uhid", 2, 0)
    data = struct.pack("<I", 11) + device.ljust(4372, b"\0")
    box.syscall("write", file, data, len(data))


@dataclass(frozen=True, slots=True)
class CaseCalls:
    """The calls of a case, and what makes the box ready for them once the driver is loaded."""

    programs: Sequence[Program]
    prepare: Callable[[Box], None] = _nothing


def _on(path: str, *steps: ExerciseStep) -> Sequence[Program]:
    return [(step("open", path, 2), *steps)]


_ROSE = struct.pack("<H26x", 11)  # struct sockaddr_rose

CALLS: dict[str, CaseCalls] = {
    # IMADDTIMER (include/linux/mISDNif.h)
    "misdn_work": CaseCalls(_on("/dev/mISDNtimer", step("ioctl", 0x80044940, bytes(4)), step("read", 4))),
    "ip_vs_threshold": CaseCalls(_on("/proc/sys/net/ipv4/vs/sync_threshold", step("write", b"5 70"), step("read", 64))),
    "rose_bind": CaseCalls([(step("socket", 11, 5, 0), step("bind", _ROSE, 28))]),
    "hidraw_open": CaseCalls(_on("/dev/hidraw0", step("read", 8)), _made_by_uhid),
}
