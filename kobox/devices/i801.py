"""Intel's SMBus controller of the ICH9: the driver is `i2c-i801`.

    0x00 status   0x02 control: protocol, start   0x03 command   0x04 address   0x05, 0x06 data   0x07 block data
    0x0C, 0x0D auxiliary status and control: a buffer of 32 bytes

A transfer is done while the driver sets START, but for blocks byte by byte, which wait for the driver after each byte.

Source: Intel, I/O Controller Hub 9 Data Sheet, 316972, chapter 18.
"""

from __future__ import annotations

from typing import ClassVar

from kobox.devices.i2c import NakError
from kobox.devices.i2c_controller import I2cCard
from kobox.devices.pci import PciDevice

_BUSY, _INTERRUPT, _DEVICE_ERROR, _BYTE_DONE = 1, 2, 4, 0x80
_STICKY = 0xFE
_INTREN, _KILL, _LAST, _START = 1, 2, 0x20, 0x40
_BUFFER = 2  # of the auxiliary control


class I801(I2cCard):
    """An SMBus controller (8086:2930) with a bus for `I2cDevice`s, by SMBus transfers."""

    vendor_id, device_id, class_code, revision = 0x8086, 0x2930, 0x0C0500, 0x02
    subsystem: ClassVar[tuple[int, int]] = (0x8086, 0x2930)
    vectors = 0
    driver_module = "i2c-i801"
    bar4 = PciDevice.ports(0x20)

    def reset(self) -> None:
        self.held = bytearray(0x20)
        self._buffer, self._index = bytearray(32), 0
        self._left = b""  # of a block that is written byte by byte
        self._block_read = self._final = False

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        if offset == 2:
            self._index = 0
        elif offset == 7 and self.held[0x0D] & _BUFFER:
            self._index += 1
            return self._buffer[(self._index - 1) % 32]
        return self.held[offset]

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        value &= 0xFF
        if offset == 0:
            done = value & self.held[0] & _BYTE_DONE
            self.held[0] &= ~(value & _STICKY)
            if done:
                self._continue()
        elif offset == 2:
            self.held[2] = value & ~_START
            if value & _KILL:
                self.held[0] = 0x10
            elif value & _START and not self.held[0] & _BUSY:
                self._start(value >> 2 & 7)
        elif offset == 7 and self.held[0x0D] & _BUFFER:
            self._buffer[self._index % 32] = value & 0xFF
            self._index += 1
        elif offset in (0x0C, 0x10):  # auxiliary status, slave status: cleared by ones
            self.held[offset] &= ~value
        else:
            self.held[offset] = value & 0xFF
        self.set_interrupt_level(bool(self.held[2] & _INTREN and self.held[0] & (_STICKY & ~0x40)))

    # -- transfers ---------------------------------------------------------------------------------------------

    def _start(self, protocol: int) -> None:
        held, bus = self.held, self.wires
        address, read, command = held[4] >> 1, bool(held[4] & 1), held[3]
        try:
            match protocol:
                case 0:
                    bus.start(address, read=read)
                case 1 if read:
                    held[5] = bus.read(address, 1)[0]
                case 1:
                    bus.write(address, bytes([command]))
                case 2 | 3 if read:
                    bus.write(address, bytes([command]))
                    held[5 : 5 + protocol - 1] = bus.read(address, protocol - 1)
                case 2 | 3:
                    bus.write(address, bytes([command, *held[5 : 5 + protocol - 1]]))
                case 4:
                    bus.write(address, bytes([command, *held[5:7]]))
                    held[5:7] = bus.read(address, 2)
                case 6:
                    self._i2c_block_read(address)
                    return
                case _:
                    if self._block(address, command, read=read, call=protocol == 7):
                        return
        except NakError:
            self._end(_DEVICE_ERROR)
        else:
            self._end(_INTERRUPT)

    def _end(self, status: int) -> None:
        self.wires.stop(self.held[4] >> 1)
        self.held[0] = self.held[0] & ~_BUSY | status

    def _block(self, address: int, command: int, *, read: bool, call: bool) -> bool:
        """A block; whether it goes on byte by byte."""
        held, buffered = self.held, self.held[0x0D] & _BUFFER
        if call or not read:
            if not buffered and not call:  # without the buffer the driver wants no count on the wire
                self._left = bytes(max(held[5] - 1, 0))
                self.wires.write(address, bytes([command, held[7]]))
                held[0] |= _BUSY | _BYTE_DONE
                return True
            self.wires.write(address, bytes([command, held[5], *self._buffer[: held[5]]]))
        else:
            self.wires.write(address, bytes([command]))
        if read or call:
            device = self.wires.start(address, read=True)
            count = min(device.read_byte(), 32)
            held[5] = count
            self._buffer[:count] = bytes(device.read_byte() & 0xFF for _ in range(count))
            self._index = 0
        return False

    def _i2c_block_read(self, address: int) -> None:
        try:
            self.wires.write(address, bytes([self.held[6]]))
            self.wires.start(address, read=True)
        except NakError:
            self._end(_DEVICE_ERROR)
            return
        self._block_read = True
        self.held[0] |= _BUSY
        self._fetch()

    def _fetch(self) -> None:
        device = self.wires.at(self.held[4] >> 1)
        self._final = bool(self.held[2] & _LAST)
        self.held[7] = device.read_byte() & 0xFF if device is not None else 0xFF
        self.held[0] |= _BYTE_DONE

    def _continue(self) -> None:
        """The driver has seen to a byte of a block."""
        if self._block_read and not self._final:
            self._fetch()
        elif self._block_read:
            self._block_read = False
            self._end(_INTERRUPT)
        elif self._left and (device := self.wires.at(self.held[4] >> 1)) is not None:
            self._left = self._left[1:]
            try:
                device.write_byte(self.held[7])
            except NakError:
                self._left = b""
                self._end(_DEVICE_ERROR)
                return
            self.held[0] |= _BYTE_DONE
        elif self.held[0] & _BUSY:
            self._end(_INTERRUPT)
