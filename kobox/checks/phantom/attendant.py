"""What a phantom has to know of its driver while that runs, and what the driver must not wait for in vain.

request_irq()          from now on, whoever waits with a timeout is interrupted
dma_alloc_coherent()   the memory is the phantom's as well: what the driver reads there, it is asked for
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from kobox.box.box import Box
from kobox.box.inspect.probes import Hit, Probe
from kobox.devices.phantom import (
    FIRMWARE,
    HEADER,
    RESOURCE,
    RESOURCES,
    PhantomDevice,
    Policy,
    RegisterAt,
    bars_of,
    companions_of,
)
from kobox.errors import BoxError
from kobox.machine.pci_function import BarKind
from kobox.machine.taint import Taint

PAGE = 4096

_REQUESTS_INTERRUPT = "request_threaded_irq"  # kernel/irq/manage.c
_WAITS = "schedule_timeout"  # kernel/time/timer.c: all that waits for something with a timeout sleeps here
_SHARES = "dma_alloc_attrs"  # kernel/dma/mapping.c
# arch/x86/lib/delay.c: how many nanoseconds a unit of the argument lasts. Nothing happens meanwhile, time is let pass.
_DELAYS = {"__const_udelay": 1e3 / 0x10C7, "__udelay": 1e3, "__ndelay": 1.0}
_FIRMWARE = "_request_firmware"  # drivers/base/firmware_loader/main.c: (fw, name, …); all requests end here
PROBE = "local_pci_probe"  # drivers/pci/pci-driver.c: calls the driver's probe function
PLATFORM_PROBE = "platform_probe"  # drivers/base/platform.c: the same for platform devices
_SEEKS = ("pci_get_device", "pci_get_subsys")  # drivers/pci/search.c: (vendor, device, …)
_REGIONS = "__request_region"  # kernel/resource.c: (parent, start, n, name, flags)
# drivers/pci: what is asked only of devices of PCI Express, and fails for others; and of those with an expansion ROM.
_EXPRESS = ("pcie_capability_read_word", "pcie_capability_read_dword", "pci_find_ext_capability", "pcie_set_readrq")
_MAPS_ROM = "pci_map_rom"
_ANY = 0xFFFFFFFF
_MOST_COMPANIONS = 6
_LARGEST_BAR, _LARGEST_PORTS = 256 << 20, 256
FILE_SIZE = 32 << 10  # of firmware, before more is known
_BARS = 6
_BEFORE_INIT = "do_init_module"  # kernel/module/main.c
_MOST_INTERRUPTS = 64
_FIRMWARE_SEEN = 64 << 10


class PhantomAttendant:
    """Attends to one phantom, from `attach` to `detach`. Without `taint`, shared memory is the driver's alone. With
    `hurried`, delays take no time of this computer's; with `watches`, modules that are loaded from now on are looked at
    for what they read of shared memory."""

    def __init__(
        self,
        box: Box,
        device: PhantomDevice,
        taint: Taint | None = None,
        *,
        hurried: bool = False,
        watches: bool = False,
    ) -> None:
        self._watches = watches
        self._box, self._device, self._taint, self._hurried = box, device, taint, hurried
        self._requested = self._sent = 0
        self.interrupts = True
        self._missing: list[str] = []  # files of firmware
        self._sought: list[tuple[int, int]] = []  # other devices: vendor, device
        self._larger: dict[int, int] = {}  # BARs that are too small: how large they are to be
        self._wants_express = self._wants_rom = False
        self._undo: list[Callable[[], None]] = []

    def attach(self) -> None:
        """Set the probes."""
        self._requested = self._sent = 0
        probes: list[Probe] = [
            self._box.probe(_REQUESTS_INTERRUPT, on_return=self._interrupt_requested),
            self._box.probe(_WAITS, self._waits),
        ]
        if self._taint is not None:
            probes.append(self._box.probe(_SHARES, _keep_size, on_return=self._shared))
            probes.append(self._box.probe(_BEFORE_INIT, self._module_comes))
            probes.append(self._box.probe(PROBE, self._probed))
            probes += [self._box.probe(name, _keep_ids, on_return=self._device_sought) for name in _SEEKS]
            probes.append(self._box.probe(_FIRMWARE, _keep_pointer, on_return=self._firmware_came))
            probes.append(self._box.probe(_REGIONS, _keep_region, on_return=self._region_requested))
            probes += [self._box.probe(name, self._express_asked) for name in _EXPRESS]
            probes.append(self._box.probe(_MAPS_ROM, on_return=self._rom_mapped))
        if self._hurried:
            delays = [name for name in _DELAYS if name in self._box.inspect.symbols]
            probes += [self._box.probe(name, self._delays) for name in delays]
        self._undo = [probe.remove for probe in probes]

    def detach(self) -> None:
        """Take the probes away."""
        for undo in self._undo:
            with suppress(BoxError):
                undo()
        self._undo.clear()

    def better(self) -> list[Policy]:
        """Devices that have what the driver has asked for in vain, one thing each."""
        policy = self._device.policy
        found = [policy.with_firmware(name, FILE_SIZE) for name in self._missing if name not in policy.firmware]
        if len(policy.companions) < _MOST_COMPANIONS:
            found += [policy.with_companion(*ids) for ids in self._sought[:_MOST_COMPANIONS]]
        bars = {number: is_ports for number, _, is_ports in bars_of(policy)}
        found += [policy.with_bar(number, size, bars[number]) for number, size in self._larger.items()]
        if self._wants_express and not policy.express:
            found.append(replace(policy, express=True))
        if self._wants_rom and not policy.rom:
            found.append(replace(policy, rom=True))
        return found

    def _interrupt_requested(self, hit: Hit) -> None:
        self._requested += hit.result == 0

    def _waits(self, hit: Hit) -> None:
        device = self._device
        if self.interrupts and self._requested and self._sent < _MOST_INTERRUPTS and device.plugged:
            device.interrupt(self._sent % max(device.vectors, 1))
            self._sent += 1

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

    def _firmware_came(self, hit: Hit) -> None:
        pointer, name = hit.data
        if hit.result:
            if ".." not in name:
                self._missing.append(name)
            return
        firmware = int.from_bytes(hit.read(pointer, 8), "little")
        size, data = (int.from_bytes(hit.read(firmware + at, 8), "little") for at in (0, 8))
        names = list(self._device.policy.firmware)
        if name in names:
            self._share(firmware, 8, RegisterAt(HEADER, FIRMWARE + 8 * names.index(name)))
        for at in range(data, data + min(size, _FIRMWARE_SEEN), PAGE):
            self._share(at, min(PAGE, data + size - at))

    def _module_comes(self, hit: Hit) -> None:
        if not self._watches or self._taint is None:
            return
        for module in self._box.inspect.symbols.modules():
            if module.address == hit.args[0]:
                for start, size in module.code:
                    self._taint.code(start, start + size)

    def _delays(self, hit: Hit) -> None:
        self._box.machine.pass_time(int(hit.args[0] * _DELAYS[str(hit.probe.where)]))
        hit.skip()


def surround(box: Box, policy: Policy) -> list[PhantomDevice]:
    """Give a box what the driver looks for beside its device: files of firmware, other devices, which it returns."""
    companions = companions_of(policy)
    for companion in companions:
        box.plug(companion)
    for name, size in policy.firmware.items():
        path = "/lib/firmware"
        for part in ("", *name.split("/")[:-1]):
            path = f"{path}/{part}".rstrip("/")
            for directory in ("/lib", path):
                with suppress(OSError):
                    box.syscall("mkdir", directory, 0o755)
        with suppress(OSError):
            box.write_bytes(f"/lib/firmware/{name}", bytes(size))
    return companions


def _keep_pointer(hit: Hit) -> None:
    hit.data = hit.args[0], hit.string(hit.args[1], 256)


def _keep_region(hit: Hit) -> None:
    hit.data = hit.args[1], hit.args[2]


def _keep_ids(hit: Hit) -> None:
    hit.data = hit.args[0] & _ANY, hit.args[1] & _ANY


def _keep_size(hit: Hit) -> None:
    hit.data = hit.args[1]
