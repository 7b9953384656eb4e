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
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from kobox.atomic_file import atomic_file
from kobox.box.booted import BootedKernel
from kobox.box.devices.virtio_mmio import plug, unplug
from kobox.errors import KoboxError
from kobox.machine.devices import Restore
from kobox.machine.disk_image import BLOCK, MAX_DIRTY_BYTES, SECTOR, DiskImage, open_image
from kobox.machine.virtio import BrokenQueueError, Buffer, DmaSegment, VirtioDevice

_F_SEG_MAX, _F_READ_ONLY, _F_FLUSH = 1 << 2, 1 << 5, 1 << 9
_SEGMENTS, _LARGEST = 126, 64 << 20  # pieces of a request, and bytes of one: the kernel asks for 1 MiB at most
_IN, _OUT, _FLUSH, _GET_ID = 0, 1, 4, 8
_OK, _FAILED, _UNSUPPORTED = 0, 1, 2


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
        self.bus.work.moved(size, len(segments))
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
        image = open_image(place, direct=not copy_on_write and not readonly, most=max_dirty_bytes)
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
