"""RemotePackets of gdb's protocol on a socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from kobox.debug.packets import DebuggerGoneError, RemotePackets


@pytest.fixture
def ends() -> Iterator[tuple[RemotePackets, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(60)
        theirs.settimeout(60)
        yield RemotePackets(ours), theirs


@pytest.mark.parametrize("payload", [b"", b"OK", b"$#}*", bytes(range(256)), b"x" * 5000])
def test_what_is_sent_is_received(ends: tuple[RemotePackets, socket.socket], payload: bytes) -> None:
    packets, other = ends
    packets.send(payload)
    theirs = RemotePackets(other)
    assert theirs.receive() == payload
    assert packets._socket.recv(10) == b"+"


@pytest.mark.parametrize(
    ("sent", "payload", "answer"),
    [
        (b"$g#67", b"g", b"+"),
        (b"+$g#67", b"g", b"+"),
        (b"$g#00$g#67", b"g", b"-+"),
        (b"noise$m10,4#%02x" % (sum(b"m10,4") & 255), b"m10,4", b"+"),
        (b"$#67$g#67", b"g", b"-+"),
    ],
)
def test_framing(ends: tuple[RemotePackets, socket.socket], sent: bytes, payload: bytes, answer: bytes) -> None:
    packets, other = ends
    other.sendall(sent)
    assert packets.receive() == payload
    assert other.recv(10) == answer


def test_a_packet_comes_in_pieces(ends: tuple[RemotePackets, socket.socket]) -> None:
    packets, other = ends
    other.sendall(b"$qSuppor")
    assert not packets.poll()
    other.sendall(b"ted#%02x" % (sum(b"qSupported") & 255))
    assert packets.receive() == b"qSupported"


def test_an_interrupt(ends: tuple[RemotePackets, socket.socket]) -> None:
    packets, other = ends
    other.sendall(b"\x03")
    assert packets.poll()
    assert packets.interrupted


def test_gone(ends: tuple[RemotePackets, socket.socket]) -> None:
    packets, other = ends
    other.close()
    with pytest.raises(DebuggerGoneError):
        packets.receive()
    with pytest.raises(DebuggerGoneError):
        packets.poll()


def test_garbage_without_end_takes_no_memory_without_end(ends: tuple[RemotePackets, socket.socket]) -> None:
    packets, other = ends
    other.setblocking(False)
    try:
        for _ in range(64):
            other.send(b"$" + b"a" * 60000)
            assert not packets.poll()
            assert len(packets._input) < 1 << 20
    except BlockingIOError:
        pytest.fail("the packets are not read")
