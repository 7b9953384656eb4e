"""Landlock: what a process may do with files, given up for good (Documentation/userspace-api/landlock.rst).

A ruleset handles rights; what is handled and not allowed for a directory is refused with EACCES. Here every right that
the running kernel knows is handled, and only reading below some directories is allowed.

    landlock_create_ruleset  444     landlock_add_rule  445     landlock_restrict_self  446     (on every processor)
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
# By ABI: access rights to files (13 from the start; refer, truncate, ioctl_dev), then TCP, then scopes.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_NET_RIGHTS = 3  # bind and connect, since ABI 4
_SCOPES = 3  # abstract Unix sockets and signals, since ABI 6
_NO_NEW_PRIVS = 38


def abi() -> int:
    """The version of Landlock that the running kernel has; 0 when it has none, or it is switched off."""
    return max(int(_libc().syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))), 0)


def allow_reading(directories: Iterable[str | os.PathLike[str]]) -> bool:
    """Let this thread, and what it starts, read below these directories and do nothing else with files.

    False when the kernel has no Landlock. Descriptors that are open stay as they are. Raises `OSError`.
    """
    version = abi()
    if not version:
        return False
    files = (1 << _FILE_RIGHTS.get(version, max(_FILE_RIGHTS.values()))) - 1
    attributes = struct.pack("=QQQ", files, _NET_RIGHTS if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    attributes = attributes[: 24 if version >= 6 else 16 if version >= 4 else 8]
    ruleset = _checked(_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    try:
        for directory in directories:
            _allow(ruleset, directory)
        _no_new_privileges()
        _checked(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint(0))
    finally:
        os.close(ruleset)
    return True


def _allow(ruleset: int, path: str | os.PathLike[str]) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # one that is not there needs no rule
    try:
        rights = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)
        _checked(_ADD, ctypes.c_int(ruleset), ctypes.c_int(1), struct.pack("=Qi", rights, fd), ctypes.c_uint(0))
    finally:
        os.close(fd)


def _no_new_privileges() -> None:
    if _libc().prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")


def _checked(number: int, *arguments: object) -> int:
    result = int(_libc().syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"landlock: system call {number}")
    return result


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc
