"""A SATA controller (AHCI) with disks and CD-ROM drives: the driver is `ahci`.

    box.plug(Ahci(ScsiDisk("root.img"), ScsiCdrom("debian.iso")))         ports 0 and 1

    command list (32 slots of 32 bytes) -> command table: frame (FIS), ATAPI command, where the data lies
    received frames <- registers (D2H), PIO setup

A disk answers ATA commands, a CD-ROM drive PACKET with SCSI commands in it. All is done while the driver sets a bit in
the port's command issue register.

Source: Intel, Serial ATA AHCI 1.3.1; ATA8-ACS (T13/1699-D); ATAPI: ATA/ATAPI-6, chapter 8.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import ClassVar, NamedTuple

from kobox.devices.pci import PciDevice
from kobox.devices.scsi import CHECK_CONDITION, ScsiCdrom, ScsiDevice, ScsiDisk
from kobox.devices.state import Restore, save_state

_SECTOR, _PORT, _PORT_SIZE = 512, 0x100, 0x80
_GHC_ENABLE, _GHC_INTERRUPTS, _GHC_RESET = 1 << 31, 2, 1
_D2H, _PIO, _FATAL = 1, 2, 1 << 30
_READY, _ERROR, _FAULT = 0x50, 0x01, 0x20
_ABORTED, _NOT_FOUND = 4, 0x10
_MOST = 32 << 20


class AtaCommand(NamedTuple):
    """A command frame from the host (FIS type 0x27)."""

    command: int
    features: int
    sector: int
    sectors: int
    packet: bytes

    @classmethod
    def parse(cls, frame: bytes, packet: bytes) -> AtaCommand:
        low, device, high = frame[4:7], frame[7], frame[8:11]
        sector = int.from_bytes(low + high, "little")
        if frame[2] in (0xC8, 0xCA):  # 28 bits
            sector = int.from_bytes(low, "little") | (device & 15) << 24
            return cls(frame[2], frame[3], sector, frame[12] or 256, packet)
        return cls(frame[2], frame[3], sector, frame[12] | frame[13] << 8, packet)


class AtaAnswer(NamedTuple):
    """How a command ends: data for the host, status and error register; `pio` when the data is not read by DMA."""

    data: bytes = b""
    error: int = 0
    pio: bool = False


class SataPort:
    """A port with a device behind it."""

    def __init__(self, unit: ScsiDevice) -> None:
        self.unit = unit
        self.power_on()

    @property
    def packets(self) -> bool:
        """Whether the device takes SCSI commands in PACKET."""
        return not isinstance(self.unit, ScsiDisk) or isinstance(self.unit, ScsiCdrom)

    def power_on(self) -> None:
        """After COMRESET the device sends its signature."""
        self.held: dict[int, int] = {0x24: 0xEB140101 if self.packets else 0x00000101, 0x28: 0x113, 0x20: _READY}

    def save(self) -> Restore:
        """For a checkpoint: a function that brings back the port and its device."""
        return save_state(self)

    # -- what the device does ------------------------------------------------------------------------------------

    def run(self, command: AtaCommand, read: Callable[[], bytes]) -> AtaAnswer:
        """Carry out a command; `read()` gives what the host sends with it."""
        if command.command == 0xA0 and self.packets:
            answer = self.unit.command(command.packet, read())
            error = max(answer.sense[2] & 15, 1) << 4 if answer.status == CHECK_CONDITION else 0
            return AtaAnswer(answer.data, error)
        if command.command in (0xEC, 0xA1):
            if (command.command == 0xA1) != self.packets:
                return AtaAnswer(error=_ABORTED)
            return AtaAnswer(self._identify(), pio=True)
        if command.command in (0xEF, 0xE7, 0xEA, 0xE0, 0xE1, 0xE2, 0x00, 0x10, 0x91, 0xC6):
            return AtaAnswer()  # set features, flush, standby, idle, no operation
        if isinstance(self.unit, ScsiDisk) and not self.packets:
            return self._transfer(self.unit, command, read)
        return AtaAnswer(error=_ABORTED)

    @staticmethod
    def _transfer(disk: ScsiDisk, command: AtaCommand, read: Callable[[], bytes]) -> AtaAnswer:
        count = command.sectors or 65536
        at, size = command.sector * _SECTOR, count * _SECTOR
        if command.command not in (0x25, 0x35, 0xC8, 0xCA, 0x20, 0x24, 0x30, 0x34):
            return AtaAnswer(error=_ABORTED)
        if at + size > disk.medium.size or size > _MOST:
            return AtaAnswer(error=_NOT_FOUND)
        try:
            if command.command in (0x25, 0xC8, 0x20, 0x24):
                return AtaAnswer(disk.medium.read(at, size), pio=command.command in (0x20, 0x24))
            disk.medium.write(at, read()[:size])
        except PermissionError:
            return AtaAnswer(error=_ABORTED)
        except OSError:
            return AtaAnswer(error=0x40)
        return AtaAnswer()

    def _identify(self) -> bytes:
        words = [0] * 256
        words[49], words[53], words[63], words[64] = 0x0B00, 6, 0x0407, 3
        words[65:69] = [120, 120, 120, 120]
        words[76], words[80], words[88] = 0x0002, 0x00F0, 0x003F
        if isinstance(self.unit, ScsiDisk) and not self.packets:
            sectors = self.unit.medium.size // _SECTOR
            words[0], words[1], words[3], words[6], words[47] = 0x0040, 16383, 16, 63, 0x8010
            words[59] = 0x0110  # 16 sectors at once
            words[82:88] = [0x0020, 0x7400, 0x4000, 0x0020, 0x3400, 0x4000]
            words[60:62] = struct.unpack("<2H", struct.pack("<I", min(sectors, 0x0FFFFFFF)))
            words[100:104] = struct.unpack("<4H", struct.pack("<Q", sectors))
        else:
            words[0], words[82], words[83], words[85] = 0x85C0, 0x4010, 0x4000, 0x4010
        texts = ((10, 20, self.unit.serial), (23, 8, "1.0"), (27, 40, f"kobox {self.unit.product}"))
        for at, size, text in texts:
            words[at : at + size // 2] = struct.unpack(f">{size // 2}H", text.encode().ljust(size)[:size])
        return struct.pack("<256H", *words)


class _Ports:
    """The ports, which go back with checkpoints each by itself."""

    def __init__(self, units: tuple[ScsiDevice, ...]) -> None:
        self.all = [SataPort(unit) for unit in units]

    def save(self) -> Restore:
        undo = [port.save() for port in self.all]

        def restore() -> None:
            for one in undo:
                one()

        return restore


class Ahci(PciDevice):
    """Intel's ICH9 in AHCI mode (8086:2922): `units` are what is at its ports, disks and CD-ROM drives."""

    vendor_id, device_id, class_code, revision = 0x8086, 0x2922, 0x010601, 0x02
    subsystem: ClassVar[tuple[int, int]] = (0x8086, 0x2922)
    bar5 = PciDevice.memory(0x1000)

    def __init__(self, *units: ScsiDevice) -> None:
        self.sata = _Ports(units)
        self.reset()

    def reset(self) -> None:
        self.control, self.pending = _GHC_ENABLE, 0
        for port in self.sata.all:
            port.power_on()

    # -- registers -----------------------------------------------------------------------------------------------

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        if offset >= _PORT:
            number, register = divmod(offset - _PORT, _PORT_SIZE)
            return self.sata.all[number].held.get(register, 0) if number < len(self.sata.all) else 0
        count = len(self.sata.all)
        # 64-bit addresses, 1.5 Gbit/s, no legacy mode, 32 command slots
        capabilities = 1 << 31 | 1 << 20 | 1 << 18 | 31 << 8 | max(count - 1, 0)
        return {0: capabilities, 4: self.control, 8: self.pending, 0xC: (1 << count) - 1, 0x10: 0x00010000}.get(
            offset, 0
        )

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        if offset == 4:
            if value & _GHC_RESET:
                self.reset()
                return
            self.control = value & _GHC_INTERRUPTS | _GHC_ENABLE
        elif offset == 8:
            self.pending &= ~value
        elif offset >= _PORT and (offset - _PORT) // _PORT_SIZE < len(self.sata.all):
            number, register = divmod(offset - _PORT, _PORT_SIZE)
            self._write_port(number, self.sata.all[number], register, value)
        self._signal()

    def _write_port(self, number: int, port: SataPort, register: int, value: int) -> None:
        held = port.held
        match register:
            case 0x10 | 0x30:  # interrupt status, SATA errors: cleared by ones
                held[register] = held.get(register, 0) & ~value
            case 0x18:
                held[0x18] = value & 0x1F017 | (value & 1) << 15 | (value & 0x10) << 10
                self._issue(number, port)
            case 0x2C:
                if held.get(0x2C, 0) & 15 == 1 and not value & 15:
                    kept: dict[int, int] = {key: held[key] for key in (0, 4, 8, 0xC, 0x14, 0x18) if key in held}
                    port.power_on()
                    port.held.update(kept)
                    self._receive(port, _READY, 0)
                port.held[0x2C] = value
            case 0x38:
                held[0x38] = held.get(0x38, 0) | value
                self._issue(number, port)
            case 0x20 | 0x24 | 0x28:
                pass
            case _:
                held[register] = value

    def _signal(self) -> None:
        for number, port in enumerate(self.sata.all):
            if port.held.get(0x10, 0) & port.held.get(0x14, 0):
                self.pending |= 1 << number
        self.signal(bool(self.pending and self.control & _GHC_INTERRUPTS))

    # -- commands ------------------------------------------------------------------------------------------------

    def _issue(self, number: int, port: SataPort) -> None:
        issued = port.held.get(0x38, 0)
        if not port.held.get(0x18, 0) & 1:
            return
        for slot in range(32):
            if issued >> slot & 1:
                self._run(port, slot)
                port.held[0x38] &= ~(1 << slot)

    def _run(self, port: SataPort, slot: int) -> None:
        where = (port.held.get(0x00, 0) | port.held.get(0x04, 0) << 32) + 32 * slot
        flags, _, table = struct.unpack("<IIQ", self.dma.read(where, 16))
        frame, packet = self.dma.read(table, 64), self.dma.read(table + 0x40, 16)
        pieces = self._pieces(table, flags >> 16)
        if frame[0] != 0x27 or not frame[1] & 0x80:  # no command: the control register, a soft reset
            if frame[0] == 0x27 and not frame[15] & 4:
                self._receive(port, _READY, 0)
            return
        if sum(size for _, size in pieces) > _MOST:
            self._receive(port, _READY | _ERROR, _ABORTED)
            return
        command = AtaCommand.parse(frame, packet)
        answer = port.run(command, lambda: b"".join(self.dma.read(*piece) for piece in pieces) if flags & 0x40 else b"")
        at = 0
        for address, size in pieces if answer.data else ():
            self.dma.write(address, answer.data[at : at + size])
            at = min(at + size, len(answer.data))
        moved = at if answer.data else sum(size for _, size in pieces) if flags & 0x40 else 0
        self.dma.write(where + 4, struct.pack("<I", moved))
        status = _READY | (_ERROR if answer.error else 0)
        if answer.pio and not answer.error:
            port.held[0x10] = port.held.get(0x10, 0) | _PIO
        self._receive(port, status, answer.error)

    def _pieces(self, table: int, count: int) -> list[tuple[int, int]]:
        """Where the data of a command lies: address and size of each piece."""
        rows = struct.iter_unpack("<QII", self.dma.read(table + 0x80, 16 * min(count, 4096)))
        return [(address, (size & 0x3FFFFF) + 1) for address, _, size in rows]

    def _receive(self, port: SataPort, status: int, error: int) -> None:
        """A frame of the device's registers arrives (D2H, AHCI 4.2.1)."""
        port.held[0x20] = status | error << 8
        if port.held.get(0x18, 0) & 0x10:
            where = port.held.get(0x08, 0) | port.held.get(0x0C, 0) << 32
            signature = struct.pack("<I", port.held[0x24])
            frame = bytes([0x34, 0x40, status, error]) + signature[1:4] + b"\0" * 5 + signature[:1]
            self.dma.write(where + 0x40, frame.ljust(20, b"\0"))
        port.held[0x10] = port.held.get(0x10, 0) | _D2H | (_FATAL if error else 0)
