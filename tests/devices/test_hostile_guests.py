"""What a hostile driver asks of the ready models: sizes and amounts that must not be this machine's memory."""

from __future__ import annotations

import struct

import pytest

from kobox.devices.ethernet import EthernetPort, internet_sum, put_checksum, segments
from kobox.devices.kept import MOST_KEPT
from kobox.devices.scsi import CHECK_CONDITION, ScsiCdrom, ScsiDevice, ScsiDisk, ScsiTape
from kobox.devices.serial_card import SerialCard
from kobox.devices.usb import StallError
from kobox.devices.usb_ethernet import UsbEthernet
from kobox.devices.usb_serial import Cp2102
from kobox.devices.usb_storage import UsbStick
from kobox.devices.xhci_rings import Ring, Transfer


def test_a_stick_stalls_at_four_gigabytes() -> None:
    stick = UsbStick(1 << 20)
    command = struct.pack("<4sIIBBB16s", b"USBC", 1, 0xFFFFFFFF, 0x80, 0, 10, b"\x28")
    with pytest.raises(StallError):
        stick.data_out(2, command)


@pytest.mark.parametrize("data", [b"", b"USBC", b"x" * 31, b"USBC" + bytes(28)])
def test_a_stick_stalls_at_what_is_no_command(data: bytes) -> None:
    with pytest.raises(StallError):
        UsbStick(1 << 20).data_out(2, data)


def test_what_a_port_has_sent_is_kept_to_an_amount() -> None:
    converter, card = Cp2102(), SerialCard()
    card.set_interrupt_level = lambda high: None  # type: ignore[method-assign]
    for number in range(80):
        converter.data_out(1, bytes([number]) * 65536)
    for _ in range(100):
        card.write_memory(0, 0, 1, 0x41)
    assert MOST_KEPT <= len(converter.sent) <= 2 * MOST_KEPT
    assert converter.sent.endswith(b"\x4f" * 65536)
    assert card.sent == b"A" * 100


def test_a_tape_has_an_end() -> None:
    tape = ScsiTape()
    block = struct.pack(">BB3sx", 0x0A, 0, (1 << 20).to_bytes(3, "big"))
    answers = [tape.command(block, bytes(1 << 20)).status for _ in range(70)]
    assert answers == [0] * 64 + [CHECK_CONDITION] * 6
    marks = struct.pack(">BB3sx", 0x10, 0, b"\xff\xff\xff")
    assert tape.command(marks).status == CHECK_CONDITION


def test_frames_without_an_end_are_cut() -> None:
    adapter = UsbEthernet()
    sent: list[bytes] = []
    adapter.port.on_frame = sent.append
    for _ in range(1000):
        adapter.data_out(2, bytes(4096))
    adapter.data_out(2, b"x")
    assert [len(frame) for frame in sent] == [65536]
    adapter.alternate_chosen(1, 1)
    adapter.port.waiting.extend([bytes(60)] * 3000)
    adapter.port.deliver()
    assert len(adapter.port.waiting) == 3000 - 1024


def test_a_ring_of_links_ends() -> None:
    memory = struct.pack("<QII", 0, 0, 6 << 10 | 1)  # a link to itself

    def read(address: int, size: int) -> bytes:
        return memory

    assert Ring(0, 1).next(read) is None
    assert Transfer.take(Ring(0, 1), read) is None
    endless = struct.pack("<QII", 0, 0, 1 << 10 | 16 | 1)  # TRBs that are all chained
    assert Transfer.take(Ring(0, 1), lambda address, size: endless) is not None


@pytest.mark.parametrize("device", [ScsiDisk(1 << 20), ScsiCdrom(bytes(4096)), ScsiCdrom(), ScsiTape(), ScsiDevice()])
@pytest.mark.parametrize("fill", [0x00, 0x55, 0xFF])
def test_every_scsi_command_has_an_answer(device: ScsiDevice, fill: int) -> None:
    """Whatever the operation code and its fields: a status, never an exception of the model's."""
    for code in range(256):
        for size in (0, 1, 6, 10, 16):
            answer = device.command(bytes([code]) + bytes([fill]) * (size - 1) if size else b"", b"data")
            assert answer.status in (0, CHECK_CONDITION)
            assert (len(answer.sense) == 18) == (answer.status == CHECK_CONDITION)
            assert len(answer.data) <= 1 << 24


def test_a_port_without_a_wire() -> None:
    port = EthernetPort(bytes(6), lambda frame: True)
    port.transmit(bytes(60))
    port.link = False
    port.on_frame = lambda frame: pytest.fail("no cable")
    port.transmit(bytes(60))


@pytest.mark.parametrize(
    ("data", "total"), [(b"", 0), (b"\x01", 0x100), (b"\xff\xff\x00\x01", 1), (b"\x12\x34\x56", 0x6834)]
)
def test_internet_sums(data: bytes, total: int) -> None:
    assert internet_sum(data) == total


@pytest.mark.parametrize("where", [(0, 100), (200, 10), (59, 59), (0, 58)])
def test_checksums_outside_a_frame_change_nothing_there(where: tuple[int, int]) -> None:
    frame = bytearray(range(60))
    put_checksum(frame, *where)
    assert len(frame) == 60


def test_a_large_frame_becomes_segments_in_order() -> None:
    header = bytes(12) + b"\x08\x00\x45" + bytes(19)
    header += bytes(4) + struct.pack(">I", 1000) + bytes(4) + b"\x50\x19" + bytes(6)
    payload = bytes(range(250)) * 10
    pieces = list(segments(header + payload, 54, 1000, 14, 34))
    assert b"".join(piece[54:] for piece in pieces) == payload
    assert [int.from_bytes(piece[38:42], "big") for piece in pieces] == [1000, 2000, 3000]
    assert [piece[47] for piece in pieces] == [0x10, 0x10, 0x19]  # FIN and PSH: the last
    assert [int.from_bytes(piece[16:18], "big") for piece in pieces] == [1040, 1040, 540]
