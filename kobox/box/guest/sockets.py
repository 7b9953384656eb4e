"""Sockets of a box: the kernel's own, with `socket.socket`'s names for what can be done with them.

Addresses are written as Python writes them: (host, port), a path, (interface, protocol) for packets; hosts as
numbers only.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

from kobox.ko.binary import c_string

if TYPE_CHECKING:
    from kobox.box.box import Box
    from kobox.box.guest.syscall import Call

_SIOCGIFINDEX = 0x8933
_AF_PACKET, _AF_NETLINK = 17, 16


class BoxSocket:
    """A socket inside a box: frames and datagrams sent through it never leave the box's kernel."""

    def __init__(self, box: Box, family: int, kind: int, protocol: int = 0, *, fd: int | None = None) -> None:
        self._box = box
        self.family = int(family)
        self.type = int(kind)
        self._fd = box.syscall("socket", family, kind, protocol) if fd is None else fd

    def fileno(self) -> int:
        """The descriptor in the box, -1 once closed."""
        return self._fd

    def bind(self, address: Any) -> None:
        packed = self._pack(address)
        self._box.syscall("bind", self._fd, packed, len(packed))

    def connect(self, address: Any) -> None:
        packed = self._pack(address)
        self._box.syscall("connect", self._fd, packed, len(packed))

    def listen(self, backlog: int = 8) -> None:
        self._box.syscall("listen", self._fd, backlog)

    def accept(self) -> tuple[BoxSocket, Any]:
        address, size = bytearray(128), bytearray(struct.pack("<I", 128))
        fd = self._box.syscall("accept4", self._fd, address, size, 0)
        peer = BoxSocket(self._box, self.family, self.type, fd=fd)
        return peer, self._unpack(bytes(address[: struct.unpack("<I", size)[0]]))

    def send(self, data: bytes, flags: int = 0) -> int:
        return self._box.syscall("sendto", self._fd, data, len(data), flags, 0, 0)

    def sendall(self, data: bytes, flags: int = 0) -> None:
        while data:
            data = data[self.send(data, flags) :]

    def sendto(self, data: bytes, address: Any, flags: int = 0) -> int:
        packed = self._pack(address)
        return self._box.syscall("sendto", self._fd, data, len(data), flags, packed, len(packed))

    def recv(self, size: int, flags: int = 0) -> bytes:
        return self.recvfrom(size, flags)[0]

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Any]:
        data, address, length = bytearray(size), bytearray(128), bytearray(struct.pack("<I", 128))
        count = self._box.syscall("recvfrom", self._fd, data, size, flags, address, length)
        return bytes(data[:count]), self._unpack(bytes(address[: struct.unpack("<I", length)[0]]))

    def start_recv(self, size: int, flags: int = 0) -> tuple[Call, bytearray]:
        """Begin to receive in a process of its own: the call under way, and the buffer it fills."""
        buffer = bytearray(size)
        return self._box.process().start("recvfrom", self._fd, buffer, size, flags, 0, 0), buffer

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        data = struct.pack("<i", value) if isinstance(value, int) else value
        self._box.syscall("setsockopt", self._fd, level, option, data, len(data))

    def getsockopt(self, level: int, option: int, size: int = 0) -> Any:
        data, length = bytearray(size or 4), bytearray(struct.pack("<I", size or 4))
        self._box.syscall("getsockopt", self._fd, level, option, data, length)
        value = bytes(data[: struct.unpack("<I", length)[0]])
        return value if size else struct.unpack("<i", value)[0]

    def getsockname(self) -> Any:
        data, length = bytearray(128), bytearray(struct.pack("<I", 128))
        self._box.syscall("getsockname", self._fd, data, length)
        return self._unpack(bytes(data[: struct.unpack("<I", length)[0]]))

    def settimeout(self, seconds: float | None) -> None:
        """Virtual seconds that a receive or send may wait (then `BlockingIOError`); None: without limit."""
        value = struct.pack("<qq", int(seconds or 0), int((seconds or 0) % 1 * 1e6) or (seconds == 0))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.setsockopt(socket.SOL_SOCKET, option, value)

    def shutdown(self, how: int = socket.SHUT_RDWR) -> None:
        self._box.syscall("shutdown", self._fd, how)

    def ioctl(self, request: int, argument: Any) -> Any:
        """As `BoxFile.ioctl`."""
        if isinstance(argument, bytes):
            data = bytearray(argument)
            self._box.syscall("ioctl", self._fd, request, data)
            return bytes(data)
        return self._box.syscall("ioctl", self._fd, request, argument)

    def close(self) -> None:
        if self._fd >= 0 and self._box.alive:
            self._box.syscall("close", self._fd)
        self._fd = -1

    def __enter__(self) -> BoxSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- addresses -------------------------------------------------------------------------------------------

    def _pack(self, address: Any) -> bytes:
        if isinstance(address, bytes):
            return address
        if self.family == socket.AF_INET:
            host, port = address
            return (
                struct.pack("<HH", self.family, socket.htons(port)) + socket.inet_pton(socket.AF_INET, host) + bytes(8)
            )
        if self.family == socket.AF_INET6:
            host, port = address[:2]
            scope = address[3] if len(address) > 3 else 0
            packed = socket.inet_pton(socket.AF_INET6, host)
            return struct.pack("<HHI", self.family, socket.htons(port), 0) + packed + struct.pack("<I", scope)
        if self.family == socket.AF_UNIX:
            return struct.pack("<H", self.family) + str(address).encode() + b"\0"
        if self.family == _AF_PACKET:
            interface, protocol = address[:2]
            index = self.interface_index(interface)
            return struct.pack("<HHiHBB8s", self.family, socket.htons(protocol), index, 0, 0, 0, b"")
        if self.family == _AF_NETLINK:
            return struct.pack("<HHII", self.family, 0, *address)
        raise TypeError(f"no way to write an address of family {self.family}: give its bytes")

    def _unpack(self, data: bytes) -> Any:
        if len(data) < 2:
            return None
        family = struct.unpack_from("<H", data)[0]
        if family == socket.AF_INET:
            return socket.inet_ntop(socket.AF_INET, data[4:8]), struct.unpack_from(">H", data, 2)[0]
        if family == socket.AF_INET6:
            port, flow = struct.unpack_from(">HI", data, 2)
            return socket.inet_ntop(socket.AF_INET6, data[8:24]), port, flow, struct.unpack_from("<I", data, 24)[0]
        if family == socket.AF_UNIX:
            return c_string(data, 2).decode()
        return data

    def interface_index(self, name: str) -> int:
        """The number of a network interface of the box."""
        request = bytearray(name.encode()[:15].ljust(40, b"\0"))
        self._box.syscall("ioctl", self._fd, _SIOCGIFINDEX, request)
        return int(struct.unpack_from("<i", request, 16)[0])
