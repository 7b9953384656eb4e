"""What uses a box so that eBPF programs have something to do: packets, and system calls of each common kind."""

from __future__ import annotations

import os
import struct
from contextlib import suppress

from kobox.box.box import Box
from kobox.box.bpf.bpf_object import BpfObject
from kobox.box.bpf.maps import BpfMap, MapKind
from kobox.box.bpf.programs import BpfLink, BpfProgram

_AF_INET, _SOCK_STREAM, _SOCK_DGRAM = 2, 1, 2
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
# include/uapi/asm-generic/socket.h, linux/tcp.h
_SOL_SOCKET, _SO_REUSEPORT, _SO_RCVTIMEO, _SO_SNDTIMEO = 1, 15, 20, 21
_IPPROTO_TCP, _TCP_CONGESTION = 6, 13
_AT_FDCWD = -100
_PORT = 7777


def _ipv4(protocol: int, payload: bytes) -> bytes:
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
    )
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    checked = head[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
    return _ETHER + b"\x08\x00" + checked + payload


_ETHER = bytes.fromhex("020000000002020000000001")
_IPV6 = struct.pack(">IHBB16s16s", 6 << 28, 8, 17, 64, bytes(15) + b"\1", bytes(15) + b"\1")
# One packet of each kind that filters look at.
PACKETS = {
    "ARP": (_ETHER + bytes.fromhex("0806000108000604000102000000000102030405060708090a0b0c0d0e0f")).ljust(60, b"\0"),
    "TCP SYN to 80": _ipv4(6, struct.pack(">HHIIBBHHH", 40000, 80, 1, 0, 5 << 4, 2, 1024, 0, 0)).ljust(60, b"\0"),
    "UDP to 53": _ipv4(17, struct.pack(">HHHH", 40000, 53, 20, 0) + bytes(12)).ljust(60, b"\0"),
    "ICMP echo": _ipv4(1, struct.pack(">BBHHH", 8, 0, 0xF7FE, 1, 0) + bytes(20)).ljust(60, b"\0"),
    "IPv6 UDP": _ETHER + b"\x86\xdd" + _IPV6 + struct.pack(">HHHH", 40000, 53, 8, 0),
    "14 bytes": _ETHER + b"\x08\x00",
}


class BpfExercise:
    """Uses a box: files, directories, a process, sockets over the loopback, a second of time. What fails is left out.

    `attach_to_socket` gives a program a socket of its own, which `run` sends to; maps of sockets get the two ends of
    a connection while it is used.
    """

    def __init__(self, box: Box) -> None:
        self._box = box
        self._sockets: dict[int, bytes] = {}  # descriptor -> the address that it is bound to
        self._controls = self._congestion_controls()

    def attach_to_socket(self, program: BpfProgram) -> BpfLink:
        """Attach a socket filter, or what chooses among sockets of one port, to a socket for UDP. Raises `OSError`,
        `BpfAttachError`."""
        box, place = self._box, _place(_PORT + 1 + len(self._sockets))
        fd = box.syscall("socket", _AF_INET, _SOCK_DGRAM, 0)
        _patience(box, fd)
        box.syscall("setsockopt", fd, _SOL_SOCKET, _SO_REUSEPORT, struct.pack("<i", 1), 4)
        box.syscall("bind", fd, place, len(place))
        self._sockets[fd] = place
        return program.attach(fd)

    def run(self, loaded: BpfObject) -> None:
        """Do all of it once."""
        steps = (_files, _process, _loopback, _datagram, lambda box: self._stream(box, loaded), self._own_sockets)
        for step in steps:
            with suppress(OSError):
                step(self._box)
        self._box.sleep(1.0)

    def _own_sockets(self, box: Box) -> None:
        for fd, place in self._sockets.items():
            with suppress(OSError):
                box.syscall("sendto", fd, b"kobox", 5, 0, place, len(place))
                box.syscall("recvfrom", fd, bytearray(16), 16, 0, None, None)
            box.syscall("close", fd)
        self._sockets.clear()

    def _stream(self, box: Box, loaded: BpfObject) -> None:
        """A connection, with what the object offers for it: maps of sockets, a congestion control."""
        place = _place(_PORT)
        listener, caller = (box.syscall("socket", _AF_INET, _SOCK_STREAM, 0) for _ in range(2))
        opened = [listener, caller]
        try:
            for fd in opened:
                _patience(box, fd)
            for name in self._congestion_controls() - self._controls:
                box.syscall("setsockopt", caller, _IPPROTO_TCP, _TCP_CONGESTION, name, len(name))
            box.syscall("bind", listener, place, len(place))
            box.syscall("listen", listener, 1)
            box.syscall("connect", caller, place, len(place))
            taken = box.syscall("accept4", listener, None, None, 0)
            opened.append(taken)
            _patience(box, taken)
            for call in ("getsockname", "getpeername"):
                box.syscall(call, caller, bytearray(16), bytearray(struct.pack("<I", 16)))
            for one in loaded.maps.values():
                if one.kind in (MapKind.SOCKMAP, MapKind.SOCKHASH):
                    _fill_sockets(one, (taken, caller))
            for size in (5, 3000):
                box.syscall("write", caller, bytes(size), size)
                box.syscall("read", taken, bytearray(4096), 4096)
        finally:
            for fd in opened:
                box.syscall("close", fd)

    def _congestion_controls(self) -> set[bytes]:
        try:
            return set(self._box.read_bytes("/proc/sys/net/ipv4/tcp_available_congestion_control").split())
        except OSError:
            return set()


def _place(port: int) -> bytes:
    """struct sockaddr_in of the loopback."""
    return struct.pack("<H", _AF_INET) + struct.pack(">H4s8x", port, bytes([127, 0, 0, 1]))


def _patience(box: Box, fd: int) -> None:
    """Let calls on a socket end after half a second: a program may have dropped what they wait for."""
    for option in (_SO_RCVTIMEO, _SO_SNDTIMEO):
        box.syscall("setsockopt", fd, _SOL_SOCKET, option, struct.pack("<qq", 0, 500_000), 16)
    box.syscall("getsockopt", fd, _SOL_SOCKET, _SO_RCVTIMEO, bytearray(16), bytearray(struct.pack("<I", 16)))


def _fill_sockets(one: BpfMap, fds: tuple[int, ...]) -> None:
    for number, fd in enumerate(fds[: one.max_entries]):
        key = number.to_bytes(8, "little")[: one.key_type.size].ljust(one.key_type.size, b"\0")
        with suppress(OSError):
            one[key] = fd.to_bytes(one.value_type.size, "little")


def _files(box: Box) -> None:
    box.syscall("mkdir", "/tmp/kobox-exercise", 0o755)
    fd = box.syscall("open", "/tmp/kobox-exercise/a", os.O_RDWR | os.O_CREAT, 0o644)
    box.syscall("write", fd, b"kobox\n", 6)
    box.syscall("lseek", fd, 0, 0)
    box.syscall("read", fd, bytearray(6), 6)
    box.syscall("fsync", fd)
    box.syscall("close", fd)
    box.syscall("stat", "/tmp/kobox-exercise/a", bytearray(256))
    box.syscall("chmod", "/tmp/kobox-exercise/a", 0o600)
    box.syscall("rename", "/tmp/kobox-exercise/a", "/tmp/kobox-exercise/b")
    box.syscall("unlink", "/tmp/kobox-exercise/b")
    box.syscall("rmdir", "/tmp/kobox-exercise")
    with suppress(OSError):
        box.syscall("open", "/no/such/file", os.O_RDONLY, 0)
    for path in ("/proc/self/status", "/proc/sys/kernel/hostname", "/dev/zero"):
        fd = box.syscall("openat", _AT_FDCWD, path, os.O_RDONLY, 0)
        box.syscall("read", fd, bytearray(64), 64)
        box.syscall("close", fd)
    box.listdir("/proc")
    address = box.syscall("mmap", 0, 8192, 3, 0x22, -1, 0)
    box.syscall("munmap", address, 8192)


def _process(box: Box) -> None:
    """A process that begins, runs a program and ends: the loader, which ends where it is told nothing."""
    box.bpf.run_idle()


def _loopback(box: Box) -> None:
    """The network card "lo", switched on."""
    control = box.syscall("socket", _AF_INET, _SOCK_DGRAM, 0)
    request = bytearray(struct.pack("16sH22x", b"lo", 0))
    box.syscall("ioctl", control, _SIOCGIFFLAGS, request)
    (flags,) = struct.unpack_from("<H", request, 16)
    box.syscall("ioctl", control, _SIOCSIFFLAGS, bytearray(struct.pack("16sH22x", b"lo", flags | _IFF_UP)))
    box.syscall("close", control)


def _datagram(box: Box) -> None:
    place = _place(_PORT)
    fd = box.syscall("socket", _AF_INET, _SOCK_DGRAM, 0)
    _patience(box, fd)
    box.syscall("bind", fd, place, len(place))
    box.syscall("sendto", fd, b"kobox", 5, 0, place, len(place))
    with suppress(BlockingIOError):
        box.syscall("recvfrom", fd, bytearray(16), 16, 0, bytearray(16), bytearray(struct.pack("<I", 16)))
    box.syscall("close", fd)
