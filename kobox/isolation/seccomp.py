"""seccomp: system calls that a process gives up for good (Documentation/userspace-api/seccomp_filter.rst).

The filter is a classic BPF program over { u32 nr, u32 arch, u64 instruction pointer, u64 args[6] }. A call that is
given up answers EPERM. What is left is what an emulator and Python need: memory, threads, time, reading, and writing to
descriptors that are open.

    another processor's calls, x32's    the process is killed
    by name                             starting programs, sockets, changing files and their attributes, mounts,
                                        namespaces, tracing, keys, modules, BPF, io_uring, clocks, other processes
    open, openat                        with any flag that writes or creates
    clone                               but for a thread (clone3 answers ENOSYS, and the C library uses clone)
    kill, tgkill                        but for this process
    ioctl                               TIOCSTI and TIOCLINUX, which put characters into a terminal's input
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Mapping

from kobox.arch.host_syscalls import host_numbers

_SET_FILTER, _TSYNC, _NO_NEW_PRIVS = 1, 1, 38
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_X32 = 0x40000000
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CLONE_THREAD = 0x10000

_AUDIT_ARCHES = {"x86_64": 0xC000003E}  # include/uapi/linux/audit.h; those whose system calls are known

GIVEN_UP = frozenset(
    """
    execve execveat fork vfork ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd pidfd_open
    pidfd_send_signal rt_sigqueueinfo rt_tgsigqueueinfo tkill process_madvise process_mrelease socket connect
    bind listen accept accept4 creat rename renameat renameat2 unlink unlinkat mkdir mkdirat rmdir link linkat
    symlink symlinkat mknod mknodat chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat truncate
    utime utimes utimensat futimesat setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr
    name_to_handle_at open_by_handle_at mount umount2 pivot_root chroot unshare setns move_mount open_tree
    fsopen fsconfig fsmount fspick mount_setattr swapon swapoff quotactl quotactl_fd acct add_key request_key
    keyctl bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register init_module
    finit_module delete_module kexec_load kexec_file_load reboot syslog vhangup ioperm iopl settimeofday
    clock_settime clock_adjtime adjtimex sethostname setdomainname personality setuid setgid setreuid setregid
    setresuid setresgid setgroups setfsuid setfsgid capset fanotify_init inotify_init inotify_init1
    memfd_secret
    """.split()  # noqa: SIM905 - a hundred quotes are harder to read
)
_NOT_THERE = ("clone3", "openat2")  # with their flags in memory, where a filter cannot see them


def available() -> bool:
    """Whether the running kernel has seccomp filters, and this processor's system calls are known."""
    numbers = host_numbers()
    if os.uname().machine not in _AUDIT_ARCHES or "seccomp" not in numbers:
        return False
    action = ctypes.c_uint32(_ERRNO)
    return int(_libc().syscall(numbers["seccomp"], 2, 0, ctypes.byref(action))) == 0  # SECCOMP_GET_ACTION_AVAIL


def give_up() -> bool:
    """Give the calls up in all threads of this process, and in what it starts. False where that is not possible."""
    if not available():
        return False
    numbers = host_numbers()
    program = build_filter(_AUDIT_ARCHES[os.uname().machine], numbers, os.getpid())
    buffer = ctypes.create_string_buffer(program)
    fprog = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    libc = _libc()
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(numbers["seccomp"], _SET_FILTER, _TSYNC, fprog):
        raise OSError(ctypes.get_errno(), "seccomp: the filter is refused")
    return True


def build_filter(arch: int, numbers: Mapping[str, int], pid: int) -> bytes:
    """The BPF program: struct sock_filter { u16 code; u8 jt, jf; u32 k } each."""
    refuse = _ERRNO | errno.EPERM
    rows = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    rows += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    for names, answer in ((sorted(GIVEN_UP), refuse), (_NOT_THERE, _ERRNO | errno.ENOSYS)):
        for name in names:
            if name in numbers:
                rows += [(_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, answer)]
    for name, argument, tests in (
        ("open", 1, [(_ANY_BIT, 0, 1, _WRITES), (_RETURN, 0, 0, refuse)]),
        ("openat", 2, [(_ANY_BIT, 0, 1, _WRITES), (_RETURN, 0, 0, refuse)]),
        ("clone", 0, [(_ANY_BIT, 1, 0, _CLONE_THREAD), (_RETURN, 0, 0, refuse)]),
        ("kill", 0, [(_EQUAL, 1, 0, pid), (_RETURN, 0, 0, refuse)]),
        ("tgkill", 0, [(_EQUAL, 1, 0, pid), (_RETURN, 0, 0, refuse)]),
        (
            "ioctl",
            1,
            [(_EQUAL, 0, 1, 0x5412), (_RETURN, 0, 0, refuse), (_EQUAL, 0, 1, 0x541C), (_RETURN, 0, 0, refuse)],
        ),
    ):
        if name in numbers:
            body = [(_LOAD, 0, 0, 16 + 8 * argument), *tests, (_LOAD, 0, 0, 0)]
            rows += [(_EQUAL, 0, len(body), numbers[name]), *body]
    rows.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *row) for row in rows)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc
