"""seccomp: the system calls that a process keeps; it gives up all others for good
(Documentation/userspace-api/seccomp_filter.rst).

The filter is a classic BPF program over { u32 nr, u32 arch, u64 instruction pointer, u64 args[6] }. What is kept is
what an emulator and Python need: memory, threads, time, reading, and writing to descriptors that are open.

    another processor's calls, x32's    the process is killed
    ALLOWED                             go on
    open, openat                        go on, but EPERM with any flag that writes or creates
    clone                               goes on for a thread; with `processes`, for a process in the same namespaces too
    kill, tgkill                        go on for this process; with `processes`, for any (Landlock bounds them)
    fcntl                               goes on, but EPERM for F_SETOWN and its kin: descriptors that send signals
    ioctl                               goes on for questions about a descriptor: a terminal's size, bytes to read
    prctl                               goes on, but EPERM for PR_SET_PDEATHSIG: a worker dies with its parent;
                                        with `processes`, only SIGKILL can be set
    prlimit64                           goes on for this process
    clone3, numbers without a name      ENOSYS: the C library then takes the older call
    all others                          EPERM
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Iterator, Mapping

from kobox.arch.host_syscalls import host_numbers

_SET_FILTER, _TSYNC, _NO_NEW_PRIVS = 1, 1, 38
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_X32 = 0x40000000
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | 0x400000  # the last: __O_TMPFILE
_CLONE_THREAD = 0x10000
_REFUSE = _ERRNO | errno.EPERM

_NEW_NAMESPACES = 0x7E020080  # CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET

_AUDIT_ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3}  # include/uapi/linux/audit.h

ALLOWED = frozenset(
    """
    read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek close close_range
    dup dup2 dup3 pipe pipe2 poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait
    epoll_pwait2 eventfd2 timerfd_create timerfd_settime timerfd_gettime fsync fdatasync flock fadvise64 readahead
    stat lstat fstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getcwd chdir
    fchdir getdents getdents64 mmap mprotect munmap mremap madvise msync mincore mlock mlock2 munlock brk membarrier
    pkey_mprotect pkey_alloc pkey_free futex futex_waitv set_robust_list get_robust_list rseq set_tid_address
    sched_yield sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min
    getcpu exit exit_group rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait
    sigaltstack restart_syscall pause alarm setitimer getitimer timer_create timer_settime timer_gettime timer_delete
    nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times getrusage getrlimit setrlimit sysinfo
    uname umask getpid gettid getppid getpgrp getpgid getsid getuid geteuid getgid getegid getresuid getresgid getgroups
    getpriority getrandom capget arch_prctl seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self
    wait4 waitid getsockopt getsockname getpeername
    """.split()  # noqa: SIM905 - a hundred quotes are harder to read
)
_PROCESSES = ("fork", "vfork", "kill", "tgkill", "process_vm_readv")
_TERMINAL_AND_SIZE = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# TCGETS, TCGETS2, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX (include/uapi/asm-generic/ioctls.h)
_SIGNALS_OF_DESCRIPTORS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX (include/uapi/asm-generic/fcntl.h)
_SET_PDEATHSIG, _SIGKILL = 1, 9

_Row = tuple[int, int, int, int]


def available() -> bool:
    """Whether the running kernel has seccomp filters, and this processor's system calls are known."""
    numbers = host_numbers()
    if os.uname().machine not in _AUDIT_ARCHES or "seccomp" not in numbers:
        return False
    action = ctypes.c_uint32(_ERRNO)
    return int(_libc().syscall(numbers["seccomp"], 2, 0, ctypes.byref(action))) == 0  # SECCOMP_GET_ACTION_AVAIL


def give_up(*, processes: bool = False) -> bool:
    """Give all other calls up in all threads of this process, and in what it starts. False where that is not possible.

    With `processes` it may still start processes of its own program, and end them.
    """
    if not available():
        return False
    numbers = host_numbers()
    program = build_filter(_AUDIT_ARCHES[os.uname().machine], numbers, os.getpid(), processes=processes)
    buffer = ctypes.create_string_buffer(program)
    fprog = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    libc = _libc()
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(numbers["seccomp"], _SET_FILTER, _TSYNC, fprog):
        raise OSError(ctypes.get_errno(), "seccomp: the filter is refused")
    return True


def build_filter(arch: int, numbers: Mapping[str, int], pid: int, *, processes: bool = False) -> bytes:
    """The BPF program: struct sock_filter { u16 code; u8 jt, jf; u32 k } each."""
    rows: list[_Row] = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    if arch == _AUDIT_ARCHES["x86_64"]:
        rows += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    allowed = ALLOWED.union(_PROCESSES) if processes else ALLOWED
    for number in sorted(numbers[name] for name in allowed if name in numbers):
        rows += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    for name, body in _by_argument(pid, processes):
        if name in numbers and name not in allowed:
            rows += [(_EQUAL, 0, len(body), numbers[name]), *body]
    unknown = [(_AT_LEAST, 0, 1, max(numbers.values()) + 1), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    for name in ("clone3", "openat2"):  # with their flags in memory, where a filter cannot see them
        if name in numbers:
            rows += [(_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    rows += [*unknown, (_RETURN, 0, 0, _REFUSE)]
    return b"".join(struct.pack("=HBBI", *row) for row in rows)


def _by_argument(pid: int, processes: bool) -> Iterator[tuple[str, list[_Row]]]:
    """Calls that are allowed by one of their arguments: what follows once the number is found, to the answer."""
    for name, argument in (("open", 1), ("openat", 2)):
        yield name, [_low(argument), (_ANY_BIT, 0, 1, _WRITES), *_answers(_REFUSE, _ALLOW)]
    thread = [(_ANY_BIT, 0, 1, _CLONE_THREAD)] if not processes else [(_RETURN, 0, 0, _ALLOW)]
    yield "clone", [_low(0), (_ANY_BIT, len(thread) + 1, 0, _NEW_NAMESPACES), *thread, *_answers(_ALLOW, _REFUSE)]
    for name in ("kill", "tgkill", "process_vm_readv"):  # the machine reads its own memory, where it may be unmapped
        yield name, [_low(0), (_EQUAL, 0, 1, pid), *_answers(_ALLOW, _REFUSE)]
    kept = [_low(1), (_EQUAL, 0, 1, _SIGKILL), *_answers(_ALLOW, _REFUSE)] if processes else [(_RETURN, 0, 0, _REFUSE)]
    yield "prctl", [_low(0), (_EQUAL, 0, len(kept), _SET_PDEATHSIG), *kept, (_RETURN, 0, 0, _ALLOW)]
    yield "prlimit64", [_low(0), (_EQUAL, 1, 0, 0), (_EQUAL, 0, 1, pid), *_answers(_ALLOW, _REFUSE)]
    yield "fcntl", [_low(1), *_one_of(_SIGNALS_OF_DESCRIPTORS, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    yield "ioctl", [_low(1), *_one_of(_TERMINAL_AND_SIZE, _ALLOW), (_RETURN, 0, 0, _REFUSE)]


def _low(argument: int) -> _Row:
    """Load the low half of an argument (both processors are little-endian)."""
    return (_LOAD, 0, 0, 16 + 8 * argument)


def _answers(yes: int, no: int) -> list[_Row]:
    return [(_RETURN, 0, 0, yes), (_RETURN, 0, 0, no)]


def _one_of(values: Iterable[int], answer: int) -> list[_Row]:
    return [row for value in values for row in ((_EQUAL, 0, 1, value), (_RETURN, 0, 0, answer))]


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc
