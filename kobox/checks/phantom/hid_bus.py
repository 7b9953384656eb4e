"""HID devices in USB ports, for a search: usbhid has the interface, the driver has what the kernel makes of it."""

from __future__ import annotations

from contextlib import suppress

from kobox.box.box import Box
from kobox.box.devices.bound import driver_at
from kobox.box.inspect.probes import Hit
from kobox.checks.phantom.kernel_code import bound_function
from kobox.checks.phantom.usb_bus import UsbPhantoms
from kobox.devices.phantom_kinds import Phantom
from kobox.devices.phantom_usb import hid_identities
from kobox.ko.modulefile import ModuleFile

_DEVICES = "/sys/bus/hid/devices"
_GENERIC = "hid-generic"


class HidPhantoms(UsbPhantoms):
    """Phantoms of HID devices."""

    title = "HID"
    drivers: tuple[str, ...] = ("hid:",)
    probe = "hid:hid_device_probe"  # drivers/hid/hid-core.c: (dev)

    def __init__(self, file: ModuleFile) -> None:
        super().__init__(file)
        self.identities = hid_identities(file.aliases)
        self._wanted = lambda who: any(who[:2] == one[:2] for one in self.identities)

    def prepare(self, box: Box) -> None:
        super().prepare(box)
        box.modprobe("usbhid")

    def probe_function(self, box: Box, hit: Hit) -> int:
        known = box.inspect.symbols.btf
        with_hid = (
            known if known.has("hid_driver", "probe") else known.with_module(box.read_bytes("/sys/kernel/btf/hid"))
        )
        return bound_function(with_hid, hit, "hid_driver", ("probe",))

    def is_bound(self, box: Box, device: Phantom) -> bool:
        with suppress(OSError):
            drivers = [driver_at(box, f"{_DEVICES}/{name}") for name in box.listdir(_DEVICES)]
            return any(driver not in (None, _GENERIC) for driver in drivers)
        return False
