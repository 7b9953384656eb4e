"""System calls of the architectures that came late: of old calls they have only those that no newer one can do for
(include/uapi/asm-generic/unistd.h)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kobox.arch.syscalls import Arguments, Respelling

_AT_FDCWD = -100 & (1 << 64) - 1
_AT_SYMLINK_NOFOLLOW, _AT_REMOVEDIR = 0x100, 0x200
_SIGCHLD = 17
_O_CREAT_WRONLY_TRUNC = 0o1101


def _at(name: str, *more: int) -> Respelling:
    """The same arguments behind AT_FDCWD, with `more` at the end."""
    return lambda arguments: (name, (_AT_FDCWD, *arguments, *more))


def _as(name: str, *more: int) -> Respelling:
    """The same arguments, with `more` at the end."""
    return lambda arguments: (name, (*arguments, *more))


def _two_paths(arguments: Arguments) -> Arguments:
    old, new = arguments[:2]
    return _AT_FDCWD, old, _AT_FDCWD, new


def _poll(arguments: Arguments) -> tuple[str, Arguments]:
    """ppoll(2) takes its timeout from memory: only waiting without limit can be made of poll(2)."""
    files, count, timeout = arguments
    if not timeout >> 31 & 1:
        raise ValueError("no poll(2) with a timeout on this architecture: call ppoll(2)")
    return "ppoll", (files, count, 0, 0, 0)


_RESPELLED: dict[str, Respelling] = {
    "open": _at("openat"),
    "creat": lambda arguments: (
        "openat",
        (_AT_FDCWD, arguments[0], 0o1101, *arguments[1:]),
    ),  # O_CREAT O_WRONLY O_TRUNC
    "stat": _at("newfstatat", 0),
    "lstat": _at("newfstatat", _AT_SYMLINK_NOFOLLOW),
    "access": _at("faccessat"),
    "mkdir": _at("mkdirat"),
    "rmdir": _at("unlinkat", _AT_REMOVEDIR),
    "unlink": _at("unlinkat", 0),
    "mknod": _at("mknodat"),
    "chmod": _at("fchmodat"),
    "chown": _at("fchownat", 0),
    "lchown": _at("fchownat", _AT_SYMLINK_NOFOLLOW),
    "readlink": _at("readlinkat"),
    "symlink": lambda arguments: ("symlinkat", (arguments[0], _AT_FDCWD, arguments[1])),
    "rename": lambda arguments: ("renameat2", (*_two_paths(arguments), 0)),
    "renameat": _as("renameat2", 0),
    "link": lambda arguments: ("linkat", (*_two_paths(arguments), 0)),
    "dup2": _as("dup3", 0),
    "pipe": _as("pipe2", 0),
    "poll": _poll,
    "pause": lambda _: ("ppoll", (0, 0, 0, 0, 0)),
    "epoll_create": lambda _: ("epoll_create1", (0,)),
    "epoll_wait": _as("epoll_pwait", 0, 0),
    "eventfd": _as("eventfd2", 0),
    "signalfd": _as("signalfd4", 0),
    "inotify_init": lambda _: ("inotify_init1", (0,)),
    "getpgrp": lambda _: ("getpgid", (0,)),
    "fork": lambda _: ("clone", (_SIGCHLD, 0, 0, 0, 0)),
}
RESPELLED: Mapping[str, Respelling] = MappingProxyType(_RESPELLED)


def clone(flags: int, thread_pointer: int) -> Arguments:
    """(flags, stack, parent's TID, thread pointer, child's TID): CONFIG_CLONE_BACKWARDS is set."""
    return flags, 0, 0, thread_pointer, 0
