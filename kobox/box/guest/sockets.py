"""Sockets of a box: the kernel's own, with `socket.socket`'s names for what can be done with them.

Addresses are written as Python writes them: (host, port), a path, (interface, protocol) for packets; hosts as
numbers only.
"""

from __future__ import annotations

import socket
import struct
from typing import TypeAlias, overload

from kobox.box.booted import BootedKernel
from kobox.box.guest.syscall import Argument, PendingCall
from kobox.ko.binary import c_string

# As Python's own sockets have it: (host, port), (host, port, flow, scope), a path, (interface, protocol) for packets,
# (port, groups) for netlink; the bytes of a struct sockaddr for any other family.
Address: TypeAlias = "tuple[str, int] | tuple[str, int, int, int] | tuple[int, int] | str | bytes"

_SIOCGIFINDEX = 0x8933
_AF_PACKET, _AF_NETLINK = 17, 16


_TIMEOUTS_64 = (66, 67)  # SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW (include/uapi/asm-generic/socket.h)


class BoxSocket:
    """A socket inside a box: frames and datagrams sent through it never leave the box's kernel."""

    def __init__(self, box: BootedKernel, family: int, kind: int, protocol: int = 0, *, fd: int | None = None) -> None:
        self._box = box
        self.family = int(family)
        self.type = int(kind)
        self._fd = box.syscall("socket", family, kind, protocol) if fd is None else fd
        self._timeout: float | None = None

    def fileno(self) -> int:
        """The descriptor in the box, -1 once closed."""
        return self._fd

    def bind(self, address: Address) -> None:
        """bind(2)."""
        packed = self._pack(address)
        self._box.syscall("bind", self._fd, packed, len(packed))

    def connect(self, address: Address) -> None:
        """connect(2)."""
        packed = self._pack(address)
        self._call("connect", packed, len(packed))

    def listen(self, backlog: int = 8) -> None:
        """listen(2)."""
        self._box.syscall("listen", self._fd, backlog)

    def accept(self) -> tuple[BoxSocket, Address | None]:
        """accept(2): the connection, and the other end's address."""
        address, size = bytearray(128), bytearray(struct.pack("<I", 128))
        fd = self._call("accept4", address, size, 0)
        peer = BoxSocket(self._box, self.family, self.type, fd=fd)
        return peer, self._unpack(bytes(address[: struct.unpack("<I", size)[0]]))

    def send(self, data: bytes, flags: int = 0) -> int:
        """send(2): the number of bytes."""
        return self._call("sendto", data, len(data), flags, 0, 0)

    def sendall(self, data: bytes, flags: int = 0) -> None:
        """Send all of it."""
        while data:
            data = data[self.send(data, flags) :]

    def sendto(self, data: bytes, address: Address, flags: int = 0) -> int:
        """sendto(2): the number of bytes."""
        packed = self._pack(address)
        return self._call("sendto", data, len(data), flags, packed, len(packed))

    def recv(self, size: int, flags: int = 0) -> bytes:
        """recv(2): up to `size` bytes; b"" at the end."""
        return self.recvfrom(size, flags)[0]

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Address | None]:
        """recvfrom(2): up to `size` bytes, and the sender's address."""
        data, address, length = bytearray(size), bytearray(128), bytearray(struct.pack("<I", 128))
        count = self._call("recvfrom", data, size, flags, address, length)
        return bytes(data[:count]), self._unpack(bytes(address[: struct.unpack("<I", length)[0]]))

    def start_recv(self, size: int, flags: int = 0) -> tuple[PendingCall, bytearray]:
        """Begin to receive in a process of its own: the call under way, and the buffer it fills."""
        buffer = bytearray(size)
        return self._box.process().start("recvfrom", self._fd, buffer, size, flags, 0, 0), buffer

    def _call(self, name: str, *arguments: Argument) -> int:
        """A call that may wait. SO_RCVTIMEO and SO_SNDTIMEO end it with EAGAIN, connect(2) with EINPROGRESS."""
        try:
            return self._box.syscall(name, self._fd, *arguments)
        except BlockingIOError:
            if self._timeout:
                raise TimeoutError(f"{name}: timed out after {self._timeout:g} s of virtual time") from None
            raise

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """setsockopt(2)."""
        data = struct.pack("<i", value) if isinstance(value, int) else value
        self._box.syscall("setsockopt", self._fd, level, option, data, len(data))

    @overload
    def getsockopt(self, level: int, option: int) -> int: ...
    @overload
    def getsockopt(self, level: int, option: int, size: int) -> bytes: ...
    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        """getsockopt(2): the option's number, or, with a `size`, its bytes."""
        data, length = bytearray(size or 4), bytearray(struct.pack("<I", size or 4))
        self._box.syscall("getsockopt", self._fd, level, option, data, length)
        value = bytes(data[: struct.unpack("<I", length)[0]])
        return value if size else int(struct.unpack("<i", value)[0])

    def getsockname(self) -> Address | None:
        """getsockname(2)."""
        data, length = bytearray(128), bytearray(struct.pack("<I", 128))
        self._box.syscall("getsockname", self._fd, data, length)
        return self._unpack(bytes(data[: struct.unpack("<I", length)[0]]))

    def settimeout(self, seconds: float | None) -> None:
        """Virtual seconds that a call may wait, after which it raises `TimeoutError`; None: without limit; 0: it raises
        `BlockingIOError` at once."""
        self._timeout = seconds
        value = struct.pack("<qq", int(seconds or 0), int((seconds or 0) % 1 * 1e6) or (seconds == 0))
        for option in _TIMEOUTS_64 if self._box.arch.addresses.word == 4 else (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.setsockopt(socket.SOL_SOCKET, option, value)

    def shutdown(self, how: int = socket.SHUT_RDWR) -> None:
        """shutdown(2)."""
        self._box.syscall("shutdown", self._fd, how)

    @overload
    def ioctl(self, request: int, argument: bytes) -> bytes: ...
    @overload
    def ioctl(self, request: int, argument: int | bytearray | memoryview) -> int: ...
    def ioctl(self, request: int, argument: int | bytes | bytearray | memoryview) -> int | bytes:
        """As `BoxFile.ioctl`."""
        if isinstance(argument, bytes):
            data = bytearray(argument)
            self._box.syscall("ioctl", self._fd, request, data)
            return bytes(data)
        return self._box.syscall("ioctl", self._fd, request, argument)

    def close(self) -> None:
        """Close it; a second time nothing happens."""
        if self._fd >= 0 and self._box.alive:
            self._box.syscall("close", self._fd)
        self._fd = -1

    def __enter__(self) -> BoxSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- addresses -------------------------------------------------------------------------------------------

    def _pack(self, address: Address) -> bytes:
        family = self.family
        if isinstance(address, bytes):
            return address
        if family == socket.AF_UNIX:
            return struct.pack("<H", family) + str(address).encode() + b"\0"
        if not isinstance(address, tuple):
            raise TypeError(f"no address of family {family}: {address!r}")
        where, number = address[0], int(address[1])
        if family == socket.AF_INET:
            packed = socket.inet_pton(socket.AF_INET, str(where))
            return struct.pack("<HH", family, socket.htons(number)) + packed + bytes(8)
        if family == socket.AF_INET6:
            scope = address[3] if len(address) > 3 else 0
            packed = socket.inet_pton(socket.AF_INET6, str(where))
            return struct.pack("<HHI", family, socket.htons(number), 0) + packed + struct.pack("<I", scope)
        if family == _AF_PACKET:
            index = self.interface_index(str(where))
            return struct.pack("<HHiHBB8s", family, socket.htons(number), index, 0, 0, 0, b"")
        if family == _AF_NETLINK:
            return struct.pack("<HHII", family, 0, int(where), number)
        raise TypeError(f"no way to write an address of family {family}: give its bytes")

    def _unpack(self, data: bytes) -> Address | None:
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
