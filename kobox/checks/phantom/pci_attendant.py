"""What a phantom on the PCI bus has to know of its driver.

dma_alloc_coherent()   the memory is the phantom's as well: what the driver reads there, it is asked for
dma_map_single()       the same for what the device may write, the first some times
pci_get_device()       other devices that the driver looks for stand beside it in the next attempt
pci_get_slot()         the same, at that place: other functions of its card mostly
pci_find_capability()  it has this capability in the next attempt
inb(0xcd7)             ports that no device has are the phantom's
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kobox.box.box import Box
from kobox.box.inspect.probes import Hit, Probe
from kobox.checks.phantom.attendant import PAGE, DriverAttendant
from kobox.devices.phantom import PhantomDevice, bars_of
from kobox.devices.phantom_policy import (
    FIRMWARE,
    HEADER,
    PLACE,
    RESOURCE,
    RESOURCES,
    Companion,
    OwnCapability,
    Policy,
    RegisterAt,
)
from kobox.machine.pci_function import BarKind
from kobox.machine.taint import Taint

_SHARES = "dma_alloc_attrs"  # kernel/dma/mapping.c
_MAPS = "dma_map_page_attrs"  # the same: (dev, page, offset, size, direction, …); dma_map_single() ends there
_TO_DEVICE, _MOST_MAPPED, _LARGEST_MAPPED = 1, 16, 64 << 10
PROBE = "local_pci_probe"  # drivers/pci/pci-driver.c: calls the driver's probe function
_SEEKS = ("pci_get_device", "pci_get_subsys")  # drivers/pci/search.c: (vendor, device, …)
# drivers/pci/search.c: (bus, devfn); (domain, bus, devfn).
_SEEKS_PLACE = {"pci_get_slot": 1, "pci_get_domain_bus_and_slot": 2}
# drivers/pci/pci.c: (dev, kind), of extended ones too; (dev, start, kind); (dev, vendor, number).
_FINDS, _FINDS_NEXT = {"pci_find_capability": False, "pci_find_ext_capability": True}, "pci_find_next_ext_capability"
_FINDS_VENDORS = {"pci_find_vsec_capability": 0x0B, "pci_find_dvsec_capability": 0x23}
_VENDORS_SIZE = 0x60
_REGIONS = "__request_region"  # kernel/resource.c: (parent, start, n, name, flags)
# drivers/pci: what is asked only of devices of PCI Express, and fails for others; and of those with an expansion ROM.
_EXPRESS = ("pcie_capability_read_word", "pcie_capability_read_dword", "pci_find_ext_capability", "pcie_set_readrq")
_MAPS_ROM = "pci_map_rom"
_ANY = 0xFFFFFFFF
_MOST_COMPANIONS, _MOST_ALIKE, _MOST_CAPABILITIES = 12, 2, 8
_OTHERWISE_HAD = (0x01, 0x05, 0x10, 0x11)  # power management, MSI, PCI Express, MSI-X
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
        symbols = box.inspect.symbols
        self._kernel = symbols.address("_stext"), symbols.address("_etext")
        self._sought: list[Companion] = []  # other devices
        self._missing_capabilities: list[OwnCapability] = []
        self._shown: set[int] = set()  # devices whose header is followed
        self._probes = False
        self._maps = 0
        self._larger: dict[int, int] = {}  # BARs that are too small: how large they are to be
        self._wants_express = self._wants_rom = False

    def probes(self) -> Sequence[Probe]:
        box = self._box
        return (
            box.probe(_SHARES, _keep_size, on_return=self._shared),
            box.probe(_MAPS, self._keep_mapping, on_return=self._mapped),
            box.probe(PROBE, self._probed),
            *(box.probe(name, self._seeks, on_return=self._device_sought) for name in _SEEKS),
            *(box.probe(name, self._seeks_place, on_return=self._device_sought) for name in _SEEKS_PLACE),
            *(
                box.probe(name, self._seeks_capability, on_return=self._capability_sought)
                for name in (*_FINDS, _FINDS_NEXT, *_FINDS_VENDORS)
                if name in box.inspect.symbols
            ),
            box.probe(_REGIONS, _keep_region, on_return=self._region_requested),
            *(box.probe(name, self._express_asked) for name in _EXPRESS),
            box.probe(_MAPS_ROM, on_return=self._rom_mapped),
        )

    def attach(self) -> None:
        super().attach()
        if self._taint is not None:
            bus = self._box.machine.pci
            bus.play_ports(self._device.port_read)
            bus.missed = self._place_read

    def detach(self) -> None:
        super().detach()
        if self._taint is not None:
            bus = self._box.machine.pci
            bus.play_ports(None)
            bus.missed = None

    def better(self) -> list[Policy]:
        policy, found = self.policy, super().better()
        if sought := self._sought[: _MOST_COMPANIONS - len(policy.companions)]:
            if len(sought) > 1:
                found.append(policy.with_companions(*sought))
            found += [policy.with_companions(one) for one in sought]
        if missing := self._missing_capabilities[: _MOST_CAPABILITIES - len(policy.capabilities)]:
            express = policy.express or any(one.is_extended for one in missing)
            found += [replace(policy.with_capability(one), express=express) for one in missing]
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

    def _keep_mapping(self, hit: Hit) -> None:
        size, direction = hit.args[3], hit.args[4] & _ANY
        hit.awaited = self._maps < _MOST_MAPPED and direction != _TO_DEVICE and size <= _LARGEST_MAPPED
        hit.data = size

    def _mapped(self, hit: Hit) -> None:
        """A bus address is a physical one: a box has no IOMMU."""
        address = (hit.result or 0) & (1 << 64) - 1
        if 0 < address < 1 << 63 and self._taint is not None and self._taint.memory(address, hit.data):
            self._maps += 1
            self._device.share_memory(address, hit.data)

    def _share(
        self, address: int, size: int, register: RegisterAt | None = None, phantom: PhantomDevice | None = None
    ) -> None:
        """Memory at a virtual address, within a page or without gaps: the phantom is asked for it."""
        physical = self._box.machine.translate(address)
        if physical is not None and self._taint is not None and self._taint.memory(physical, size):
            (phantom or self._device).share_memory(physical, size, register)

    def _probed(self, hit: Hit) -> None:
        """`struct drv_dev_and_id { drv, dev, id }`: what the kernel knows of the device is asked for as well."""
        self._probes = True
        btf = self._box.inspect.symbols.btf
        device = int.from_bytes(hit.read(hit.args[0] + 8, 8), "little")
        self._show_ids(device, self._device)
        size, used = btf.offset("resource", "child") + 8, btf.offset("resource", "flags") + 8
        for number in range(_BARS):
            at = device + btf.offset("pci_dev", "resource") + size * number
            self._share(at, used, RegisterAt(HEADER, RESOURCES + RESOURCE * number))

    def _show_ids(self, device: int, phantom: PhantomDevice) -> None:
        """A `struct pci_dev`: its place and IDs are a phantom's."""
        if device in self._shown:
            return
        self._shown.add(device)
        btf = self._box.inspect.symbols.btf
        start, end = btf.offset("pci_dev", "vendor"), btf.offset("pci_dev", "revision") + 1
        place = btf.offset("pci_dev", "devfn")
        if place == start + PLACE:  # one read may be of both
            self._share(device + place, end - place, RegisterAt(HEADER, PLACE), phantom)
        else:
            self._share(device + start, end - start, RegisterAt(HEADER, 0), phantom)
            self._share(device + place, -PLACE, RegisterAt(HEADER, PLACE), phantom)

    def _is_asked(self, hit: Hit) -> bool:
        """Whether code of a module has called the function, not the kernel itself."""
        hit.awaited = not self._kernel[0] <= hit.caller < self._kernel[1]
        return hit.awaited

    def _seeks(self, hit: Hit) -> None:
        if self._is_asked(hit):
            hit.data = Companion(hit.args[0] & _ANY, hit.args[1] & _ANY)

    def _seeks_place(self, hit: Hit) -> None:
        if self._is_asked(hit):
            place = hit.args[_SEEKS_PLACE[str(hit.probe.where)]] & 0xFF
            hit.data = self._companion_at(place)

    def _companion_at(self, place: int) -> Companion:
        """Of several functions, the numbers of the devices follow one another mostly."""
        own, wanted = self._device.device_id, self._device.device_id & ~7 | place & 7
        return Companion(self._device.vendor_id, own ^ 8 if wanted == own else wanted, place)

    def _device_sought(self, hit: Hit) -> None:
        sought = hit.data
        if hit.result:
            at = hit.result & (1 << 64) - 1
            devfn = int.from_bytes(hit.read(at + self._box.inspect.symbols.btf.offset("pci_dev", "devfn"), 4), "little")
            for phantom in self._device.beside:
                if phantom.plugged and phantom.function.place * 8 + phantom.function.number == devfn:
                    self._show_ids(at, phantom)
        elif _ANY not in sought[:2]:
            self._seek(sought)

    def _seek(self, sought: Companion) -> None:
        """Another device is to stand beside it; one with the IDs of one that is there is the next function of the
        card."""
        others = [Companion(*one) for one in self.policy.companions]
        ids = [(self._device.vendor_id, self._device.device_id), *(one[:2] for one in others)]
        if (alike := ids.count(sought[:2])) and sought.place < 0:
            card = self._device.function.place
            functions = {one.place & 7 for one in others if one.place >> 3 == card} | {0}
            free = next((number for number in range(8) if number not in functions), None)
            if free is None or alike > _MOST_ALIKE:
                return
            sought = sought._replace(place=card * 8 + free)
        if sought not in self._sought and sought.place not in {one.place for one in others if one.place >= 0}:
            self._sought.append(sought)

    def _place_read(self, place: int) -> None:
        """The driver reads configuration space of another function of the card, which there is not."""
        sought = self._companion_at(place)
        if self._probes and place >> 3 == self._device.function.place:
            self._seek(sought)

    def _seeks_capability(self, hit: Hit) -> None:
        if not self._is_asked(hit):
            return
        name = str(hit.probe.where)
        if name in _FINDS_VENDORS:
            vendor, number = hit.args[1] & 0xFFFF, hit.args[2] & 0xFFFF
            head = (number if name == "pci_find_vsec_capability" else vendor) | _VENDORS_SIZE << 20
            content = head.to_bytes(4, "little") + number.to_bytes(2, "little")
            hit.data = OwnCapability(_FINDS_VENDORS[name], True, content)
        elif name == _FINDS_NEXT:
            hit.data = OwnCapability(hit.args[2] & 0xFFFF, True)
        else:
            hit.data = OwnCapability(hit.args[1] & 0xFFFF, _FINDS[name])

    def _capability_sought(self, hit: Hit) -> None:
        wanted: OwnCapability = hit.data
        known = wanted in self.policy.capabilities or wanted in self._missing_capabilities
        if not hit.result and not known and (wanted.is_extended or wanted.kind not in _OTHERWISE_HAD):
            self._missing_capabilities.append(wanted)

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


def _keep_size(hit: Hit) -> None:
    hit.data = hit.args[1]
