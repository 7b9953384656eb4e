"""The RAM of a virtual machine: a file without a name (memfd_create(2)) that QEMU and this process both map.

    0 ......................... size    what the kernel has
    size ............. size + WINDOW    the window: reserved by the kernel's memmap=, read and written from here

So what goes to the machine or comes from it is copied once, and a snapshot is this file with the pages that are used.
"""

from __future__ import annotations

import mmap
import os
import zlib
from pathlib import Path

from kobox.atomic_file import errors_name
from kobox.errors import SnapshotError

WINDOW = 16 << 20
_LOW = 2 << 30  # below this, memory has the same addresses in the file and in the machine (hw/i386/pc_q35.c)
_CHUNK = 1 << 22


class VmMemory:
    """RAM of `size` bytes for a machine, and the window behind it where there is room for one below 2 GiB."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.windowed = size + WINDOW <= _LOW
        self.total = size + (WINDOW if self.windowed else 0)
        self.fd = os.memfd_create("kobox-vm", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, self.total)
        self.window = mmap.mmap(self.fd, WINDOW, offset=size) if self.windowed else None

    @property
    def argument(self) -> str:
        """What the kernel's command line says of the window (Documentation/admin-guide/kernel-parameters, memmap)."""
        return f"memmap={WINDOW >> 20}M${self.size:#x}" if self.windowed else ""

    def save(self, path: Path) -> int:
        """Write it into a new file, with holes where nothing was used; the sum of what was written."""
        total = 0
        with errors_name(path), path.open("xb") as file:
            for start, end in _used(self.fd):
                for at in range(start, end, _CHUNK):
                    data = os.pread(self.fd, min(_CHUNK, end - at), at)
                    total = zlib.crc32(data, total)
                    file.seek(at)
                    file.write(data)
            file.truncate(self.total)
        return total

    def load(self, file: int, wanted: int) -> None:
        """Take over what `save` wrote. Raises `SnapshotError` when the sum is another one."""
        total = 0
        if os.fstat(file).st_size != self.total:
            raise SnapshotError("the memory of the virtual machine's snapshot has another size")
        for start, end in _used(file):
            for at in range(start, end, _CHUNK):
                data = os.pread(file, min(_CHUNK, end - at), at)
                total = zlib.crc32(data, total)
                os.pwrite(self.fd, data, at)
        if total != wanted:
            raise SnapshotError("the memory of the virtual machine's snapshot is damaged: its sum is another one")

    def close(self) -> None:
        """Give it back, once QEMU has ended."""
        if self.window is not None:
            self.window.close()
        os.close(self.fd)


def _used(file: int) -> list[tuple[int, int]]:
    """The stretches of a file that are no holes (lseek(2), SEEK_DATA)."""
    found, at, size = [], 0, os.fstat(file).st_size
    while at < size:
        try:
            start = os.lseek(file, at, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            break
        at = os.lseek(file, start, os.SEEK_HOLE)
        found.append((start, at))
    return found
