"""A disk's image: a file, and in memory what was written to it in blocks of 4 KiB.

image = open_image(path, direct=False, most=MAX_DIRTY_BYTES)
image.read(offset, [memoryview, ...])    image.write(offset, memoryview)    image.copy_to(fd)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from kobox.errors import KoboxError

SECTOR, BLOCK = 512, 4096
MAX_DIRTY_BYTES = 1 << 30  # bytes of changes that are kept, when nothing else is said
# What other formats begin with, and that they are none of ours.
_FORMATS = {b"QFI\xfb": "qcow2", b"KDMV": "VMDK", b"conectix": "VHD", b"vhdxfile": "VHDX"}


class DiskImage:
    """An image file with what was written to it. `fd` is open for reading, and for writing when `direct`."""

    def __init__(self, fd: int, size: int, *, direct: bool, most: int) -> None:
        self._fd = fd
        self.size = size
        self.direct = direct
        self._most = most // BLOCK
        self.blocks: dict[int, bytes] = {}

    def read(self, offset: int, into: list[memoryview]) -> None:
        """Fill buffers with what stands at `offset`. Raises `OSError`."""
        first, end = offset // BLOCK, offset + sum(map(len, into)) + BLOCK - 1
        if not self.blocks or not any(n in self.blocks for n in range(first, end // BLOCK)):
            wanted = sum(map(len, into))
            if os.preadv(self._fd, into, offset) != wanted:
                raise OSError(errno.EIO, "the image has become shorter")
            return
        for view in into:
            for at in range(0, len(view), BLOCK):
                piece = view[at : at + BLOCK]
                piece[:] = self._at(offset + at, len(piece))
            offset += len(view)

    def _at(self, offset: int, size: int) -> bytes:
        number, within = divmod(offset, BLOCK)
        data = self._block(number)[within : within + size]
        return data if len(data) == size else data + self._block(number + 1)[: size - len(data)]

    def _block(self, number: int) -> bytes:
        kept = self.blocks.get(number)
        if kept is None:
            kept = os.pread(self._fd, BLOCK, number * BLOCK)
            if len(kept) != min(BLOCK, self.size - number * BLOCK):
                raise OSError(errno.EIO, "the image has become shorter")
        return kept

    def write(self, offset: int, data: memoryview) -> None:
        """Write at `offset`. Raises `OSError`, also when there are too many changes."""
        if self.direct:
            while len(data):
                count = os.pwrite(self._fd, data, offset)
                offset, data = offset + count, data[count:]
            return
        while len(data):
            number, within = divmod(offset, BLOCK)
            piece = data[: BLOCK - within]
            if number not in self.blocks and len(self.blocks) >= self._most:
                raise OSError(errno.ENOSPC, "too many changes")
            whole = len(piece) == min(BLOCK, self.size - number * BLOCK)
            if whole:
                self.blocks[number] = bytes(piece)
            else:
                before = self._block(number)
                self.blocks[number] = before[:within] + bytes(piece) + before[within + len(piece) :]
            offset, data = offset + len(piece), data[len(piece) :]

    def flush(self) -> None:
        """What was written is on this machine's disk. Raises `OSError`."""
        if self.direct:
            os.fdatasync(self._fd)

    def copy_to(self, fd: int) -> None:
        """Write it all to a new, empty file, with its holes. Raises `OSError`."""
        at = 0
        if os.fstat(self._fd).st_size < self.size:
            raise OSError(errno.EIO, "the image has become shorter")
        while at < self.size:
            try:
                at = os.lseek(self._fd, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:  # nothing but a hole
                    raise
                break
            end = min(os.lseek(self._fd, at, os.SEEK_HOLE), self.size)
            while at < end:
                at += _copy(self._fd, fd, at, min(end - at, 1 << 24))
        for number, data in self.blocks.items():
            os.pwrite(fd, data, number * BLOCK)
        os.ftruncate(fd, self.size)

    def lock(self) -> None:
        """Keep others from writing to the file, and, when this one does, from having it. Raises `BlockingIOError`."""
        fcntl.flock(self._fd, (fcntl.LOCK_EX if self.direct else fcntl.LOCK_SH) | fcntl.LOCK_NB)

    def unlock(self) -> None:
        """Undo `lock`."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; again and again, if need be."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def __del__(self) -> None:
        self.close()


def open_image(path: Path, *, direct: bool, most: int) -> DiskImage:
    try:
        fd = os.open(path, (os.O_RDWR if direct else os.O_RDONLY) | os.O_CLOEXEC)
    except OSError as error:
        hint = "It can be read: attach it with copy_on_write=True." if direct and os.access(path, os.R_OK) else ""
        raise KoboxError(f"{path}: the disk's image cannot be opened: {error.strerror}", hint=hint) from error
    image = DiskImage(fd, os.lseek(fd, 0, os.SEEK_END), direct=direct, most=most)
    try:
        _must_be_image(path, image.size, os.pread(fd, 8, 0))
        image.lock()
    except BlockingIOError:
        image.close()
        raise KoboxError(
            f"{path}: another box has this image, and one of the two writes straight to it",
            hint="Detach it there, or attach both with copy_on_write=True.",
        ) from None
    except OSError as error:
        image.close()
        raise KoboxError(f"{path}: no image of a disk: {error.strerror}") from error
    except BaseException:
        image.close()
        raise
    return image


def _must_be_image(path: Path, size: int, start: bytes) -> None:
    if size < SECTOR:
        raise KoboxError(f"{path}: {size} bytes are no disk: one sector has {SECTOR}")
    for magic, name in _FORMATS.items():
        if start.startswith(magic):
            raise KoboxError(
                f"{path}: an image in {name} format; a plain one is wanted",
                hint=f"`qemu-img convert -O raw {path} {path.stem}.raw` makes one.",
            )
    if size % SECTOR:
        raise KoboxError(
            f"{path}: {size} bytes are no whole number of sectors of {SECTOR} bytes",
            hint=f"`truncate -s %{SECTOR} {path}` makes it longer by {-size % SECTOR} zero bytes.",
        )


def _copy(source: int, target: int, at: int, size: int) -> int:
    """Copy a piece, sharing its blocks where the file system can."""
    with contextlib.suppress(OSError):
        if count := os.copy_file_range(source, target, size, at, at):
            return count
    data = os.pread(source, min(size, 1 << 20), at)
    if not data:
        raise OSError(errno.EIO, "the image has become shorter")
    return os.pwrite(target, data, at)
