"""How fast a box's network cards, wires and disks are: the last table of docs/speed.md.

    python bench/wire.py [--repeat N] [--kernel NAME]

Every figure is the median of N runs: wall time, and the CPU time of this process, which other work on the machine
hardly changes. mkfs.ext4, mkfs.xfs and mkfs.btrfs come from Debian's packages, fetched into the cache.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

import kobox
from kobox.box.box import Box
from tests.debian import EXT4, Programs

MIB = 1 << 20


class Spent(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float


def timed(repeat: int, action: Callable[[], object], prepare: Callable[[], object] = lambda: None) -> Spent:
    """What an action takes: the medians."""
    walls, cpus = [], []
    for _ in range(repeat):
        prepare()
        wall, cpu = time.perf_counter(), time.process_time()
        action()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Spent(statistics.median(walls), statistics.median(cpus))


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def pings(box: Box, host: str, count: int) -> None:
    with box.network.socket(socket.AF_INET, socket.SOCK_RAW, 1) as sock:
        for number in range(count):
            packet = struct.pack(">BBHHH", 8, 0, 0, 7, number) + bytes(56)
            sock.sendto(packet[:2] + struct.pack(">H", checksum(packet)) + packet[4:], (host, 0))
            while sock.recv(200)[20]:
                pass


def stream(first: Box, second: Box, size: int) -> None:
    """One TCP connection between joined boxes."""
    server = second.network.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("10.0.0.2", 80))
    server.listen()
    with second.process() as receiver, first.process() as sender:
        accepting = receiver.start("accept4", server.fileno(), None, None, 0)
        client = first.network.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.connect(("10.0.0.2", 80))
        fd = accepting.result()
        data = bytes(size)
        sender.start("write", client.fileno(), data, size)
        buffer, got = bytearray(1 << 18), 0
        while got < size:
            got += receiver.syscall("read", fd, buffer, len(buffer))
    for box, number in ((second, fd), (first, client.fileno()), (second, server.fileno())):
        box.syscall("close", number)


def network(kernel: str | None, repeat: int) -> dict[str, Spent]:
    arp = bytes.fromhex("ffffffffffff020000000001 0806 0001080006040001 020000000001 0a000001 000000000000 0a000002")
    with kobox.boot(kernel) as first, kobox.boot(kernel) as second:
        rows = {"network card plugged in, after a reset": timed(repeat, lambda: first.network.eth0, first.reset)}
        first.reset()
        card = first.network.eth0
        first.write_bytes("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", b"1")
        card.up("10.0.0.2/24")

        def ask() -> None:
            for _ in range(100):
                card.send(arp)
                assert card.receive()

        rows["100 ARP questions answered"] = timed(repeat, ask)
        first.reset()
        kobox.join(first.network.eth0, second.network.eth0)
        first.network.eth0.up("10.0.0.1/24")
        second.network.eth0.up("10.0.0.2/24")
        pings(first, "10.0.0.2", 5)
        rows["100 ping round trips between two joined boxes"] = timed(repeat, lambda: pings(first, "10.0.0.2", 100))
        rows["1 MB by TCP between two joined boxes"] = timed(repeat, lambda: stream(first, second, MIB))
    return rows | way_out(kernel, repeat)


def way_out(kernel: str | None, repeat: int) -> dict[str, Spent]:
    data = os.urandom(MIB)
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                connection.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    with kobox.boot(kernel, net="user") as box:

        def fetch() -> None:
            with box.network.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
                sock.connect(("10.0.2.2", server.getsockname()[1]))
                got = hashlib.sha256()
                while piece := sock.recv(1 << 17):
                    got.update(piece)
            assert got.digest() == hashlib.sha256(data).digest()

        return {"1 MB by TCP from this machine (net=user)": timed(repeat, fetch)}


def disks(kernel: str | None, repeat: int, scratch: Path) -> dict[str, Spent]:
    programs = Programs(
        *EXT4,
        *("xfsprogs", "libinih1", "liburcu8t64", "libedit2", "libtinfo6", "libbsd0", "libmd0"),
        *("btrfs-progs", "liblzo2-2", "libzstd1", "zlib1g", "libudev1", "libcap2", "libgcrypt20", "libgpg-error0"),
    )
    rows: dict[str, Spent] = {}
    with kobox.boot(kernel) as box:
        for kind in ("ext4", "xfs", "btrfs"):
            image = scratch / f"{kind}.img"
            with image.open("wb") as file:
                file.truncate(512 * MIB)
            programs.run(f"mkfs.{kind}", "-q", image)

        def plug(kind: str) -> None:
            box.reset()
            box.disks.attach(scratch / f"{kind}.img")

        rows["disk attached, after a reset"] = timed(repeat, lambda: box.disks.attach(scratch / "ext4.img"), box.reset)
        for kind in ("ext4", "xfs", "btrfs"):
            mount = timed(
                repeat, lambda kind=kind: box.files.mount("/dev/vda", "/mnt", kind), lambda kind=kind: plug(kind)
            )  # type: ignore[misc]
            rows[f"{kind} mounted, its modules loaded"] = mount
        plug("ext4")
        box.files.mount("/dev/vda", "/mnt", "ext4")
        data = os.urandom(16 * MIB)

        def write() -> None:
            box.write_bytes("/mnt/file", data)
            box.syscall("sync")

        def read() -> None:
            with box.open("/mnt/file", "rb") as file:
                while file.read(1 << 19):
                    pass

        rows["16 MB written to ext4 and synced"] = timed(repeat, write)
        drop = lambda: box.write_bytes("/proc/sys/vm/drop_caches", b"3")  # noqa: E731
        rows["16 MB read from ext4, nothing cached"] = timed(repeat, read, drop)
        with box.open("/dev/vda", "rb") as raw:
            rows["256 reads of 4 KiB each, of the disk itself"] = timed(repeat, lambda: _reads(box, raw.fileno()), drop)
    return rows


def _reads(box: Box, fd: int) -> None:
    buffer = bytearray(4096)
    for number in range(256):
        box.syscall("pread64", fd, buffer, 4096, (number * 37 % 4096 + 8192) << 12)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--kernel")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = network(arguments.kernel, arguments.repeat) | disks(arguments.kernel, arguments.repeat, Path(name))
    for what, spent in rows.items():
        print(f"{what:48} {spent.wall * 1000:9.1f} ms {spent.cpu * 1000:9.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
