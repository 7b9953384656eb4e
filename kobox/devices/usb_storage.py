"""A USB stick, or a drive in a case: SCSI commands by the bulk-only transport; the driver is `usb-storage`.

    31 bytes "USBC" tag length flags LUN size command  ->  data, one way or the other
                                                       ->  13 bytes "USBS" tag residue status

Source: Universal Serial Bus Mass Storage Class, Bulk-Only Transport 1.0.
"""

from __future__ import annotations

import struct
from typing import ClassVar

from kobox.devices.medium import Medium, Source
from kobox.devices.scsi import ScsiDevice, ScsiDisk
from kobox.devices.usb import Endpoint, Interface, SetupPacket, StallError, UsbDevice

_IN, _OUT = 0x81, 0x02
_LARGEST = 16 << 20  # bytes of one command


class StickDisk(ScsiDisk):
    """The disk of a stick."""

    removable = True
    product = "Stick"


class UsbStick(UsbDevice):
    """A USB stick: `medium` is an image's path, bytes, a size in bytes, or any `ScsiDevice`."""

    vendor_id, product_id = 0x0951, 0x1666
    product = "Stick"
    interfaces: ClassVar = (Interface(8, 6, 0x50, (Endpoint(_IN), Endpoint(_OUT))),)

    def __init__(self, medium: Source | Medium | ScsiDevice, *, serial: str = "0123456789AB") -> None:
        self.serial = serial
        self.unit = medium if isinstance(medium, ScsiDevice) else StickDisk(medium)
        self.reset()

    def reset(self) -> None:
        self._answer = b""  # data for the host, then the status
        self._status: bytes | None = None
        self._command = b""
        self._tag = self._expected = self._wanted = 0
        self._received = b""

    def control_in(self, setup: SetupPacket) -> bytes:
        if setup.request == 0xFE:
            return b"\0"  # the highest LUN
        raise StallError

    def control_out(self, setup: SetupPacket, data: bytes) -> None:
        if setup.request != 0xFF:
            self.stall()
        self.reset()

    def data_out(self, endpoint: int, data: bytes) -> None:
        if self._expected:
            self._received += data
            if len(self._received) >= self._expected:
                self._carry_out(self._received[: self._expected])
            return
        if len(data) != 31 or data[:4] != b"USBC":
            self.stall()
        self._tag, length, flags, _, size = struct.unpack("<IIBBB", data[4:15])
        if length > _LARGEST:
            self.stall()
        self._command = data[15 : 15 + min(size, 16)]
        self._wanted = length
        self._received = b""
        if length and not flags & 0x80:
            self._expected = length
        else:
            self._carry_out(b"")

    def _carry_out(self, data: bytes) -> None:
        answer = self.unit.command(self._command, data)
        self._answer = answer.data[: self._wanted] if not self._expected else b""
        moved = len(self._answer) if not self._expected else len(data)
        if not self._expected and moved < self._wanted:
            self._answer = self._answer.ljust(self._wanted, b"\0")  # the host is told the residue
        self._expected = 0
        failed = 1 if answer.status else 0
        self._status = b"USBS" + struct.pack("<IIB", self._tag, self._wanted - moved, failed)
        self.ready(_IN)

    def data_in(self, endpoint: int, size: int) -> bytes | None:
        if self._answer:
            piece, self._answer = self._answer[:size], self._answer[size:]
            return piece
        status, self._status = self._status, None
        return status
