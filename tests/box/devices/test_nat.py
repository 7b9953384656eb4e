"""A box's way out through sockets of this machine; its servers are threads of the test, on loopback."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import kobox
from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.box.devices.nat import UserNetwork
from kobox.errors import KoboxError
from kobox.images.store import KernelImage

GATEWAY = "10.0.2.2"


@pytest.fixture(scope="module")
def room(debian_kernel: KernelImage) -> Iterator[Box]:
    with boot(debian_kernel, net="user") as box:
        yield box


@pytest.fixture
def box(room: Box) -> Box:
    room.reset()
    return room


@pytest.fixture
def net(box: Box) -> UserNetwork:
    assert box.network.nat is not None
    return box.network.nat


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """`serve(f)` listens on loopback and calls f(connection) in a thread for each; the port."""
    servers: list[socket.socket] = []

    def start(talk: Callable[[socket.socket], None]) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for server in servers:
        server.close()


def connected(box: Box, port: int, host: str = GATEWAY) -> kobox.box.guest.sockets.BoxSocket:  # type: ignore[name-defined]
    sock = box.network.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.connect((host, port))
    return sock


def echo(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def test_a_connection_carries_both_ways_and_ends(box: Box, net: UserNetwork, serve: Callable[..., int]) -> None:
    with connected(box, serve(echo)) as sock:
        for size in (1, 1460, 20_000):
            data = os.urandom(size)
            sock.sendall(data)
            got = b""
            while len(got) < size:
                got += sock.recv(65536)
            assert got == data
        assert net.flows == 1
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(10) == b""
    box.sleep(0.1)
    assert net.flows == 0
    assert not box.findings


def test_megabytes_come_in(box: Box, serve: Callable[..., int]) -> None:
    data = os.urandom(3_000_000)

    def send(connection: socket.socket) -> None:
        with connection:
            connection.sendall(data)

    with connected(box, serve(send)) as sock:
        box.sleep(1)  # the window fills, and opens again
        got = hashlib.sha256()
        while piece := sock.recv(65536):
            got.update(piece)
    assert got.digest() == hashlib.sha256(data).digest()


def test_megabytes_go_out_and_half_a_connection_is_closed(box: Box, serve: Callable[..., int]) -> None:
    data = os.urandom(2_000_000)

    def summed(connection: socket.socket) -> None:
        with connection:
            time.sleep(0.2)  # what is on its way has to wait
            found = hashlib.sha256()
            while piece := connection.recv(65536):
                found.update(piece)
            connection.sendall(found.digest())

    with connected(box, serve(summed)) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(100) == hashlib.sha256(data).digest()


def test_a_reset_arrives(box: Box, serve: Callable[..., int]) -> None:
    def slam(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    with connected(box, serve(slam)) as sock:
        sock.send(b"x")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_a_reset_of_the_box_s_arrives(box: Box, serve: Callable[..., int]) -> None:
    seen: list[int | None] = []

    def listen(connection: socket.socket) -> None:
        try:
            while connection.recv(10):
                pass
            seen.append(0)
        except OSError as error:
            seen.append(error.errno)

    with connected(box, serve(listen)) as sock:
        sock.send(b"x")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    box.sleep(0.1)
    for _ in range(100):
        if not seen:
            time.sleep(0.01)
    assert seen == [errno.ECONNRESET]


def test_nobody_listens(box: Box, net: UserNetwork) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        connected(box, port)
    assert net.flows == 0


def test_other_addresses_are_prohibited(box: Box, net: UserNetwork) -> None:
    with pytest.raises(OSError) as refused:
        connected(box, 80, "192.0.2.1")
    assert refused.value.errno == errno.EHOSTUNREACH
    with box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("192.0.2.1", 53))
        sock.send(b"x")
        with pytest.raises(OSError) as refused:
            sock.send(b"x")
        assert refused.value.errno == errno.EHOSTUNREACH
    assert net.flows == 0


def test_allowed_networks(box: Box, net: UserNetwork) -> None:
    def place(address: str) -> str | None:
        return net._place(socket.inet_aton(address))

    assert (place(GATEWAY), place("192.0.2.1"), place("127.0.0.1")) == ("127.0.0.1", None, None)
    with boot(box.image, net="user", allow=["192.0.2.0/24", "198.51.100.7"]) as other:
        assert other.network.nat is not None
        net = other.network.nat
        assert [place(a) for a in ("192.0.2.9", "198.51.100.7", "198.51.100.8")] == ["192.0.2.9", "198.51.100.7", None]
    with pytest.raises(ValueError, match="does not appear"):
        boot(box.image, net="user", allow=["everywhere"])
    with pytest.raises(KoboxError, match="no such network"):
        boot(box.image, net="bridge")


def test_datagrams_are_answered_and_waited_for(box: Box) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer() -> None:
            data, sender = server.recvfrom(2000)
            time.sleep(0.3)
            for _ in range(3):
                server.sendto(data.upper(), sender)

        threading.Thread(target=answer, daemon=True).start()
        with box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(3)
            before = box.time
            sock.sendto(b"a datagram", (GATEWAY, server.getsockname()[1]))
            assert [sock.recv(100) for _ in range(3)] == [b"A DATAGRAM"] * 3
            assert 0.2 < box.time - before < 1.5  # it was as late as it was


def test_the_gateway_answers_pings(box: Box) -> None:
    with box.network.socket(socket.AF_INET, socket.SOCK_RAW, 1) as sock:
        sock.settimeout(1)
        sock.sendto(bytes.fromhex("0800f7fd00010001") + b"", (GATEWAY, 0))
        reply, sender = sock.recvfrom(100)
        assert (sender[0], reply[20]) == (GATEWAY, 0)


def test_time_is_virtual_when_nothing_is_open(box: Box) -> None:
    before, blocks = box.time, box.machine.blocks
    box.sleep(3600)
    assert box.time - before >= 3600
    assert box.machine.blocks - blocks < 10_000_000


def test_sockets_are_closed_when_the_box_goes_back(box: Box, net: UserNetwork, serve: Callable[..., int]) -> None:
    ended = threading.Event()

    def listen(connection: socket.socket) -> None:
        with connection:
            while connection.recv(10):
                pass
        ended.set()

    connected(box, serve(listen)).send(b"x")
    assert net.flows == 1
    box.reset()
    assert net.flows == 0
    assert ended.wait(5)
    with connected(box, serve(echo)) as sock:  # and the next one works
        sock.send(b"again")
        assert sock.recv(10) == b"again"


def test_many_connections_are_bounded(box: Box, net: UserNetwork, serve: Callable[..., int]) -> None:
    port = serve(echo)
    sockets = [connected(box, port) for _ in range(20)]
    for number, sock in enumerate(sockets):
        sock.send(bytes([number]))
    assert [sock.recv(1) for sock in sockets] == [bytes([number]) for number in range(20)]
    for sock in sockets:
        sock.close()
    box.sleep(0.2)
    assert net.flows == 0


def test_the_way_out_is_closed(box: Box, net: UserNetwork, serve: Callable[..., int]) -> None:
    sock = connected(box, serve(echo))
    with pytest.raises(KoboxError, match="cannot be given one"):
        box.network.user()
    net.close()
    assert (net.flows, box.network.nat) == (0, None)
    sock.settimeout(5)
    sock.send(b"nobody hears it")
    with pytest.raises(OSError):
        sock.recv(10)
    assert box.network.user().flows == 0
    with connected(box, serve(echo)) as again:
        again.send(b"x")
        assert again.recv(1) == b"x"


def test_a_joined_box_has_no_way_out(box: Box, debian_kernel: KernelImage) -> None:
    with boot(debian_kernel) as other, pytest.raises(KoboxError, match="user network"):
        kobox.join(box.network.add(), other.network.eth0)


IP = bytes((0x45, 0)) + struct.pack(">HHHBBH", 40, 0, 0, 64, 6, 0) + bytes((10, 0, 2, 15, 10, 0, 2, 2))
TCP = struct.pack(">HHIIBBHHH", 1000, 9, 0, 0, 0x50, 2, 1000, 0, 0)


@pytest.mark.parametrize("protocol", [1, 6, 17, 200])
@pytest.mark.parametrize("size", [0, 1, 9, 15, 19, 20, 21, 27, 41, 65535])
@pytest.mark.parametrize("first", [0x45, 0x40, 0x4F, 0x65, 0x05])
def test_packets_that_lie_about_their_lengths(net: UserNetwork, first: int, size: int, protocol: int) -> None:
    assert net.card.other_end is not None
    packet = bytearray(IP + TCP)
    packet[0], packet[9] = first, protocol
    packet[2:4] = struct.pack(">H", size)
    for cut in (54, 53, 40, 35, 34, 33, 14, 13, 0):
        net.card.other_end(0, (b"\xff" * 6 + b"\2abcde\x08\0" + bytes(packet))[:cut])
    assert net.flows == 0


@pytest.mark.parametrize("offset", [0x00, 0x40, 0x60, 0xF0])
def test_segments_that_lie_about_their_header(net: UserNetwork, offset: int) -> None:
    assert net.card.other_end is not None
    net.card.other_end(0, b"\xff" * 6 + b"\2abcde\x08\0" + IP + TCP[:12] + bytes([offset]) + TCP[13:])
    assert net.flows == 0
