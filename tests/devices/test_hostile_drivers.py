"""Ready models beside a driver that means harm: rings without an end, addresses of anything, headers that lie.

A model answers any of it with an error of the driver's (`DmaError`, `DeviceWorkError`) or as hardware would; it never
fails itself, and one access never keeps the host busy without an end.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest

from kobox.devices.ahci import Ahci
from kobox.devices.e1000 import E1000
from kobox.devices.ethernet import segments
from kobox.devices.i801 import I801
from kobox.devices.nvme import Nvme
from kobox.devices.pci import PciDevice
from kobox.devices.scsi import ScsiCdrom, ScsiDevice, ScsiDisk, ScsiTape
from kobox.devices.usb_ethernet import UsbEthernet
from kobox.devices.usb_serial import Cp2102
from kobox.devices.usb_storage import UsbStick
from kobox.devices.xhci import Xhci
from kobox.machine.devices import DeviceWork, DeviceWorkError
from kobox.machine.pci import PciBus
from kobox.machine.pci_function import DmaError

_SIZE = 4 << 20


class Driver:
    """A driver of one model, with the memory that both see."""

    def __init__(self, model: PciDevice, bar: int = 0) -> None:
        self.ram, self.work, self.model, self.bar = bytearray(_SIZE), DeviceWork(), model, bar
        bus = PciBus(memoryview(self.ram), lambda *_: None, lambda _: None, lambda *_: None, lambda *_: None, self.work)
        bus.attach(model.function)
        model.function.config_write(4, 2, 7)

    def put(self, at: int, layout: str, *values: int) -> None:
        struct.pack_into(layout, self.ram, at, *values)

    def write(self, register: int, value: int, size: int = 4) -> None:
        self.work.begin()
        self.model.bar_write(self.bar, register, size, value)


class Halted:
    """A computer whose time stands still."""

    now = 0

    def arm(self, timer: object) -> None:
        return

    def ring(self, who: object) -> None:
        return


def nvme() -> Driver:
    driver = Driver(Nvme(1 << 20))
    for register, value in ((0x24, 0x000F000F), (0x28, 0x10000), (0x30, 0x20000), (0x14, 1)):
        driver.write(register, value, 8 if register in (0x28, 0x30) else 4)
    return driver


def xhci() -> Driver:
    model = Xhci()
    model.computer = Halted()  # type: ignore[assignment]
    for device in (UsbStick(1 << 20), Cp2102(), UsbEthernet()):
        model.attach(device)
    driver = Driver(model)
    for slot in range(17):
        driver.put(0x1000 + 8 * slot, "<Q", 0x4000 + 0x400 * slot)
    driver.put(0x2000, "<QII", 0x3000, 64, 0)
    registers = ((0x50, 0x1000), (0x628, 1), (0x638, 0x3000), (0x63C, 0), (0x630, 0x2000), (0x634, 0), (0x20, 5))
    for register, value in (*registers, *((0x420 + 16 * port, 1 << 4 | 1 << 9) for port in range(3))):
        driver.write(register, value)
    return driver


def page_list_of_itself() -> None:
    driver = nvme()
    driver.put(0x30FF8, "<Q", 0x30FF8)
    driver.put(0x10000, "<II16xQQ6I", 2, 0, 0x40000, 0x30FF8, 0xFFFF0000, 0, 0, 0, 0, 0)
    driver.write(0x1000, 1)


def command_ring_of_itself() -> None:
    driver = xhci()
    driver.put(0x20000, "<QII", 0, 0, 23 << 10 | 1)
    driver.put(0x20010, "<QII", 0x20000, 0, 6 << 10 | 1)
    driver.write(0x38, 0x20001)
    driver.write(0x800, 0)


def transfer_ring_of_itself() -> None:
    driver = xhci()
    driver.put(0x20000, "<QII", 0, 0, 9 << 10 | 1)  # enable slot
    driver.put(0x20010, "<QII", 0x30000, 0, 1 << 24 | 11 << 10 | 1)  # address device
    driver.put(0x30004, "<I", 3)
    driver.ram[0x30026] = 1
    driver.put(0x30040, "<IIQ", 0, 4 << 3, 0x40001)
    driver.write(0x38, 0x20001)
    driver.write(0x800, 0)
    driver.put(0x40000, "<QII", 0, 8, 4 << 10 | 1)  # a status stage
    driver.put(0x40010, "<QII", 0x40000, 0, 6 << 10 | 1)
    driver.write(0x804, 1)


def links_only(driver: Driver) -> None:
    for at in range(0x20000, 0x30000, 16):
        driver.put(at, "<QII", 0x20000, 0, 6 << 10 | 1)


def ring_of_links() -> None:
    driver = xhci()
    links_only(driver)
    driver.write(0x38, 0x20001)
    for _ in range(5):  # each ends by itself, and is counted
        driver.write(0x800, 0)
    assert driver.work.take() > 5 * 4096 * 50
    raise DeviceWorkError("it has ended")


@pytest.mark.parametrize(
    "attack", [page_list_of_itself, command_ring_of_itself, transfer_ring_of_itself, ring_of_links]
)
def test_a_ring_without_an_end_ends(attack: Callable[[], None]) -> None:
    with pytest.raises(DeviceWorkError):
        attack()


def _somewhere(chance: random.Random) -> int:
    return chance.choice([chance.randrange(_SIZE) & ~15, chance.randrange(_SIZE) | 0xFF8, chance.randrange(1 << 64), 0])


def hostile_nvme(chance: random.Random) -> None:
    driver = nvme()
    for slot in range(16):
        opcode = chance.choice([0, 1, 2, 4, 5, 6, 8, 9, 10, 12, chance.randrange(256)])
        words = (chance.choice([chance.randrange(8) | 7 << 16, chance.randrange(1 << 32), 1]) for _ in range(6))
        lists = _somewhere(chance), _somewhere(chance)
        driver.put(0x10000 + 64 * slot, "<II16xQQ6I", opcode, chance.randrange(2), *lists, *words)
    for _ in range(4):
        driver.write(0x1000 + 4 * chance.randrange(10), chance.randrange(17))


def hostile_ahci(chance: random.Random) -> None:
    driver = Driver(Ahci(ScsiDisk(1 << 20), ScsiCdrom(1 << 20), ScsiTape()), bar=5)
    port = 0x100 + 0x80 * chance.randrange(3)
    for register, value in ((0, 0x10000), (8, 0x8000), (0x18, 0x11)):
        driver.write(port + register, value)
    flags = chance.choice([chance.randrange(1 << 32), chance.randrange(5) << 16 | 0x60])
    driver.put(0x10000, "<IIQ", flags, 0, chance.choice([0x20000, _somewhere(chance)]))
    driver.ram[0x20000:0x20100] = chance.randbytes(256)
    driver.ram[0x20000:0x20003] = bytes([0x27, 0x80, chance.choice([0x25, 0x35, 0xC8, 0xA0, 0xA0, 0xEC, 0xA1])])
    driver.ram[0x20040] = chance.choice([*ScsiTape.commands, *ScsiCdrom.commands])
    for row in range(8):
        driver.put(0x20080 + 16 * row, "<QII", _somewhere(chance) % _SIZE, 0, chance.choice([511, 0x3FFFFF, 0]))
    driver.write(port + 0x38, 1)


def hostile_e1000(chance: random.Random) -> None:
    driver = Driver(E1000())
    data = 1 << 29 | 1 << 24 | 1 << 20 | 1 << 26
    for row in range(32):
        low = chance.choice([chance.randrange(1 << 32), data | chance.randrange(65536), 1 << 29 | chance.randrange(99)])
        driver.put(0x10000 + 16 * row, "<QII", chance.randrange(_SIZE), low, chance.randrange(1 << 32))
    size = chance.choice([512, 0, 16, 0xFFFFF])
    for register, value in ((0x400, 2), (0x3800, 0x10000), (0x3808, 512), (0x100, 2 | chance.randrange(1 << 32))):
        driver.write(register, value)
    for register, value in ((0x2800, 0x10000), (0x2808, size), (0x2810, chance.randrange(64)), (0x3818, 31)):
        driver.write(register, value)
    driver.model.port.waiting.append(b"\xff" * chance.choice([14, 1514, 65535]))  # type: ignore[attr-defined]
    driver.write(0x2818, chance.randrange(64))


def hostile_xhci(chance: random.Random) -> None:
    driver = xhci()
    for row in range(12):
        kind = chance.choice([9, 10, 11, 11, 12, 12, 13, 14, 16, 17, 23, 6, chance.randrange(64)])
        control = chance.choice([1, 2, 3, chance.randrange(256)]) << 24 | chance.randrange(32) << 16 | kind << 10 | 1
        driver.put(0x20000 + 16 * row, "<QII", chance.choice([0x30000, _somewhere(chance)]), 0, control)
    driver.put(0x30000, "<II", 0, chance.choice([3, 0xFFFFFFFF]))
    driver.ram[0x30026] = chance.choice([1, 2, 3, 255])
    for at in range(0x30040, 0x30400, 32):
        driver.put(at, "<IIQ", 0, chance.choice([2, 6, 4, 1]) << 3, chance.choice([0x40001, _somewhere(chance)]))
    driver.write(0x38, 0x20001)
    driver.write(0x800, 0)
    for row in range(16):
        kind, flags = chance.choice([1, 1, 2, 3, 4, 5, 6, 7, 8]), chance.choice([0, 16, 32, 64, 4])
        setup = struct.unpack("<Q", chance.choice([bytes([0x80, 6, 0, 1]), chance.randbytes(4)]) + chance.randbytes(4))
        where = setup[0] if kind == 2 else chance.choice([0x50000, _somewhere(chance)])
        size = chance.choice([8, 31, 512, chance.randrange(1 << 17)])
        driver.put(0x40000 + 16 * row, "<QII", where, size, flags | kind << 10 | 1)
    driver.ram[0x50000:0x50020] = b"USBC" + chance.randbytes(28)
    driver.write(0x804, chance.choice([1, 2, 3, 4, 5]))


def hostile_i801(chance: random.Random) -> None:
    driver = Driver(I801(), bar=next(iter(I801().windows)))
    for _ in range(40):
        driver.write(chance.randrange(0x11), chance.choice([0, chance.randrange(256), 0xFFFFFFFF]))


@pytest.mark.parametrize("attack", [hostile_nvme, hostile_ahci, hostile_e1000, hostile_xhci, hostile_i801])
def test_a_model_never_fails(attack: Callable[[random.Random], None]) -> None:
    for seed in range(60):
        try:
            attack(random.Random(seed))
        except (DmaError, DeviceWorkError):
            continue


@pytest.mark.parametrize("unit", [lambda: ScsiDisk(1 << 20), lambda: ScsiCdrom(1 << 20), ScsiTape])
def test_any_scsi_command_has_an_answer(unit: Callable[[], ScsiDevice]) -> None:
    chance, device = random.Random(1), unit()
    for _ in range(600):
        code = chance.choice([*device.commands, chance.randrange(256)])
        block = bytes([code]) + chance.randbytes(chance.choice([0, 5, 9, 15]))
        answer = device.command(block, chance.randbytes(chance.choice([0, 1, 512])))
        assert len(answer.data) <= 16 << 20


def test_a_tape_holds_so_many_blocks_and_no_more() -> None:
    tape = ScsiTape([b""] * ((1 << 16) - 1))
    assert tape.command(bytes([0x11, 3, 0, 0, 0, 0])).status == 0
    assert [tape.command(bytes([0x0A, 0, 0, 0, 0, 0])).status for _ in range(3)] == [0, 2, 2]


@pytest.mark.parametrize(
    ("header", "size", "network", "transport"),
    [
        (255, 1, 250, 252),  # headers that are no headers
        (54, 1460, 34, 14),  # the wrong way round
        (54, 0xFFFF, 14, 34),  # longer than any frame of IP
        (20, 1, 0, 0),
        (54, 0, 14, 34),
        (1 << 16, 1460, 14, 34),
    ],
)
def test_a_frame_with_impossible_headers_is_not_cut(header: int, size: int, network: int, transport: int) -> None:
    frame = b"\x45" * 4000
    assert list(segments(frame, header, size, network, transport)) == [frame]
