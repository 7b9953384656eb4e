"""System calls of ARM's EABI (arch/arm/kernel/entry-common.S, arch/arm/kernel/sys_arm.c).

Numbers of 64 bits take two registers, of which the first has an even number. Calls are known here by the names that
64-bit processors have for them: by those, times are of 64 bits, and so are sizes of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kobox.arch.armv7.syscall_numbers import NUMBERS
from kobox.arch.generic_syscalls import clone
from kobox.arch.syscalls import Arguments, Respelling, SyscallTable

_WORD = (1 << 32) - 1
_STATFS64 = 88  # sizeof(struct statfs64)
_CLOCK_MONOTONIC = 1
_LARGE_FILE, _CREATE = 0o400000, 0o1101  # O_LARGEFILE, as 64-bit kernels add by themselves; O_CREAT O_WRONLY O_TRUNC
_PAGE_SHIFT = 12


def _as(name: str) -> Respelling:
    """The same call by another name."""
    return lambda arguments: (name, arguments)


def _pair(value: int) -> Arguments:
    return value & _WORD, value >> 32 & _WORD


def _offset_after(name: str, count: int) -> Respelling:
    """A number of 64 bits behind so many arguments."""

    def respell(arguments: Arguments) -> tuple[str, Arguments]:
        if len(arguments) <= count:
            return name, arguments
        gap = (0,) if count % 2 else ()
        return name, (*arguments[:count], *gap, *_pair(arguments[count]), *arguments[count + 1 :])

    return respell


def _two_offsets_after(name: str, count: int) -> Respelling:
    """Two numbers of 64 bits behind an even number of arguments."""

    def respell(arguments: Arguments) -> tuple[str, Arguments]:
        if len(arguments) <= count + 1:
            return name, arguments
        return name, (*arguments[:count], *_pair(arguments[count]), *_pair(arguments[count + 1]))

    return respell


def _open_with(name: str, at: int) -> Respelling:
    """Files may have more than 2 GiB; the flags are argument `at`."""

    def respell(arguments: Arguments) -> tuple[str, Arguments]:
        if len(arguments) <= at:
            return name, arguments
        return name, (*arguments[:at], arguments[at] | _LARGE_FILE, *arguments[at + 1 :])

    return respell


def _mmap(arguments: Arguments) -> tuple[str, Arguments]:
    return "mmap2", (*arguments[:5], *(one >> _PAGE_SHIFT for one in arguments[5:]))


def _sync_range(arguments: Arguments) -> tuple[str, Arguments]:
    """(file, offset, bytes, flags): the flags stand second."""
    if len(arguments) < 4:
        return "arm_sync_file_range", arguments
    file, offset, size, flags = arguments
    return "arm_sync_file_range", (file, flags, *_pair(offset), *_pair(size))


def _advise(arguments: Arguments) -> tuple[str, Arguments]:
    """(file, offset, bytes, advice): the advice stands second."""
    if len(arguments) < 4:
        return "arm_fadvise64_64", arguments
    file, offset, size, advice = arguments
    return "arm_fadvise64_64", (file, advice, *_pair(offset), *_pair(size))


def _seek(arguments: Arguments) -> tuple[str, Arguments]:
    """lseek(2) takes 32 bits: what does not fit is not cut off."""
    if len(arguments) > 1 and not -(1 << 31) <= _signed(arguments[1]) < 1 << 31:
        raise ValueError("no lseek(2) beyond 2 GiB on this architecture: call _llseek(2)")
    return "lseek", arguments


def _signed(value: int) -> int:
    """A number of 64 bits, as a call may have it, with its sign."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _vectors(name: str) -> Respelling:
    """(file, vectors, how many, offset): the offset in two halves, wherever they come to stand."""
    return lambda arguments: (
        name,
        (*arguments[:3], *(_pair(arguments[3]) if len(arguments) > 3 else ()), *arguments[4:]),
    )


def _mark(arguments: Arguments) -> tuple[str, Arguments]:
    """(group, flags, mask, directory, path) of fanotify_mark(2): the mask has 64 bits."""
    return "fanotify_mark", (*arguments[:2], *(_pair(arguments[2]) if len(arguments) > 2 else ()), *arguments[3:])


_TIMES = (
    *(("clock_gettime", "clock_gettime64"), ("clock_settime", "clock_settime64"), ("clock_adjtime", "clock_adjtime64")),
    *((name, f"{name}_time64") for name in ("clock_getres", "clock_nanosleep", "utimensat", "pselect6", "ppoll")),
    *((name, f"{name}_time64") for name in ("io_pgetevents", "recvmmsg", "semtimedop", "rt_sigtimedwait", "futex")),
    *(("mq_timedsend", "mq_timedsend_time64"), ("mq_timedreceive", "mq_timedreceive_time64")),
    *((name, f"{name}64") for name in ("timer_gettime", "timer_settime", "timerfd_gettime", "timerfd_settime")),
    ("sched_rr_get_interval", "sched_rr_get_interval_time64"),
)
_USERS = (
    *("lchown", "fchown", "chown", "getuid", "getgid", "geteuid", "getegid", "setreuid", "setregid", "getgroups"),
    *("setgroups", "setresuid", "getresuid", "setresgid", "getresgid", "setuid", "setgid", "setfsuid", "setfsgid"),
)
_RESPELLED: dict[str, Respelling] = {
    **{old: _as(new) for old, new in _TIMES},
    **{name: _as(f"{name}32") for name in _USERS},
    **{name: _as(f"{name}64") for name in ("stat", "lstat", "fstat", "fcntl", "sendfile")},
    "newfstatat": _as("fstatat64"),
    "select": _as("_newselect"),
    "nanosleep": lambda arguments: ("clock_nanosleep_time64", (_CLOCK_MONOTONIC, 0, *arguments)),
    "open": _open_with("open", 1),
    "openat": _open_with("openat", 2),
    "creat": lambda arguments: ("open", (*arguments[:1], _CREATE | _LARGE_FILE, *arguments[1:])),
    "mmap": _mmap,
    "sync_file_range": _sync_range,
    "fadvise64": _advise,
    "statfs": lambda arguments: ("statfs64", (*arguments[:1], _STATFS64, *arguments[1:])),
    "fstatfs": lambda arguments: ("fstatfs64", (*arguments[:1], _STATFS64, *arguments[1:])),
    **{name: _vectors(name) for name in ("preadv", "pwritev", "preadv2", "pwritev2")},
    "lseek": _seek,
    "fanotify_mark": _mark,
    "truncate": _offset_after("truncate64", 1),
    "ftruncate": _offset_after("ftruncate64", 1),
    "pread64": _offset_after("pread64", 3),
    "pwrite64": _offset_after("pwrite64", 3),
    "readahead": _offset_after("readahead", 1),
    "fallocate": _two_offsets_after("fallocate", 2),
    "getrlimit": lambda arguments: ("prlimit64", (0, *arguments[:1], 0, *arguments[1:])),
    "setrlimit": lambda arguments: ("prlimit64", (0, *arguments, 0)),
}
RESPELLED: Mapping[str, Respelling] = MappingProxyType(_RESPELLED)

# struct pt_regs { unsigned long uregs[18]; }: R7, R0, R0 to R5.
_SAVED = tuple(("uregs", 4 * n) for n in (7, 0, 0, 1, 2, 3, 4, 5))

SYSCALLS = SyscallTable("ARMv7", NUMBERS, None, clone, "vector_swi", "sys_", ("vector_swi",), RESPELLED, _SAVED)
