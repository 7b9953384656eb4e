"""The PCI bus, for a search."""

from __future__ import annotations

from collections.abc import Sequence

from kobox.box.box import Box
from kobox.box.inspect.probes import Hit
from kobox.checks.phantom.attendant import DriverAttendant
from kobox.checks.phantom.bus import PlainBus
from kobox.checks.phantom.header import with_header
from kobox.checks.phantom.pci_attendant import PROBE, PciAttendant
from kobox.checks.phantom.solve import Bits
from kobox.devices.phantom import PhantomDevice, identities_for, wanted_by
from kobox.devices.phantom_kinds import Identity, Phantom
from kobox.devices.phantom_policy import BarLayout, Policy, Read
from kobox.ko.modulefile import ModuleFile
from kobox.machine.pci_function import PciIdentity
from kobox.machine.taint import Taint


class PciPhantoms(PlainBus):
    """Phantoms on the PCI bus."""

    title = "PCI"
    drivers: tuple[str, ...] = ("pci:",)
    probe = PROBE
    registers = True
    layouts: Sequence[BarLayout] = tuple(BarLayout)
    blind: Sequence[str] = ()

    def __init__(self, file: ModuleFile) -> None:
        self.identities = identities_for(file.aliases)
        self._wanted = wanted_by(file.aliases)

    def attendant(self, box: Box, device: Phantom, taint: Taint, *, hurried: bool) -> DriverAttendant:
        assert isinstance(device, PhantomDevice)
        return PciAttendant(box, device, taint, hurried=hurried)

    def probe_function(self, box: Box, hit: Hit) -> int:
        """`struct drv_dev_and_id`: its first member is the driver."""
        driver = int.from_bytes(hit.read(hit.args[0], 8), "little")
        return int.from_bytes(hit.read(driver + box.inspect.symbols.btf.offset("pci_driver", "probe"), 8), "little")

    def with_header(self, identity: Identity, policy: Policy, read: Read, bits: Bits) -> tuple[Identity, Policy] | None:
        assert isinstance(identity, PciIdentity)
        return with_header(identity, policy, read, bits, self._wanted)
