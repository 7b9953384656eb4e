"""What user space hands to a guest's kernel, when kobox itself runs on a machine of another architecture."""

from __future__ import annotations

import os

import pytest

from kobox.arch.abi import GuestAbi
from kobox.arch.x86_64.abi import ABI
from kobox.box.box import Box

# arch/arm64/include/uapi/asm/fcntl.h
ARM64: GuestAbi = ABI._replace(
    open_flags={"O_DIRECTORY": 0o40000, "O_NOFOLLOW": 0o100000, "O_DIRECT": 0o200000, "O_LARGEFILE": 0o400000}
)
KEPT = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NONBLOCK


@pytest.mark.parametrize(
    ("flags", "generic", "arm64"),
    [
        (os.O_DIRECTORY, 0o200000, 0o40000),
        (os.O_NOFOLLOW, 0o400000, 0o100000),
        (os.O_DIRECT, 0o40000, 0o200000),
        (os.O_DIRECTORY | os.O_NOFOLLOW | KEPT, 0o600000 | KEPT, 0o140000 | KEPT),
        (KEPT, KEPT, KEPT),
        (0, 0, 0),
    ],
)
def test_flags_of_open_are_the_guests(flags: int, generic: int, arm64: int) -> None:
    assert ABI.guest_open_flags(flags) == generic
    assert ARM64.guest_open_flags(flags) == arm64


@pytest.mark.parametrize(
    ("call", "arguments", "arm64"),
    [
        ("open", (1, os.O_DIRECTORY, 0), (1, 0o40000, 0)),
        ("openat", (-100, 1, os.O_NOFOLLOW), (-100, 1, 0o100000)),
        ("pipe2", (1, os.O_DIRECT), (1, 0o200000)),
        ("read", (os.O_DIRECTORY, os.O_DIRECTORY, os.O_DIRECTORY), (os.O_DIRECTORY,) * 3),
        ("open", (1,), (1,)),
    ],
)
def test_only_the_argument_that_holds_flags_changes(
    call: str, arguments: tuple[int, ...], arm64: tuple[int, ...]
) -> None:
    assert ARM64.guest_arguments(call, arguments) == arm64


def test_a_box_opens_by_the_flags_of_this_machine(box: Box) -> None:
    with pytest.raises(NotADirectoryError):
        box.syscall("open", "/proc/version", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0)
    with pytest.raises(OSError, match="symbolic link"):
        box.syscall("open", "/dev/stdin", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0)
