"""What a phantom on the PCI bus has to know of its driver.

dma_alloc_coherent()   the memory is the phantom's as well: what the driver reads there, it is asked for
pci_get_device()       other devices that the driver looks for stand beside it in the next attempt
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kobox.box.box import Box
from kobox.box.inspect.probes import Hit, Probe
from kobox.checks.phantom.attendant import PAGE, DriverAttendant
from kobox.devices.phantom import PhantomDevice, bars_of
from kobox.devices.phantom_policy import FIRMWARE, HEADER, RESOURCE, RESOURCES, Policy, RegisterAt
from kobox.machine.pci_function import BarKind
from kobox.machine.taint import Taint

_SHARES = "dma_alloc_attrs"  # kernel/dma/mapping.c
PROBE = "local_pci_probe"  # drivers/pci/pci-driver.c: calls the driver's probe function
_SEEKS = ("pci_get_device", "pci_get_subsys")  # drivers/pci/search.c: (vendor, device, …)
_REGIONS = "__request_region"  # kernel/resource.c: (parent, start, n, name, flags)
# drivers/pci: what is asked only of devices of PCI Express, and fails for others; and of those with an expansion ROM.
_EXPRESS = ("pcie_capability_read_word", "pcie_capability_read_dword", "pci_find_ext_capability", "pcie_set_readrq")
_MAPS_ROM = "pci_map_rom"
_ANY = 0xFFFFFFFF
_MOST_COMPANIONS = 6
_LARGEST_BAR, _LARGEST_PORTS = 256 << 20, 256
_BARS = 6
_FIRMWARE_SEEN = 64 << 10


class PciAttendant(DriverAttendant):
    """Attends to a phantom on the PCI bus. Without `taint`, shared memory is the driver's alone."""

    def __init__(
        self,
        box: Box,
        device: PhantomDevice,
        taint: Taint | None = None,
        *,
        hurried: bool = False,
        watches: bool = False,
    ) -> None:
        super().__init__(box, device, taint, hurried=hurried, watches=watches)
        self._device = device
        self._sought: list[tuple[int, int]] = []  # other devices: vendor, device
        self._larger: dict[int, int] = {}  # BARs that are too small: how large they are to be
        self._wants_express = self._wants_rom = False

    def probes(self) -> Sequence[Probe]:
        box = self._box
        return (
            box.probe(_SHARES, _keep_size, on_return=self._shared),
            box.probe(PROBE, self._probed),
            *(box.probe(name, _keep_ids, on_return=self._device_sought) for name in _SEEKS),
            box.probe(_REGIONS, _keep_region, on_return=self._region_requested),
            *(box.probe(name, self._express_asked) for name in _EXPRESS),
            box.probe(_MAPS_ROM, on_return=self._rom_mapped),
        )

    def better(self) -> list[Policy]:
        policy, found = self._device.policy, super().better()
        if len(policy.companions) < _MOST_COMPANIONS:
            found += [policy.with_companion(*ids) for ids in self._sought[:_MOST_COMPANIONS]]
        bars = {number: is_ports for number, _, is_ports in bars_of(policy)}
        found += [policy.with_bar(number, size, bars[number]) for number, size in self._larger.items()]
        if self._wants_express and not policy.express:
            found.append(replace(policy, express=True))
        if self._wants_rom and not policy.rom:
            found.append(replace(policy, rom=True))
        return found

    def _shared(self, hit: Hit) -> None:
        if hit.result:
            self._share(hit.result & (1 << 64) - 1, hit.data)

    def _share(self, address: int, size: int, register: RegisterAt | None = None) -> None:
        """Memory at a virtual address, within a page or without gaps: the phantom is asked for it."""
        physical = self._box.machine.translate(address)
        if physical is not None and self._taint is not None and self._taint.memory(physical, size):
            self._device.share_memory(physical, size, register)

    def _probed(self, hit: Hit) -> None:
        """`struct drv_dev_and_id { drv, dev, id }`: what the kernel knows of the device is asked for as well."""
        btf = self._box.inspect.symbols.btf
        device = int.from_bytes(hit.read(hit.args[0] + 8, 8), "little")
        start, end = btf.offset("pci_dev", "vendor"), btf.offset("pci_dev", "revision") + 1
        self._share(device + start, end - start, RegisterAt(HEADER, 0))
        size, used = btf.offset("resource", "child") + 8, btf.offset("resource", "flags") + 8
        for number in range(_BARS):
            at = device + btf.offset("pci_dev", "resource") + size * number
            self._share(at, used, RegisterAt(HEADER, RESOURCES + RESOURCE * number))

    def _device_sought(self, hit: Hit) -> None:
        vendor, device = hit.data
        if not hit.result and _ANY not in (vendor, device) and (vendor, device) not in self._sought:
            self._sought.append((vendor, device))

    def _region_requested(self, hit: Hit) -> None:
        start, size = hit.data
        if hit.result:
            return
        function = self._device.function
        for bar in function.bars:
            most = _LARGEST_PORTS if bar.kind is BarKind.PORTS else _LARGEST_BAR
            if bar.size < size <= most and start == function.base(bar):
                self._larger[bar.number] = 1 << (size - 1).bit_length()

    def _express_asked(self, hit: Hit) -> None:
        self._wants_express = True

    def _rom_mapped(self, hit: Hit) -> None:
        self._wants_rom |= not hit.result

    def firmware_came(self, name: str, size: int, data: int, firmware: int) -> None:
        names = list(self._device.policy.firmware)
        if name in names:
            self._share(firmware, 8, RegisterAt(HEADER, FIRMWARE + 8 * names.index(name)))
        for at in range(data, data + min(size, _FIRMWARE_SEEN), PAGE):
            self._share(at, min(PAGE, data + size - at))


def _keep_region(hit: Hit) -> None:
    hit.data = hit.args[1], hit.args[2]


def _keep_ids(hit: Hit) -> None:
    hit.data = hit.args[0] & _ANY, hit.args[1] & _ANY


def _keep_size(hit: Hit) -> None:
    hit.data = hit.args[1]
