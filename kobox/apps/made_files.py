"""Reads what a module has made in /proc, /sys/kernel, /sys/fs and debugfs, its character devices, and its own
attributes of devices and drivers in /sys, as `cat` does, and no more than a little.

A process of its own reads them: it may be killed, or sleep for ever, and nothing is lost. The caller takes a checkpoint
before: what reading changes is undone with it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from kobox.box.box import Box
from kobox.box.guest.box_process import BoxProcess
from kobox.box.guest.process import Limits
from kobox.box.inspect.kernfs import own_attributes
from kobox.box.inspect.module_memory import ModuleMemory
from kobox.errors import BoxError, BoxTimeoutError, KoboxError, ProcessDiedError

_BELOW = ("/proc/", "/sys/kernel/", "/sys/fs/")
_MOST_FILES = 16
_DEPTH = 3
_READS, _SIZE = 4, 4096  # reads of a file, and bytes each
_LIMITS = Limits(timeout=2.0, cpu=1.0)  # of one call, in seconds of the box: one that spins ends before one that sleeps
_READABLE = 0o444


def readable(box: Box, made: Iterable[Mapping[str, str]], module: ModuleMemory | None = None) -> list[str]:
    """The files among, and in the directories among, what a module has made that somebody may read: no more than
    sixteen. `made` are the facts of each (`Change.facts`); `module` tells its own attributes from those that every
    device has."""
    found: list[str] = []
    for facts in made:
        for path in _paths(box, facts, module):
            if len(found) == _MOST_FILES:
                return found
            found.append(path)
    return found


def _paths(box: Box, facts: Mapping[str, str], module: ModuleMemory | None) -> Iterator[str]:
    path = facts.get("path", "")
    if path.startswith(_BELOW):
        yield from _files(box, path, _DEPTH)
    if "devname" in facts and facts.get("subsystem") != "block":
        with suppress(OSError):
            device = f"/dev/{facts['devname']}"
            mode = box.stat(device).st_mode
            if stat.S_ISCHR(mode) and mode & _READABLE:
                yield device
    if module is not None and facts.get("subsystem") != "module" and "devpath" in facts:
        with suppress(KoboxError, ValueError):  # without type information, or where a module has damaged memory
            yield from own_attributes(box.inspect.objects, f"/sys{facts['devpath']}", module)


def _files(box: Box, path: str, depth: int) -> Iterator[str]:
    with suppress(OSError):
        mode = box.stat(path).st_mode
        if stat.S_ISREG(mode) and mode & _READABLE:
            yield path
        elif stat.S_ISDIR(mode) and depth:
            for name in sorted(box.files.scandir(path)):
                if name not in (".", ".."):
                    yield from _files(box, f"{path}/{name}", depth - 1)


def read_a_little(box: Box, path: str) -> str:
    """Read the beginning of a file of the box. Returns what went wrong, in words, or "".

    A refusal is nothing wrong, nor is a file that has nothing to say yet.
    """
    try:
        with box.process() as process, suppress(OSError):
            _read(process, path)
    except BoxTimeoutError:
        return ""
    except ProcessDiedError:
        return "the process that read it was killed by an oops"
    except BoxError as error:
        return error.message.split("\n", 1)[0]
    return ""


def _read(process: BoxProcess, path: str) -> None:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    file = process.syscall("open", path, flags, 0, limits=_LIMITS)
    for _ in range(_READS):
        if not process.syscall("read", file, bytearray(_SIZE), _SIZE, limits=_LIMITS):
            break
    process.syscall("close", file, limits=_LIMITS)
