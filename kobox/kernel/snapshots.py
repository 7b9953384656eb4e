"""Snapshots on disk: a booted box as files, resumed by mapping them.

    KERNEL/snapshots/KEY/ram       RAM as it was, zero pages as holes; mapped copy-on-write by every box
    KERNEL/snapshots/KEY/state     CPU and devices, as `Machine.save_state` gives them
    KERNEL/snapshots/KEY/about     JSON: sums of the two, sizes, and what the box must remember (PIDs, vmcoreinfo …)

KEY is a digest of everything that shapes a snapshot: the kernel's bytes, its command line, the memory size, the
native core, libunicorn, this format. A snapshot is written beside its place and renamed, so there is never
half of one; when read it is checked against its sums, and one that fails is removed and made again.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import json
import mmap
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kobox.errors import KoboxError, SnapshotError
from kobox.kernel import guest
from kobox.machine.native import core, unicorn_library
from kobox.machine.pc import PAGE, Machine

FORMAT = 2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An opened snapshot: `fd` is its RAM file, to be closed by whoever opened it."""

    fd: int
    memory: int
    state: bytes
    about: dict[str, Any]


def key(kernel_digest: str, command_line: str, memory: int) -> str:
    """The name of the snapshot of a kernel booted so."""
    parts = [str(FORMAT), kernel_digest, command_line, str(memory), hashlib.sha256(guest.root_archive()).hexdigest()]
    for library in (unicorn_library(), core()._name):
        found = os.stat(library)
        parts.append(f"{found.st_size} {found.st_mtime_ns}")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def load(place: Path) -> Snapshot | None:
    """Open and check a snapshot; None when there is none. Raises `SnapshotError` when it is damaged."""
    try:
        about = json.loads((place / "about").read_bytes())
        state = (place / "state").read_bytes()
        fd = os.open(place / "ram", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        if place.exists():
            raise SnapshotError(f"{place}: a file of the snapshot is missing") from None
        return None
    except ValueError as error:
        raise SnapshotError(f"{place}/about: {error}") from error
    try:
        if about["format"] != FORMAT or hashlib.sha256(state).hexdigest() != about["state_sum"]:
            raise SnapshotError(f"{place}/state: the check sum is wrong")
        if os.fstat(fd).st_size != about["memory"] or _sum_of(fd, about["used"]) != about["ram_sum"]:
            raise SnapshotError(f"{place}/ram: the check sum is wrong")
    except (KeyError, TypeError) as error:
        os.close(fd)
        raise SnapshotError(f"{place}/about: lacks {error}") from error
    except BaseException:
        os.close(fd)
        raise
    return Snapshot(fd, about["memory"], state, about["box"])


def save(place: Path, machine: Machine, box: dict[str, Any]) -> None:
    """Write a snapshot of a machine, all of it or nothing. Raises `KoboxError` when there is no room."""
    made = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        made.mkdir(parents=True)
        with (made / "ram").open("w+b") as ram:
            used = _runs(machine.save_ram(ram.fileno(), 0))
            os.fsync(ram.fileno())
            ram_sum = _sum_of(ram.fileno(), used)
        state = machine.save_state()
        _write(made / "state", state)
        about = {
            "format": FORMAT,
            "memory": machine.ram_size,
            "state_sum": hashlib.sha256(state).hexdigest(),
            "ram_sum": ram_sum,
            "used": used,
            "box": box,
        }
        _write(made / "about", json.dumps(about).encode())
        if place.exists():
            shutil.rmtree(place)
        made.rename(place)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        raise _unwritable(place, error) from error
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


@contextlib.contextmanager
def lock(place: Path) -> Iterator[None]:
    """Keep others from making the same snapshot; they wait. Goes away with the process, however that ends."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        file = (place.parent / f".{place.name}.lock").open("w")
    except OSError as error:
        raise _unwritable(place, error) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _sweep(place)
        yield


def _unwritable(place: Path, error: OSError) -> KoboxError:
    return KoboxError(
        f"{place}: the snapshot cannot be written: {error.strerror}",
        hint="Make room there, or set XDG_CACHE_HOME to a place that has some.",
    )


def _sweep(place: Path) -> None:
    """Remove what a killed run left behind (we hold the lock: nobody is writing)."""
    for left in place.parent.glob(f".{place.name}.[0-9]*"):
        shutil.rmtree(left, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _runs(used: bytes) -> list[list[int]]:
    """[first page, pages] of each run of pages that hold data."""
    runs, at = [], used.find(1)
    while at >= 0:
        end = used.find(0, at)
        end = len(used) if end < 0 else end
        runs.append([at, end - at])
        at = used.find(1, end)
    return runs


def _sum_of(fd: int, used: list[list[int]]) -> int:
    """The sum over all pages that hold data. The view is dropped again: it does not count as the box's memory."""
    size = os.fstat(fd).st_size
    with mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as view:
        start = ctypes.c_ubyte.from_buffer(view)
        total, base = 0, ctypes.addressof(start)
        for first, pages in used:
            if (first + pages) * PAGE > size:
                return -1
            total = (total * 31 + core().kobox_sum(base + first * PAGE, pages * PAGE)) & 0xFFFFFFFFFFFFFFFF
        del start
    return total
