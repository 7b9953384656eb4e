"""System calls of ARM's EABI by the names that 64-bit processors have: numbers of 64 bits take two registers."""

from __future__ import annotations

import struct

import pytest

from kobox.arch.armv7.armv7 import ARMV7
from kobox.arch.registry import ARCHITECTURES

FAR = 0x1_2345_6789  # a number of 64 bits
PAIR = (0x2345_6789, 1)
CALLS = [
    ("getpid", (), 20, ()),
    ("open", (1, 2, 3), 5, (1, 0o400002, 3)),
    ("openat", (-100, 2, 0, 0), 322, (-100, 2, 0o400000, 0)),
    ("creat", (1, 0o600), 5, (1, 0o401101, 0o600)),
    ("pread64", (3, 0x1000, 16, FAR), 180, (3, 0x1000, 16, 0, *PAIR)),
    ("pwrite64", (3, 0x1000, 16, FAR), 181, (3, 0x1000, 16, 0, *PAIR)),
    ("truncate", (0x1000, FAR), 193, (0x1000, 0, *PAIR)),
    ("ftruncate", (3, FAR), 194, (3, 0, *PAIR)),
    ("preadv", (3, 0x1000, 2, FAR), 361, (3, 0x1000, 2, *PAIR)),
    ("pwritev2", (3, 0x1000, 2, FAR, 1), 393, (3, 0x1000, 2, *PAIR, 1)),
    ("lseek", (3, 7, 0), 19, (3, 7, 0)),
    ("lseek", (3, (1 << 64) - 7, 1), 19, (3, (1 << 64) - 7, 1)),
    ("readahead", (3, FAR, 16), 225, (3, 0, *PAIR, 16)),
    ("fallocate", (3, 1, FAR, 16), 352, (3, 1, *PAIR, 16, 0)),
    ("sync_file_range", (3, FAR, 16, 7), 341, (3, 7, *PAIR, 16, 0)),
    ("fadvise64", (3, FAR, 16, 4), 270, (3, 4, *PAIR, 16, 0)),
    ("fanotify_mark", (3, 1, FAR, -100, 0x1000), 368, (3, 1, *PAIR, -100, 0x1000)),
    ("mmap", (0, 4096, 3, 2, 5, 8192), 192, (0, 4096, 3, 2, 5, 2)),
    ("statfs", (0x1000, 0x2000), 266, (0x1000, 88, 0x2000)),
    ("nanosleep", (0x1000, 0), 407, (1, 0, 0x1000, 0)),
    ("clock_gettime", (1, 0x1000), 403, (1, 0x1000)),
    ("futex", (0x1000, 128, 0, 0), 422, (0x1000, 128, 0, 0)),
    ("newfstatat", (1, 2, 3, 4), 327, (1, 2, 3, 4)),
    ("chown", (0x1000, 70000, 70000), 212, (0x1000, 70000, 70000)),
    ("getrlimit", (7, 0x1000), 369, (0, 7, 0, 0x1000)),
    ("setrlimit", (7, 0x1000), 369, (0, 7, 0x1000, 0)),
    ("openat2", (1, 2, 3, 4), 437, (1, 2, 3, 4)),
]


@pytest.mark.parametrize(("name", "arguments", "number", "made"), CALLS, ids=[row[0] for row in CALLS])
def test_a_call_by_the_name_it_has_elsewhere(
    name: str, arguments: tuple[int, ...], number: int, made: tuple[int, ...]
) -> None:
    assert name in ARMV7.syscalls
    assert ARMV7.syscalls.resolve(name, arguments) == (number, made)


@pytest.mark.parametrize(
    "name", ["pread64", "ftruncate", "fallocate", "fadvise64", "sync_file_range", "mmap", "statfs"]
)
def test_too_few_arguments_are_the_kernels_to_refuse(name: str) -> None:
    number, made = ARMV7.syscalls.resolve(name, ())
    assert number > 0
    assert len(made) <= 6


@pytest.mark.parametrize("offset", [1 << 31, FAR, -(1 << 31) - 1, (1 << 64) - (1 << 32)])
def test_a_place_in_a_file_is_not_cut_off(offset: int) -> None:
    with pytest.raises(ValueError, match=r"call _llseek\(2\)"):
        ARMV7.syscalls.resolve("lseek", (3, offset, 0))


def test_a_call_that_no_such_kernel_has() -> None:
    with pytest.raises(ValueError, match="no system call 'arch_prctl' on ARMv7"):
        ARMV7.syscalls.resolve("arch_prctl", ())


def test_a_struct_stat_is_read() -> None:
    values = (0x801, 5, 0o100644, 1, 70000, 70001, 0x103, FAR, 4096, 8, 1, 2, 3, 4, 5, 6, FAR)
    found = ARMV7.abi.parse_stat(struct.pack("<Q4xIIIIIQ8xqI4xQ6IQ", *values))
    assert (found.st_size, found.st_ino, found.st_rdev, found.st_uid) == (FAR, FAR, 0x103, 70000)
    assert (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns) == (1_000_000_002, 3_000_000_004, 5_000_000_006)


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
@pytest.mark.parametrize(
    ("value", "result"), [(0, 0), (7, 7), (-1, -1), (-4095, -4095), (0xB6F8D000, 0xB6F8D000), (0x7FFFFFFF, 0x7FFFFFFF)]
)
def test_what_a_call_returns_is_an_errno_or_a_number(arch: object, value: int, result: int) -> None:
    space = arch.addresses  # type: ignore[attr-defined]
    assert space.call_result(value & space.mask) == result
