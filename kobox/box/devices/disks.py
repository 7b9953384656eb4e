"""Disks of a box: image files of this machine as block devices.

    disk = box.disks.attach("root.img")       /dev/vda: nothing of the image is in the box until the kernel reads it
    box.files.mount(disk.node, "/mnt", "ext4")     writes stay in memory here, and the image as it is
    disk.save("changed.img")                 the image with what was written

A disk is a virtio block device (`kobox/machine/virtio.py`, Linux' own driver virtio_blk). The kernel's requests are
answered from the image file as they come, straight into RAM; what it writes is kept here in blocks of 4 KiB, which go
back in time with the box, and are each fork's own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from kobox.atomic_file import atomic_file
from kobox.box.booted import BootedKernel
from kobox.box.devices.virtio_mmio import plug, unplug
from kobox.errors import KoboxError
from kobox.machine.devices import Restore
from kobox.machine.virtio import BrokenQueueError, Buffer, DmaSegment, VirtioDevice

SECTOR, BLOCK = 512, 4096
MAX_DIRTY_BYTES = 1 << 30  # bytes of changes that are kept, when nothing else is said
_F_SEG_MAX, _F_READ_ONLY, _F_FLUSH = 1 << 2, 1 << 5, 1 << 9
_SEGMENTS, _LARGEST = 126, 64 << 20  # pieces of a request, and bytes of one: the kernel asks for 1 MiB at most
_IN, _OUT, _FLUSH, _GET_ID = 0, 1, 4, 8
_OK, _FAILED, _UNSUPPORTED = 0, 1, 2
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


class DiskDevice(VirtioDevice):
    """The disk as hardware: one queue of requests (virtio 1.2, 5.2)."""

    kind = 2

    def __init__(self, ram: memoryview, image: DiskImage, *, readonly: bool) -> None:
        super().__init__(ram)
        self.image = image
        self.readonly = readonly
        self.features |= _F_SEG_MAX | _F_FLUSH | (_F_READ_ONLY if readonly else 0)
        self.disk: Disk | None = None

    def configuration(self) -> bytes:
        return struct.pack("<QII", self.image.size // SECTOR, 0, _SEGMENTS).ljust(64, b"\0")

    def notified(self, queue: int) -> None:
        while buffer := self.queues[queue].pop():
            try:
                written = self._answer(buffer)
            except KeyboardInterrupt:
                self.queues[queue].put_back()  # it is answered when there is time for it
                raise
            self.done(queue, buffer.head, written)

    def _answer(self, buffer: Buffer) -> int:
        """Do what a request says; how many bytes of it were written to."""
        segments = buffer.segments
        if len(segments) < 2 or segments[0].size < 16 or not segments[-1].writable or not segments[-1].size:
            raise BrokenQueueError("no request of a disk")
        kind, _, sector = struct.unpack_from("<IIQ", self.bus.ram, segments[0].address)
        data = segments[1:-1]
        size = sum(segment.size for segment in data)
        if size > _LARGEST:
            raise BrokenQueueError(f"a request for {size} bytes")
        try:
            status = self._do(kind, sector * SECTOR, data, size)
        except OSError:
            status = _FAILED
        self.fill(segments[-1], bytes([status]))
        return (size if kind in (_IN, _GET_ID) and status == _OK else 0) + 1

    def _do(self, kind: int, offset: int, data: list[DmaSegment], size: int) -> int:
        if kind in (_IN, _OUT) and offset + size > self.image.size:
            return _FAILED
        views = [self.bus.ram[segment.address : segment.address + segment.size] for segment in data]
        if kind == _IN:
            self.image.read(offset, views)
            for segment in data:
                self.bus.wrote(segment.address, segment.size)
        elif kind == _OUT and not self.readonly:
            for view in views:
                self.image.write(offset, view)
                offset += len(view)
        elif kind == _FLUSH:
            self.image.flush()
        elif kind == _GET_ID and data:
            self.fill(data[0], f"kobox{self.slot}".encode().ljust(20, b"\0")[: data[0].size])
        else:
            return _FAILED if kind == _OUT else _UNSUPPORTED
        return _OK

    def save(self) -> Restore:
        if self.image.direct and not self.readonly:
            raise KoboxError(
                "a box that writes straight to an image cannot be brought back to an earlier state",
                hint="Detach the disk before the checkpoint, or attach it with copy_on_write=True.",
            )
        restore_virtio, blocks = super().save(), dict(self.image.blocks)
        return lambda: self._restore(restore_virtio, blocks)

    def _restore(self, restore_virtio: Restore, blocks: dict[int, bytes]) -> None:
        restore_virtio()
        self.image.blocks = dict(blocks)
        with contextlib.suppress(BlockingIOError):
            self.image.lock()

    def unplugged(self) -> None:
        self.image.unlock()


class Disk:
    """An image file that is a disk of a box. Made by `box.disks.attach`."""

    def __init__(self, box: BootedKernel, path: Path, device: DiskDevice, name: str) -> None:
        self._box = box
        self.path = path
        self.name = name
        self._device = device
        self._image = device.image

    def __repr__(self) -> str:
        return f"<Disk {self.name} of {self.path}{'' if self.attached else ', detached'}>"

    @property
    def node(self) -> str:
        """The device's name in the box, such as "/dev/vda"."""
        return f"/dev/{self.name}"

    @property
    def size(self) -> int:
        """Bytes."""
        return self._image.size

    @property
    def readonly(self) -> bool:
        return self._device.readonly

    @property
    def attached(self) -> bool:
        """Whether it is in its box: also false when the box has gone back to a time before it was there."""
        return self._box.machine.devices.slots.get(self._device.slot) is self._device

    @property
    def changed(self) -> int:
        """How many bytes the kept changes have, in whole blocks of 4 KiB."""
        return len(self._image.blocks) * BLOCK

    def changes(self) -> Iterator[tuple[int, bytes]]:
        """What was written: (offset, bytes) of each run of changed blocks, in order."""
        start, run = 0, b""
        for number in sorted(self._image.blocks):
            if run and start + len(run) != number * BLOCK:
                yield start, run
                run = b""
            if not run:
                start = number * BLOCK
            run += self._image.blocks[number]
        if run:
            yield start, run

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the image with its changes to a file, which may be the image's own: written aside, then renamed. The
        box is asked to write back what it holds (sync(2)) first.

        Raises `KoboxError` when there is no room or the place cannot be written.
        """
        self.sync()
        target = Path(path)
        try:
            with atomic_file(target) as file:
                self._image.copy_to(file.fileno())
        except OSError as error:
            raise KoboxError(
                f"{target}: the disk's image cannot be written: {error.strerror}",
                hint="Nothing was changed there. Make room, or save it elsewhere.",
            ) from error

    def sync(self) -> None:
        """Have the box write back what it holds for any disk (sync(2))."""
        if self.attached and self._box.alive and not self.readonly:
            self._box.syscall("sync")

    def detach(self, *, force: bool = False) -> None:
        """Take the disk out of its box; its changes can still be saved. Raises `KoboxError` when it is in use (mounted,
        part of an array), unless `force`: then the kernel loses it, as when a cable is pulled."""
        if not self.attached:
            return
        if not force and self._box.alive:
            self.sync()
            self._must_be_idle()
        unplug(self._box, self._device)

    def _must_be_idle(self) -> None:
        try:
            fd = self._box.syscall("open", self.node, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC, 0)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            raise KoboxError(
                f"{self.node}: in use: it, or a part of it, is mounted or belongs to another device",
                hint="Unmount it first (`box.files.umount`), or detach it with force=True.",
            ) from None
        self._box.syscall("close", fd)


class Disks:
    """The disks of a box: `box.disks`."""

    def __init__(self, box: BootedKernel) -> None:
        self._box = box

    def attach(
        self,
        path: str | os.PathLike[str],
        *,
        readonly: bool = False,
        copy_on_write: bool = True,
        max_dirty_bytes: int = MAX_DIRTY_BYTES,
    ) -> Disk:
        """Make an image file a disk of the box, `/dev/vda` and so on.

        What the box writes is kept here, up to `max_dirty_bytes` bytes, and written out by `Disk.save`; with
        `copy_on_write=False` it goes straight to the image.

        Raises `KoboxError` when the image is missing, no whole number of sectors or in use, and when the kernel has no
        driver for it.
        """
        self._box.guest.must_be_open()
        place = Path(path)
        image = _open(place, direct=not copy_on_write and not readonly, most=max_dirty_bytes)
        device = DiskDevice(self._box.machine.ram, image, readonly=readonly)
        try:
            name = plug(self._box, device, "virtio_blk", "block")
        except BaseException:
            image.close()
            raise
        device.disk = Disk(self._box, place, device, name)
        return device.disk

    def __iter__(self) -> Iterator[Disk]:
        devices = self._box.machine.devices.slots.values()
        return iter([device.disk for device in devices if isinstance(device, DiskDevice) and device.disk])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, number: int) -> Disk:
        """One of them, in the order of their places."""
        return list(self)[number]


def _open(path: Path, *, direct: bool, most: int) -> DiskImage:
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
