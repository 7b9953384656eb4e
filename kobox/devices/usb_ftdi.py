"""A USB serial converter: FTDI's FT232R; the driver is `ftdi_sio`.

    port.feed(b"text")        what comes in by the wire       port.sent       what the driver has sent

Each packet to the host begins with two bytes of status: of the modem, of the line.

Source: FTDI, application notes AN232B-05 (baud rates) and AN232B-04 (latency); drivers/usb/serial/ftdi_sio.h.
"""

from __future__ import annotations

from typing import ClassVar

from kobox.devices.kept import Kept
from kobox.devices.usb import Endpoint, Interface, SetupPacket, UsbDevice

_IN, _OUT = 0x81, 0x02
_PACKET, _STATUS = 64, 2
_READY, _EMPTY = 0x31, 0x60  # clear to send, data set ready; the transmitter is empty
_CLOCK = 3_000_000  # the fastest baud rate
_EIGHTHS = (0, 4, 2, 1, 3, 5, 6, 7)  # of the divisor, by its three highest bits


class Ft232(UsbDevice):
    """A serial converter with one port, /dev/ttyUSB0. `sent` has what the box has sent, `baud_rate` the speed that it
    has set, `lines` DTR (1) and RTS (2)."""

    vendor_id, product_id, version = 0x0403, 0x6001, 0x0600
    speed = "full"
    manufacturer, product = "FTDI", "FT232R USB UART"
    interfaces: ClassVar = (
        Interface(0xFF, 0xFF, 0xFF, endpoints=(Endpoint(_IN, "bulk", _PACKET), Endpoint(_OUT, "bulk", _PACKET))),
    )

    def __init__(self) -> None:
        self._sent = Kept()
        self._waiting = b""
        self.baud_rate, self.lines, self._latency = 9600, 0, 16

    @property
    def sent(self) -> bytes:
        """What the box has sent; when that is much, its end."""
        return bytes(self._sent)

    def feed(self, data: bytes) -> None:
        """Bytes come in by the wire."""
        self._waiting += data
        self.ready(_IN)

    def control_in(self, setup: SetupPacket) -> bytes:
        answers = {
            0x05: bytes([_READY, _EMPTY]),  # modem status
            0x0A: bytes([self._latency]),  # in ms
            0x0C: b"\0",  # pins
            0x90: b"\xff\xff",  # a word of the EEPROM
        }
        return answers[setup.request] if setup.request in answers else self.stall()

    def control_out(self, setup: SetupPacket, data: bytes) -> None:
        match setup.request:
            case 0x00 if setup.value == 1:  # purge what waits for the host
                self._waiting = b""
            case 0x01:  # modem control: which lines, and how they are to be
                changed = setup.value >> 8 & 3
                self.lines = self.lines & ~changed | setup.value & changed
            case 0x03:
                self.baud_rate = _rate(setup.value | setup.index << 16)
            case 0x09:
                self._latency = setup.value & 0xFF

    def data_in(self, endpoint: int, size: int) -> bytes | None:
        room = min(size, _PACKET) - _STATUS
        piece, self._waiting = self._waiting[:room], self._waiting[room:]
        return bytes([_READY, _EMPTY]) + piece if piece else None

    def data_out(self, endpoint: int, data: bytes) -> None:
        self._sent.add(data)


def _rate(divisor: int) -> int:
    """Baud of a divisor as it is set: 14 bits, then which fraction."""
    whole, fraction = divisor & 0x3FFF, _EIGHTHS[divisor >> 14 & 7]
    eighths = 8 * whole + fraction
    return {0: _CLOCK, 8: 2_000_000}.get(eighths, 8 * _CLOCK // eighths if eighths else _CLOCK)
