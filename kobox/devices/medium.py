"""What a model of a disk, a stick or a drive stores: an image file, bytes, or nothing but a size.

Medium("root.img")       the image as it is; what the box writes is kept in memory, and goes back with checkpoints
Medium(b"...")           bytes, filled up to a whole sector
Medium(64 << 20)         so many bytes of zeroes
"""

from __future__ import annotations

import os
from pathlib import Path

from kobox.atomic_file import atomic_file
from kobox.devices.state import Restore
from kobox.errors import KoboxError
from kobox.machine.disk_image import MAX_DIRTY_BYTES, SECTOR, DiskImage, open_image

Source = str | os.PathLike[str] | bytes | int


class Medium:
    """A medium of `size` bytes. `readonly` is what a write protect switch is.

    Raises `KoboxError` when the image is missing, in another format, or no whole number of sectors.
    """

    def __init__(self, source: Source, *, readonly: bool = False) -> None:
        self.readonly = readonly
        if isinstance(source, (bytes, int)):
            self._image = _in_memory(source)
        else:
            self._image = open_image(Path(source), direct=False, most=MAX_DIRTY_BYTES)

    @property
    def size(self) -> int:
        """Bytes."""
        return self._image.size

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`. Raises `OSError` outside the medium."""
        self._check(offset, size)
        data = bytearray(size)
        self._image.read(offset, [memoryview(data)])
        return bytes(data)

    def write(self, offset: int, data: bytes) -> None:
        """Write at `offset`. Raises `OSError` outside the medium, and when it is read-only."""
        self._check(offset, len(data))
        if self.readonly:
            raise PermissionError("the medium is read-only")
        self._image.write(offset, memoryview(data))

    def _check(self, offset: int, size: int) -> None:
        if not 0 <= offset <= self.size - size:
            raise OSError(f"{size} bytes at {offset}: the medium has {self.size}")

    def write_to(self, path: str | os.PathLike[str]) -> None:
        """Write all of it, changes included, to a file of this machine. Raises `KoboxError`."""
        try:
            with atomic_file(Path(path)) as file:
                self._image.copy_to(file.fileno())
        except OSError as error:
            raise KoboxError(
                f"{path}: the medium cannot be written there: {error.strerror}",
                hint="Make room, or choose another place.",
            ) from error

    def save(self) -> Restore:
        """For a checkpoint: a function that takes back what was written since."""
        blocks = dict(self._image.blocks)

        def restore() -> None:
            self._image.blocks = dict(blocks)

        return restore


def _in_memory(source: bytes | int) -> DiskImage:
    size = source if isinstance(source, int) else len(source) + -len(source) % SECTOR
    if size < SECTOR or size % SECTOR:
        raise KoboxError(f"a medium of {size} bytes: a whole number of sectors of {SECTOR} bytes is needed")
    fd = os.memfd_create("kobox-medium", os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    if isinstance(source, bytes):
        os.pwrite(fd, source, 0)
    return DiskImage(fd, size, direct=False, most=MAX_DIRTY_BYTES)
