"""System calls with Python's arguments."""

from __future__ import annotations

import array
import ctypes
import errno
import os
from pathlib import PurePosixPath

import pytest

from kobox.box.box import Box


def test_integers_strings_bytes_and_buffers(box: Box) -> None:
    fd = box.syscall("open", "/tmp/f", os.O_RDWR | os.O_CREAT, 0o644)
    assert box.syscall("write", fd, b"some bytes", 10) == 10
    buffer = bytearray(20)
    assert box.syscall("pread64", fd, buffer, 20, 0) == 10
    assert bytes(buffer) == b"some bytes" + bytes(10)
    numbers = array.array("Q", [0, 0])
    assert box.syscall("pread64", fd, numbers, 8, 0) == 8
    assert numbers[0].to_bytes(8, "little") == b"some byt"
    spec = (ctypes.c_int64 * 2)()
    assert box.syscall("clock_gettime", 1, spec) == 0
    assert spec[0] + spec[1] / 1e9 == pytest.approx(box.time, abs=0.01)
    view = memoryview(bytearray(8))[2:6]
    assert box.syscall("pread64", fd, view, 4, 5) == 4
    assert bytes(view) == b"byte"
    box.syscall("close", fd)


def test_paths_and_none(box: Box) -> None:
    box.syscall("mkdir", PurePosixPath("/tmp/d"), 0o755)
    assert box.stat("/tmp/d").st_mode & 0o777 == 0o755
    with box.open("/dev/zero", "rb") as zero, pytest.raises(OSError) as caught:
        box.syscall("read", zero.fileno(), None, 1 << 20)
    assert caught.value.errno == errno.EFAULT


def test_errors_are_os_errors_with_errno_and_path(box: Box) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        box.syscall("open", "/no/such/file", 0, 0)
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == "/no/such/file"
    with pytest.raises(IsADirectoryError):
        box.syscall("open", "/tmp", os.O_WRONLY, 0)
    with pytest.raises(OSError) as caught:
        box.syscall("close", 4321)
    assert caught.value.errno == errno.EBADF


def test_negative_arguments(box: Box) -> None:
    with pytest.raises(OSError) as caught:
        box.syscall("lseek", -1, 0, 0)
    assert caught.value.errno == errno.EBADF
    address = box.syscall("mmap", 0, 4096, 3, 0x22, -1, 0)
    box.guest.write(address + 10, b"anonymous")
    assert box.guest.read(address + 10, 9) == b"anonymous"
    box.syscall("munmap", address, 4096)


def test_what_cannot_be_a_call(box: Box) -> None:
    with pytest.raises(ValueError, match="no system call"):
        box.syscall("no_such_call")
    with pytest.raises(TypeError, match="six"):
        box.syscall("getpid", 1, 2, 3, 4, 5, 6, 7)
    with pytest.raises(ValueError, match="null"):
        box.syscall("open", "a\0b", 0, 0)
    assert box.syscall("getpid") > 1


def test_a_wrong_argument_leaves_nothing_behind(box: Box) -> None:
    free = list(box.guest.calls.arena._free)
    for _ in range(10):
        with pytest.raises(TypeError):
            box.syscall("write", 1, b"x" * 5000, 3.5)
    assert box.guest.calls.arena._free == free


def test_many_calls_do_not_use_the_arena_up(box: Box) -> None:
    for n in range(300):
        buffer = bytearray(10_000 + n)
        fd = box.syscall("open", "/dev/zero", 0, 0)
        assert box.syscall("read", fd, buffer, len(buffer)) == len(buffer)
        box.syscall("close", fd)
        with pytest.raises(OSError):
            box.syscall("open", f"/{'x' * 3000}", 0, 0)


def test_buffers_of_many_megabytes(box: Box) -> None:
    content = os.urandom(9 << 20)
    fd = box.syscall("memfd_create", "big", 0)
    assert box.syscall("write", fd, content, len(content)) == len(content)
    back = bytearray(len(content))
    assert box.syscall("pread64", fd, back, len(back), 0) == len(content)
    assert bytes(back) == content
    box.syscall("close", fd)
