"""An Intel 82540EM, the gigabit card that virtual machines have had for twenty years: the driver is `e1000`.

    receive ring:  16 bytes each: address, length, checksum, status (done, end of packet), errors, VLAN
    transmit ring: legacy descriptors; context descriptors (where checksums and headers are) and data descriptors

EEPROM: 64 words behind a Microwire bus (EECD, bit by bit) and EERD; PHY: a Marvell M88E1011 behind MDIC.

Source: Intel, PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, 317453.
"""

from __future__ import annotations

import struct
import zlib

from kobox.devices.ethernet import DEFAULT_MAC, EthernetPort, put_checksum, segments
from kobox.devices.microwire import Microwire
from kobox.devices.pci import PciDevice

CTRL, STATUS, EECD, EERD, MDIC = 0x00, 0x08, 0x10, 0x14, 0x20
ICR, ICS, IMS, IMC = 0xC0, 0xC8, 0xD0, 0xD8
RCTL, TCTL = 0x100, 0x400
RDBAL, RDBAH, RDLEN, RDH, RDT = 0x2800, 0x2804, 0x2808, 0x2810, 0x2818
TDBAL, TDBAH, TDLEN, TDH, TDT = 0x3800, 0x3804, 0x3808, 0x3810, 0x3818
STATISTICS, RAL0, RAH0 = range(0x4000, 0x4100), 0x5400, 0x5404
_CRCERRS, _MPC, _GPRC, _GPTC, _TPR, _TPT = 0x4000, 0x4010, 0x4074, 0x4080, 0x40D0, 0x40D4
_TXDW, _LSC, _RXDMT0, _RXO, _RXT0 = 1 << 0, 1 << 2, 1 << 4, 1 << 6, 1 << 7
_RESET, _LINK_UP = 1 << 26, 1 << 1
_SK, _CS, _DI, _DO, _REQUEST, _GRANT, _PRESENT = 1, 2, 4, 8, 1 << 6, 1 << 7, 1 << 8
_EN, _UNICAST_ALL, _BUFFER_SIZE_EXTENDED = 1 << 1, 1 << 3, 1 << 25
_DONE, _END = 1, 2
_EOP, _IXSM, _TXSM, _TSE, _RS, _DEXT, _IDE = 1 << 24, 1, 2, 1 << 26, 1 << 27, 1 << 29, 1 << 31
_LONGEST, _RING_BYTES = 1 << 16, 0xFFF80
_EEPROM_SUM = 0xBABA
_PHY = {0: 0x1140, 1: 0x796D, 2: 0x0141, 3: 0x0C20, 4: 0x0DE1, 5: 0xC1E1, 6: 0, 9: 0x0300, 10: 0x3C00, 17: 0xAC08}


class _Offload:
    """What a context descriptor says about the frames after it."""

    def __init__(self, words: tuple[int, ...] = (0, 0, 0, 0, 0, 0, 0, 0, 0)) -> None:
        self.ip_start, self.ip_at, self.ip_end, self.start, self.at, self.end, length, self.header, self.mss = words
        self.payload, self.is_tcp = length & 0xFFFFF, bool(length >> 24 & 1)


