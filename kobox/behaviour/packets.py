"""Packets that a module takes: datagrams and streams within the box, before and after it is loaded.

Datagrams go from a socket of the box to another over its loopback device, with words of the module's in them and to
ports that it may look for; a stream carries the same words. What came before it was loaded, and does not come now, it
has consumed.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress

from kobox.behaviour.report import Level, Trait
from kobox.box.box import Box

_PORT = 40007
_MOMENT = 0.002  # seconds that a segment needs at most
_MOST_PAYLOADS, _MOST_STREAMS, _MOST_PORTS = 60, 24, 40
_LOOPBACK = bytes((127, 0, 0, 1))
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _UP = 0x8913, 0x8914, 1


class Packets:
    """Sends packets in a box, once before and again after."""

    def __init__(self, box: Box, words: list[str], ports: list[int]) -> None:
        self._box = box
        self._payloads = [b"kobox", bytes(64), *(word.encode() for word in words[:_MOST_PAYLOADS])]
        self._ports = ports[:_MOST_PORTS]
        self._lost_before = set(self._lost()) if self._bring_up() else None
        self._streamed_before = self._streamed() if self._lost_before is not None else set()

    def traits(self) -> Iterator[Trait]:
        """What was taken."""
        if self._lost_before is None:
            return
        lost = [one for one in self._lost() if one not in self._lost_before]
        yield from self._streams()
        whole = {port for port, payload in lost if payload == b"kobox"}
        for port, payload in lost:
            if port in whole and payload != b"kobox":
                continue
            what = f"every datagram to UDP port {port}" if port in whole else f"a datagram with {payload!r}"
            level: Level = "note" if port in whole else "suspicious"  # a filter takes ports; who waits for words, hides
            kind = "takes packets" if port in whole else "waits for a packet"
            text = f"{what} does not arrive any more"
            yield Trait(kind, level, text, "loopback device", time=self._box.time)

    def _streams(self) -> Iterator[Trait]:
        before, now = self._streamed_before, self._streamed()
        lost = sorted(before - now)
        if before and not now:
            text = f"no connection to TCP port {_PORT} comes about any more"
            yield Trait("takes packets", "note", text, "loopback device", time=self._box.time)
        for payload in lost if now else ():
            text = f"a TCP segment with {payload!r} does not arrive any more"
            yield Trait("waits for a packet", "suspicious", text, "loopback device", time=self._box.time)

    def _streamed(self) -> set[bytes]:
        """The payloads that arrive by a stream, each in a connection of its own."""
        found: set[bytes] = set()
        box, address = self._box, _address(_PORT)
        kind = int(socket.SOCK_STREAM) | int(socket.SOCK_NONBLOCK)
        with suppress(OSError), ExitStack() as stack:
            listener = self._socket(kind, stack)
            box.syscall("bind", listener, address, len(address))
            box.syscall("listen", listener, 8)
            for payload in self._payloads[:_MOST_STREAMS]:
                with suppress(OSError), ExitStack() as connection:
                    sender = self._socket(kind, connection)
                    with suppress(BlockingIOError):
                        box.syscall("connect", sender, address, len(address))
                    box.sleep(_MOMENT)
                    receiver = box.syscall("accept4", listener, 0, 0, int(socket.SOCK_NONBLOCK))
                    connection.callback(self._close, receiver)
                    box.syscall("write", sender, payload, len(payload))
                    box.sleep(_MOMENT)
                    if box.syscall("read", receiver, bytearray(2048), 2048) == len(payload):
                        found.add(payload)
        return found

    def _socket(self, kind: int, stack: ExitStack) -> int:
        fd = self._box.syscall("socket", int(socket.AF_INET), kind, 0)
        stack.callback(self._close, fd)
        return fd

    def _close(self, fd: int) -> None:
        with suppress(OSError):
            self._box.syscall("close", fd)

    def _bring_up(self) -> bool:
        """Switch the loopback device on. False where this kernel has no network."""
        try:
            fd = self._box.syscall("socket", int(socket.AF_INET), int(socket.SOCK_DGRAM), 0)
        except OSError:
            return False
        try:
            request = bytearray(b"lo".ljust(16, b"\0") + struct.pack("<H", _UP) + bytes(22))
            self._box.syscall("ioctl", fd, _SIOCSIFFLAGS, request)
        except OSError:
            return False
        finally:
            self._box.syscall("close", fd)
        return True

    def _lost(self) -> Iterator[tuple[int, bytes]]:
        """(port, payload) of what does not arrive."""
        for number, port in enumerate((_PORT, *self._ports)):
            with suppress(OSError):
                yield from self._lost_at(port, self._payloads if not number else self._payloads[:1])

    def _lost_at(self, port: int, payloads: list[bytes]) -> Iterator[tuple[int, bytes]]:
        box = self._box
        receiver = sender = -1
        address = _address(port)
        kind = int(socket.SOCK_DGRAM) | int(socket.SOCK_NONBLOCK)
        try:
            receiver = box.syscall("socket", int(socket.AF_INET), kind, 0)
            box.syscall("bind", receiver, address, len(address))
            sender = box.syscall("socket", int(socket.AF_INET), kind, 0)
            for payload in payloads:
                with suppress(OSError):
                    box.syscall("sendto", sender, payload, len(payload), 0, address, len(address))
                try:
                    box.syscall("read", receiver, bytearray(2048), 2048)
                except OSError:
                    yield port, payload
        finally:
            for fd in (receiver, sender):
                if fd >= 0:
                    with suppress(OSError):
                        box.syscall("close", fd)


def _address(port: int) -> bytes:
    """struct sockaddr_in of a port of the loopback device."""
    return struct.pack("<H", int(socket.AF_INET)) + struct.pack(">H", port) + _LOOPBACK + bytes(8)
