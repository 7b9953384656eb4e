"""USB devices that Python plays: descriptors, and what the endpoints do.

    class Thermometer(UsbDevice):
        vendor_id, product_id = 0x16C0, 0x05DC
        interfaces = (Interface(0xFF, endpoints=(Endpoint(0x81, "interrupt", 8, interval=10),)),)

        def control_in(self, setup):                requests that the standard ones are not
            return b"\\x17" if setup.request == 1 else self.stall()

        def data_in(self, endpoint, size):          None: nothing yet (NAK); `self.ready(0x81)` says when there is

    box.plug(Thermometer())      a host controller is plugged in with the first one (`kobox.devices.xhci`)

Source: Universal Serial Bus Specification 2.0, chapter 9.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NoReturn, Protocol

from kobox.devices.i2c import ClientModel
from kobox.devices.model import NO_STATE, ModelHost
from kobox.devices.state import Restore, save_state

_TYPES = {"control": 0, "isochronous": 1, "bulk": 2, "interrupt": 3}


class StallError(Exception):
    """The device refuses a request, or an endpoint is halted."""


@dataclass(frozen=True, slots=True)
class SetupPacket:
    """The first packet of a control transfer (9.3)."""

    kind: int
    request: int
    value: int
    index: int
    length: int

    @property
    def to_host(self) -> bool:
        """Whether the data goes from the device to the host."""
        return bool(self.kind & 0x80)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint: its address (bit 7: to the host), "bulk", "interrupt" or "isochronous", the size of a packet in
    bytes, and the interval of bInterval."""

    address: int
    kind: str = "bulk"
    size: int = 512
    interval: int = 0

    def descriptor(self) -> bytes:
        """The endpoint descriptor (9.6.6)."""
        return struct.pack("<BBBBHB", 7, 5, self.address, _TYPES[self.kind], self.size, self.interval)


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of the one configuration. `extra` are class descriptors, which stand before the endpoints."""

    interface_class: int
    subclass: int = 0
    protocol: int = 0
    endpoints: Sequence[Endpoint] = ()
    extra: bytes = b""
    number: int = 0
    alternate: int = 0

    def descriptor(self) -> bytes:
        """The interface descriptor (9.6.5) with all that belongs to it."""
        head = struct.pack(
            "<BBBBBBBBB",
            *(9, 4, self.number, self.alternate, len(self.endpoints)),
            *(self.interface_class, self.subclass, self.protocol, 0),
        )
        return head + self.extra + b"".join(endpoint.descriptor() for endpoint in self.endpoints)


class UsbHost(ModelHost, Protocol):
    """The box's side of a USB device."""

    @property
    def interfaces(self) -> Sequence[str]: ...


