"""Files of a box: devices of real modules, the kernel's own file systems, and Python's way with files."""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import struct

import pytest

from kobox.box.box import Box
from kobox.box.guest.files import open_flags
from kobox.errors import BoxTimeoutError
from tests.building import BuiltTestModules

CLEAR, SUM, ROTATE, VALUE = 0x6B01, 0x80046B02, 0xC0086B03, 0x6B04


@pytest.fixture
def chardev(box: Box, modules: BuiltTestModules) -> Box:
    box.insmod(modules("chardev"))
    return box


# -- a character device -------------------------------------------------------------------------------------------


def test_a_device_node_appears_with_its_driver(chardev: Box) -> None:
    path = chardev.path("/dev/chardev0")
    assert path.is_char_device()
    major = int(next(line.split()[0] for line in chardev.read_text("/proc/devices").splitlines() if "chardev" in line))
    assert os.major(path.stat().st_rdev) == major
    assert chardev.read_text("/sys/class/chardev/chardev0/dev") == f"{major}:0\n"
    chardev.rmmod("chardev")
    assert not path.exists()
    assert "chardev" not in chardev.read_text("/proc/devices")


def test_read_write_and_seek(chardev: Box) -> None:
    with chardev.open("/dev/chardev0", "r+b") as device:
        assert device.write(b"hello, device") == 13
        assert device.tell() == 13
        assert device.seek(7) == 7
        assert device.read(6) == b"device"
        assert device.seek(-4096, os.SEEK_END) == 0
        assert device.read(5) == b"hello"
        assert device.pread(3, 1) == b"ell"
        assert device.pwrite(b"J", 0) == 1
        assert device.tell() == 5
        device.seek(0)
        assert len(device.readall()) == 4096
        assert device.read(1) == b""
        with pytest.raises(OSError) as caught:
            device.seek(5000)
        assert caught.value.errno == errno.EINVAL
        device.seek(4096)
        with pytest.raises(OSError) as caught:
            device.write(b"x")
        assert caught.value.errno == errno.ENOSPC
        buffer = bytearray(4)
        device.seek(0)
        assert device.readinto(buffer) == 4
        assert buffer == b"Jell"


def test_large_reads_and_writes_of_one_call(chardev: Box) -> None:
    content = os.urandom(4096)
    with chardev.open("/dev/chardev0", "r+b") as device:
        assert device.write(content) == 4096
        assert device.pread(4096, 0) == content
        assert device.pread(3 << 20, 0) == content


def test_ioctl_by_value_by_bytes_and_in_place(chardev: Box) -> None:
    with chardev.open("/dev/chardev0", "r+b") as device:
        device.write(b"\1\2\3")
        assert struct.unpack("<I", device.ioctl(SUM, bytes(4))) == (6,)
        number = bytearray(struct.pack("<Q", 0x0102030405060708))
        assert device.ioctl(ROTATE, number) == 0
        assert struct.unpack("<Q", number) == (0x0203040506070801,)
        assert device.ioctl(VALUE, 21) == 42
        assert device.ioctl(CLEAR) == 0
        assert device.pread(3, 0) == bytes(3)
        with pytest.raises(OSError) as caught:
            device.ioctl(0x1234)
        assert caught.value.errno == errno.ENOTTY
        with pytest.raises(OSError) as caught:
            device.ioctl(ROTATE, 8)
        assert caught.value.errno == errno.EFAULT


def test_mmap_is_the_device_s_own_page(chardev: Box) -> None:
    with chardev.open("/dev/chardev0", "r+b") as device:
        device.write(b"from write")
        with device.mmap(4096) as view:
            assert len(view) == 4096
            assert view[:10] == b"from write"
            view[5:10] = b"a map"
            assert device.pread(10, 0) == b"from a map"
        with pytest.raises(OSError) as caught:
            device.mmap(8192)
        assert caught.value.errno == errno.EINVAL


def test_mmap_of_a_file_brings_its_pages_in(box: Box) -> None:
    box.write_bytes("/tmp/file", bytes(range(256)) * 64)
    with box.open("/tmp/file", "r+b") as file:
        with file.mmap(16384) as view:
            assert view[8000:8004] == bytes([64, 65, 66, 67])
            view[8190:8194] = b"over"
        assert file.pread(4, 8190) == b"over"
        with file.mmap(16384, writable=False) as view, pytest.raises(OSError):
            view[0:1] = b"x"


