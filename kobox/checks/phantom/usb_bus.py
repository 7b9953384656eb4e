"""USB, for a search: what a driver reads comes by DMA into its buffers; descriptors are what the kernel has made of
them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property

from kobox.box.box import Box
from kobox.box.devices.usb import controller_of
from kobox.box.inspect.btf import Btf
from kobox.box.inspect.probes import Hit, Probe
from kobox.checks.phantom.attendant import DriverAttendant
from kobox.checks.phantom.bus import PlainBus
from kobox.checks.phantom.labels import tell, with_file
from kobox.checks.phantom.solve import Bits
from kobox.checks.phantom.usb_header import (
    ALTERNATES,
    DEVICE,
    ENDPOINT_AT,
    ENDPOINTS_AT,
    INTERFACE,
    SPEED,
    with_endpoint,
    with_shape,
)
from kobox.devices.phantom_kinds import Identity, Phantom
from kobox.devices.phantom_policy import FIRMWARE, BarLayout, Policy, Read
from kobox.devices.phantom_usb import PhantomUsb, UsbIdentity, usb_identities, usb_wanted_by
from kobox.errors import KoboxError
from kobox.ko.modulefile import ModuleFile
from kobox.machine.taint import Taint

_PROBE = "usb_probe_interface"  # drivers/usb/core/driver.c: (dev)
_MATCHING = tuple(f"usbcore:usb_match_{name}" for name in ("device", "id", "one_id", "one_id_intf"))
_CHECKS = "usb_check_bulk_endpoints", "usb_check_int_endpoints"
_NO_ENDPOINT = (1 << 32) - 2, (1 << 32) - 22  # -ENOENT, -EINVAL
_MOST_PIPES = 8
_CONTROL_PIPE = 2 << 30
_MOST_ALTERNATES, _MOST_INTERFACES = 16, 8
_CONTROLLER = ("xhci_hcd", "xhci_pci")


class UsbTypes:
    """Offsets in the structures of usbcore, which is a module: its types are in /sys/kernel/btf."""

    def __init__(self, box: Box) -> None:
        self._box = box

    @cached_property
    def btf(self) -> Btf:
        """The kernel's types and usbcore's."""
        known = self._box.inspect.symbols.btf
        if known.has("usb_driver", "probe"):
            return known
        return known.with_module(self._box.read_bytes("/sys/kernel/btf/usbcore"))


class UsbPhantoms(PlainBus):
    """Phantoms in a USB port."""

    title = "USB"
    drivers: tuple[str, ...] = ("usb:", "usb-serial:")
    probe = _PROBE
    registers = False
    layouts: Sequence[BarLayout] = (BarLayout.MEMORY,)
    blind: Sequence[str] = _MATCHING

    def __init__(self, file: ModuleFile) -> None:
        self.identities = usb_identities(file.aliases)
        self._wanted = usb_wanted_by(file.aliases)
        self._types: UsbTypes | None = None

    def prepare(self, box: Box) -> None:
        controller_of(box)
        self._types = UsbTypes(box)
        if not self._types.btf.has("usb_driver", "probe"):
            raise KoboxError("USB: this kernel has no type information of usbcore")

    def attendant(self, box: Box, device: Phantom, taint: Taint, *, hurried: bool) -> DriverAttendant:
        assert isinstance(device, PhantomUsb)
        return UsbAttendant(box, device, taint, hurried=hurried, types=self._types)

    def probe_function(self, box: Box, hit: Hit) -> int:
        """`struct usb_driver`, by the `struct device_driver` in it."""
        btf = (self._types or UsbTypes(box)).btf
        base = int.from_bytes(hit.read(hit.args[0] + btf.offset("device", "driver"), 8), "little")
        # Older kernels have it in `drvwrap`, as its first member.
        member = "driver" if btf.has("usb_driver", "driver") else "drvwrap"
        whole = base - btf.offset("usb_driver", member)
        return int.from_bytes(hit.read(whole + btf.offset("usb_driver", "probe"), 8), "little")

    def follows(self, module: str) -> bool:
        return module not in _CONTROLLER

    def with_header(self, identity: Identity, policy: Policy, read: Read, bits: Bits) -> tuple[Identity, Policy] | None:
        assert isinstance(identity, UsbIdentity)
        wanted = read.value & ~bits.mask | bits.value & bits.mask
        if read.register.offset >= FIRMWARE:
            better = with_file(policy, read.register.offset, wanted)
            return (identity, better) if better is not None else None
        other = with_shape(identity, read.register.offset, wanted)
        return (other, policy) if other is not None and other != identity and self._wanted(other) else None


class UsbAttendant(DriverAttendant):
    """Attends to a phantom in a USB port."""

    def __init__(
        self,
        box: Box,
        device: PhantomUsb,
        taint: Taint | None = None,
        *,
        hurried: bool = False,
        types: UsbTypes | None = None,
    ) -> None:
        super().__init__(box, device, taint, hurried=hurried)
        self._device, self._types = device, types or UsbTypes(box)
        self._settings: list[int] = []  # alternate settings that there are not
        self._interfaces: list[int] = []  # interfaces that there are not
        self._pipes: list[list[tuple[int, int]]] = []  # endpoints that there are not: address and bmAttributes

    def probes(self) -> Sequence[Probe]:
        self._device.on_delivered = self._delivered
        return (
            self._box.probe(f"usbcore:{_PROBE}", self._probed),
            self._box.probe("usbcore:usb_set_interface", _keep_numbers, on_return=self._setting_chosen),
            self._box.probe("usbcore:usb_ifnum_to_if", _keep_numbers, on_return=self._interface_sought),
            self._box.probe("usbcore:usb_bulk_msg", _keep_numbers, on_return=self._message_sent),
            self._box.probe("usbcore:usb_submit_urb", self._keep_pipe, on_return=self._message_sent),
            *(
                self._box.probe(f"usbcore:{name}", _keep_addresses, on_return=self._endpoints_checked)
                for name in _CHECKS
            ),
        )

    def others(self, identity: Identity) -> list[Identity]:
        assert isinstance(identity, UsbIdentity)
        found: list[Identity] = []
        for number in self._settings:
            if identity.alternates <= number < _MOST_ALTERNATES:
                found.append(identity._replace(alternates=number + 1))
        for number in self._interfaces:
            if number < _MOST_INTERFACES and number not in (*identity.more, identity.number):
                found.append(identity._replace(more=(*identity.more, number)))
        for pipes in self._pipes:
            other = identity
            for address, attributes in pipes:
                other = with_endpoint(other, address, attributes)
            found += [other] if other != identity else []
        return found

    def _keep_pipe(self, hit: Hit) -> None:
        hit.data = _CONTROL_PIPE, 0
        with suppress(ValueError):
            pipe = hit.read(hit.args[0] + self._types.btf.offset("urb", "pipe"), 4)
            hit.data = int.from_bytes(pipe, "little"), 0

    def _message_sent(self, hit: Hit) -> None:
        """A pipe to an endpoint that there is not (include/linux/usb.h): bits 30 to 31 are its kind, bit 7 its
        direction, bits 15 to 18 its number."""
        pipe, result = hit.data[0], (hit.result or 0) & 0xFFFFFFFF
        kind = {0: 1, 1: 3, 3: 2}.get(pipe >> 30)
        if result in _NO_ENDPOINT and kind is not None:
            self._want([(pipe >> 15 & 15 | pipe & 0x80, kind)])

    def _endpoints_checked(self, hit: Hit) -> None:
        """usb_check_bulk_endpoints(intf, addresses): bytes that end with 0."""
        if (hit.result or 0) & 0xFF:
            return
        kind = 3 if "int" in str(hit.probe.where).rpartition(":")[2] else 2
        self._want([(address, kind) for address in hit.data if address & 15])

    def _want(self, endpoints: list[tuple[int, int]]) -> None:
        if endpoints and endpoints not in self._pipes and len(self._pipes) < _MOST_PIPES:
            self._pipes.append(endpoints)

    def _setting_chosen(self, hit: Hit) -> None:
        if (hit.result or 0) & 0x80000000 and hit.data[1] not in self._settings:
            self._settings.append(hit.data[1])

    def _interface_sought(self, hit: Hit) -> None:
        if not hit.result and hit.data[0] not in self._interfaces:
            self._interfaces.append(hit.data[0])

    def detach(self) -> None:
        self._device.on_delivered = None
        super().detach()

    def _delivered(self, pieces: Sequence[tuple[int, int]]) -> None:
        """The bytes that the device gave last have come to these physical addresses."""
        reads = self._device.reads
        place = max(len(reads) - self._device.given, 0)
        for address, size in pieces:
            if self._taint is None or place >= len(reads):
                return
            size = min(size, len(reads) - place)
            first = self._taint.sent(address, size)
            for n in range(size):
                reads[place + n] = reads[place + n]._replace(number=first + n)
            place += size

    def _probed(self, hit: Hit) -> None:
        """`struct usb_interface`: what the kernel has made of the descriptors."""
        with suppress(ValueError):
            self._tell_descriptors(hit)

    def _tell_descriptors(self, hit: Hit) -> None:
        btf = self._types.btf
        interface = hit.args[0] - btf.offset("usb_interface", "dev")
        self._tell(hit, interface + btf.offset("usb_interface", "num_altsetting"), 1, ALTERNATES)
        parent = _pointer(hit, hit.args[0] + btf.offset("device", "parent"))
        device = parent - btf.offset("usb_device", "dev")
        self._tell(hit, device + btf.offset("usb_device", "descriptor"), 18, DEVICE)
        self._tell(hit, device + btf.offset("usb_device", "speed"), 1, SPEED)
        setting = _pointer(hit, interface + btf.offset("usb_interface", "cur_altsetting"))
        self._tell(hit, setting + btf.offset("usb_host_interface", "desc"), 9, INTERFACE)
        endpoints = _pointer(hit, setting + btf.offset("usb_host_interface", "endpoint"))
        for number in range(min(hit.read(setting + 4, 1)[0], ENDPOINTS_AT)):
            at = endpoints + number * btf.size("usb_host_endpoint")
            self._tell(hit, at + btf.offset("usb_host_endpoint", "desc"), 7, ENDPOINT_AT + ENDPOINTS_AT * number)

    def _tell(self, hit: Hit, address: int, size: int, offset: int) -> None:
        tell(self._box, self._taint, self._device, address, hit.read(address, size), offset)


def _keep_addresses(hit: Hit) -> None:
    hit.data = b""
    with suppress(ValueError):
        hit.data = hit.read(hit.args[1], 16).split(b"\0")[0]


def _keep_numbers(hit: Hit) -> None:
    hit.data = hit.args[1] & 0xFFFFFFFF, hit.args[2] & 0xFFFFFFFF


def _pointer(hit: Hit, address: int) -> int:
    return int.from_bytes(hit.read(address, 8), "little")
