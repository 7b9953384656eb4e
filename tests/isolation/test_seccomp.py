"""The filter's answer to every call of both processors, by a small interpreter of classic BPF."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from kobox.arch.registry import ARCHITECTURES
from kobox.isolation import seccomp

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3}  # processors that kobox itself runs on
NUMBERS = {arch.name: arch.syscalls.numbers for arch in ARCHITECTURES if arch.name in AUDIT}
PID = 4711
ALLOW, KILL = "allow", "kill"


def answer(name: str, call: int, *arguments: int, arch: int = 0, processes: bool = False) -> str:
    """What the filter of a processor says to a call."""
    program = seccomp.build_filter(AUDIT[name], NUMBERS[name], PID, processes=processes)
    data = struct.pack("<IIQ6Q", call, arch or AUDIT[name], 0, *(*arguments, *[0] * (6 - len(arguments))))
    rows = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = 0
    while True:
        code, yes, no, value = rows[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            kind = value & 0xFFFF0000
            return {0x7FFF0000: ALLOW, 0x80000000: KILL}.get(kind) or errno.errorcode[value & 0xFFFF]
        else:
            true = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            at += yes if true else no


@pytest.mark.parametrize("name", NUMBERS)
def test_only_what_is_named_goes_on(name: str) -> None:
    by_argument = {
        "open",
        "openat",
        "clone",
        "kill",
        "tgkill",
        "process_vm_readv",
        "prctl",
        "prlimit64",
        "fcntl",
        "ioctl",
    }
    for call, number in NUMBERS[name].items():
        if call not in by_argument:
            wanted = ALLOW if call in seccomp.ALLOWED else "ENOSYS" if call in ("clone3", "openat2") else "EPERM"
            assert answer(name, number) == wanted, call
    assert answer(name, max(NUMBERS[name].values()) + 1) == "ENOSYS"


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    ("call", "arguments", "wanted"),
    [
        ("openat", (0, 0, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY), ALLOW),
        ("openat", (0, 0, os.O_WRONLY), "EPERM"),
        ("openat", (0, 0, os.O_RDWR), "EPERM"),
        ("openat", (0, 0, os.O_CREAT), "EPERM"),
        ("openat", (0, 0, os.O_TRUNC), "EPERM"),
        ("openat", (0, 0, os.O_TMPFILE), "EPERM"),
        ("clone", (0x3D0F00,), ALLOW),  # a thread
        ("clone", (0x1200011,), "EPERM"),  # fork
        ("clone", (0x3D0F00 | 0x10000000,), "EPERM"),  # in a new user namespace
        ("kill", (PID, 9), ALLOW),
        ("kill", (1, 9), "EPERM"),
        ("kill", (0xFFFFFFFF, 9), "EPERM"),
        ("tgkill", (PID, PID, 9), ALLOW),
        ("tgkill", (PID + 1, PID, 9), "EPERM"),
        ("process_vm_readv", (PID,), ALLOW),
        ("process_vm_readv", (1,), "EPERM"),
        ("process_vm_writev", (PID,), "EPERM"),
        ("prctl", (15,), ALLOW),  # PR_SET_NAME
        ("prctl", (1, 0), "EPERM"),  # PR_SET_PDEATHSIG
        ("prlimit64", (0, 7, 0, 1), ALLOW),
        ("prlimit64", (1, 7, 1, 0), "EPERM"),
        ("fcntl", (1, 3), ALLOW),
        ("fcntl", (1, 8), "EPERM"),
        ("fcntl", (1, 10), "EPERM"),
        ("fcntl", (1, 15), "EPERM"),
        ("ioctl", (1, 0x5413), ALLOW),
        ("ioctl", (1, 0x5412), "EPERM"),  # TIOCSTI
        ("ioctl", (1, 0x541C), "EPERM"),  # TIOCLINUX
        ("ioctl", (1, 0x8901), "EPERM"),  # FIOSETOWN
    ],
)
def test_calls_that_their_arguments_decide(name: str, call: str, arguments: tuple[int, ...], wanted: str) -> None:
    assert answer(name, NUMBERS[name][call], *arguments) == wanted


@pytest.mark.parametrize("name", NUMBERS)
def test_who_starts_workers_may_start_and_end_processes_and_nothing_more(name: str) -> None:
    numbers = NUMBERS[name]
    assert answer(name, numbers["clone"], 0x1200011, processes=True) == ALLOW
    assert answer(name, numbers["clone"], 0x1200011 | 0x40000000, processes=True) == "EPERM"  # a new network
    assert answer(name, numbers["kill"], 1, 9, processes=True) == ALLOW
    assert answer(name, numbers["prctl"], 1, 9, processes=True) == ALLOW
    assert answer(name, numbers["prctl"], 1, 0, processes=True) == "EPERM"  # PR_SET_PDEATHSIG, none
    assert answer(name, numbers["prctl"], 15, processes=True) == ALLOW
    for call in ("execve", "execveat", "socket", "ptrace", "unlinkat", "mount"):
        assert answer(name, numbers[call], processes=True) == "EPERM"


def test_another_processor_s_calls_end_the_process() -> None:
    assert answer("x86_64", NUMBERS["x86_64"]["read"], arch=0x40000003) == KILL  # int 0x80
    assert answer("x86_64", 0x40000000) == KILL  # x32
    assert answer("aarch64", NUMBERS["aarch64"]["read"], arch=0x40000028) == KILL


def test_every_name_is_a_call_of_one_of_the_processors() -> None:
    assert set().union(*NUMBERS.values()) >= seccomp.ALLOWED
