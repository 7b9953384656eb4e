"""A directory of this machine as a file system of a box's own, whose files get their content when they are opened.

    program: open("x.ko")  ->  the box's VFS, fanotify  -- FAN_OPEN_PERM, read -->  worker  ->  LazyCopy
                                                       <-- pwrite, FAN_ALLOW  --

The files are there from the beginning, with their size and time, but without a block: a tmpfs. The kernel asks before
it opens one, and only then it is filled. No module of the kernel is needed (FUSE and overlay are modules in Debian's
kernels), and the box can write there. When files that nobody wrote to hold too much memory, the one opened first loses
its content again: a new empty file takes its place, and who has the old one open or mapped keeps that.

What the box says is not trusted: it can only ask for files that the directory had when the copy was made.

Source: fanotify(7), fanotify_init(2), fanotify_mark(2); fs/notify/fanotify/fanotify_user.c.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Generator
from typing import NamedTuple, TypeAlias

from kobox.box.booted import BootedKernel
from kobox.box.guest.host_copy import make_directories
from kobox.box.guest.host_directory import HostDirectory
from kobox.box.guest.process import Script
from kobox.box.guest.stream_worker import StreamWorker

_CLASS = 0x4 | 0x1  # FAN_CLASS_CONTENT, FAN_CLOEXEC
_TAINTS = "tainted_mask"  # newer kernels taint themselves (TAINT_AUX) for these permissions, which are kobox's alone
_MARK_ADD, _MARK_FILESYSTEM, _OPEN_PERM = 0x1, 0x100, 0x10000
_ALLOW, _DENY = 1, 2
_AT_FDCWD, _AT_EMPTY_PATH, _AT_SYMLINK_NOFOLLOW = (1 << 64) - 100, 0x1000, 0x100
_EVENT = struct.Struct("<IBBHQii")  # struct fanotify_event_metadata
_CHUNK = 128 << 10
_PATHS = _CHUNK  # where in a worker's buffer paths and times stand
_BUFFER = _CHUNK + 16384

SavedCopy: TypeAlias = "str | int | list[str] | list[tuple[int, str, int, int]]"  # one column of a row of `SavedFiles`
_Steps: TypeAlias = "Generator[tuple[str, tuple[int, ...]], int, int]"  # calls, and what comes of them


class Original(NamedTuple):
    """A file as the directory had it: its path, size, and time of the last change in nanoseconds."""

    path: str
    size: int
    changed: int


class SavedFiles(NamedTuple):
    """A copy as a snapshot keeps it."""

    directory: str
    target: str
    fd: int
    number: int
    buffer: int
    most: int
    phase: str
    event: int
    answer: int
    originals: list[tuple[int, str, int, int]]
    filled: list[str]


class LazyCopy:
    """One directory of this machine, and the file system of a box that is a copy of it. `most`: bytes of memory that it
    may hold, but for what was written to."""

    def __init__(
        self, box: BootedKernel, directory: str, target: str, fd: int, worker: StreamWorker, most: int
    ) -> None:
        self._box = box
        self._host = HostDirectory(directory)
        self._target = target
        self._fd = fd
        self._worker = worker
        self._most = most
        self._phase, self._event, self._answer = "read", -1, _ALLOW
        self._originals: dict[int, Original] = {}  # by the inode of the copy
        self._filled: dict[str, int] = {}  # sizes, the one filled first at the beginning

    @classmethod
    def make(cls, box: BootedKernel, directory: str, target: str, most: int) -> LazyCopy:
        """Mount it. Raises `OSError` where the kernel has no fanotify with permissions."""
        directory = os.path.realpath(directory)
        taints_at = box.inspect.objects.find(_TAINTS)
        if taints_at is None:  # no symbol names variables: what the kernel does to itself could not be undone
            raise OSError(errno.ENOSYS, f"no {_TAINTS}")
        files = (
            os.O_RDWR | os.O_CLOEXEC | box.arch.abi.open_flags["O_LARGEFILE"]
        )  # files that it reports are opened in the same way
        fd = box.syscall("fanotify_init", _CLASS, files)
        make_directories(box, target)
        box.syscall("mount", "tmpfs", target, "tmpfs", 0, "mode=755,nr_inodes=0")
        taints = box.inspect.objects.read(taints_at, 8)
        try:
            box.syscall("fanotify_mark", fd, _MARK_ADD | _MARK_FILESYSTEM, _OPEN_PERM, _AT_FDCWD, target)
        except OSError:
            box.syscall("umount2", target, 0)
            box.syscall("close", fd)
            raise
        box.inspect.memory.write(taints_at, taints)
        copy = cls(box, directory, target, fd, box.guest.workers.make(_BUFFER), most)
        copy._make_tree("")
        box.guest.processes.follow(copy._worker.process, copy.script())
        return copy

    def _make_tree(self, path: str) -> None:
        """The directories, links and empty files."""
        with self._host.beneath(path) as (name, parent):
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            names = sorted(os.listdir(fd))
        finally:
            os.close(fd)
        for each in names:
            here = f"{path}/{each}" if path else each
            facts, there = self._host.stat(here), f"{self._target}/{here}"
            if stat.S_ISDIR(facts.st_mode):
                self._box.syscall("mkdir", there, stat.S_IMODE(facts.st_mode))
                self._make_tree(here)
            elif stat.S_ISLNK(facts.st_mode):
                with self._host.beneath(here) as (last, parent):
                    self._box.syscall("symlink", os.readlink(last, dir_fd=parent), there)
            elif stat.S_ISREG(facts.st_mode):
                self._box.syscall("mknod", there, stat.S_IFREG | stat.S_IMODE(facts.st_mode), 0)
                self._box.syscall("truncate", there, facts.st_size)
                self._box.syscall("utimensat", _AT_FDCWD, there, _times(facts), 0)
                made = self._box.stat(there, follow_symlinks=False)
                self._originals[made.st_ino] = Original(here, facts.st_size, facts.st_mtime_ns)

    def save(self) -> list[SavedCopy]:
        """Itself as plain data."""
        worker = self._worker
        return list(
            SavedFiles(
                *(self._host.directory, self._target, self._fd, worker.process.number, worker.buffer, self._most),
                *(self._phase, self._event, self._answer),
                *([(inode, *original) for inode, original in self._originals.items()], list(self._filled)),
            )
        )

    @classmethod
    def resume(cls, box: BootedKernel, row: list[SavedCopy]) -> LazyCopy:
        """Go on with a call that is under way in the box."""
        saved = SavedFiles(*row)  # type: ignore[arg-type]
        worker = box.guest.workers.at(saved.number, saved.buffer)
        copy = cls(box, saved.directory, saved.target, saved.fd, worker, saved.most)
        copy._phase, copy._event, copy._answer = saved.phase, saved.event, saved.answer
        copy._originals = {inode: Original(*facts) for inode, *facts in saved.originals}  # type: ignore[arg-type]
        sizes = {original.path: original.size for original in copy._originals.values()}
        copy._filled = {path: sizes[path] for path in saved.filled}
        script = copy.script(resumed=True)
        next(script)  # that call it is in
        box.guest.processes.resume_script(worker.process, script)
        return copy

    # -- what the worker does ------------------------------------------------------------------------------------

    def script(self, resumed: bool = False) -> Script:
        """One event after the other. A snapshot may find it in any call: what is begun is then done once more."""
        if resumed and self._phase != "read":
            begun = self._phase
            yield "getpid", ()  # whatever it is that is under way
            if begun in ("look", "fill"):
                yield from self._attend()
            elif begun == "close":
                yield from self._reply()
        while True:
            self._phase = "read"
            count = yield "read", (self._fd, self._worker.buffer, _EVENT.size)
            if count == -errno.EBADF:
                break
            if count != _EVENT.size:
                continue
            *_, mask, self._event, _ = _EVENT.unpack(self._worker.get(_EVENT.size))
            if mask & _OPEN_PERM and self._event >= 0:
                self._phase = "look"
                yield from self._attend()
        self._host.close()

    def _attend(self) -> Script:
        """Somebody opens a file: fill it first, if it is one that was not filled, and that nobody wrote to."""
        original = yield from self._unfilled()
        self._answer = (yield from self._fill(original)) if original is not None else _ALLOW
        # Before the answer: a file that somebody may write to is neither run nor loaded as a module.
        self._phase = "close"
        yield "close", (self._event,)
        yield from self._reply()

    def _reply(self) -> Script:
        self._phase = "answer"
        self._worker.put(struct.pack("<iI", self._event, self._answer))
        yield "write", (self._fd, self._worker.buffer, 8)

    def _unfilled(self) -> Generator[tuple[str, tuple[int, ...]], int, Original | None]:
        """The file that is being opened, if it has to be filled."""
        self._worker.put(bytes(1))
        result = yield "newfstatat", (self._event, self._worker.buffer, self._worker.buffer + _PATHS, _AT_EMPTY_PATH)
        if result:
            return None
        inode, size, blocks, changed = _facts(self._worker.get(144, _PATHS))
        original = self._originals.get(inode)
        if original is None or not size:
            return None
        untouched = not blocks and (size, changed) == (original.size, original.changed)
        return original if untouched or self._phase == "fill" else None

    def _fill(self, original: Original) -> _Steps:
        """Write a file's content into it. What is no longer as it was on this machine cannot be opened."""
        self._phase = "fill"
        path, size, changed = original
        while self._filled and sum(self._filled.values()) + size > self._most:
            yield from self._empty(next(iter(self._filled)))
        at = 0
        try:
            file = self._host.file(path)
            facts = os.fstat(file)
            if (facts.st_size, facts.st_mtime_ns) != (size, changed):
                return _DENY
            while data := os.pread(file, _CHUNK, at):
                self._worker.put(data)
                done = yield "pwrite64", (self._event, self._worker.buffer, len(data), at)
                if done <= 0:
                    return _DENY
                at += done
        except OSError:
            return _DENY
        self._worker.put(_times(facts), _PATHS)
        yield "utimensat", (self._event, 0, self._worker.buffer + _PATHS, 0)
        self._filled[path] = size
        return _ALLOW

    def _empty(self, path: str) -> Script:
        """A new empty file in the place of one that was filled, unless somebody has changed it."""
        self._filled.pop(path)
        old, new, facts, times = (self._worker.buffer + _PATHS + at for at in (0, 4200, 8400, 8600))
        place = os.fsencode(f"{self._target}/{path}")
        try:
            here = self._host.stat(path)
        except OSError:
            return
        if len(place) >= 4000:
            return
        self._worker.put(place + b"\0", _PATHS)
        self._worker.put(place + b".kobox\0", _PATHS + 4200)
        self._worker.put(_times(here), _PATHS + 8600)
        if (yield "newfstatat", (_AT_FDCWD, old, facts, _AT_SYMLINK_NOFOLLOW)):
            return
        inode, size, _, changed = _facts(self._worker.get(144, _PATHS + 8400))
        original = self._originals.get(inode)
        if original is None or original != (path, size, changed):
            return
        yield "unlinkat", (_AT_FDCWD, new, 0)
        if (yield "mknodat", (_AT_FDCWD, new, stat.S_IFREG | stat.S_IMODE(here.st_mode), 0)):
            return
        yield "truncate", (new, here.st_size)
        yield "utimensat", (_AT_FDCWD, new, times, 0)
        yield "newfstatat", (_AT_FDCWD, new, facts, _AT_SYMLINK_NOFOLLOW)
        made = _facts(self._worker.get(144, _PATHS + 8400))[0]
        if not (yield "renameat", (_AT_FDCWD, new, _AT_FDCWD, old)):
            del self._originals[inode]
            self._originals[made] = original


def _times(facts: os.stat_result) -> bytes:
    """struct timespec[2] of utimensat(2)."""
    return struct.pack("<4q", *divmod(facts.st_atime_ns, 10**9), *divmod(facts.st_mtime_ns, 10**9))


def _facts(raw: bytes) -> tuple[int, int, int, int]:
    """(inode, size, blocks, nanoseconds of the last change) of a struct stat.

    They stand at the same places on x86-64 and arm64."""
    (inode,) = struct.unpack_from("<Q", raw, 8)
    size, blocks, seconds, nanoseconds = struct.unpack_from("<q8xq16xqq", raw, 48)
    return inode, size, blocks, seconds * 10**9 + nanoseconds
