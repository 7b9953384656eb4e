"""A Realtek RTL8139C+, the 100 Mbit card of QEMU's `-device rtl8139`: the driver is `8139cp`.

    rings of descriptors, 16 bytes each: flags and size, VLAN, address of the buffer; the owner bit says whose it is
    EEPROM: 64 words of a 93C46 behind register 0x50, bit by bit

Source: Realtek, RTL8139C+ data sheet 1.6.
"""

from __future__ import annotations

import struct
import zlib

from kobox.devices.ethernet import DEFAULT_MAC, EthernetPort, internet_sum, put_checksum, segments
from kobox.devices.microwire import Microwire
from kobox.devices.pci import PciDevice

_TX_RING, _COMMAND, _MASK, _STATUS = 0x20, 0x37, 0x3C, 0x3E
_RX_CONFIG, _CFG9346, _BMCR, _BMSR, _POLL, _CP_COMMAND, _RX_RING = 0x44, 0x50, 0x62, 0x64, 0xD9, 0xE0, 0xE4
_OWN, _RING_END, _FIRST, _LAST, _LARGE, _IPCS, _UDPCS, _TCPCS = (1 << n for n in (31, 30, 29, 28, 27, 18, 17, 16))
_RX_OK, _TX_OK, _RX_EMPTY, _LINK = 1, 4, 16, 32
_RX_ON, _TX_ON, _RESET = 8, 4, 16
_LONGEST = 1 << 16


class Rtl8139(PciDevice):
    """Realtek RTL8139C+ (10ec:8139, revision 0x20). `mac` has six bytes. `box.network` has its other end."""

    vendor_id, device_id, class_code, revision = 0x10EC, 0x8139, 0x020000, 0x20
    subsystem = (0x10EC, 0x8139)
    vectors = 0
    bar0 = PciDevice.ports(0x100)
    bar1 = PciDevice.memory(0x100)

    def __init__(self, mac: bytes = DEFAULT_MAC) -> None:
        self.port = EthernetPort(mac, self._take, self._link_changed)
        words = [0x8129, 0x10EC, 0x8139, 0x10EC, 0x8139, 0x4020, 0xE512, *struct.unpack("<3H", mac)]
        self.eeprom = Microwire([*words, *([0] * (64 - len(words)))])
        self.reset()

    def reset(self) -> None:
        self.held = bytearray(0x100)
        self.held[0:6] = self.port.mac
        struct.pack_into("<I", self.held, 0x40, 0x74800000)  # TxConfig: the chip is an 8139C+
        struct.pack_into("<HHHH", self.held, _BMCR, 0x3100, 0x782D, 0x01E1, 0x41E1)
        self._causes = self._transmitted = self._received = 0
        self._frame = b""

    # -- registers ---------------------------------------------------------------------------------------------

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        if offset == _STATUS:
            return self._causes
        if offset == _CFG9346:
            return self.held[_CFG9346] & 0xCE | self.eeprom.out
        value = int.from_bytes(self.held[offset : offset + size], "little")
        if offset == _BMSR and not self.port.link:
            return value & ~0x24
        return value

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        if offset == _STATUS:
            self._causes &= ~value
            self._signal()
            return
        if offset in (_BMSR, 0x40):
            return
        self.held[offset : offset + size] = value.to_bytes(8, "little")[:size]
        if offset == _COMMAND and value & _RESET:
            self.reset()
        elif offset == _CFG9346:
            self.eeprom.drive(select=bool(value & 8), clock=bool(value & 4), data=bool(value & 2))
        elif offset == _POLL:
            self.held[_POLL] = 0
            self._transmit()
        elif offset == _MASK:
            self._signal()
        elif offset == _CP_COMMAND:
            self._transmitted = self._received = 0
        elif offset == _COMMAND:
            self.port.deliver()

    def _word(self, offset: int, layout: str) -> int:
        return int(struct.unpack_from(layout, self.held, offset)[0])

    def _link_changed(self) -> None:
        self._raise(_LINK)

    def _raise(self, causes: int) -> None:
        self._causes |= causes
        self._signal()

    def _signal(self) -> None:
        self.set_interrupt_level(bool(self._causes & self._word(_MASK, "<H")))

    # -- frames ------------------------------------------------------------------------------------------------

    def _take(self, frame: bytes) -> bool:
        accept = self._word(_RX_CONFIG, "<I")
        if not self.held[_COMMAND] & _RX_ON or not (frame[0] & 1 or frame[:6] == bytes(self.held[0:6]) or accept & 1):
            return True
        where = self._word(_RX_RING, "<Q") + 16 * self._received
        flags, _, address = struct.unpack("<IIQ", self.dma.read(where, 16))
        data = frame.ljust(60, b"\0")
        data += zlib.crc32(data).to_bytes(4, "little")
        if not flags & _OWN:
            self._raise(_RX_EMPTY)
            return False
        if len(data) > flags & 0x1FFF:
            return True  # too long for the buffers that the driver gives: lost
        self.dma.write(address, data)
        self.dma.write(where, struct.pack("<I", flags & _RING_END | _FIRST | _LAST | len(data)))
        self._received = 0 if flags & _RING_END else self._received + 1
        self._raise(_RX_OK)
        return True

    def _transmit(self) -> None:
        if not self.held[_COMMAND] & _TX_ON:
            return
        sent = False
        for _ in range(1024):  # a ring has 64; one without an end is a bug of the driver's
            where = self._word(_TX_RING, "<Q") + 16 * self._transmitted
            flags, _, address = struct.unpack("<IIQ", self.dma.read(where, 16))
            if not flags & _OWN:
                break
            if flags & _FIRST:
                self._frame = b""
            if len(self._frame) < _LONGEST:
                self._frame += self.dma.read(address, flags & 0xFFFF)
            self.dma.write(where, struct.pack("<I", flags & ~_OWN))
            self._transmitted = 0 if flags & _RING_END else self._transmitted + 1
            sent = True
            if flags & _LAST:
                self._send(self._frame, flags)
        if sent:
            self._raise(_TX_OK)

    def _send(self, frame: bytes, flags: int) -> None:
        network = 14
        if len(frame) < network + 20 or not flags & (_LARGE | _IPCS | _UDPCS | _TCPCS) or frame[12:14] != b"\x08\0":
            self.port.transmit(frame)
            return
        transport = network + 4 * (frame[network] & 15)
        pieces = [frame]
        if flags & _LARGE and len(frame) >= transport + 20:
            header = transport + 4 * (frame[transport + 12] >> 4)
            pieces = list(segments(frame, header, max(flags >> 16 & 0x7FF, 1), network, transport))
        for piece in pieces:
            made = bytearray(piece)
            if flags & (_IPCS | _LARGE):
                made[network + 10 : network + 12] = b"\0\0"
                put_checksum(made, network, network + 10, transport)
            if flags & (_TCPCS | _UDPCS | _LARGE):
                self._transport_checksum(made, network, transport)
            self.port.transmit(bytes(made))

    @staticmethod
    def _transport_checksum(frame: bytearray, network: int, transport: int) -> None:
        """Put the TCP or UDP checksum in: this card sums up the pseudo header by itself."""
        protocol, end = frame[network + 9], network + int.from_bytes(frame[network + 2 : network + 4], "big")
        at = transport + (16 if protocol == 6 else 6)
        if at + 2 <= end <= len(frame):
            pseudo = frame[network + 12 : network + 20] + struct.pack(">HH", protocol, end - transport)
            frame[at : at + 2] = internet_sum(pseudo).to_bytes(2, "big")
            put_checksum(frame, transport, at, end)
