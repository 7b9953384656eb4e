"""A device on the board of which nothing is known but which driver wants it: ACPI announces it by a hardware ID, or as
compatible, with four windows of registers and an interrupt line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kobox.devices.phantom_aliases import compatibles, hardware_ids, some
from kobox.devices.phantom_policy import BarLayout, Policy, PolicyAnswers, RegisterAt
from kobox.devices.platform import PlatformDevice

_WINDOW, _PORTS, _WINDOWS, _LINES = 64 << 10, 256, 4, 2


class BoardIdentity(NamedTuple):
    """Whom a driver's table waits for: a hardware ID of ACPI, or what it is compatible with."""

    hid: str = ""
    compatible: str = ""

    def __str__(self) -> str:
        return self.hid or self.compatible


class PhantomBoard(PolicyAnswers, PlatformDevice):
    """A phantom on the board."""

    vectors = 1

    @property
    def wanted_name(self) -> str:
        """What the driver's table calls it."""
        return self.hid or self.compatible

    def interrupt(self, vector: int = 0) -> None:
        """Pulse the interrupt line."""
        if not self.is_silent and self.plugged:
            self.set_interrupt_level(True)
            self.set_interrupt_level(False)

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        number = self.host.reads_on_bus if self.host is not None else 0
        return self.answer(RegisterAt(bar, offset), size, None, number)

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        self.keep(RegisterAt(bar, offset), size, value)


def board_identities(aliases: Iterable[str], most: int = 3) -> list[BoardIdentity]:
    """Whom a device may be for a driver with these aliases: hardware IDs, then what it is compatible with."""
    aliases = list(aliases)
    found = [BoardIdentity(hid=one) for one in hardware_ids(aliases)]
    return some([*found, *(BoardIdentity(compatible=one) for one in compatibles(aliases))], most)


def windows_of(policy: Policy) -> list[tuple[str, bool]]:
    """The windows of a phantom: name, and whether they are ports."""
    ports = {BarLayout.MEMORY: (), BarLayout.MIXED: (0,), BarLayout.PORTS: range(_WINDOWS)}[policy.layout]
    return [(f"bar{number}", number in ports) for number in range(_WINDOWS)]


def phantom_board(identity: BoardIdentity, policy: Policy) -> PhantomBoard:
    """A device that is `identity` and answers by `policy`; its windows are memory, or ports."""
    members: dict[str, object] = {
        name: PlatformDevice.ports(_PORTS) if ports else PlatformDevice.memory(_WINDOW)
        for name, ports in windows_of(policy)
    }
    members |= {"policy": policy, "hid": identity.hid, "compatible": identity.compatible, "interrupts": _LINES}
    made = type("Phantom", (PhantomBoard,), members)()
    assert isinstance(made, PhantomBoard)
    return made