def test_a_blocking_read_is_woken_by_a_write(chardev: Box) -> None:
    with chardev.open("/dev/chardev1", "r+b") as device:
        reading, buffer = device.start_read(10)
        assert not reading.done
        chardev.sleep(5)
        assert not reading.done
        device.write(b"awake")
        assert reading.result() == 5
        assert buffer[:5] == b"awake"


def test_a_read_that_nobody_wakes_ends_at_its_limit_and_the_box_goes_on(chardev: Box) -> None:
    with chardev.open("/dev/chardev1", "r+b") as device:
        reading, buffer = device.start_read(4)
        before = chardev.time
        with pytest.raises(BoxTimeoutError) as caught:
            reading.result(timeout=2.5)
        assert chardev.time - before == pytest.approx(2.5, abs=0.1)
        assert caught.value.box_lives
        assert "queue_read" in "\n".join(caught.value.log)
        device.write(b"late")
        assert reading.result() == 4
        assert bytes(buffer) == b"late"


def test_poll_tells_what_can_be_done(chardev: Box) -> None:
    with chardev.open("/dev/chardev1", "r+b") as device:
        assert device.poll(select.POLLIN) == 0
        assert device.poll(select.POLLIN | select.POLLOUT) == select.POLLOUT
        before = chardev.time
        assert device.poll(select.POLLIN, timeout=3) == 0
        assert chardev.time - before == pytest.approx(3, abs=0.05)
        device.write(b"1")
        assert device.poll(select.POLLIN, timeout=None) == select.POLLIN
        device.write(b"x" * 63)
        assert device.poll(select.POLLIN | select.POLLOUT) == select.POLLIN


def test_poll_in_another_process_is_woken(chardev: Box) -> None:
    with chardev.open("/dev/chardev1", "r+b") as device, chardev.process() as waiter:
        entry = bytearray(struct.pack("<ihh", device.fileno(), select.POLLIN, 0))
        call = waiter.start("poll", entry, 1, -1)
        assert not call.done
        device.write(b"!")
        assert call.result() == 1
        assert struct.unpack_from("<h", entry, 6) == (select.POLLIN,)


def test_a_file_opened_not_to_block_gives_none(chardev: Box) -> None:
    with chardev.open("/dev/chardev1", "rb", flags=os.O_NONBLOCK) as device:
        assert device.read(1) is None


def test_a_misc_device(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("miscdev"))
    path = box.path("/dev/miscdev")
    assert os.major(path.stat().st_rdev) == 10
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert "miscdev" in box.read_text("/proc/misc")
    assert path.read_text() == "1\n"
    assert path.read_text() == "2\n"
    with pytest.raises(OSError) as caught:
        path.write_bytes(b"x")
    assert caught.value.errno == errno.EXDEV
    with box.open("/dev/miscdev") as text:
        assert text.read() == "4\n"


# -- procfs, sysfs, debugfs and the rest --------------------------------------------------------------------------


def test_files_of_a_module_in_proc_sys_and_debugfs(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("entries"))
    lines = box.read_text("/proc/entries").splitlines()
    assert lines == [f"line {n}" for n in range(3000)]
    level = box.path("/sys/kernel/entries/level")
    assert level.read_text() == "3\n"
    level.write_text("8")
    assert level.read_text() == "8\n"
    with pytest.raises(OSError) as caught:
        level.write_text("much")
    assert caught.value.errno == errno.EINVAL
    counter = box.path("/sys/kernel/debug/entries/counter")
    assert counter.read_text() == "17\n"
    counter.write_text("0x20")
    assert counter.read_text() == "32\n"
    box.rmmod("entries")
    assert not level.exists()
    assert not counter.exists()
    assert not box.path("/proc/entries").exists()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/dev", "devtmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
        ("/sys/kernel/debug", "debugfs"),
        ("/sys/kernel/tracing", "tracefs"),
        ("/sys/kernel/security", "securityfs"),
        ("/sys/fs/bpf", "bpf"),
    ],
)
def test_file_systems_are_mounted(path: str, kind: str, box: Box) -> None:
    mounts = {line.split()[1]: line.split()[2] for line in box.read_text("/proc/mounts").splitlines()}
    assert mounts.get(path) == kind


