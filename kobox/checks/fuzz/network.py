"""Programs for network interfaces, packets, and families of netlink."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from kobox.checks.fuzz.ethtool import ethtool_programs
from kobox.checks.fuzz.program import ExerciseStep, Program, step

_SOCKET = step("socket", 2, 2, 0)  # AF_INET, SOCK_DGRAM
_BROADCAST = b"\xff" * 6
_SOURCE = b"\2kobox"
_LOADS = (
    *(bytes(range(1, size + 1)) for size in (0, 1, 4, 8, 20, 64, 200)),
    *(bytes((byte,)) * 64 for byte in (0, 1, 0x10, 0x45, 0xFF)),
    bytes(1400),
)
"""What frames and packets of the module's own types hold."""


def interface_programs(name: str, index: int) -> Iterator[Program]:
    """Programs that use a network interface: up with an address, packets out, its settings at their bounds, and
    down."""

    def asked(request: int, content: bytes) -> ExerciseStep:
        return step("ioctl", request, name.encode().ljust(16, b"\0") + content.ljust(24, b"\0"))

    address = struct.pack("<HH4s", 2, 0, bytes((10, 99, 7, 1)))
    peer = struct.pack("<H2s4s8x", 2, b"\0\x09", bytes((10, 99, 7, 2)))
    up, down = asked(0x8914, struct.pack("<H", 1)), asked(0x8914, b"")  # SIOCSIFFLAGS
    begin = (_SOCKET, asked(0x8916, address), up)  # SIOCSIFADDR
    yield (_SOCKET, up, down, up, down)
    yield (
        *begin,
        *(step("sendto", bytes(size), peer) for size in (1, 64, 1400, 9000)),
        step("sleep", 5.0),
        down,
    )
    yield (*begin, *frames(index), step("sleep", 1.0), down)
    for mtu in (68, 1500, 9000, 65536, -1):  # SIOCSIFMTU
        yield (*begin, asked(0x8922, struct.pack("<i", mtu)), step("sendto", bytes(1000), peer), down)
    yield (*begin, down, asked(0x8924, struct.pack("<H6s", 1, b"\2kobox")), up, step("sendto", b"x", peer), down)
    yield (
        *begin,
        *(asked(request, bytes(24)) for request in (0x8913, 0x8915, 0x8921, 0x8927, 0x8942, 0x8947, 0x8948, 0x8970)),
        down,
    )
    yield (
        *begin,
        asked(0x8914, struct.pack("<H", 0x1101)),
        step("sendto", b"x", peer),
        down,
    )  # promiscuous, multicast
    yield (*begin, *(asked(request, b"\xff" * 24) for request in range(0x89F0, 0x8A00)), down)  # SIOCDEVPRIVATE
    yield from ethtool_programs(name, begin, (down,))


def frames(index: int) -> Iterator[ExerciseStep]:
    """Ethernet frames of all kinds and lengths, sent as they are (packet(7)) through the interface with this index."""
    yield step("socket", 17, 3, 0, slot=1)  # AF_PACKET, SOCK_RAW
    for kind, payload in (
        (0x0800, _ipv4(17, _udp(b"kobox"))),
        (0x0800, _ipv4(6, bytes(20))),
        (0x0800, _ipv4(1, b"\x08\0\0\0" + bytes(60))),
        (0x0800, b"\x45"),
        (0x0800, _ipv4(17, b"\0")),
        (0x0800, _ipv4(17, _udp(b"A" * 1000), flags=0x2000)),
        (0x0800, b"\x4f" + _ipv4(17, b"")[1:]),
        (0x86DD, b"\x60" + bytes(60)),
        (0x0806, bytes(28)),
        (0x8100, b"\0\1\x08\0" + _ipv4(17, _udp(b"vlan"))),
        (0x88B5, b""),
        (0x88B5, bytes(1400)),
    ):
        yield step("sendto", _frame(kind, payload), _link(index, kind), slot=1)


def _frame(kind: int, payload: bytes) -> bytes:
    return _BROADCAST + _SOURCE + struct.pack(">H", kind) + payload


