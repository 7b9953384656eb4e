"""Lives in which a driver's device is taken out by surprise, or lies.

What a device says is as good as what a stranger sends: a card can be swapped for one that means harm, and a broken one
says anything. Lengths, indexes and counts that come from it must be checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from kobox.box.box import Box
from kobox.checks.phantom.attendant import DriverAttendant
from kobox.checks.phantom.buses import attendant_for
from kobox.checks.report.finding import Finding, Severity
from kobox.checks.runner.session import Check, Examination
from kobox.devices.phantom import PhantomDevice
from kobox.devices.phantom_kinds import Phantom
from kobox.devices.phantom_policy import EXTREMES, HEADER, MEMORY, WIRES, Lie, LieKind, Read, RegisterAt
from kobox.machine.taint import Taint

_MOST_REGISTERS = 24
_RANDOM = 8
_VALUES = EXTREMES[:5]
_INTERRUPTS = 8
CONTROLLED = (
    *("out-of-bounds", "use-after-free", "double-free", "invalid-free", "wild-access", "null-pointer", "oops", "panic"),
    *("shift-out-of-range", "user-pointer", "kernel-warning", "stack-overflow"),
)
"""Kinds of findings that are called device-controlled when only a hostile device brings them about."""


class PhantomCheck(Check):
    """Attends to a phantom while a module lives, and lets it lie."""

    name = "phantom"

    def __init__(self, device: Phantom, lie: Lie | None = None) -> None:
        self._device, self._lie = device, lie
        self._attendant: DriverAttendant | None = None
        self._taint: Taint | None = None

    def attach(self, examination: Examination) -> None:
        box, device = examination.box, self._device
        device.lie = self._lie
        about_memory = [at for at in device.policy.known if MEMORY <= at.bar < WIRES]
        lies = self._lie is not None and self._lie.kind is not LieKind.GONE and isinstance(device, PhantomDevice)
        if about_memory or lies:
            self._taint = Taint(box.machine)
        self._attendant = attendant_for(box, device, self._taint)
        self._attendant.attach()

    def linked(self, examination: Examination) -> None:
        if self._taint is not None and examination.module is not None:
            for start, size in examination.module.code:
                self._taint.code(start, start + size)

    def detach(self, examination: Examination) -> None:
        if self._attendant is not None:
            self._attendant.detach()
        if self._taint is not None:
            self._taint.close()
        self._attendant = self._taint = None
        self._device.lie = None


def taken_out(device: Phantom, exercise: Callable[[Box], object] | None) -> Callable[[Box], None]:
    """An exercise in which the device is taken out, and what the driver has made is then used again."""

    def run(box: Box) -> None:
        if exercise is not None:
            exercise(box)
        if device.plugged:
            device.unplug()
        box.sleep(0.1)
        if exercise is not None:
            exercise(box)

    return run


def interrupted(device: Phantom, exercise: Callable[[Box], object] | None) -> Callable[[Box], None]:
    """An exercise round which the device interrupts."""

    def run(box: Box) -> None:
        for number in range(_INTERRUPTS):
            if device.plugged:
                device.interrupt(number % max(device.vectors, 1))
            box.sleep(0.01)
            if number == 0 and exercise is not None:
                exercise(box)

    return run


def lies(reads: Sequence[Read]) -> Iterator[Lie]:
    """What a device may say in a life in which these reads are made of it."""
    registers: dict[RegisterAt, int] = {}
    for read in reads:
        if read.register.bar != HEADER:  # about what the kernel knows of it a device cannot lie
            registers.setdefault(read.register, read.size)
    for register, size in list(registers.items())[:_MOST_REGISTERS]:
        for value in dict.fromkeys(value & (1 << 8 * size) - 1 for value in _VALUES):
            yield Lie(LieKind.REGISTER, value, register)
    yield Lie(LieKind.SILENT, 0)
    yield Lie(LieKind.STORM, 0)
    number = 1
    while number < len(reads):
        yield Lie(LieKind.GONE, number)
        number *= 2
    for seed in range(_RANDOM):
        yield Lie(LieKind.RANDOM, seed)


def device_controlled(findings: Sequence[Finding], ordinary: set[object], lie: Lie) -> list[Finding]:
    """Of the findings with a hostile device, those that an honest one does not bring about."""
    return [
        replace(
            finding,
            kind="device-controlled",
            message=f"{finding.message}; {lie}",
            advice="Check what wait_for_completion_timeout() and its kin return."
            if lie.kind is LieKind.SILENT
            else "Have all that the handler uses ready before request_irq()."
            if lie.kind is LieKind.STORM
            else "Check what the device says (lengths, indexes, counts, offsets) before it is used.",
        )
        for finding in findings
        if finding.kind in CONTROLLED and finding.where not in ordinary and finding.severity is not Severity.NOTE
    ]
