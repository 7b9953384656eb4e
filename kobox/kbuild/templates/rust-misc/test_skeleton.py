import errno
import os

import pytest

SIZE, CLEAR = 0x7300, 0x7301


def test_what_is_written_is_read(box, module):
    loaded = box.insmod(module)
    with box.open("/dev/skeleton", "r+b") as device:
        assert device.write(b"hello ") == 6
        device.write(b"world")
        assert device.read(64) == b"hello world"
        assert device.ioctl(SIZE, 0) == 11
        device.ioctl(CLEAR, 0)
        assert device.ioctl(SIZE, 0) == 0
    loaded.unload()
    assert not box.path("/dev/skeleton").exists()


def test_each_that_opens_it_has_its_own(box, module):
    box.insmod(module)
    one, other = (box.syscall("open", "/dev/skeleton", os.O_RDWR, 0) for _ in range(2))
    box.syscall("write", one, b"one", 3)
    assert box.syscall("ioctl", other, SIZE, 0) == 0


@pytest.mark.parametrize(
    ("call", "arguments", "number"),
    [("write", (bytes(5000), 5000), errno.ENOSPC), ("ioctl", (0x7399, 0), errno.ENOTTY)],
)
def test_what_it_refuses(box, module, call, arguments, number):
    box.insmod(module)
    fd = box.syscall("open", "/dev/skeleton", os.O_RDWR, 0)
    with pytest.raises(OSError) as refused:
        box.syscall(call, fd, *arguments)
    assert refused.value.errno == number
