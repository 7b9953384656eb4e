"""Snapshots on disk: a booted box as files, resumed by mapping them.

    KERNEL/snapshots/KEY/ram       RAM as it was, zero pages as holes; mapped copy-on-write by every box
    KERNEL/snapshots/KEY/state     CPU and devices, as `Machine.save_state` gives them
    KERNEL/snapshots/KEY/about     JSON: sums of all, sizes, and what the box must remember (PIDs, vmcoreinfo …)
    KERNEL/snapshots/KEY/symbols   the kernel's symbols and types as they were when it had booted (`Symbols.tables`):
    KERNEL/snapshots/KEY/btf       a module that changes them in memory changes them for its own box only

KEY is a digest of everything that shapes a snapshot: the kernel's bytes, its command line, the memory size, how many
CPUs, the native core, libunicorn, this format. A snapshot is written beside its place and renamed, so there is never
half of one; when read it is checked against its sums, and one that fails is removed and made again.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kobox.arch.arch import Arch
from kobox.atomic_file import errors_name
from kobox.box.boot import init_program as guest
from kobox.errors import KoboxError, SnapshotError
from kobox.images.ownership import check_ownership
from kobox.json_text import parse_json
from kobox.machine import acpi
from kobox.machine.native_core import core, core_of, unicorn_library
from kobox.machine.pc import PAGE, Machine

FORMAT = 29  # of the files, and of what a box must find set up when it resumes

# A snapshot that nobody has used for so long goes: other command lines, other versions of kobox. Sooner, the least
# recently used first, when those of a kernel take more than their room; but never one that was in use just now.
_KEPT, _KEPT_AT_LEAST = 14 * 86400, 3600
_ROOM = 4 << 30


class Snapshot(NamedTuple):
    """An opened snapshot: `fd` is its RAM file, to be closed by whoever opened it.

    Its RAM is being summed up while the machine is made; `is_whole()` waits for that, and for nothing else.
    """

    fd: int
    memory: int
    cpus: int
    state: bytes
    about: dict[str, Any]
    is_whole: Callable[[], bool]


def key(arch: Arch, kernel_digest: str, command_line: str, memory: int, cpus: int = 1) -> str:
    """The name of the snapshot of a kernel booted so."""
    parts = [str(FORMAT), kernel_digest, command_line, str(memory), arch.name, guest.init_elf(arch).hex()]
    unicorn = os.stat(unicorn_library())  # 20 MB: its size and age say enough
    parts += [acpi.tables(cpus).hex(), str(cpus)]
    parts += [f"{unicorn.st_size} {unicorn.st_mtime_ns}", str(_sum_bytes(Path(core_of(arch.name)._name).read_bytes()))]
    return f"{kernel_digest[:16]}-{_sum_bytes(chr(0).join(parts).encode()):016x}"


def load(place: Path) -> Snapshot | None:
    """Open a snapshot; None when there is none. Raises `SnapshotError` when it is seen to be damaged (see
    `is_whole`), `KoboxError` when somebody else can write to it."""
    parts = open_parts(place)
    if parts is None:
        return None
    about, state, fd = parts
    try:
        if about["format"] != FORMAT or _sum_bytes(state) != about["state_sum"]:
            raise SnapshotError(f"{place}/state: the check sum is wrong")
        if os.fstat(fd).st_size != about["memory"]:
            raise SnapshotError(f"{place}/ram: the size is wrong")
        if not (isinstance(about["cpus"], int) and isinstance(about["used"], list)):
            raise TypeError("numbers that are some")
        box = about["box"]
        if _sum_bytes(json.dumps(box).encode()) != about["box_sum"]:
            raise SnapshotError(f"{place}/about: the check sum is wrong")
        is_whole = _begin_sum(os.dup(fd), about["used"], about["ram_sum"])
    except (KeyError, TypeError) as error:
        os.close(fd)
        raise SnapshotError(f"{place}/about: lacks {error}") from error
    except BaseException:
        os.close(fd)
        raise
    with contextlib.suppress(OSError):
        os.utime(place)  # it is in use: `_sweep` leaves it alone
    return Snapshot(fd, about["memory"], about["cpus"], state, box, is_whole)


def open_parts(place: Path) -> tuple[Any, bytes, int] | None:
    """What `about` holds, the state, and the RAM file, open; None when there is no snapshot. Nothing is believed yet.

    Raises `SnapshotError` when a part is missing or no JSON, `KoboxError` when somebody else can write to it.
    """
    check_ownership(place.parent, place, *(place / name for name in ("about", "state", "ram")))
    try:
        about = parse_json((place / "about").read_bytes())
        state = (place / "state").read_bytes()
        return about, state, os.open(place / "ram", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        if place.exists():
            raise SnapshotError(f"{place}: a file of the snapshot is missing") from None
        return None
    except ValueError as error:
        raise SnapshotError(f"{place}/about: {error}") from error


def save(place: Path, machine: Machine, box: dict[str, Any], tables: Mapping[str, bytes]) -> None:
    """Write a snapshot of a machine, all of it or nothing; `tables` are its kernel's own.

    Raises `KoboxError` when there is no room, and for a machine with network cards or disks, whose other ends no file
    holds.
    """
    import shutil

    if machine.devices.slots or machine.pci.functions:
        raise KoboxError(
            "a box with devices (network cards, disks, PCI cards) cannot be kept as a snapshot",
            hint="Take them out first: `card.remove()`, `disk.detach()`.",
        )
    made = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        made.mkdir(parents=True)
        with errors_name(made / "ram"), (made / "ram").open("w+b") as ram:
            used = _runs(machine.save_ram(ram.fileno(), 0))
            # No fsync(): what a crash leaves of it, the sums tell, and then it is made again.
            ram_sum = _sum_of(ram.fileno(), used)
        state = machine.save_state()
        _write(made / "state", state)
        for name, table in tables.items():
            with errors_name(made / name):
                (made / name).write_bytes(table)
        box = box | {"tables": {name: _sum_bytes(table) for name, table in tables.items()}}
        about = {
            "format": FORMAT,
            "memory": machine.ram_size,
            "cpus": machine.cpus,
            "state_sum": _sum_bytes(state),
            "ram_sum": ram_sum,
            "used": used,
            "box_sum": _sum_bytes(json.dumps(box).encode()),
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


def table(place: Path, name: str, sums: Mapping[str, int]) -> bytes | None:
    """A table of the kernel that a snapshot keeps; None when it has none of that name.

    Raises `SnapshotError` when it is damaged; the snapshot is removed then, and made again by the next boot.
    """
    import shutil

    if name not in sums:
        return None
    try:
        data = (place / name).read_bytes()
    except OSError:
        data = b""
    if _sum_bytes(data) != sums[name]:
        shutil.rmtree(place, ignore_errors=True)
        raise SnapshotError(f"{place / name}: damaged", hint="It is removed. Boot again: it will be made anew.")
    return data


@contextlib.contextmanager
def lock(place: Path) -> Iterator[None]:
    """Keep others from making the same snapshot; they wait. Goes away with the process, however that ends."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        file = _locked(place.parent / f".{place.name}.lock")
    except OSError as error:
        raise _unwritable(place, error) from error
    try:
        _sweep(place)
        yield
    finally:
        os.close(file)


