"""A USB 2.0 hub with four ports: the driver is the kernel's own hub driver.

    hub = box.plug(UsbHub(UsbStick("disk.img"), UsbKeyboard()))     both are behind the hub
    hub.connect(Cp2102())                                           one more, while the hub is in use
    keyboard.unplug()                                               and one is pulled out

A hub may be behind another one, five deep at most. Devices of the speed "super" need a port of the host controller.

    interrupt endpoint 0x81: a bit for each port that has changed
    requests of the class: status of a port; set and clear a feature of a port (power, reset, suspend, enable)

Source: Universal Serial Bus Specification 2.0, chapter 11.
"""

from __future__ import annotations

import struct
from typing import ClassVar, Protocol

from kobox.devices.errors import model_errors
from kobox.devices.model import HardwareModel
from kobox.devices.usb import DevicesByPort, Endpoint, Interface, SetupPacket, UsbDevice, UsbHost
from kobox.errors import KoboxError

CHANGED = 0x81
"""The endpoint that says which ports have changed."""
_CONNECTION, _ENABLE, _SUSPEND, _RESET, _POWER, _LOW_SPEED, _HIGH_SPEED = 1, 2, 4, 0x10, 0x100, 0x200, 0x400
_SPEEDS = {"low": _LOW_SPEED, "full": 0, "high": _HIGH_SPEED}
_GET_STATUS, _CLEAR_FEATURE, _SET_FEATURE, _GET_DESCRIPTOR = 0, 1, 3, 6
_CLEAR_TT_BUFFER, _STOP_TT = 8, 11
_PORT = 0xA3, 0x23  # kinds of requests to a port: from it, to it
_DESCRIPTOR = 0x29
# Features of a port: 1 enable, 2 suspend, 4 reset, 8 power; from 16 on, what has changed.
_F_ENABLE, _F_SUSPEND, _F_RESET, _F_POWER, _F_CHANGES = 1, 2, 4, 8, 16


class HubHost(UsbHost, Protocol):
    """The box's side of a hub."""

    def found_behind(self, device: UsbDevice, port: int) -> None:
        """Wait until the kernel has found a device in one of the hub's ports. Raises `KoboxError` when it does not."""
        ...


