"""What `kobox monitor` takes of a machine: 1,000 modules, and 1,000 events a second: the table of docs/monitor.md.

    python bench/monitor.py [--modules N] [--rate N] [--seconds N]

A process of its own plays the kernel: it rewrites a copy of /proc/modules in a tmpfs, sends uevents for each module
that comes or goes, and log lines as /dev/kmsg has them, so many a second. The monitor is the one that `kobox monitor
--listen --history` runs: looks, parameters, causes of refusals, SQLite, metrics that are asked for each second. Counted
is the CPU time of its process, its largest resident size, and whether it has seen each module that came or went.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from kobox.kernel.host import Host
from kobox.monitor import History, ModuleMonitor
from kobox.monitor.log_source import CommandLog
from kobox.monitor.server import MonitorServer
from kobox.monitor.uevents import UeventSource

REFUSED = "6,{0},{1},-;m{2}: version magic '6.1.0-1-amd64 SMP mod_unload ' should be '6.1.0-56-amd64 SMP mod_unload '\n"
PLAIN = "6,{0},{1},-;eth0: link is up\n"


class TreeKernel(Host):
    """A kernel whose /proc and /sys are a directory."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)

    def read_bytes(self, path: str) -> bytes:
        """As `Host`."""
        return super().read_bytes(self._root + path)

    def listdir(self, path: str) -> list[str]:
        """As `Host`."""
        return super().listdir(self._root + path)

    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        """As `Host`."""
        return super().stat(self._root + path, follow_symlinks=follow_symlinks)


class SentUevents(UeventSource):
    """Uevents from a socket."""

    def __init__(self, source: socket.socket) -> None:
        self.problem = ""
        source.setblocking(False)
        self._socket = source


def make_tree(root: Path, modules: int) -> None:
    """The files of so many modules, with two parameters each."""
    (root / "proc/sys/kernel").mkdir(parents=True)
    (root / "proc/sys/kernel/tainted").write_text("0\n")
    for number in range(modules):
        folder = root / f"sys/module/module_{number}"
        (folder / "parameters").mkdir(parents=True)
        for name, value in (("version", "1.0"), ("srcversion", f"{number:024X}"), ("initstate", "live")):
            (folder / name).write_text(f"{value}\n")
        for name in ("debug", "timeout"):
            (folder / "parameters" / name).write_text("0\n")
    write_modules(root, modules, 0)


def write_modules(root: Path, modules: int, without: int) -> None:
    """/proc/modules, without some of them."""
    lines = [
        f"module_{number} {16384 + 4096 * (number % 9)} {number % 3} - Live 0xffffffffc0{number:06x}\n"
        for number in range(without, modules)
    ]
    new = root / "proc/modules.new"
    new.write_text("".join(lines))
    new.rename(root / "proc/modules")


def play(root: Path, modules: int, rate: int, uevents: socket.socket, log: str, sent: mmap.mmap) -> None:
    """Be the kernel: a quarter of the events are modules that come or go, half of the rest refusals."""
    turn, gone, sequence = 0.1, 0, 0
    each = max(int(rate * turn), 1) if rate else 0
    with open(log, "wb", buffering=0) as lines:
        end = time.monotonic()
        while True:
            end += turn
            moved = each // 4
            if each:
                action, gone = ("add", 0) if gone else ("remove", moved)
                write_modules(root, modules, gone)
                for number in range(moved):
                    name = f"/module/module_{number}"
                    uevents.send(f"{action}@{name}\0ACTION={action}\0DEVPATH={name}\0SUBSYSTEM=module\0".encode())
                text = ""
                for number in range(each - moved):
                    sequence += 1
                    text += (REFUSED if number % 2 else PLAIN).format(sequence, 1000 * sequence, sequence % 50)
                lines.write(text.encode())
                moves, told = struct.unpack("QQ", sent[:16])
                sent[:16] = struct.pack("QQ", moves + moved, told + each)
            time.sleep(max(end - time.monotonic(), 0))


def measure(modules: int, rate: int, seconds: float) -> dict[str, float]:
    """CPU (percent of a core), largest resident size (MiB), events that were told in a second."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        root = Path(directory)
        make_tree(root, modules)
        os.mkfifo(root / "kmsg")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_SNDBUFFORCE", 32), 8 << 20)
        sent = mmap.mmap(-1, 4096)
        kernel = os.fork()
        if not kernel:
            play(root, modules, rate, theirs, str(root / "kmsg"), sent)
        history = History(root / "history.db", "bench")
        log = CommandLog(["cat", str(root / "kmsg")], 0)
        monitor = ModuleMonitor(TreeKernel(root), log, SentUevents(ours), history)
        watching = threading.Thread(target=monitor.watch, args=(lambda events: None, 2.0))
        with MonitorServer(monitor, history=history) as server:
            watching.start()
            time.sleep(3)
            first = struct.unpack("QQ", sent[:16])
            before, end = os.times(), time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(1)
                urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics").read()
            after = os.times()
            last = struct.unpack("QQ", sent[:16])
            os.kill(kernel, signal.SIGKILL)
            os.waitpid(kernel, 0)
            moved = struct.unpack("QQ", sent[:16])[0]
            monitor.stop()
            watching.join()
            monitor.poll()
            told = sum(n for (kind, _, _), n in monitor.counts.items() if kind in ("loaded", "unloaded"))
        log.close()
        history.close()
    return {
        "modules": modules,
        "rate": rate,
        "cpu_percent": round(100 * (after.user + after.system - before.user - before.system) / seconds, 2),
        "resident_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "events_a_second": round((last[1] - first[1]) / seconds, 1),
        "moves": moved,
        "moves_seen": told,
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modules", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=1000, help="events a second")
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.modules, arguments.rate, arguments.seconds)))


if __name__ == "__main__":
    main()
