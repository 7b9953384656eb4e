"""Snapshots of virtual machines: a kernel that has come up, with the agent waiting.

    KERNEL/snapshots/vm-KEY/ram       its memory, with holes where nothing was used (`VmMemory`)
    KERNEL/snapshots/vm-KEY/state     CPU and devices, as QEMU writes them
    KERNEL/snapshots/vm-KEY/about     JSON: sums, and what `VirtualMachine` remembers

KEY is a digest of all that shapes it: the kernel, its command line, memory, CPUs, accelerator, QEMU itself, the agent.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kobox.atomic_directory import atomic_directory
from kobox.box.boot.snapshots import open_parts
from kobox.errors import SnapshotError
from kobox.images.kernel_image import KernelImage
from kobox.vm.agent import agent_elf
from kobox.vm.memory import VmMemory
from kobox.vm.monitor import QemuMonitor

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class VmSnapshot:
    """A snapshot that was found: where it lies, its RAM file, open until `load` has read it, and what `about` says."""

    place: Path
    ram: int
    ram_sum: int
    memory: dict[str, Any]


def place_of(kernel: KernelImage, program: str, command_line: str, memory: int, cpus: int, accel: str) -> Path:
    """Where the snapshot of such a machine lies. `program` is the path of QEMU."""
    facts = os.stat(program)
    parts = [_FORMAT, kernel.digest, command_line, memory, cpus, accel, program, facts.st_size, facts.st_mtime_ns]
    digest = hashlib.sha256("\0".join(map(str, parts)).encode() + agent_elf())
    return kernel.directory / "snapshots" / f"vm-{digest.hexdigest()[:24]}"


def find(place: Path) -> VmSnapshot | None:
    """The snapshot at a place; None where there is none. Raises `SnapshotError` when it is damaged, `KoboxError` when
    somebody else can write to it."""
    parts = open_parts(place)
    if parts is None:
        return None
    about, state, ram = parts
    try:
        if about["format"] != _FORMAT or hashlib.sha256(state).hexdigest() != about["state_sum"]:
            raise SnapshotError(f"{place}/state: the check sum is wrong")
        with suppress(OSError):
            os.utime(place)  # it is in use: no sweep takes it
        return VmSnapshot(place, ram, int(about["ram_sum"]), dict(about["memory"]))
    except (KeyError, TypeError, ValueError) as error:
        os.close(ram)
        raise SnapshotError(f"{place}/about: lacks {error}") from error
    except BaseException:
        os.close(ram)
        raise


def save(place: Path, monitor: QemuMonitor, memory: VmMemory, remembered: Mapping[str, Any]) -> None:
    """Write the snapshot of a machine, all of it or nothing, and stop the machine. Raises `KoboxError`, `OSError`."""
    with atomic_directory(place) as aside:
        monitor.save_devices(str(aside / "state"))
        about = {
            "format": _FORMAT,
            "state_sum": hashlib.sha256((aside / "state").read_bytes()).hexdigest(),
            "ram_sum": memory.save(aside / "ram"),
            "memory": dict(remembered),
        }
        (aside / "about").write_text(json.dumps(about))


def load(found: VmSnapshot, monitor: QemuMonitor, memory: VmMemory) -> None:
    """Put a machine that was started with `-incoming defer` into the state of a snapshot; it is stopped then.

    Raises `SnapshotError` when the snapshot is damaged, `KoboxError` when QEMU does not take it.
    """
    try:
        memory.load(found.ram, found.ram_sum)
    finally:
        os.close(found.ram)
    state = os.open(found.place / "state", os.O_RDONLY | os.O_CLOEXEC)
    try:
        monitor.load_devices(state)
    finally:
        os.close(state)
