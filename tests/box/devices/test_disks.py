"""DiskImage files as a box's disks: file systems made and checked by their own tools, changes, and what goes wrong."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.box.devices.disks import Disk
from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from kobox.machine.disk_image import DiskImage
from tests.debian import EXT4, Programs

MIB = 1 << 20


@pytest.fixture(scope="module")
def room(debian_kernel: KernelImage) -> Iterator[Box]:
    with boot(debian_kernel) as box:
        yield box


@pytest.fixture
def box(room: Box) -> Box:
    room.reset()
    return room


@pytest.fixture(scope="session")
def programs() -> Programs:
    """What makes and checks file systems, of Debian's packages."""
    return Programs(
        *EXT4,
        *("xfsprogs", "libinih1", "liburcu8t64", "libedit2", "libtinfo6", "libbsd0", "libmd0"),
        *("btrfs-progs", "liblzo2-2", "libzstd1", "zlib1g", "libudev1", "libcap2", "libgcrypt20", "libgpg-error0"),
        *("ntfs-3g", "libntfs-3g89t64"),
    )


def empty(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


@pytest.fixture
def ext4(tmp_path: Path, programs: Programs) -> Path:
    """An image with an empty ext4."""
    image = empty(tmp_path / "ext4.img", 32 * MIB)
    programs.run("mkfs.ext4", "-q", "-F", image)
    return image


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def mounted(box: Box, disk: Disk, kind: str = "ext4", flags: int = 0) -> str:
    box.files.mount(disk.node, "/mnt", kind, flags)
    return "/mnt"


def test_ext4_is_mounted_written_and_read_back(box: Box, ext4: Path, tmp_path: Path, programs: Programs) -> None:
    before = digest(ext4)
    disk = box.disks.attach(ext4)
    assert (disk.name, disk.node, disk.size, disk.readonly) == ("vda", "/dev/vda", 32 * MIB, False)
    assert list(box.disks) == [disk]
    content = bytes(range(256)) * 4096
    place = mounted(box, disk)
    box.files.mkdir(f"{place}/folder")
    box.write_bytes(f"{place}/folder/file", content)
    box.files.umount(place)
    assert 0 < disk.changed < 8 * MIB
    assert digest(ext4) == before
    out = tmp_path / "out.img"
    disk.save(out)
    programs.run("e2fsck", "-fn", out)
    programs.run("debugfs", "-R", f"dump /folder/file {tmp_path}/dumped", out)
    assert (tmp_path / "dumped").read_bytes() == content
    assert digest(ext4) == before
    disk.save(ext4)  # and over itself
    assert digest(ext4) == digest(out)
    disk.detach()
    assert (disk.attached, list(box.disks)) == (False, [])
    with pytest.raises(FileNotFoundError):
        box.stat("/dev/vda")
    assert not box.findings


@pytest.mark.parametrize(
    ("suite", "kind", "size", "make", "check"),
    [
        ("debian_kernel", "xfs", 300, ["mkfs.xfs", "-q"], ["xfs_repair", "-n"]),
        ("debian_kernel", "btrfs", 128, ["mkfs.btrfs", "-q"], ["btrfs", "check"]),
        ("trixie_kernel", "ntfs3", 32, ["mkntfs", "-F", "-Q", "-q"], ["ntfsfix", "-n"]),
        ("sid_kernel", "ntfs", 32, ["mkntfs", "-F", "-Q", "-q"], ["ntfsfix", "-n"]),
    ],
)
def test_other_file_systems(
    suite: str,
    kind: str,
    size: int,
    make: list[str],
    check: list[str],
    tmp_path: Path,
    programs: Programs,
    request: pytest.FixtureRequest,
) -> None:
    image = empty(tmp_path / "x.img", size * MIB)
    programs.run(*make, image)
    with boot(request.getfixturevalue(suite)) as box:
        disk = box.disks.attach(image)
        place = mounted(box, disk, kind)  # the kernel asks for the module, and gets it from its tree
        content = os.urandom(300_000)
        box.write_bytes(f"{place}/file", content)
        box.files.umount(place)
        mounted(box, disk, kind, os.ST_RDONLY)
        assert box.read_bytes(f"{place}/file") == content
        box.files.umount(place)
        disk.detach()
        disk.save(tmp_path / "out.img")
        assert not box.findings
    programs.run(*check, tmp_path / "out.img")


def test_nothing_of_a_large_image_is_brought_in(box: Box, tmp_path: Path) -> None:
    image = empty(tmp_path / "large.img", 8 << 40)
    with image.open("r+b") as file:
        file.seek(5 << 40)
        file.write(b"far away")
    disk = box.disks.attach(image)
    with box.open(disk.node, "r+b") as raw:
        raw.seek(5 << 40)
        assert raw.read(8) == b"far away"
        raw.seek(7 << 40)
        raw.write(b"further")
    disk.save(tmp_path / "out.img")
    with (tmp_path / "out.img").open("rb") as file:
        file.seek(5 << 40)
        assert file.read(8) == b"far away"
        file.seek(7 << 40)
        assert file.read(8) == b"further\0"
    assert (tmp_path / "out.img").stat().st_size == 8 << 40
    assert (tmp_path / "out.img").stat().st_blocks * 512 < MIB


def test_pieces_that_begin_and_end_anywhere(box: Box, tmp_path: Path) -> None:
    image = tmp_path / "x.img"
    model = bytearray(os.urandom(40 * 512))  # not a whole number of blocks
    image.write_bytes(model)
    disk = box.disks.attach(image)
    with box.open(disk.node, "r+b", flags=os.O_DIRECT) as raw:
        for number, (at, count) in enumerate([(1, 3), (7, 2), (0, 40), (39, 1), (15, 18), (8, 8), (33, 7)]):
            data = bytes([number + 1]) * (count * 512)
            buffer = box.syscall("mmap", 0, 65536, 3, 0x22, -1, 0)
            box.guest.write(buffer, data)
            assert box.syscall("pwrite64", raw.fileno(), buffer, len(data), at * 512) == len(data)
            model[at * 512 : (at + count) * 512] = data
            first = max(at - 1, 0)
            size = min(count + 2, 40 - first) * 512
            assert box.syscall("pread64", raw.fileno(), buffer, size, first * 512) == size
            assert box.guest.read(buffer, size) == bytes(model[first * 512 : first * 512 + size])
    rebuilt = bytearray(image.read_bytes())
    for offset, data in disk.changes():
        rebuilt[offset : offset + len(data)] = data
    assert rebuilt == model
    disk.save(image)
    assert image.read_bytes() == model


def test_a_read_only_disk(box: Box, ext4: Path) -> None:
    ext4.chmod(0o444)
    disk = box.disks.attach(ext4, readonly=True)
    assert box.read_text("/sys/block/vda/ro").strip() == "1"
    with box.open(disk.node, "r+b") as raw, pytest.raises(OSError) as refused:
        raw.write(b"x")
    assert refused.value.errno == errno.EPERM
    with pytest.raises(OSError) as refused:
        mounted(box, disk)
    assert refused.value.errno in (errno.EACCES, errno.EROFS)
    place = mounted(box, disk, flags=os.ST_RDONLY)
    assert "lost+found" in box.listdir(place)
    with pytest.raises(OSError) as refused:
        box.write_bytes(f"{place}/x", b"x")
    assert refused.value.errno == errno.EROFS
    assert disk.changed == 0


def test_straight_to_the_image(box: Box, ext4: Path, programs: Programs) -> None:
    disk = box.disks.attach(ext4, copy_on_write=False)
    with pytest.raises(KoboxError, match="earlier state"):
        box.checkpoint()
    with pytest.raises(KoboxError, match="another box"):
        box.disks.attach(ext4)
    place = mounted(box, disk)
    box.write_bytes(f"{place}/file", b"straight")
    box.files.umount(place)
    assert disk.changed == 0
    with boot(box.image) as other:
        with pytest.raises(KoboxError, match="another box"):
            other.disks.attach(ext4)
        disk.detach()
        there = other.disks.attach(ext4)
        assert other.read_text(f"{mounted(other, there)}/file") == "straight"
    box.disks.attach(ext4, copy_on_write=False).detach()
    programs.run("e2fsck", "-fn", ext4)
    assert "straight" in programs.run("debugfs", "-R", "cat /file", ext4)
    with pytest.raises(KoboxError, match=r"cannot be opened: No such file"):
        box.disks.attach(ext4.parent / "none.img", copy_on_write=False)


def test_changes_go_back_in_time_with_the_box(box: Box, ext4: Path) -> None:
    disk = box.disks.attach(ext4)
    place = mounted(box, disk)
    box.write_bytes(f"{place}/first", b"1" * 100_000)
    box.syscall("sync")
    kept, changes = box.checkpoint(), dict(disk.changes())
    box.write_bytes(f"{place}/second", b"2" * 3_000_000)
    box.syscall("sync")
    assert disk.changed > 3_000_000
    kept.restore()
    assert dict(disk.changes()) == changes
    assert box.listdir(place).count("second") == 0
    box.files.umount(place)
    disk.detach()
    kept.restore()
    assert disk.attached
    assert box.read_bytes(f"{place}/first") == b"1" * 100_000
    box.write_bytes(f"{place}/third", b"3")
    kept.release()
    box.reset()
    assert (disk.attached, list(box.disks)) == (False, [])
    assert not box.findings


def test_changes_are_each_fork_s_own(box: Box, ext4: Path) -> None:
    disk = box.disks.attach(ext4)
    place = mounted(box, disk)
    child = os.fork()
    if not child:
        status = 1
        try:
            box.write_bytes(f"{place}/child", b"c" * 1_000_000)
            box.syscall("sync")
            status = 0 if disk.changed > 1_000_000 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert disk.changed < 1_000_000
    assert "child" not in box.listdir(place)
    box.write_bytes(f"{place}/parent", b"p")
    box.files.umount(place)


def test_a_disk_in_use_is_not_detached(box: Box, ext4: Path) -> None:
    disk = box.disks.attach(ext4)
    place = mounted(box, disk)
    with pytest.raises(KoboxError, match=r"in use(.|\n)*umount"):
        disk.detach()
    box.files.umount(place)
    disk.detach()
    disk.detach()
    again = box.disks.attach(ext4)
    mounted(box, again)
    again.detach(force=True)
    with pytest.raises(OSError) as failed:
        box.listdir(f"{place}/lost+found")
    assert failed.value.errno == errno.EIO
    assert not box.disks


def test_partitions(box: Box, ext4: Path, tmp_path: Path) -> None:
    image = tmp_path / "parted.img"
    start, sectors = 2048, ext4.stat().st_size // 512
    table = bytearray(512)
    struct.pack_into("<B3sB3sII", table, 446, 0, b"", 0x83, b"", start, sectors)
    table[510:] = b"\x55\xaa"
    image.write_bytes(bytes(table).ljust(start * 512, b"\0") + ext4.read_bytes())
    disk = box.disks.attach(image)
    box.files.mount("/dev/vda1", "/mnt", "ext4")
    assert "lost+found" in box.listdir("/mnt")
    with pytest.raises(KoboxError, match="in use"):
        disk.detach()
    box.files.umount("/mnt")


def test_several_disks(box: Box, tmp_path: Path) -> None:
    disks = []
    for number in range(4):
        image = empty(tmp_path / f"{number}.img", MIB)
        image.write_bytes(bytes([number]) * MIB)
        disks.append(box.disks.attach(image))
    assert [disk.name for disk in disks] == ["vda", "vdb", "vdc", "vdd"]
    for number, disk in enumerate(disks):
        assert box.read_bytes(disk.node) == bytes([number]) * MIB
    disks[1].detach()
    assert [disk.name for disk in box.disks] == ["vda", "vdc", "vdd"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "0 bytes are no disk"),
        (b"x" * 511, "511 bytes are no disk"),
        (b"x" * 1000, r"no whole number of sectors(.|\n)*truncate -s %512"),
        (b"QFI\xfb" + bytes(508), "qcow2(.|\n)*qemu-img convert"),
    ],
)
def test_what_is_no_image(box: Box, tmp_path: Path, content: bytes, what: str) -> None:
    image = tmp_path / "x.img"
    image.write_bytes(content)
    with pytest.raises(KoboxError, match=what) as refused:
        box.disks.attach(image)
    assert str(image) in str(refused.value)
    assert not box.disks


