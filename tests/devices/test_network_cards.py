"""Models of network cards with Debian's own drivers: link, frames both ways, TCP, and taken out in the middle."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from kobox.box.box import Box
from kobox.box.devices.card import Card
from kobox.devices.e1000 import E1000
from kobox.devices.pci import PciDevice
from kobox.devices.rtl8139 import Rtl8139
from kobox.errors import BoxHungError, KoboxError
from tests.building import BuiltTestModules

ME, MINE, HIS = "02:00:00:00:00:01", "10.0.0.1", "10.0.0.2"
CARDS: dict[str, type[PciDevice]] = {"e1000": E1000, "8139cp": Rtl8139}


@pytest.fixture(params=CARDS)
def model(request: pytest.FixtureRequest, full_box: Box) -> PciDevice:
    full_box.modprobe(request.param)
    made = full_box.plug(CARDS[request.param]())
    assert made.driver == request.param
    return made


def ping(box: Box, size: int, card: Card | None = None) -> bytes:
    """An echo request, and what comes back."""
    card = card or box.network.eth0
    card.send(Ether(src=ME, dst=card.mac) / IP(src=MINE, dst=HIS) / ICMP(id=7) / Raw((bytes(range(256)) * 4)[:size]))
    while frame := card.receive(2):
        packet = Ether(frame)
        if ICMP in packet:
            return bytes(packet[ICMP].payload)[:size]  # short frames are padded
        if ARP in packet and packet[ARP].op == 1:
            card.send(Ether(src=ME, dst=card.mac) / ARP(op=2, hwsrc=ME, psrc=MINE, hwdst=card.mac, pdst=HIS))
    return b""


def test_link_and_ping(full_box: Box, model: PciDevice) -> None:
    card = full_box.network.eth0
    assert card.mac == model.port.mac.hex(":")  # type: ignore[attr-defined]
    card.up(f"{HIS}/24")
    full_box.sleep(4)
    assert full_box.read_text("/sys/class/net/eth0/carrier").strip() == "1"
    assert ping(full_box, 1000) == (bytes(range(256)) * 4)[:1000]
    card.link = False
    full_box.sleep(4)
    assert full_box.read_text("/sys/class/net/eth0/carrier").strip() == "0"
    card.link = True
    full_box.sleep(4)
    assert ping(full_box, 10) == bytes(range(10))
    assert not full_box.findings


@pytest.fixture
def sink() -> Iterator[tuple[int, list[bytes]]]:
    """A server on this machine's loopback that takes all it gets: its port, and the SHA-256 of each connection."""
    sums: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                digest = hashlib.sha256()
                while data := connection.recv(1 << 16):
                    digest.update(data)
                sums.append(digest.digest())
                connection.sendall(digest.digest())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], sums
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def test_ten_megabytes_by_tcp(full_box: Box, model: PciDevice, sink: tuple[int, list[bytes]]) -> None:
    """Checksums and segments are left to the card by the driver, so every one that it makes is checked by the other
    end."""
    full_box.network.user()
    full_box.sleep(4)
    data = hashlib.shake_128(b"ten megabytes").digest(10_000_000)
    with full_box.network.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.connect(("10.0.2.2", sink[0]))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(64) == hashlib.sha256(data).digest()
    assert not full_box.findings


def test_unplugged_in_the_middle(full_box: Box, model: PciDevice) -> None:
    card = full_box.network.eth0
    card.up(f"{HIS}/24")
    full_box.sleep(4)
    seen: list[bytes] = []

    def pull(frame: bytes) -> None:
        seen.append(frame)

    card.on_frame(pull)
    with full_box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for _ in range(20):
            connection.sendto(b"x" * 900, ("10.0.0.255", 9))
        model.unplug()
        assert not card.plugged
        with pytest.raises(OSError, match="unreachable"):
            connection.sendto(b"x", ("10.0.0.255", 9))
    assert seen
    assert "eth0" not in full_box.listdir("/sys/class/net")
    with pytest.raises(KoboxError, match="not in its box"):
        card.send(bytes(60))
    assert not full_box.findings
    again = full_box.plug(type(model)())
    assert again.driver == "e1000" or again.driver == "8139cp"


def test_cards_go_back_with_checkpoints(full_box: Box, model: PciDevice) -> None:
    card = full_box.network.eth0
    card.up(f"{HIS}/24")
    full_box.sleep(4)
    with full_box.checkpoint():
        assert ping(full_box, 100)
        model.unplug()
    assert card.plugged
    assert ping(full_box, 100) == bytes(range(100))
    assert not full_box.findings


def test_a_driver_that_keeps_a_card_busy_is_ended_by_the_limit(box: Box, modules: BuiltTestModules) -> None:
    """What a model does is work of the box's: else each of its doorbells would be free."""
    box.insmod(modules("hogcard"))
    box.limits.cpu = 1.0
    with pytest.raises(BoxHungError, match="burnt 1 s"):
        box.plug(E1000())
