"""Lives in which the bus fails: I2C does not acknowledge, SPI loses a word, USB stalls, endpoints never answer.

Each transfer of an ordinary life is refused once, in a life of its own, as each call that can fail fails once. What is
found then is a mistake in how the driver handles errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kobox.checks.report.finding import Finding
from kobox.devices.phantom_i2c import I2cIdentity
from kobox.devices.phantom_kinds import Identity
from kobox.devices.phantom_policy import Lie, LieKind
from kobox.devices.phantom_spi import SpiIdentity
from kobox.devices.phantom_usb import UsbIdentity

_FIRST, _MOST = 10, 15  # transfers that are refused: the first ones, and all


def on_wires(identity: Identity) -> bool:
    """Whether a device is on a bus whose transfers can fail."""
    return isinstance(identity, (I2cIdentity, SpiIdentity, UsbIdentity))


def bus_errors(first: int, end: int) -> Iterator[Lie]:
    """What goes wrong on the bus in lives that make transfers number `first` to `end` - 1: each of the first ones, then
    some of the others."""
    count = end - first
    chosen = set(range(min(count, _FIRST)))
    if count > _FIRST:
        chosen |= {_FIRST + n * (count - 1 - _FIRST) // (_MOST - _FIRST - 1) for n in range(_MOST - _FIRST)}
    for number in sorted(chosen):
        yield Lie(LieKind.REFUSED, first + number)
    yield Lie(LieKind.SILENT, 0)


def on_a_bus_that_fails(findings: Sequence[Finding], ordinary: set[object], lie: Lie) -> list[Finding]:
    """Of the findings of a life, those that are not there when the bus works, with what went wrong."""
    tail = "the device never answered" if lie.kind is LieKind.SILENT else str(lie)
    return [replace(one, message=f"{one.message}; {tail}") for one in findings if (one.kind, one.where) not in ordinary]