def test_tracefs_traces_a_module_s_function(box: Box, modules: BuiltTestModules) -> None:
    tracing = box.path("/sys/kernel/tracing")
    (tracing / "events/module/enable").write_text("1")
    box.insmod(modules("good")).unload()
    (tracing / "events/module/enable").write_text("0")
    trace = (tracing / "trace").read_text()
    assert "module_load: good" in trace
    assert "module_free: good" in trace


# -- Python's way with files --------------------------------------------------------------------------------------


def test_text_files(box: Box) -> None:
    with box.open("/tmp/notes", "w") as file:
        file.write("one\ntwo\nthrée\n")
    with box.open("/tmp/notes") as file:
        assert list(file) == ["one\n", "two\n", "thrée\n"]
    with box.open("/tmp/notes", "a") as file:
        print("four", file=file)
    with box.open("/tmp/notes", "r+") as file:
        assert file.readline() == "one\n"
    assert box.path("/tmp/notes").read_text().endswith("four\n")


def test_modes_are_those_of_open(box: Box) -> None:
    box.write_bytes("/tmp/there", b"")
    with pytest.raises(FileExistsError):
        box.open("/tmp/there", "xb")
    with pytest.raises(FileNotFoundError) as caught:
        box.open("/tmp/not there")
    assert caught.value.filename == "/tmp/not there"
    with pytest.raises(IsADirectoryError):
        box.open("/tmp", "wb")
    with box.open("/tmp/there", "rb") as file, pytest.raises(OSError):
        file.write(b"x")
    with pytest.raises(ValueError, match="closed"):
        file.read()
    with pytest.raises(ValueError):
        open_flags("q")
    with box.open("/tmp/there", "w+b") as file:
        file.write(b"0123456789")
        assert file.truncate(4) == 4
        assert file.seekable()
        assert file.readable()
        assert file.writable()
        assert isinstance(file, io.RawIOBase)
    assert box.read_bytes("/tmp/there") == b"0123"


def test_paths_are_like_pathlib_s(box: Box) -> None:
    root = box.path("/tmp/tree")
    (root / "a/b").mkdir(parents=True)
    (root / "a/b").mkdir(exist_ok=True)
    with pytest.raises(FileExistsError):
        (root / "a").mkdir()
    (root / "a/file").write_text("text")
    (root / "link").symlink_to("a/file")
    assert (root / "link").is_symlink()
    assert (root / "link").readlink() == box.path("a/file")
    assert (root / "link").read_text() == "text"
    assert sorted(path.name for path in root.iterdir()) == ["a", "link"]
    assert [str(path) for path in root.rglob("f*")] == ["/tmp/tree/a/file"]
    (root / "a/file").chmod(0o600)
    status = (root / "a/file").stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_size == 4
    assert (root / "a/file").is_file()
    moved = (root / "a/file").rename(root / "moved")
    assert moved.exists()
    moved.unlink()
    moved.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        moved.unlink()
    (root / "a/b").rmdir()
    (root / "empty").touch()
    assert (root / "empty").read_bytes() == b""


def test_files_larger_than_a_call_s_buffer(box: Box) -> None:
    content = os.urandom(3 << 20)
    box.write_bytes("/tmp/big", content)
    assert box.read_bytes("/tmp/big") == content


def test_directories_of_many_names(box: Box) -> None:
    for n in range(1000):
        box.syscall("close", box.syscall("open", f"/tmp/a name of some length, number {n:04}", os.O_CREAT, 0o600))
    names = box.listdir("/tmp")
    assert len(names) == 1000
    assert len(set(names)) == 1000


def test_mknod_and_mount(box: Box) -> None:
    box.files.mknod("/tmp/null", stat.S_IFCHR | 0o666, (1, 3))
    assert box.read_bytes("/tmp/null") == b""
    box.files.mkdir("/tmp/here")
    box.files.mount("none", "/tmp/here", "tmpfs", data="size=64k")
    with pytest.raises(OSError) as caught:
        box.write_bytes("/tmp/here/big", bytes(100_000))
    assert caught.value.errno == errno.ENOSPC
    box.files.umount("/tmp/here")
    assert box.listdir("/tmp/here") == []