class E1000(PciDevice):
    """Intel 82540EM (8086:100e). `mac` has six bytes. `box.network` has its other end."""

    vendor_id, device_id, class_code, revision = 0x8086, 0x100E, 0x020000, 0x02
    subsystem = (0x8086, 0x001E)
    vectors = 0
    bar0 = PciDevice.memory(0x20000)
    bar1 = PciDevice.ports(0x40)

    def __init__(self, mac: bytes = DEFAULT_MAC) -> None:
        self.port = EthernetPort(mac, self._take, self._link_changed)
        self.reset()

    def reset(self) -> None:
        words = [*struct.unpack("<3H", self.port.mac), *([0] * 61)]
        words[5], words[8], words[0x0A], words[0x0B] = 0xFFFF, 0xFFFF, 0x4408, 0x001E
        words[0x0C], words[0x0D], words[0x0E], words[0x0F] = 0x8086, 0x100E, 0x8086, 0x3040
        words[63] = _EEPROM_SUM - sum(words) & 0xFFFF
        self.wire = Microwire(words)
        self._selected_port = 0  # of BAR 1: the register that its second word stands for
        self._reset_registers()

    def _reset_registers(self) -> None:
        low, high = struct.unpack("<IH", self.port.mac)
        self.held: dict[int, int] = {
            RAL0: low,
            RAH0: high | 1 << 31,
            EECD: _PRESENT,
            STATUS: 0x80080781 | self._link_bit(),
        }
        self.phy = dict(_PHY)
        self._causes = self._mask = 0
        self._frame, self._offload, self._flags = b"", _Offload(), 0

    # -- registers ---------------------------------------------------------------------------------------------

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        if bar == 1:  # IOADDR, IODATA
            return self._selected_port if offset == 0 else self._read(self._selected_port)
        return self._read(offset & ~3) >> 8 * (offset & 3)

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        if bar == 1:
            if offset == 0:
                self._selected_port = value & 0x1FFFC
            else:
                self._write(self._selected_port, value)
        else:
            self._write(offset & ~3, value)

    def _read(self, register: int) -> int:
        if register == ICR:
            causes, self._causes = self._causes, 0
            self._signal()
            return causes
        if register in (IMS, IMC):
            return self._mask
        if register == STATUS:
            return self.held[STATUS] & ~_LINK_UP | self._link_bit()
        if register in STATISTICS:
            return self.held.pop(register, 0)  # they are cleared by reading
        return self.held.get(register, 0)

    def _write(self, register: int, value: int) -> None:
        match register:
            case 0x00 if value & _RESET:
                self._reset_registers()
            case 0x08:
                pass
            case 0x10:
                self._microwire(value)
            case 0x14:
                address = value >> 8 & 0xFF
                self.held[EERD] = (self.wire.words[address & 63] << 16 | address << 8 | 1 << 4) if value & 1 else value
            case 0x20:
                self._mdic(value)
            case 0xC8:
                self._raise(value)
            case 0xD0:
                self._mask |= value
                self._signal()
            case 0xD8:
                self._mask &= ~value
                self._signal()
            case _:
                self.held[register] = value
                if register == TDT:
                    self._transmit()
                elif register in (RDT, RCTL):
                    self.port.deliver()

    def _microwire(self, value: int) -> None:
        self.wire.drive(select=bool(value & _CS), clock=bool(value & _SK), data=bool(value & _DI))
        grant = _GRANT if value & _REQUEST else 0
        self.held[EECD] = value & 0x47 | grant | _PRESENT | (_DO if self.wire.out else 0)

    def _mdic(self, value: int) -> None:
        register, phy = value >> 16 & 31, value >> 21 & 31
        if phy != 1:
            self.held[MDIC] = value | 1 << 30 | 1 << 28  # an error
        elif value >> 26 & 3 == 2:
            data = self._phy_status(register) if register in (1, 17) else self.phy.get(register, 0)
            self.held[MDIC] = value & 0xFFFF0000 | data | 1 << 28
        else:
            self.phy[register] = value & 0x7FFF if register == 0 else value & 0xFFFF
            self.held[MDIC] = value | 1 << 28
        if value >> 29 & 1:
            self._raise(1 << 9)

    def _phy_status(self, register: int) -> int:
        if self.port.link:
            return self.phy[register]
        return self.phy[register] & ~(0x24 if register == 1 else 0x0C00)

    def _link_bit(self) -> int:
        return _LINK_UP if self.port.link else 0

    def _link_changed(self) -> None:
        self._raise(_LSC)

    # -- interrupts --------------------------------------------------------------------------------------------

    def _raise(self, causes: int) -> None:
        self._causes |= causes
        self._signal()

    def _signal(self) -> None:
        self.set_interrupt_level(bool(self._causes & self._mask))

    # -- receive -----------------------------------------------------------------------------------------------

    def _take(self, frame: bytes) -> bool:
        held, control = self.held, self.held.get(RCTL, 0)
        if not control & _EN or not self._is_mine(frame, control):
            return True
        data = frame.ljust(60, b"\0")
        data += zlib.crc32(data).to_bytes(4, "little")
        room = 2048 >> (control >> 16 & 3)
        if control & _BUFFER_SIZE_EXTENDED:
            room *= 16
        head, tail, count = held.get(RDH, 0), held.get(RDT, 0), (held.get(RDLEN, 0) & _RING_BYTES) // 16
        if not count or (tail - head) % count < -(-len(data) // room):
            held[_MPC] = held.get(_MPC, 0) + 1
            self._raise(_RXO)
            return False
        ring = held.get(RDBAH, 0) << 32 | held.get(RDBAL, 0)
        for at in range(0, len(data), room):
            piece = data[at : at + room]
            where = ring + 16 * head
            (address,) = struct.unpack("<Q", self.dma.read(where, 8))
            self.dma.write(address, piece)
            done = _DONE | (_END if at + room >= len(data) else 0) | 4  # ignore the checksum field
            self.dma.write(where + 8, struct.pack("<HHBBH", len(piece), 0, done, 0, 0))
            head = (head + 1) % count
        held[RDH] = head
        held[_GPRC], held[_TPR] = held.get(_GPRC, 0) + 1, held.get(_TPR, 0) + 1
        self._raise(_RXT0)
        return True

    def _is_mine(self, frame: bytes, control: int) -> bool:
        own = struct.pack("<IH", self.held[RAL0], self.held[RAH0] & 0xFFFF)
        return bool(frame[0] & 1 or frame[:6] == own or control & _UNICAST_ALL)

    # -- transmit ----------------------------------------------------------------------------------------------

    def _transmit(self) -> None:
        held = self.held
        count = (held.get(TDLEN, 0) & _RING_BYTES) // 16
        if not held.get(TCTL, 0) & _EN or not count:
            return
        ring = held.get(TDBAH, 0) << 32 | held.get(TDBAL, 0)
        head, tail, causes = held.get(TDH, 0) % count, held[TDT] % count, 0
        while head != tail:
            where = ring + 16 * head
            address, low, high = struct.unpack("<QII", self.dma.read(where, 16))
            self._descriptor(address, low, high)
            if low & _RS:
                self.dma.write(where + 12, struct.pack("<I", high | _DONE))
                causes |= _TXDW
            head = (head + 1) % count
        held[TDH] = head
        if causes:
            self._raise(causes)

    def _descriptor(self, address: int, low: int, high: int) -> None:
        kind = low >> 20 & 15
        if low & _DEXT and kind == 0:
            head = struct.pack("<QII", address, low, high)
            ip_start, ip_at, ip_end, start, at, end, length, _, header, mss = struct.unpack("<BBHBBHIBBH", head)
            self._offload = _Offload((ip_start, ip_at, ip_end, start, at, end, length, header, mss))
            return
        size = low & (0xFFFFF if low & _DEXT else 0xFFFF)
        if not self._frame:
            self._flags = (high >> 8 & 3) | (low & _TSE) if low & _DEXT else 0
        if len(self._frame) + size <= _LONGEST + 256:
            self._frame += self.dma.read(address, size)
        if low & _EOP:
            frame, self._frame = self._frame, b""
            if not low & _DEXT and low & 1 << 26:  # legacy: one checksum, from css, at cso
                made = bytearray(frame)
                put_checksum(made, high >> 8 & 0xFF, low >> 16 & 0xFF)
                frame = bytes(made)
            self._send(frame)

    def _send(self, frame: bytes) -> None:
        offload = self._offload
        if self._flags & _TSE and offload.mss > 0 and offload.header < len(frame) and offload.start + 18 <= len(frame):
            pieces = list(segments(frame, offload.header, offload.mss, offload.ip_start, offload.start))
        else:
            pieces = [frame]
        for piece in pieces:
            made = bytearray(piece)
            if self._flags & _IXSM:
                made[offload.ip_at : offload.ip_at + 2] = b"\0\0"
                put_checksum(made, offload.ip_start, offload.ip_at, offload.ip_end + 1)
            if self._flags & _TXSM:
                put_checksum(made, offload.start, offload.at, offload.end and offload.end + 1)
            self.held[_GPTC], self.held[_TPT] = self.held.get(_GPTC, 0) + 1, self.held.get(_TPT, 0) + 1
            self.port.transmit(bytes(made))
