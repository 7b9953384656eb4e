"""The board, for a search: platform devices that ACPI announces; their drivers read registers themselves."""

from __future__ import annotations

from collections.abc import Sequence

from kobox.box.box import Box
from kobox.box.inspect.probes import Hit
from kobox.checks.phantom.announced import announced
from kobox.checks.phantom.attendant import DriverAttendant
from kobox.checks.phantom.bus import PlainBus
from kobox.checks.phantom.kernel_code import bound_function, code_of
from kobox.checks.phantom.solve import Bits
from kobox.devices.phantom_board import board_identities
from kobox.devices.phantom_kinds import Identity, Phantom
from kobox.devices.phantom_policy import BarLayout, Policy, Read
from kobox.ko.modulefile import ModuleFile
from kobox.machine.taint import Taint

PLATFORM_PROBE = "platform_probe"  # drivers/base/platform.c: (dev)
_CODE = ("regmap_", "_regmap_", "__regmap_")


class BoardPhantoms(PlainBus):
    """Phantoms on the board."""

    title = "platform"
    drivers: tuple[str, ...] = ("platform:", "acpi:")
    probe = PLATFORM_PROBE
    registers = True
    layouts: Sequence[BarLayout] = tuple(BarLayout)
    blind: Sequence[str] = ()

    def __init__(self, file: ModuleFile) -> None:
        self.identities = board_identities(announced(file))

    def attendant(self, box: Box, device: Phantom, taint: Taint, *, hurried: bool) -> DriverAttendant:
        return DriverAttendant(box, device, taint, hurried=hurried)

    def probe_function(self, box: Box, hit: Hit) -> int:
        return bound_function(box.inspect.symbols.btf, hit, "platform_driver", ("probe",))

    def kernel_code(self, box: Box) -> Sequence[tuple[int, int]]:
        return code_of(box, _CODE)

    def with_header(self, identity: Identity, policy: Policy, read: Read, bits: Bits) -> tuple[Identity, Policy] | None:
        return None