def packet_programs(types: Sequence[int] = (), protocols: Sequence[int] = ()) -> Iterator[Program]:
    """Packets through the loopback interface, for what hooks into the stack: good, empty, short and in fragments.
    First those of the types of Ethernet frames (<linux/if_ether.h>) and the protocols of IP that the module takes."""
    up = step("ioctl", 0x8914, b"lo".ljust(16, b"\0") + struct.pack("<H", 1).ljust(24, b"\0"))
    here = [struct.pack(">H4s8x", port, bytes((127, 0, 0, 1))) for port in (9, 53, 80)]
    peers = [b"\2\0" + one for one in here]
    for kind in types:
        sent = (step("sendto", _frame(kind, load), _link(1, kind), slot=1) for load in _LOADS)
        yield (_SOCKET, up, step("socket", 17, 3, 0, slot=1), *sent, step("sleep", 0.1))
    for protocol in protocols:
        sent = (step("sendto", _ipv4(protocol, load), peers[0], slot=1) for load in _LOADS)
        yield (_SOCKET, up, step("socket", 2, 3, 255, slot=1), *sent, step("sleep", 0.1))
    yield (
        _SOCKET,
        up,
        *(step("sendto", b"k" * size, peer) for peer in peers for size in (0, 1, 8, 64, 1400, 9000)),
        step("sleep", 0.1),
    )
    for protocol, payload in (
        (1, b"\x08\0\0\0" + bytes(8)),
        (17, b""),
        (17, b"\0"),
        (6, bytes(20)),
        (6, b"\0"),
        (255, b""),
    ):
        yield (
            _SOCKET,
            up,
            step("socket", 2, 3, 255, slot=1),  # AF_INET, SOCK_RAW, IPPROTO_RAW: with a header of its own
            step("sendto", _ipv4(protocol, payload), peers[0], slot=1),
            step("sendto", _ipv4(protocol, payload, flags=0x2000), peers[0], slot=1),
            step("sendto", _ipv4(protocol, payload, flags=0x0003), peers[0], slot=1),
            step("sleep", 0.1),
        )
    yield (_SOCKET, up, step("socket", 2, 1, 0, slot=1), step("connect", peers[2], slot=1), step("sleep", 0.1))
    # Of TCP only the headers lie where the packet begins, of a large datagram as well: the rest is in pages.
    listens = (
        step("socket", 2, 1, 0, slot=1),
        step("use", "bind", peers[0], 16, slot=1),
        step("use", "listen", 1, slot=1),
    )
    sends = (step("socket", 2, 1, 0, slot=2), step("connect", peers[0], slot=2))
    yield (
        _SOCKET,
        up,
        *listens,
        *sends,
        *(step("write", b"k" * n, slot=2) for n in (1, 100, 3000)),
        step("sleep", 0.1),
    )
    yield (_SOCKET, up, step("sendto", b"k" * 40000, peers[0]), step("sleep", 0.1))
    yield (_SOCKET, up, *frames(1), step("sleep", 0.1))


def netlink_programs(protocol: int, kind: int) -> Iterator[Program]:
    """Messages for a protocol of netlink(7), or (`kind` above 0) for a family of its generic one: commands without
    attributes, with numbers, texts and nested ones, and cut off."""
    attributes = (
        b"",
        *(_attributes(number, value) for number in range(1, 9) for value in _VALUES),
        b"".join(_attributes(number, b"\1\0\0\0") for number in range(1, 9)),
        b"".join(_attributes(number, b"A" * 300 + b"\0") for number in range(1, 9)),
        b"\xff\xff\1\0",
        b"\3\0\1\0",
    )
    for command in range(1, 9) if kind else (0,):
        head = struct.pack("<BBH", command, 1, 0) if kind else b""
        for flags in (0x5, 0x305):  # NLM_F_REQUEST | NLM_F_ACK, and NLM_F_DUMP
            yield (
                step("socket", 16, 3, protocol),
                *(
                    step("sendto", _message(kind or 0x10, flags, head + part), struct.pack("<HHII", 16, 0, 0, 0))
                    for part in (attributes if flags == 0x5 else attributes[:2])
                ),
                step("recv", 4096),
            )
    yield (
        step("socket", 16, 3, protocol),
        *(step("sendto", b"A" * n, struct.pack("<HHII", 16, 0, 0, 0)) for n in (1, 8, 16, 64)),
    )


_VALUES = (
    *(b"A" * size + b"\0" for size in (15, 31, 62, 126, 254)),
    b"\0\0\0\0",
    b"\1\0\0\0",
    b"\xff\xff\xff\xff",
    b"\1",
    b"kobox\0",
    b"A" * 64,
    b"",
    b"\1\0\0\0\0\0\0\0",
)


def _attributes(kind: int, value: bytes) -> bytes:
    return struct.pack("<HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _message(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack("<IHHII", 16 + len(payload), kind, flags, 1, 0) + payload


def _link(index: int, kind: int) -> bytes:
    return (
        struct.pack("<H", 17) + struct.pack(">H", kind) + struct.pack("<iHBB8s", index, 1, 0, 6, _BROADCAST + b"\0\0")
    )


def _udp(payload: bytes) -> bytes:
    return struct.pack(">HHHH", 4660, 9, 8 + len(payload), 0) + payload


def _ipv4(protocol: int, payload: bytes, *, flags: int = 0) -> bytes:
    head = struct.pack(
        ">BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(payload),
        1,
        flags,
        64,
        protocol,
        0,
        bytes((127, 0, 0, 1)),
        bytes((127, 0, 0, 1)),
    )
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + head[12:] + payload