def _locked(path: Path, how: int = fcntl.LOCK_EX) -> int:
    """A lock file, open and locked: the one that has the name, since a sweep may have removed the one that was opened.

    Raises `OSError`, `BlockingIOError` when `how` says not to wait.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(file, how)
            found = os.stat(path, follow_symlinks=False)
            if (found.st_dev, found.st_ino) == (os.fstat(file).st_dev, os.fstat(file).st_ino):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _unwritable(place: Path, error: OSError) -> KoboxError:
    return KoboxError(
        f"{place}: the snapshot cannot be written: {error.strerror}",
        hint="Make room there, or set XDG_CACHE_HOME to a place that has some.",
    )


def _sweep(place: Path) -> None:
    """Remove what a killed run left behind (we hold the lock: nobody is writing), and what nobody has used lately."""
    import shutil

    for left in place.parent.glob(f".{place.name}.[0-9]*"):
        shutil.rmtree(left, ignore_errors=True)
    others: list[tuple[float, int, Path]] = []  # seconds unused, bytes on disk
    for other in place.parent.glob("[0-9a-f]*"):
        with contextlib.suppress(OSError):
            size = sum(file.stat().st_blocks * 512 for file in other.iterdir())
            others.append((time.time() - other.stat().st_mtime, size, other))
    taken = 0
    for unused, size, other in sorted(others):
        taken += size
        if unused > _KEPT or (unused > _KEPT_AT_LEAST and taken > _ROOM):
            shutil.rmtree(other, ignore_errors=True)
    for left in place.parent.glob(".*.lock"):
        if left.name != f".{place.name}.lock" and not (place.parent / left.name[1:-5]).exists():
            _remove_lock(left)


def _remove_lock(path: Path) -> None:
    """Remove the lock file of a snapshot that is not there, unless somebody is making it."""
    with contextlib.suppress(OSError):
        file = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            path.unlink()
        finally:
            os.close(file)


def _write(path: Path, data: bytes) -> None:
    with errors_name(path), path.open("wb") as file:
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


def _begin_sum(fd: int, used: list[list[int]], expected: int) -> Callable[[], bool]:
    """Sum RAM up on another core; the function that comes back waits for it. `fd` is closed in the end."""
    found = []

    def work() -> None:
        try:
            found.append(_sum_of(fd, used))
        except (TypeError, ValueError):
            pass  # `used` is no list of runs: damage too
        finally:
            os.close(fd)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def is_whole() -> bool:
        thread.join()
        return found == [expected]

    return is_whole


def _sum_of(fd: int, used: list[list[int]]) -> int:
    """The sum over all pages that hold data. The view is dropped again: it does not count as the box's memory."""
    size = os.fstat(fd).st_size
    if any(first < 0 or pages < 0 or (first + pages) * PAGE > size for first, pages in used):
        return -1
    runs = (ctypes.c_uint64 * (2 * len(used)))(*(n for run in used for n in run))
    with mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as view:
        start = ctypes.c_ubyte.from_buffer(view)
        total = core().kobox_sum_runs(ctypes.addressof(start), runs, len(used))
        del start
    return int(total)


def _sum_bytes(data: bytes) -> int:
    padded = data + bytes(-len(data) % 32)
    return int(core().kobox_sum(padded, len(padded)))
