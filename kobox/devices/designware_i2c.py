"""Synopsys' DesignWare I2C controller, as Intel's processors have it (the driver is `i2c-designware-pci`), and as a
device tree announces it (`i2c-designware-platform`).

    0x00 control   0x04 target address   0x10 data and command: a byte, or a read; restart, stop   0x2C interrupts
    0x30 their mask   0x34 the same without the mask   0x6C enable   0x70 status   0x78 bytes received

It does any sequence of messages (i2c_transfer()), which SMBus controllers do not. What is written to 0x10 goes over
the wires at once.

Source: Synopsys, DesignWare DW_apb_i2c Databook 1.20a, chapter 6; drivers/i2c/busses/i2c-designware-core.h.
"""

from __future__ import annotations

from kobox.devices.i2c import I2cDevice, NakError, nak_passes
from kobox.devices.i2c_controller import I2cCard, I2cController
from kobox.devices.pci import PciDevice
from kobox.devices.platform import PlatformDevice

_CONTROL, _TARGET, _DATA, _INTERRUPTS, _MASK, _RAW, _RECEIVE_LEVEL = 0x00, 0x04, 0x10, 0x2C, 0x30, 0x34, 0x38
_CLEAR_ALL, _CLEAR_ABORT, _ENABLE, _STATUS, _SENT, _RECEIVED = 0x40, 0x54, 0x6C, 0x70, 0x74, 0x78
_ABORT_SOURCE, _IS_ENABLED, _PARAMETERS, _VERSION, _TYPE = 0x80, 0x9C, 0xF4, 0xF8, 0xFC
_RECEIVE_FULL, _SEND_EMPTY, _ABORT, _ACTIVITY, _STOP, _START = 1 << 2, 1 << 4, 1 << 6, 1 << 8, 1 << 9, 1 << 10
_CLEARS = {0x44: 1, 0x48: 2, 0x4C: 8, 0x50: 32, 0x58: 128, 0x5C: _ACTIVITY, 0x60: _STOP, 0x64: _START, 0x68: 1 << 11}
_READ, _STOP_AFTER, _RESTART = 1 << 8, 1 << 9, 1 << 10
_NO_ADDRESS, _NO_BYTE = 1, 1 << 3  # why a transfer was aborted
_DEPTH = 64  # bytes of each queue
_FAST = 2 << 2  # up to 400 kHz


class DesignwareRegisters(I2cController):
    """The registers of a DesignWare controller, with a bus for `I2cDevice`s, by plain I2C messages."""

    def hold_interrupt(self, high: bool) -> None:
        """Hold the interrupt line high, or low."""
        raise NotImplementedError

    def reset(self) -> None:
        self.held = {_CONTROL: 0x7F, _TARGET: 0x1055, _MASK: 0x8FF}
        self.enabled = False
        self._events = self._aborted = 0
        self._received: list[int] = []
        self._reading: bool | None = None  # what the message that is under way does; None: none is

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        match offset:
            case 0x10:
                value = self._received.pop(0) if self._received else 0
            case 0x2C:
                value = self._raw & self.held[_MASK]
            case 0x34:
                value = self._raw
            case 0x40:
                self._events = self._aborted = 0
                value = 0
            case 0x54:
                self._events &= ~_ABORT
                self._aborted = value = 0
            case 0x70:
                value = 6 | bool(self._received) << 3 | (self._reading is not None) * 0x21
            case 0x74:
                value = 0
            case 0x78:
                value = len(self._received)
            case 0x80:
                value = self._aborted
            case 0x6C | 0x9C:
                value = int(self.enabled)
            case 0xF4:
                value = _FAST | (_DEPTH - 1) << 8 | (_DEPTH - 1) << 16
            case 0xF8:
                value = 0x3132302A
            case 0xFC:
                value = 0x44570140
            case _ if offset in _CLEARS:
                self._events &= ~_CLEARS[offset]
                value = 0
            case _:
                value = self.held.get(offset, 0)
        self._signal()
        return value

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        if offset == _DATA:
            if self.enabled and not self._events & _ABORT:
                self._command(value)
        elif offset == _ENABLE:
            if not value & 1 and self.enabled:
                self._end()
                self._events, self._received = 0, []
            self.enabled = bool(value & 1)
        else:
            self.held[offset] = value
        self._signal()

    @property
    def _raw(self) -> int:
        full = len(self._received) > self.held.get(_RECEIVE_LEVEL, 0)
        return self._events | full * _RECEIVE_FULL | self.enabled * _SEND_EMPTY

    def _signal(self) -> None:
        self.hold_interrupt(bool(self._raw & self.held[_MASK]))

    # -- transfers ---------------------------------------------------------------------------------------------

    def _command(self, value: int) -> None:
        """One byte over the wires, after the start condition that it needs."""
        reading = bool(value & _READ)
        address = self.held[_TARGET] & 0x7F
        reason = _NO_ADDRESS
        try:
            if self._reading is None or self._reading != reading or value & _RESTART:
                self._reading = reading
                self._events |= _ACTIVITY | _START
                self.wires.start(address, read=reading)
            reason = _NO_BYTE
            self._byte(self.wires.at(address), reading, value & 0xFF)
        except NakError:
            self._aborted |= reason
            self._events |= _ABORT
            self._end()
            return
        if value & _STOP_AFTER:
            self._end()

    def _byte(self, device: I2cDevice | None, reading: bool, byte: int) -> None:
        if device is None:  # it was taken out in the middle of a message
            raise NakError
        with nak_passes(device):
            if not reading:
                device.write_byte(byte)
            elif len(self._received) < _DEPTH:
                self._received.append(device.read_byte() & 0xFF)

    def _end(self) -> None:
        if self._reading is not None:
            self._reading = None
            self._events |= _STOP
            self.wires.stop(self.held[_TARGET] & 0x7F)


class DesignwareI2c(DesignwareRegisters, I2cCard):
    """A DesignWare controller that is a PCI card (8086:9C61)."""

    vendor_id, device_id, class_code = 0x8086, 0x9C61, 0x0C8000
    vectors = 0
    driver_module = "i2c-designware-pci"
    bar0 = PciDevice.memory(0x1000)

    def hold_interrupt(self, high: bool) -> None:
        self.set_interrupt_level(high)


class BoardI2c(DesignwareRegisters, PlatformDevice):
    """A DesignWare controller on a board that a device tree announces. `properties` must have its `clocks`."""

    compatible = "snps,designware-i2c"
    driver_module = "i2c-designware-platform"
    regs = PlatformDevice.memory(0x1000)
    interrupts = 1

    def hold_interrupt(self, high: bool) -> None:
        if self.plugged:
            self.set_interrupt_level(high)
