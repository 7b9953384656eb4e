"""A USB serial converter: Silicon Labs' CP2102; the driver is `cp210x`.

    port.feed(b"text")        what comes in by the wire       port.sent       what the driver has sent

Source: drivers/usb/serial/cp210x.c; Silicon Labs, AN571.
"""

from __future__ import annotations

import struct
from typing import ClassVar

from kobox.devices.kept import Kept
from kobox.devices.usb import Endpoint, Interface, SetupPacket, UsbDevice

_IN, _OUT = 0x81, 0x01


class Cp2102(UsbDevice):
    """A serial converter with one port, /dev/ttyUSB0. `sent` has what the box has sent, `baud_rate` the speed that it
    has set."""

    vendor_id, product_id = 0x10C4, 0xEA60
    speed = "full"
    manufacturer, product = "Silicon Labs", "CP2102 USB to UART Bridge Controller"
    interfaces: ClassVar = (Interface(0xFF, endpoints=(Endpoint(_IN, "bulk", 64), Endpoint(_OUT, "bulk", 64))),)

    def __init__(self) -> None:
        self._sent = Kept()
        self._waiting = b""
        self.baud_rate = 9600
        self.lines = 0
        self._held: dict[int, bytes] = {}

    @property
    def sent(self) -> bytes:
        """What the box has sent; when that is much, its end."""
        return bytes(self._sent)

    def feed(self, data: bytes) -> None:
        """Bytes come in by the wire."""
        self._waiting += data
        self.ready(_IN)

    def control_in(self, setup: SetupPacket) -> bytes:
        match setup.request:
            case 0xFF:  # get part number
                return b"\x02"  # the part's number: CP2102
            case 0x1D:  # get baud rate
                return struct.pack("<I", self.baud_rate)
            case 0x08:  # get modem status
                return b"\xb0" if self.lines & 1 else b"\x00"
            case 0x10:  # get communication status
                return struct.pack("<IIIIBBB", 0, 0, 0, 0, 0, 0, 0)
        return self._held.get(setup.request, bytes(setup.length)).ljust(setup.length, b"\0")

    def control_out(self, setup: SetupPacket, data: bytes) -> None:
        if setup.request == 0x1E and len(data) >= 4:
            (self.baud_rate,) = struct.unpack_from("<I", data)
        elif setup.request == 0x07:
            self.lines = setup.value & 3
        elif data:
            self._held[setup.request + 1] = data

    def data_in(self, endpoint: int, size: int) -> bytes | None:
        piece, self._waiting = self._waiting[:size], self._waiting[size:]
        return piece or None

    def data_out(self, endpoint: int, data: bytes) -> None:
        self._sent.add(data)
