"""What uses a box so that eBPF programs have something to do: packets, and system calls of each common kind."""

from __future__ import annotations

import os
import struct
from contextlib import suppress

from kobox.box.box import Box

_AF_INET, _SOCK_STREAM, _SOCK_DGRAM = 2, 1, 2
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
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


def use_box(box: Box) -> None:
    """Files, directories, a process, sockets over the loopback, a second of time; what fails is left out."""
    for step in (_files, _process, _sockets):
        with suppress(OSError):
            step(box)
    box.sleep(1.0)


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
    box.read_bytes("/proc/self/status")
    box.listdir("/proc")
    address = box.syscall("mmap", 0, 8192, 3, 0x22, -1, 0)
    box.syscall("munmap", address, 8192)


def _process(box: Box) -> None:
    """A process that begins, runs a program and ends: the loader, which ends where it is told nothing."""
    box.bpf.run_idle()


def _sockets(box: Box) -> None:
    control = box.syscall("socket", _AF_INET, _SOCK_DGRAM, 0)
    request = bytearray(struct.pack("16sH22x", b"lo", 0))
    box.syscall("ioctl", control, _SIOCGIFFLAGS, request)
    (flags,) = struct.unpack_from("<H", request, 16)
    box.syscall("ioctl", control, _SIOCSIFFLAGS, bytearray(struct.pack("16sH22x", b"lo", flags | _IFF_UP)))
    place = struct.pack(">HH4s8x", _AF_INET << 8, _PORT, bytes([127, 0, 0, 1]))
    box.syscall("bind", control, place, len(place))
    box.syscall("sendto", control, b"kobox", 5, 0, place, len(place))
    box.syscall("recvfrom", control, bytearray(16), 16, 0, None, None)
    box.syscall("close", control)
    listener = box.syscall("socket", _AF_INET, _SOCK_STREAM, 0)
    box.syscall("bind", listener, place, len(place))
    box.syscall("listen", listener, 1)
    caller = box.syscall("socket", _AF_INET, _SOCK_STREAM, 0)
    box.syscall("connect", caller, place, len(place))
    taken = box.syscall("accept4", listener, None, None, 0)
    box.syscall("write", caller, b"kobox", 5)
    box.syscall("read", taken, bytearray(16), 16)
    for fd in (caller, taken, listener):
        box.syscall("close", fd)