class UsbDevice(ClientModel):
    """A USB device: subclass it, declare interfaces, and answer requests and endpoints.

    `speed` is "low", "full", "high" or "super". Strings are what the device calls itself.
    """

    bus: ClassVar[str] = "USB"
    vendor_id: ClassVar[int] = 0x16C0
    product_id: ClassVar[int] = 0x05DC
    device_class: ClassVar[tuple[int, int, int]] = (0, 0, 0)
    version: ClassVar[int] = 0x0100
    speed: ClassVar[str] = "high"
    manufacturer: ClassVar[str] = "kobox"
    product: ClassVar[str] = "USB device"
    serial: str = "0001"
    interfaces: ClassVar[Sequence[Interface]] = ()
    strings: ClassVar[Sequence[str]] = ()
    """More strings, from index 4 on."""

    configuration = 0

    # -- what a subclass says ------------------------------------------------------------------------------------

    def control_in(self, setup: SetupPacket) -> bytes:
        """A request of the class or the vendor that wants data. `self.stall()` refuses it."""
        self.stall()

    def control_out(self, setup: SetupPacket, data: bytes) -> None:
        """A request of the class or the vendor, with its data."""
        self.stall()

    def data_in(self, endpoint: int, size: int) -> bytes | None:
        """The host wants up to `size` bytes of an endpoint (0x81 …); None when there are none yet."""
        return None

    def data_out(self, endpoint: int, data: bytes) -> None:
        """The host sends data to an endpoint (0x02 …)."""

    def delivered(self, endpoint: int, pieces: Sequence[tuple[int, int]]) -> None:
        """What `data_in` (for endpoint 0, `control_in`) gave has come to these places of the box's memory: (physical
        address, bytes)."""

    def configured(self, configuration: int) -> None:
        """The host has chosen a configuration."""

    def alternate_chosen(self, interface: int, alternate: int) -> None:
        """The host has chosen an alternate setting."""

    # -- what it can do ------------------------------------------------------------------------------------------

    def stall(self) -> NoReturn:
        """Refuse the request, or halt the endpoint that is asked."""
        raise StallError

    def ready(self, endpoint: int) -> None:
        """Data waits at an endpoint that had none: a transfer that the driver has asked for goes on."""
        if self.usb_port is not None:
            self.usb_port.ready(endpoint)

    # -- for the host controller ---------------------------------------------------------------------------------

    usb_port: UsbPort | None = None
    host: UsbHost | None = None

    @property
    def sysfs(self) -> Sequence[str]:
        return (self.host.sysfs, *self.host.interfaces) if self.host is not None and self.host.plugged else ()

    def save(self) -> Restore:
        return save_state(self, {"usb_port", *NO_STATE})

    def control(self, setup: SetupPacket, data: bytes) -> bytes:
        """A control transfer: the data for the host, cut to what it wants. Raises `StallError`."""
        if setup.kind & 0x60:
            if setup.to_host:
                return self.control_in(setup)[: setup.length]
            self.control_out(setup, data)
            return b""
        return self._standard(setup)[: setup.length]

    def _standard(self, setup: SetupPacket) -> bytes:
        match setup.request:
            case 6:  # get descriptor
                return self.descriptor(setup.value >> 8, setup.value & 0xFF, setup.index)
            case 0:  # get status
                return b"\0\0" if setup.kind & 31 else b"\1\0"  # self-powered
            case 8:  # get configuration
                return bytes([self.configuration])
            case 9:  # set configuration
                self.configuration = setup.value & 0xFF
                self.configured(self.configuration)
            case 10:  # get interface
                return b"\0"
            case 11:  # set interface
                self.alternate_chosen(setup.index & 0xFF, setup.value)
            case 1 | 3 | 5:  # clear and set a feature, set address
                pass
            case _:
                self.stall()
        return b""

    def descriptor(self, kind: int, number: int, index: int = 0) -> bytes:
        """A descriptor: 1 device, 2 configuration, 3 string, 15 BOS. Raises `StallError` for one that it lacks."""
        match kind:
            case 1:
                size = {"low": 8, "full": 64, "high": 64, "super": 9}[self.speed]
                usb = 0x0300 if self.speed == "super" else 0x0200 if self.speed == "high" else 0x0110
                ids = (self.vendor_id, self.product_id, self.version)
                return struct.pack("<BBHBBBBHHHBBBB", 18, 1, usb, *self.device_class, size, *ids, 1, 2, 3, 1)
            case 2 if number == 0:
                return self._configuration_descriptor()
            case 3 if number == 0:
                return struct.pack("<BBH", 4, 3, 0x0409)
            case 3:
                texts = ["", self.manufacturer, self.product, self.serial, *self.strings]
                if number < len(texts):
                    text = texts[number].encode("utf-16-le")[:252]
                    return bytes([2 + len(text), 3]) + text
            case 15 if self.speed == "super":
                return struct.pack("<BBHBBBBHBBH", 5, 15, 15, 1, 10, 16, 3, 0, 0x0E, 3, 10) + b"\0"
        raise StallError

    def _configuration_descriptor(self) -> bytes:
        body = b""
        for interface in self.interfaces:
            if self.speed == "super":
                body += interface.descriptor()[: 9 + len(interface.extra)]
                body += b"".join(e.descriptor() + struct.pack("<BBBBH", 6, 0x30, 0, 0, 0) for e in interface.endpoints)
            else:
                body += interface.descriptor()
        count = len({interface.number for interface in self.interfaces})
        return struct.pack("<BBHBBBBB", 9, 2, 9 + len(body), count, 1, 0, 0xC0, 50) + body

    def endpoint_kind(self, address: int) -> str:
        """What an endpoint is: "bulk", "interrupt", "isochronous"."""
        found = (e.kind for interface in self.interfaces for e in interface.endpoints if e.address == address)
        return next(found, "bulk")


class UsbPort:
    """The port that a device is in, as the device knows it. A host controller overrides this."""

    def ready(self, endpoint: int) -> None:
        """Data waits at an endpoint."""
        raise NotImplementedError


class DevicesByPort:
    """The devices in the ports of a controller or a hub, which go back with checkpoints each by itself."""

    def __init__(self) -> None:
        self.by_port: dict[int, UsbDevice] = {}

    def take_out(self, device: UsbDevice) -> int | None:
        """Take a device out; the port in which it was."""
        port = next((port for port, other in self.by_port.items() if other is device), None)
        if port is not None:
            del self.by_port[port]
            device.usb_port = None
        return port

    def save(self) -> Restore:
        """For a checkpoint: a function that brings back the devices and their state."""
        before = dict(self.by_port)
        ports = [(device, device.usb_port) for device in before.values()]
        undo = [device.save() for device in before.values()]

        def restore() -> None:
            self.by_port = dict(before)
            for device, port in ports:
                device.usb_port = port
            for one in undo:
                one()

        return restore