def test_an_image_that_is_not_there_or_a_folder(box: Box, tmp_path: Path) -> None:
    with pytest.raises(KoboxError, match="No such file"):
        box.disks.attach(tmp_path / "none.img")
    with pytest.raises(KoboxError, match=r"Is a directory|no image of a disk"):
        box.disks.attach(tmp_path)


def test_an_image_that_becomes_shorter_gives_errors(box: Box, tmp_path: Path) -> None:
    image = empty(tmp_path / "x.img", MIB)
    disk = box.disks.attach(image)
    os.truncate(image, 4096)
    with pytest.raises(OSError) as failed:
        box.read_bytes(disk.node)
    assert failed.value.errno == errno.EIO
    with pytest.raises(KoboxError, match="shorter"):
        Disk.save(disk, tmp_path / "out.img")


def test_a_request_that_ctrl_c_interrupts_is_answered_later(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "x.img"
    image.write_bytes(b"x" * MIB)
    disk = box.disks.attach(image)
    read, interrupted = DiskImage.read, []

    def interrupt_once(self: DiskImage, offset: int, into: list[memoryview]) -> None:
        if not interrupted:
            interrupted.append(offset)
            raise KeyboardInterrupt
        read(self, offset, into)

    monkeypatch.setattr(DiskImage, "read", interrupt_once)
    with pytest.raises(KeyboardInterrupt):
        box.read_bytes(disk.node)
    assert interrupted
    assert box.read_bytes(disk.node) == b"x" * MIB
    assert not box.findings


def test_more_changes_than_are_kept_are_errors_of_the_disk(box: Box, tmp_path: Path) -> None:
    image = empty(tmp_path / "x.img", 4 * MIB)
    disk = box.disks.attach(image, max_dirty_bytes=MIB)
    with box.open(disk.node, "r+b") as raw:
        raw.write(b"x" * 3 * MIB)
        with pytest.raises(OSError) as failed:
            box.syscall("fsync", raw.fileno())
    assert failed.value.errno == errno.EIO
    assert disk.changed <= MIB


def test_a_full_place_keeps_what_was_there(box: Box, ext4: Path, tmp_path: Path) -> None:
    disk = box.disks.attach(ext4)
    place = mounted(box, disk)
    box.write_bytes(f"{place}/file", os.urandom(3 * MIB))
    box.files.umount(place)
    out = tmp_path / "out.img"
    out.write_bytes(b"precious")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, limits[1]))
    try:
        with pytest.raises(KoboxError, match=r"cannot be written: File too large(.|\n)*Nothing was changed"):
            disk.save(out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert out.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ext4.img", "out.img"]
    with pytest.raises(KoboxError, match="cannot be written"):
        disk.save(tmp_path / "none" / "out.img")


def test_two_runs_are_equal(box: Box, ext4: Path) -> None:
    def run() -> tuple[str, float, list[tuple[int, bytes]]]:
        box.reset()
        disk = box.disks.attach(ext4)
        place = mounted(box, disk)
        box.write_bytes(f"{place}/file", bytes(500_000))
        box.files.umount(place)
        return box.log.text(), box.time, list(disk.changes())

    assert run() == run()


def test_nonsense_in_a_queue_stops_the_disk_and_nothing_else(box: Box, tmp_path: Path) -> None:
    disk = box.disks.attach(empty(tmp_path / "x.img", MIB))
    device = box.machine.devices.slots[0]
    device.queues[0].available = 1 << 50  # type: ignore[attr-defined]  # as a hostile module would
    other = box.process()
    reading = other.start("open", disk.node, os.O_RDONLY, 0)
    assert reading.result(10) >= 0
    assert other.start("pread64", reading.result(), bytearray(512), 512, 0).done is False
    assert device.status & 0x40  # type: ignore[attr-defined]
    assert box.read_text("/proc/version").startswith("Linux")