class UsbHub(UsbDevice):
    """A hub with four ports. Raises `KoboxError` when it is given more devices, or one of USB 3."""

    vendor_id, product_id, version = 0x0409, 0x005A, 0x0100
    device_class: ClassVar[tuple[int, int, int]] = (9, 0, 1)
    product = "USB 2.0 hub"
    interfaces: ClassVar = (Interface(9, endpoints=(Endpoint(CHANGED, "interrupt", 1, 12),)),)
    port_count: ClassVar[int] = 4

    host: HubHost | None = None

    def __init__(self, *devices: UsbDevice) -> None:
        self.devices = DevicesByPort()
        self.reset()
        for device in devices:
            self._put(device)

    @property
    def attached(self) -> list[HardwareModel]:
        return list(self.devices.by_port.values())

    def connect(self, device: UsbDevice) -> int:
        """Put a device into the next free port; the number of the port, from 1. When the hub is plugged in, the kernel
        is waited for. Raises `KoboxError` when all ports are taken, it is of USB 3, or the kernel refuses it."""
        port = self._put(device)
        if self.host is not None and self.plugged:
            self.host.found_behind(device, port)
        return port

    def disconnect(self, device: UsbDevice) -> None:
        """Pull a device out."""
        port = self.devices.take_out(device)
        if port is not None:
            self._connection_changed(port)

    def _put(self, device: UsbDevice) -> int:
        who = type(device).__name__
        if device.speed not in _SPEEDS:
            raise KoboxError(
                f"{who} is a USB 3 device", hint="Plug it into the box: the host controller has ports for it."
            )
        port = next((n for n in range(1, self.port_count + 1) if n not in self.devices.by_port), None)
        if port is None:
            raise KoboxError(f"all {self.port_count} ports of the hub are taken", hint="Unplug a device first.")
        self.devices.by_port[port] = device
        self._connection_changed(port)
        return port

    # -- ports -----------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        self.powered: set[int] = set()
        self.enabled: set[int] = set()
        self.suspended: set[int] = set()
        there = self.devices.by_port
        self.changes = {port: _CONNECTION if port in there else 0 for port in range(1, self.port_count + 1)}

    def is_enabled(self, port: int) -> bool:
        """Whether what is in a port hears the bus: it was reset, and has not been switched off since."""
        return port in self.enabled

    def _connection_changed(self, port: int) -> None:
        self.enabled.discard(port)
        self.suspended.discard(port)
        self._changed(port, _CONNECTION)

    def _changed(self, port: int, bit: int) -> None:
        self.changes[port] |= bit
        if port in self.powered:
            self.ready(CHANGED)

    def _status(self, port: int) -> int:
        status = _POWER if port in self.powered else 0
        device = self.devices.by_port.get(port)
        if status and device is not None:
            status |= _CONNECTION | _SPEEDS[device.speed]
            status |= _ENABLE if port in self.enabled else 0
            status |= _SUSPEND if port in self.suspended else 0
        return status

    # -- requests --------------------------------------------------------------------------------------------------

    def data_in(self, endpoint: int, size: int) -> bytes | None:
        bits = sum(1 << port for port, change in self.changes.items() if change and port in self.powered)
        return bits.to_bytes(1, "little") if bits else None

    def control_in(self, setup: SetupPacket) -> bytes:
        if setup.request == _GET_DESCRIPTOR and setup.value >> 8 == _DESCRIPTOR:
            # Power of each port by itself; 2 ms until it is good; all devices can be taken out.
            return struct.pack("<BBBHBBBB", 9, _DESCRIPTOR, self.port_count, 0x0009, 1, 0, 0, 0xFF)
        if setup.request != _GET_STATUS:
            self.stall()
        if setup.kind == _PORT[0]:
            port = self._port_of(setup)
            return struct.pack("<HH", self._status(port), self.changes[port])
        return bytes(4)

    def control_out(self, setup: SetupPacket, data: bytes) -> None:
        if _CLEAR_TT_BUFFER <= setup.request <= _STOP_TT:
            return
        if setup.request not in (_SET_FEATURE, _CLEAR_FEATURE):
            self.stall()
        if setup.kind == _PORT[1]:
            (self._set if setup.request == _SET_FEATURE else self._clear)(self._port_of(setup), setup.value)

    def _port_of(self, setup: SetupPacket) -> int:
        port = setup.index & 0xFF
        if port not in self.changes:
            self.stall()
        return port

    def _set(self, port: int, feature: int) -> None:
        device = self.devices.by_port.get(port)
        if feature == _F_POWER:
            self.powered.add(port)
            if self.changes[port]:
                self.ready(CHANGED)
        elif feature == _F_SUSPEND and port in self.enabled:
            self.suspended.add(port)
        elif feature == _F_RESET and device is not None and port in self.powered:
            with model_errors(device):
                device.reset()
            self.suspended.discard(port)
            self.enabled.add(port)
            self._changed(port, _RESET)

    def _clear(self, port: int, feature: int) -> None:
        if feature >= _F_CHANGES:
            self.changes[port] &= ~(1 << feature - _F_CHANGES)
        elif feature == _F_ENABLE:
            self.enabled.discard(port)
        elif feature == _F_SUSPEND and port in self.suspended:
            self.suspended.discard(port)
            self._changed(port, _SUSPEND)
        elif feature == _F_POWER:
            self.powered.discard(port)
            self.enabled.discard(port)


def device_behind(device: UsbDevice | None, route: int) -> UsbDevice | None:
    """What a route string of xHCI leads to from a device in a port of the controller: four bits for each hub on the
    way, the lowest first; None where nothing is, or a port on the way is not enabled."""
    while route and device is not None:
        port, route = route & 15, route >> 4
        is_open = isinstance(device, UsbHub) and device.is_enabled(port)
        device = device.devices.by_port.get(port) if is_open and isinstance(device, UsbHub) else None
    return device
