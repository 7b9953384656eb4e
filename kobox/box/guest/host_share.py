"""Directories of this machine in a box, read only, by FUSE: the kernel asks, a worker process hands its questions to
Python.

    program: open("/mnt/x")  ->  the box's VFS, fuse  ->  /dev/fuse  --read-->   worker  ->  ShareServer.answer
                                                                     <--write--

Nothing is copied before it is read, and nothing here can write. A node is named by its place in a table of paths that
only grows, so that a box resumed from a snapshot goes on where it was. A request is not trusted: whoever loads modules
in the box can forge one. Names with a slash or dots are refused, and no symbolic link of this machine is ever followed:
the box gets its text, and follows it inside the box.

Source: include/uapi/linux/fuse.h, protocol 7.31; Documentation/filesystems/fuse.rst.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from kobox.box.booted import BootedKernel
from kobox.box.guest.host_copy import make_directories
from kobox.box.guest.host_directory import HostDirectory
from kobox.box.guest.process import Script
from kobox.box.guest.stream_worker import StreamWorker
from kobox.errors import BoxError
from kobox.ko.binary import c_string

_LOOKUP, _FORGET, _GETATTR, _READLINK, _OPEN, _READ, _STATFS, _INIT = 1, 2, 3, 5, 14, 15, 17, 26
_OPENDIR, _READDIR, _INTERRUPT, _DESTROY, _BATCH_FORGET = 27, 28, 36, 38, 42
_SILENT = frozenset((_FORGET, _BATCH_FORGET, _INTERRUPT, _DESTROY))
# ASYNC_READ, PARALLEL_DIROPS, NO_OPEN_SUPPORT, NO_OPENDIR_SUPPORT, MAX_PAGES, CACHE_SYMLINKS: no open, no state
_WANTED = 1 << 0 | 1 << 18 | 1 << 17 | 1 << 24 | 1 << 22 | 1 << 23
_MOST = 128 << 10  # bytes of a file in one answer
_BUFFER = _MOST + 8192
_IN = struct.Struct("<IIQQIIII")
_ROOT = 1


SavedShare: TypeAlias = "str | int | float | list[str]"  # one column of a row of `Saved`


class Saved(NamedTuple):
    """A share as a snapshot keeps it."""

    directory: str
    fd: int
    number: int
    buffer: int
    phase: str
    attr_timeout: float
    nodes: list[str]


class ShareServer:
    """One directory of this machine, offered on one /dev/fuse descriptor of a box.

    `attr_timeout`: virtual seconds for which the kernel may believe what it was told.
    """

    def __init__(self, box: BootedKernel, directory: str, fd: int, worker: StreamWorker, attr_timeout: float) -> None:
        self._box = box
        self._host = HostDirectory(directory)
        self._fd = fd
        self._worker = worker
        self._attr_timeout = attr_timeout
        self._phase = "read"
        self._nodes = [""]  # node 1 is the directory itself
        self._numbers = {"": _ROOT}

    def save(self) -> list[SavedShare]:
        """Itself as plain data."""
        number, buffer = self._worker.process.number, self._worker.buffer
        saved = Saved(self._host.directory, self._fd, number, buffer, self._phase, self._attr_timeout, self._nodes)
        return list(saved)

    @classmethod
    def resume(cls, box: BootedKernel, row: list[SavedShare]) -> ShareServer:
        """Go on with a call that is under way in the box."""
        saved = Saved(*row)  # type: ignore[arg-type]
        worker = box.guest.workers.at(saved.number, saved.buffer)
        server = cls(box, saved.directory, saved.fd, worker, saved.attr_timeout)
        server._nodes = list(saved.nodes)
        server._numbers = {path: number for number, path in enumerate(saved.nodes, 1)}
        server._phase = saved.phase
        script = server.script()
        next(script)  # that call it is in
        box.guest.processes.resume_script(worker.process, script)
        return server

    def script(self) -> Script:
        """What the worker does."""
        worker = self._worker
        if self._phase == "write":
            yield "write", (self._fd, worker.buffer, 0)
        while True:
            self._phase = "read"
            count = yield "read", (self._fd, worker.buffer, _BUFFER)
            if count == -errno.ENODEV:  # unmounted
                break
            if count < _IN.size:
                continue
            reply = self.answer(worker.get(min(count, _BUFFER)))
            if reply:
                worker.put(reply)
                self._phase = "write"
                yield "write", (self._fd, worker.buffer, len(reply))
        yield "close", (self._fd,)
        self._host.close()

    # -- questions and answers -----------------------------------------------------------------------------------

    def answer(self, request: bytes) -> bytes:
        """The reply to one request; b"" where none is due."""
        _, code, unique, node, _, _, _, _ = _IN.unpack_from(request)
        if code in _SILENT:
            return b""
        try:
            body = self._answer(code, node, request[_IN.size :])
        except OSError as error:
            return struct.pack("<IiQ", 16, -(error.errno or errno.EIO), unique)
        except (ValueError, OverflowError, IndexError, struct.error):  # a forged name, offset, length
            return struct.pack("<IiQ", 16, -errno.EINVAL, unique)
        return struct.pack("<IiQ", 16 + len(body), 0, unique) + body

    def _answer(self, code: int, node: int, body: bytes) -> bytes:
        if code == _INIT:
            return self._init(body)
        path = self._path(node)
        if code == _LOOKUP:
            return self._lookup(path, c_string(body))
        if code == _GETATTR:
            return struct.pack("<QII", *self._valid(), 0) + self._attributes(path, node)
        if code == _READLINK:
            with self._host.beneath(path) as (name, parent):
                return os.fsencode(os.readlink(name, dir_fd=parent))
        if code == _READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return os.pread(self._host.file(path), min(size, _MOST), offset)
        if code == _READDIR:
            _, offset, size = struct.unpack_from("<QQI", body)
            return self._entries(path, offset, size)
        if code == _STATFS:
            facts = os.statvfs(self._host.directory)
            head = (facts.f_blocks, facts.f_bfree, facts.f_bavail, facts.f_files, facts.f_ffree)
            return struct.pack("<5Q4I24x", *head, facts.f_bsize, 255, facts.f_frsize, 0)
        # Open and opendir too: then the kernel does without them.
        raise OSError(errno.ENOSYS, "")

    def _init(self, body: bytes) -> bytes:
        major, _, readahead, flags = struct.unpack_from("<4I", body)
        if major != 7:
            raise OSError(errno.EPROTO, "")
        out = struct.pack("<4I", 7, 31, readahead, flags & _WANTED)
        return out + struct.pack("<HHIIHHI28x", 16, 12, 4096, 1, _MOST // 4096, 0, 0)

    def _valid(self) -> tuple[int, int]:
        return int(self._attr_timeout), int(self._attr_timeout % 1 * 1e9)

    def _lookup(self, parent: str, name: bytes) -> bytes:
        text = os.fsdecode(name)
        if not text or "/" in text or text in (".", ".."):
            raise OSError(errno.EINVAL, "")
        path = f"{parent}/{text}" if parent else text
        seconds, nanoseconds = self._valid()
        try:
            number = self._number(path)
            attributes = self._attributes(path, number)
        except FileNotFoundError:  # node 0: the kernel remembers that there is none
            return struct.pack("<QQQQII", 0, 0, seconds, seconds, nanoseconds, nanoseconds) + bytes(88)
        head = struct.pack("<QQQQII", number, 0, seconds, seconds, nanoseconds, nanoseconds)
        return head + attributes

    def _attributes(self, path: str, number: int) -> bytes:
        facts = self._host.stat(path)
        times = (facts.st_atime_ns, facts.st_mtime_ns, facts.st_ctime_ns)
        return struct.pack(
            "<6Q10I",
            *(number, facts.st_size, facts.st_blocks),
            *(time // 10**9 & 0xFFFFFFFFFFFFFFFF for time in times),
            *(time % 10**9 for time in times),
            # Whoever they belong to here, in the box they are root's; writing is refused by the mount.
            *(facts.st_mode, facts.st_nlink, 0, 0, 0, 4096, 0),
        )

    def _entries(self, path: str, offset: int, size: int) -> bytes:
        with self._host.beneath(path) as (name, parent):
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            with os.scandir(fd) as found:
                names = [(".", 4), ("..", 4), *sorted((entry.name, _kind(entry)) for entry in found)]
        finally:
            os.close(fd)
        out = bytearray()
        for at, (text, kind) in enumerate(names[offset:], offset + 1):
            raw = os.fsencode(text)
            entry = struct.pack("<QQII", at + 1, at, len(raw), kind) + raw
            entry += bytes(-len(entry) % 8)
            if len(out) + len(entry) > min(size, _MOST):
                break
            out += entry
        return bytes(out)

    # -- paths ---------------------------------------------------------------------------------------------------

    def _path(self, node: int) -> str:
        if not 1 <= node <= len(self._nodes):
            raise OSError(errno.ESTALE, "")
        return self._nodes[node - 1]

    def _number(self, path: str) -> int:
        number = self._numbers.get(path)
        if number is None:
            self._host.stat(path)  # only what is there gets a number
            self._nodes.append(path)
            number = self._numbers[path] = len(self._nodes)
        return number


def _kind(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK >> 12
    return (stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else stat.S_IFREG) >> 12


class Shares:
    """The directories of this machine that a box has."""

    def __init__(self, box: BootedKernel, saved: Sequence[list[SavedShare]]) -> None:
        self._box = box
        self._servers = [ShareServer.resume(box, row) for row in saved if row[2] in box.guest.processes.by_number]

    def save(self) -> list[list[SavedShare]]:
        """All of them as plain data."""
        return [server.save() for server in self._servers]

    def add(self, directory: str, target: str, *, private_copy: bool, attr_timeout: float) -> None:
        """Mount a directory of this machine: see `BoxFiles.share`."""
        box = self._box
        directory = os.path.realpath(directory)
        os.close(os.open(directory, os.O_RDONLY | os.O_DIRECTORY))
        make_directories(box, target)
        lower = target
        if private_copy:
            lower = f"/run/kobox/{len(self._servers)}/lower"
            for part in ("lower", "upper", "work"):
                make_directories(box, f"/run/kobox/{len(self._servers)}/{part}")
        _need(box, "fuse", "/dev/fuse")
        fd = box.syscall("open", "/dev/fuse", os.O_RDWR | os.O_CLOEXEC, 0)
        server = ShareServer(box, directory, fd, box.guest.workers.make(_BUFFER), attr_timeout)
        data = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
        box.syscall("mount", f"kobox:{directory}", lower, "fuse", 1 | 2 | 4, data)  # MS_RDONLY MS_NOSUID MS_NODEV
        box.guest.processes.follow(server._worker.process, server.script())
        self._servers.append(server)
        if private_copy:
            _need(box, "overlay", "")
            room = lower.removesuffix("/lower")
            box.syscall(
                "mount", "overlay", target, "overlay", 0, f"lowerdir={lower},upperdir={room}/upper,workdir={room}/work"
            )


def _need(box: BootedKernel, module: str, device: str) -> None:
    """Have a file system's module loaded where the kernel has it as one."""
    if device:
        with suppress(FileNotFoundError):
            box.stat(device)
            return
    elif f"\t{module}\n" in box.read_text("/proc/filesystems"):
        return
    try:
        box.modprobe(module)
    except BoxError:
        raise
    except Exception as error:
        raise BoxError(
            f"a directory cannot be shared with this box: its kernel has no {module} ({error})",
            box_lives=True,
            hint="Copy what is needed with `box.files.copy_in`.",
        ) from error
