"""The network of a box: loopback, UDP, TCP, raw and packet sockets, and a netfilter module."""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest

from kobox.box.box import Box
from tests.building import BuiltTestModules

LOCAL = "127.0.0.1"


def test_lo_is_up(box: Box) -> None:
    assert box.read_text("/sys/class/net/lo/operstate").strip() in ("up", "unknown")
    assert int(box.read_text("/sys/class/net/lo/flags"), 16) & 1


def test_udp(box: Box) -> None:
    with (
        box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind((LOCAL, 4000))
        assert client.sendto(b"question", (LOCAL, 4000)) == 8
        data, sender = server.recvfrom(100)
        assert data == b"question"
        assert sender[0] == LOCAL
        server.sendto(b"answer", sender)
        assert client.recv(100) == b"answer"
        client.connect((LOCAL, 4001))
        client.send(b"to nobody")
        with pytest.raises(ConnectionRefusedError):
            client.send(b"again")


def test_udp_over_ipv6(box: Box) -> None:
    with (
        box.network.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server,
        box.network.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("::1", 4000))
        client.sendto(b"six", ("::1", 4000))
        data, sender = server.recvfrom(10)
        assert data == b"six"
        assert sender[0] == "::1"


def test_tcp_with_an_accept_that_waits(box: Box) -> None:
    server = box.network.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((LOCAL, 0))
    server.listen()
    address = server.getsockname()
    waiter = box.process()
    accepting = waiter.start("accept4", server.fileno(), None, None, 0)
    assert not accepting.done
    client = box.network.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.connect(address)
    peer = accepting.result()
    call, buffer = client.start_recv(100)
    assert box.syscall("sendto", peer, b"hello from the server", 21, 0, 0, 0) == 21
    assert call.result() == 21
    assert bytes(buffer[:21]) == b"hello from the server"
    content = os.urandom(1 << 20)
    sender = box.process()
    sending = sender.start("write", peer, content, len(content))
    received = bytearray()
    while len(received) < len(content):
        received += client.recv(1 << 16)
    assert bytes(received) == content
    assert sending.result() == len(content)
    client.shutdown(socket.SHUT_WR)
    assert box.syscall("read", peer, bytearray(1), 1) == 0
    with pytest.raises(ConnectionRefusedError):
        box.network.socket(socket.AF_INET, socket.SOCK_STREAM).connect((LOCAL, 1))


def test_accept_of_one_who_has_connected(box: Box) -> None:
    with (
        box.network.socket(socket.AF_INET, socket.SOCK_STREAM) as server,
        box.network.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        server.bind((LOCAL, 8080))
        server.listen()
        client.connect((LOCAL, 8080))
        peer, address = server.accept()
        assert address == client.getsockname()
        peer.sendall(b"x" * 5000)
        assert len(client.recv(10_000)) == 5000


def test_a_receive_that_times_out(box: Box) -> None:
    with box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((LOCAL, 4000))
        server.settimeout(2)
        before = box.time
        with pytest.raises(TimeoutError):
            server.recv(10)
        assert box.time - before == pytest.approx(2, abs=0.1)


def test_raw_icmp_is_answered(box: Box) -> None:
    with box.network.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        message = bytearray(struct.pack("!BBHHH", 8, 0, 0, 77, 1) + b"ping")
        total = sum(struct.unpack(f"!{len(message) // 2}H", message))
        struct.pack_into("!H", message, 2, ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF)
        raw.sendto(bytes(message), (LOCAL, 0))
        answers = [raw.recv(100) for _ in range(2)]
        assert 0 in {answer[20] for answer in answers}


def test_packets_are_captured_on_lo(box: Box) -> None:
    with box.network.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as tap:
        tap.bind(("lo", 0x0800))
        with box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"seen by the tap", (LOCAL, 9))
        frame = tap.recv(2000)
        assert frame[12:14] == b"\x08\x00"
        assert frame.endswith(b"seen by the tap")
        assert tap.sendto(frame, ("lo", 0x0800)) == len(frame)


def test_unix_sockets(box: Box) -> None:
    with (
        box.network.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
        box.network.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client,
    ):
        server.bind("/tmp/socket")
        client.sendto(b"local", "/tmp/socket")
        assert server.recv(10) == b"local"
        assert box.path("/tmp/socket").exists()


def test_options(box: Box) -> None:
    with box.network.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        with pytest.raises(OSError) as caught:
            one.setsockopt(socket.SOL_SOCKET, 9999, 1)
        assert caught.value.errno == errno.ENOPROTOOPT
    assert one.fileno() == -1


def test_a_netfilter_hook_drops_chosen_packets_and_counts_the_rest(box: Box, modules: BuiltTestModules) -> None:
    module = box.insmod(modules("udpfilter"), port=5555)
    with (
        box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed,
        box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as open_,
        box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        closed.bind((LOCAL, 5555))
        open_.bind((LOCAL, 5556))
        for n in range(5):
            client.sendto(b"x" * (n + 1), (LOCAL, 5555))
            client.sendto(b"y" * (n + 1), (LOCAL, 5556))
        assert [len(open_.recv(10)) for _ in range(5)] == [1, 2, 3, 4, 5]
        with pytest.raises(BlockingIOError):
            closed.recv(10, socket.MSG_DONTWAIT)
        assert (module.parameters["dropped"], module.parameters["passed"]) == ("5", "5")
        module.parameters["port"] = 5556
        client.sendto(b"now here", (LOCAL, 5555))
        assert closed.recv(10) == b"now here"
        module.unload()
        client.sendto(b"free", (LOCAL, 5556))
        assert open_.recv(10) == b"free"
    dropped = [record.text for record in box.log.of("udpfilter") if "dropped" in record.text]
    assert dropped == [f"udpfilter: dropped {n} bytes to port 5555" for n in range(1, 6)]
