"""A USB network adapter (CDC Ethernet): the driver is `cdc_ether`. `box.network` has its other end.

Source: Universal Serial Bus CDC Subclass Specification for Ethernet Control Model Devices 1.2.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import ClassVar

from kobox.devices.ethernet import DEFAULT_MAC, EthernetPort
from kobox.devices.usb import Endpoint, Interface, SetupPacket, UsbDevice

_IN, _OUT, _NOTIFY = 0x82, 0x02, 0x81
_MOST_WAITING, _MOST_NOTES, _LONGEST = 1024, 16, 1 << 16
_FUNCTIONAL = bytes.fromhex("0524001001") + bytes([5, 0x24, 6, 0, 1])
_ETHERNET = struct.pack("<BBBBIHHB", 13, 0x24, 0x0F, 4, 0, 1514, 0, 0)
_CONTROL = Interface(2, 6, 0, (Endpoint(_NOTIFY, "interrupt", 16, 9),), _FUNCTIONAL + _ETHERNET)
_IDLE = Interface(10, number=1)
_DATA = Interface(10, endpoints=(Endpoint(_IN), Endpoint(_OUT)), number=1, alternate=1)


class UsbEthernet(UsbDevice):
    """A network adapter: `mac` has six bytes."""

    vendor_id, product_id = 0x0525, 0xA4A2
    device_class = (2, 0, 0)
    product = "Ethernet adapter"
    interfaces: ClassVar = (_CONTROL, _IDLE, _DATA)

    def __init__(self, mac: bytes = DEFAULT_MAC) -> None:
        self.port = EthernetPort(mac, self._take, self._link_changed)
        self._frames: deque[bytes] = deque()
        self._notes: deque[bytes] = deque(maxlen=_MOST_NOTES)
        self._out = b""
        self._on = False

    def descriptor(self, kind: int, number: int, index: int = 0) -> bytes:
        if kind == 3 and number == 4:
            text = self.port.mac.hex().upper().encode("utf-16-le")
            return bytes([2 + len(text), 3]) + text
        return super().descriptor(kind, number, index)

    def control_out(self, setup: SetupPacket, data: bytes) -> None:
        if setup.request != 0x43:  # the packet filter
            self.stall()

    def alternate_chosen(self, interface: int, alternate: int) -> None:
        if interface == 1:
            self._on = alternate == 1
            self._link_changed()

    def _link_changed(self) -> None:
        link = int(self.port.link and self._on)
        self._notes.append(struct.pack("<BBHHH", 0xA1, 0, link, 0, 0))
        self.ready(_NOTIFY)

    def _take(self, frame: bytes) -> bool:
        if len(self._frames) >= _MOST_WAITING:
            return False
        if self._on:
            self._frames.append(frame)
            self.ready(_IN)
        return True

    def data_in(self, endpoint: int, size: int) -> bytes | None:
        waiting = self._notes if endpoint == _NOTIFY else self._frames
        return waiting.popleft()[:size] if waiting else None

    def data_out(self, endpoint: int, data: bytes) -> None:
        self._out = (self._out + data)[:_LONGEST]
        if len(data) % 512 or not data:  # a short packet ends a frame
            frame, self._out = self._out, b""
            self.port.transmit(frame)
