"""Files of a box that are copied to this machine.

Whatever a box says may be forged: a module in it can answer the system calls itself. So of its answers nothing is
believed but the bytes of files, and they only up to a limit:

- A name is one component: no slash, not `.` or `..`, 255 bytes at most.
- Every file is made in a directory that is held open, without following a link (openat(2), O_NOFOLLOW, O_EXCL), so
  that no link of an earlier copy leads out of the target. The target's own path must not lead through a link either.
- Set-user-ID, set-group-ID and sticky bits are dropped, and so is write permission for others than the owner, as tar's
  `data` filter does it (PEP 706). Owners and times are not copied.
- Files, bytes, names and depth are bounded (`CopyLimits`).

Devices, sockets and FIFOs are left out. A symbolic link is copied as it is, and never followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal, NoReturn, Protocol

from kobox.box.booted import OpenedFile
from kobox.box.guest.answers import is_file_name
from kobox.errors import BoxError

_CHUNK = 1 << 19
_NAME_MAX = 255
_BENEATH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FORGED = "The kernel of a box never answers so: a module in it has forged the answer, or has damaged the kernel."


@dataclass(frozen=True, slots=True)
class CopyLimits:
    """What one copy may come to: entries of all directories, bytes of all files, directories within each other."""

    entries: int = 1_000_000
    size: int = 16 << 30
    depth: int = 128


class GuestFiles(Protocol):
    """What is asked of a box: its files. `Box` has these methods."""

    def listdir(self, path: str) -> list[str]:
        """The names in a directory."""

    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        """stat(2), lstat(2)."""

    def readlink(self, path: str) -> str:
        """readlink(2)."""

    def open(self, path: str, mode: Literal["rb"], /) -> OpenedFile:
        """open(2)."""


def copy_out(box: GuestFiles, source: str, target: str | os.PathLike[str], *, limits: CopyLimits | None = None) -> None:
    """Copy a file or a directory tree of a box to `target` on this machine, or into it where it is a directory.

    Raises `BoxError` when an answer of the box is impossible or a limit is passed, `OSError` of either side.
    """
    source = os.path.normpath(source)
    name = os.path.basename(source)  # "" for the root directory: its content goes into the target itself
    path = os.path.normpath(os.fspath(target))
    if os.path.isdir(path) and not os.path.islink(path) and name:
        path = os.path.join(path, name)
    copy = _Copy(box, limits or CopyLimits())
    with _directory(os.path.dirname(path)) as parent:
        copy.entry(source, parent, os.path.basename(path) or ".", path, 0)


@contextmanager
def _directory(path: str) -> Iterator[int]:
    """A descriptor of a directory of this machine, reached without following a symbolic link."""
    fd = os.open("/" if os.path.isabs(path) else ".", _BENEATH)
    try:
        walked = "/" if os.path.isabs(path) else ""
        for part in filter(None, path.split("/")):
            walked = os.path.join(walked, part)
            below = _step_into(fd, part, walked)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def _step_into(directory: int, name: str, path: str) -> int:
    try:
        return os.open(name, _BENEATH, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP) and _is_link(directory, name):
            raise BoxError(
                f"{path} is a symbolic link, and a copy out of a box follows none",
                hint=f"An earlier copy may have made it. If it is yours, give its target: {os.path.realpath(path)}",
            ) from None
        raise OSError(error.errno, error.strerror, path) from None


def _is_link(directory: int, name: str) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)


class _Copy:
    """One copy under way: what is left of its limits."""

    def __init__(self, box: GuestFiles, limits: CopyLimits) -> None:
        self._box = box
        self._limits = limits
        self._entries = 0
        self._size = 0

    def entry(self, source: str, parent: int, name: str, path: str, depth: int) -> None:
        """Copy a file, link or directory to `name` in the directory `parent`; `path` is its path for messages."""
        mode = self._box.stat(source, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            self._tree(source, parent, name, path, depth)
        elif stat.S_ISLNK(mode):
            self._link(source, parent, name)
        elif stat.S_ISREG(mode):
            self._file(source, parent, name, path, mode)

    def _tree(self, source: str, parent: int, name: str, path: str, depth: int) -> None:
        if depth > self._limits.depth:
            self._too_much(source, f"{depth} directories within each other")
        with suppress(FileExistsError):
            os.mkdir(name, 0o777, dir_fd=parent)
        directory = _step_into(parent, name, path)
        try:
            for below in self._box.listdir(source):
                self._entries += 1
                if self._entries > self._limits.entries:
                    self._too_much(source, f"more than {self._limits.entries} entries")
                _check_name(below, source)
                self.entry(f"{source.rstrip('/')}/{below}", directory, below, f"{path}/{below}", depth + 1)
        finally:
            os.close(directory)

    def _link(self, source: str, parent: int, name: str) -> None:
        text = self._box.readlink(source)
        if not text or "\0" in text:
            raise BoxError(f"{source}: the box answers with an impossible link: {text!r}", hint=_FORGED)
        aside = _aside()
        os.symlink(text, aside, dir_fd=parent)
        _rename(aside, name, parent)

    def _file(self, source: str, parent: int, name: str, path: str, mode: int) -> None:
        aside = _aside()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with (
                self._box.open(source, "rb") as inside,
                open(os.open(aside, flags, 0o600, dir_fd=parent), "wb") as outside,
            ):
                while data := inside.read(_CHUNK):
                    self._size += len(data)
                    if self._size > self._limits.size:
                        self._too_much(source, f"more than {self._limits.size} bytes")
                    outside.write(data)
                outside.flush()
                os.fchmod(outside.fileno(), stat.S_IMODE(mode) & 0o755 | 0o600)
                os.fsync(outside.fileno())
            _rename(aside, name, parent)
        except BaseException as error:
            with suppress(OSError):
                os.unlink(aside, dir_fd=parent)
            if isinstance(error, OSError) and error.filename is None:
                raise OSError(error.errno, error.strerror, path) from error
            raise

    def _too_much(self, source: str, what: str) -> NoReturn:
        raise BoxError(
            f"{source}: {what}: that is more than a copy may come to",
            hint="Give other `limits` (CopyLimits) if the box is right; a module in it may have forged the answer.",
        )


def _check_name(name: str, directory: str) -> None:
    if not is_file_name(name) or len(os.fsencode(name)) > _NAME_MAX:
        raise BoxError(f"{directory}: the box lists {name[:300]!r}, which is no file name", hint=_FORGED)


def _aside() -> str:
    return f".kobox-{os.urandom(8).hex()}.tmp"


def _rename(aside: str, name: str, parent: int) -> None:
    try:
        os.rename(aside, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside, dir_fd=parent)
        raise
