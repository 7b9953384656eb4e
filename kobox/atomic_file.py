"""A file that is there as a whole or not at all: written aside, flushed to the disk, renamed into place.

    with atomic_file("out.ko", mode=0o644) as file:        write_file("out.ko", content)
        file.write(…)

    .out.ko.XXXXXXXX.tmp    made with O_EXCL and O_NOFOLLOW, locked while its writer lives
    out.ko                  the old content until the rename, the new one from then on

A writer that is killed leaves its file aside. Nobody holds that file's lock, so the next writer of the same name
removes it. (open(2), rename(2), flock(2); pathlib is not imported: it costs the kmod tools 6 ms.)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import BinaryIO

_TOKEN = 8


@contextlib.contextmanager
def atomic_file(
    path: str | os.PathLike[str], *, mode: int | None = None, follow: bool = True, flush: bool = True
) -> Iterator[BinaryIO]:
    """A binary file to write to, which takes the place of `path` at the end of the block.

    It has permissions `mode` from its first byte on; None keeps those of the file that it replaces, or follows
    the umask.
    With `follow` a symbolic link stays and the file that it names is replaced; without, the link itself is replaced.
    `flush=False` leaves out fsync(2), for what can be made again. When the block raises, `path` is as it was.

    Raises OSError, which names `path`.
    """
    target = os.fspath(path)
    if follow and os.path.islink(target):
        target = os.path.realpath(target)
    if mode is None:
        with contextlib.suppress(OSError):
            mode = stat.S_IMODE(os.lstat(target).st_mode)
    remove_abandoned(target)
    aside = _aside(target)
    try:
        with errors_name(target), _created(aside, mode) as file:
            yield file
            file.flush()
            if flush:
                os.fsync(file.fileno())
            os.rename(aside, target)
            if flush:
                _flush_directories({target})
    except BaseException:
        remove_all([aside])
        raise


def write_file(
    path: str | os.PathLike[str],
    content: bytes | bytearray | memoryview,
    *,
    mode: int | None = None,
    follow: bool = True,
    flush: bool = True,
) -> None:
    """Write a whole file: see `atomic_file`. Raises OSError, which names `path`."""
    with atomic_file(path, mode=mode, follow=follow, flush=flush) as file:
        file.write(content)


def write_files(contents: Mapping[str, bytes | Callable[[BinaryIO], None]], *, mode: int | None = 0o644) -> None:
    """Write several files that belong together: none takes its place before all are on the disk. What a file gets is
    its content, or a function that writes it. `mode` are its permissions; None follows the umask.

    The disk is waited for once all are written, so there is one long wait and not one a file. Symbolic links are
    replaced.
    Raises OSError, which names the file; those that were renamed before stay.
    """
    with contextlib.ExitStack() as stack:
        opened: list[tuple[str, str, BinaryIO]] = []
        try:
            for path, content in contents.items():
                remove_abandoned(path)
                aside = _aside(path)
                with errors_name(path):
                    file = stack.enter_context(_created(aside, mode))
                    opened.append((aside, path, file))
                    if callable(content):
                        content(file)
                    else:
                        file.write(content)
                    file.flush()
            for _, target, file in opened:
                with errors_name(target):
                    os.fsync(file.fileno())
                    if os.path.isdir(target) and not os.path.islink(target):
                        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            for aside, target, _ in opened:
                with errors_name(target):
                    os.rename(aside, target)
            _flush_directories(target for _, target, _ in opened)
        except BaseException:
            remove_all(aside for aside, _, _ in opened)
            raise


def _flush_directories(files: Iterable[str]) -> None:
    """Bring the new names to the disk as well, where the file system can."""
    for directory in {os.path.dirname(file) for file in files}:
        with contextlib.suppress(OSError):
            handle = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def remove_all(paths: Iterable[str]) -> None:
    """Remove files; one that is not there is no error."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)


def remove_abandoned(path: str) -> None:
    """Remove the files aside that killed writers of `path` have left: those whose lock nobody holds."""
    directory, name = os.path.split(path)
    pattern = re.compile(re.escape(f".{name}.") + rf"[0-9a-f]{{{2 * _TOKEN}}}\.tmp")
    try:
        names = os.listdir(directory or ".")
    except OSError:
        return
    for left in names:
        if pattern.fullmatch(left):
            with contextlib.suppress(OSError):
                _remove_unlocked(os.path.join(directory, left))


def _remove_unlocked(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(handle)


def _aside(target: str) -> str:
    directory, name = os.path.split(target)
    return os.path.join(directory, f".{name}.{os.urandom(_TOKEN).hex()}.tmp")


@contextlib.contextmanager
def _created(path: str, mode: int | None) -> Iterator[BinaryIO]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, 0o666 if mode is None else 0o600)
    file = os.fdopen(handle, "wb")
    try:
        with contextlib.suppress(OSError):  # a file system without locks: what is abandoned there stays
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if mode is not None:
            os.fchmod(handle, mode)
        yield file
    finally:
        with contextlib.suppress(OSError):  # what could not be flushed has been told already
            file.close()


@contextlib.contextmanager
def errors_name(target: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever OSError comes from inside names this file: write(2) does not know whose descriptor it has, so that "No
    space left on device" alone would be said. An error of a file aside is told of the file that was meant."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(target)) from error
