"""Network cards and disks of a box with an arm64 CPU: places of the device tree, with Linux' own virtio drivers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether

from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.images.store import KernelImage

ME, MINE, HIS = "02:00:00:00:00:01", "10.0.0.1", "10.0.0.2"


@pytest.fixture(scope="module")
def booted(board_kernel: KernelImage) -> Iterator[Box]:
    with boot(board_kernel) as box:
        yield box


@pytest.fixture
def box(booted: Box) -> Box:
    booted.reset()
    return booted


def test_echo_is_answered_through_a_card(box: Box) -> None:
    eth0 = box.network.eth0
    eth0.up(f"{HIS}/24")
    eth0.send(bytes(Ether(src=ME, dst=eth0.mac) / ARP(op=1, hwsrc=ME, psrc=MINE, pdst=HIS)))
    eth0.send(bytes(Ether(src=ME, dst=eth0.mac) / IP(src=MINE, dst=HIS) / ICMP(id=7) / b"hello"))
    while (frame := eth0.receive()) is not None:
        if ICMP in (answer := Ether(frame)):
            assert (answer[ICMP].type, answer[ICMP].id, bytes(answer[ICMP].payload)) == (0, 7, b"hello")
            return
    pytest.fail("no answer came")


def test_a_disk_is_written_and_its_image_is_untouched_until_asked(box: Box, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(b"before".ljust(1 << 20, b"\0"))
    disk = box.disks.attach(image)
    with box.open(f"/dev/{disk.name}", "r+b") as file:
        assert file.read(6) == b"before"
        file.seek(0)
        file.write(b"after!".ljust(4096, b"\0"))
    box.syscall("sync")
    assert box.read_bytes(f"/dev/{disk.name}")[:6] == b"after!"
    assert image.read_bytes()[:6] == b"before"
