"""Packets that a module takes: datagrams and streams within the box, before and after it is loaded.

Datagrams go from a socket of the box to another over its loopback device, with words of the module's in them and to
ports that it may look for. Those that came before it was loaded, and do not come now, it has consumed.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from kobox.behaviour.report import Level, Trait
from kobox.box.box import Box

_PORT = 40007
_MOST_PAYLOADS, _MOST_PORTS = 60, 40
_LOOPBACK = bytes((127, 0, 0, 1))
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _UP = 0x8913, 0x8914, 1


class Packets:
    """Sends packets in a box, once before and again after."""

    def __init__(self, box: Box, words: list[str], ports: list[int]) -> None:
        self._box = box
        self._payloads = [b"kobox", bytes(64), *(word.encode() for word in words[:_MOST_PAYLOADS])]
        self._ports = ports[:_MOST_PORTS]
        self._lost_before = set(self._lost()) if self._bring_up() else None

    def traits(self) -> Iterator[Trait]:
        """What was taken."""
        if self._lost_before is None:
            return
        lost = [one for one in self._lost() if one not in self._lost_before]
        whole = {port for port, payload in lost if payload == b"kobox"}
        for port, payload in lost:
            if port in whole and payload != b"kobox":
                continue
            what = f"every datagram to UDP port {port}" if port in whole else f"a datagram with {payload!r}"
            level: Level = "note" if port in whole else "suspicious"  # a filter takes ports; who waits for words, hides
            kind = "takes packets" if port in whole else "waits for a packet"
            text = f"{what} does not arrive any more"
            yield Trait(kind, level, text, "loopback device", time=self._box.time)

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
        address = struct.pack("<H", int(socket.AF_INET)) + struct.pack(">H", port) + _LOOPBACK + bytes(8)
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
