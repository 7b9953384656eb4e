import errno
import os
import select
import struct

import pytest

CLEAR = ord("k") << 8  # _IO('k', 0)
STATUS = 2 << 30 | 8 << 16 | ord("k") << 8 | 1  # _IOR('k', 1, struct skeleton_status)


def test_what_is_written_can_be_read(box, module):
    loaded = box.insmod(module)
    with box.open("/dev/skeleton", "r+b", flags=0) as device:
        assert device.write(b"hello, device") == 13
        device.seek(7)
        assert device.read(100) == b"device"
        assert device.read(100) == b""
        assert device.seek(0, os.SEEK_END) == 13
    loaded.unload()


def test_the_ioctls_of_the_shared_header(box, module):
    loaded = box.insmod(module)
    with box.open("/dev/skeleton", "r+b") as device:
        device.write(b"12345")
        status = bytearray(8)
        device.ioctl(STATUS, status)
        assert struct.unpack("II", status) == (4096, 5)
        device.ioctl(CLEAR)
        device.ioctl(STATUS, status)
        assert struct.unpack("II", status) == (4096, 0)
        with pytest.raises(OSError) as unknown:
            device.ioctl(CLEAR + 9)
        assert unknown.value.errno == errno.ENOTTY
    loaded.unload()


def test_poll_tells_when_there_is_something_to_read(box, module):
    loaded = box.insmod(module)
    with box.open("/dev/skeleton", "r+b") as device:
        assert device.poll(select.POLLIN | select.POLLOUT) == select.POLLOUT
        device.write(b"x")
        device.seek(0)
        assert device.poll(select.POLLIN | select.POLLOUT) == select.POLLIN | select.POLLOUT
    loaded.unload()


def test_a_full_buffer_says_so(box, module):
    loaded = box.insmod(module)
    with box.open("/dev/skeleton", "r+b") as device:
        assert device.write(bytes(5000)) == 4096
        with pytest.raises(OSError) as full:
            device.write(b"x")
        assert full.value.errno == errno.ENOSPC
    loaded.unload()


def test_an_open_file_keeps_the_module(box, module):
    loaded = box.insmod(module)
    with box.open("/dev/skeleton", "rb"), pytest.raises(OSError):
        loaded.unload()
    loaded.unload()
