"""What a phantom has to know of its driver while that runs, and what the driver must not wait for in vain.

request_irq()          from now on, whoever waits with a timeout is interrupted
dma_alloc_coherent()   the memory is the phantom's as well: what the driver reads there, it is asked for
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

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
    companions_of,
)
from kobox.errors import BoxError
from kobox.machine.taint import Taint

PAGE = 4096

_REQUESTS_INTERRUPT = "request_threaded_irq"  # kernel/irq/manage.c
_WAITS = "schedule_timeout"  # kernel/time/timer.c: all that waits for something with a timeout sleeps here
_SHARES = "dma_alloc_attrs"  # kernel/dma/mapping.c
# arch/x86/lib/delay.c: how many nanoseconds a unit of the argument lasts. Nothing happens meanwhile, time is let pass.
_DELAYS = {"__const_udelay": 1e3 / 0x10C7, "__udelay": 1e3, "__ndelay": 1.0}
_FIRMWARE = "_request_firmware"  # drivers/base/firmware_loader/main.c: (fw, name, …); all requests end here
PROBE = "local_pci_probe"  # drivers/pci/pci-driver.c: calls the driver's probe function
_SEEKS = ("pci_get_device", "pci_get_subsys")  # drivers/pci/search.c: (vendor, device, …)
_ANY = 0xFFFFFFFF
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
        self.missing: list[str] = []
        """Files of firmware that the driver asked for and did not get."""
        self.sought: list[tuple[int, int]] = []
        """Other devices that the driver looked for in vain: vendor, device."""
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
            probes += [self._box.probe(name, _keep_ids, on_return=self._sought) for name in _SEEKS]
            probes.append(self._box.probe(_FIRMWARE, _keep_pointer, on_return=self._firmware_came))
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

    def _sought(self, hit: Hit) -> None:
        vendor, device = hit.data
        if not hit.result and _ANY not in (vendor, device) and (vendor, device) not in self.sought:
            self.sought.append((vendor, device))

    def _firmware_came(self, hit: Hit) -> None:
        pointer, name = hit.data
        if hit.result:
            self.missing.append(name)
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


def surround(box: Box, policy: Policy) -> None:
    """Give a box what the driver looks for beside its device: files of firmware, other devices."""
    for companion in companions_of(policy):
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


def _keep_pointer(hit: Hit) -> None:
    hit.data = hit.args[0], hit.string(hit.args[1], 256)


def _keep_ids(hit: Hit) -> None:
    hit.data = hit.args[0] & _ANY, hit.args[1] & _ANY


def _keep_size(hit: Hit) -> None:
    hit.data = hit.args[1]
