"""A path of a box, with pathlib's names: `box.path("/sys/module") / "hello" / "parameters"`.

What concerns the text alone (`name`, `suffix`, `parent`, `relative_to` …) is `pathlib.PurePosixPath`'s; the rest are
system calls of the box. Every method that makes one raises `OSError` as the call does.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import IO

from kobox.box.booted import BootedKernel
from kobox.box.guest.files import BoxFile, open_file
from kobox.box.guest.syscall import AnyPath, PathInBox, path_text


class BoxPath(PathInBox):
    """A path of one box. It is no `os.PathLike`, so that no function of Python's own takes it for one of this machine;
    every function of a box that takes a path takes it."""

    __slots__ = ("_box", "_pure")

    def __init__(self, box: BootedKernel, *parts: AnyPath) -> None:
        self._box = box
        self._pure = PurePosixPath(*map(path_text, parts))

    # -- the text ------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        return str(self._pure)

    def __repr__(self) -> str:
        return f"BoxPath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BoxPath) and other._pure == self._pure and other._box is self._box

    def __hash__(self) -> int:
        return hash(self._pure)

    def __lt__(self, other: BoxPath) -> bool:
        return self._pure < other._pure

    def __truediv__(self, other: AnyPath) -> BoxPath:
        return self._with(self._pure / path_text(other))

    def __rtruediv__(self, other: str | os.PathLike[str]) -> BoxPath:
        return self._with(PurePosixPath(other) / self._pure)

    def joinpath(self, *others: AnyPath) -> BoxPath:
        """This path with others behind it."""
        return self._with(self._pure.joinpath(*map(path_text, others)))

    def _with(self, pure: PurePosixPath) -> BoxPath:
        return BoxPath(self._box, pure)

    @property
    def parts(self) -> tuple[str, ...]:
        """Its components."""
        return self._pure.parts

    @property
    def name(self) -> str:
        """The last component."""
        return self._pure.name

    @property
    def suffix(self) -> str:
        """The last component's file extension, with its dot; "" for none."""
        return self._pure.suffix

    @property
    def suffixes(self) -> list[str]:
        """All file extensions of the last component."""
        return self._pure.suffixes

    @property
    def stem(self) -> str:
        """The last component without its suffix."""
        return self._pure.stem

    @property
    def parent(self) -> BoxPath:
        """The directory above."""
        return self._with(self._pure.parent)

    @property
    def parents(self) -> Sequence[BoxPath]:
        """All directories above, the nearest first."""
        return [self._with(one) for one in self._pure.parents]

    def as_posix(self) -> str:
        """The text."""
        return str(self)

    def is_absolute(self) -> bool:
        """Whether it begins at the root."""
        return self._pure.is_absolute()

    def is_relative_to(self, other: AnyPath) -> bool:
        """Whether it is `other`, or below it."""
        return self._pure.is_relative_to(path_text(other))

    def relative_to(self, other: AnyPath) -> BoxPath:
        """This path as seen from `other`. Raises `ValueError` when it is not below that."""
        return self._with(self._pure.relative_to(path_text(other)))

    def match(self, pattern: str) -> bool:
        """Whether it matches a shell pattern, as `PurePath.match`."""
        return self._pure.match(pattern)

    def with_name(self, name: str) -> BoxPath:
        """The same with another last component."""
        return self._with(self._pure.with_name(name))

    def with_stem(self, stem: str) -> BoxPath:
        """The same with another stem."""
        return self._with(self._pure.with_stem(stem))

    def with_suffix(self, suffix: str) -> BoxPath:
        """The same with another suffix."""
        return self._with(self._pure.with_suffix(suffix))

    # -- what is there ---------------------------------------------------------------------------------------------

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """stat(2) or lstat(2)."""
        return self._box.stat(str(self), follow_symlinks=follow_symlinks)

    def lstat(self) -> os.stat_result:
        """lstat(2)."""
        return self.stat(follow_symlinks=False)

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether stat(2), or lstat(2), finds it."""
        return self._is(lambda mode: True, follow_symlinks=follow_symlinks)

    def is_dir(self) -> bool:
        """Whether it leads to a directory."""
        return self._is(stat.S_ISDIR)

    def is_file(self) -> bool:
        """Whether it leads to a regular file."""
        return self._is(stat.S_ISREG)

    def is_char_device(self) -> bool:
        """Whether it leads to a character device."""
        return self._is(stat.S_ISCHR)

    def is_block_device(self) -> bool:
        """Whether it leads to a block device."""
        return self._is(stat.S_ISBLK)

    def is_fifo(self) -> bool:
        """Whether it leads to a FIFO."""
        return self._is(stat.S_ISFIFO)

    def is_socket(self) -> bool:
        """Whether it leads to a Unix socket."""
        return self._is(stat.S_ISSOCK)

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link itself."""
        return self._is(stat.S_ISLNK, follow_symlinks=False)

    def _is(self, kind: Callable[[int], bool], *, follow_symlinks: bool = True) -> bool:
        try:
            return kind(self.stat(follow_symlinks=follow_symlinks).st_mode)
        except OSError:
            return False

    def samefile(self, other: AnyPath) -> bool:
        """Whether both lead to one file."""
        here, there = self.stat(), self._box.stat(path_text(other))
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

    # -- what is in it ---------------------------------------------------------------------------------------------

    def open(
        self, mode: str = "r", *, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> IO[str] | BoxFile:
        """As `Box.open`."""
        return open_file(self._box, str(self), mode, encoding=encoding, errors=errors, newline=newline)

    def read_bytes(self) -> bytes:
        """The whole content."""
        return self._box.read_bytes(str(self))

    def read_text(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> str:
        """The whole content as text."""
        return self.read_bytes().decode(encoding, errors)

    def write_bytes(self, data: bytes) -> int:
        """Write this content; the number of bytes."""
        self._box.write_bytes(str(self), data)
        return len(data)

    def write_text(self, text: str, encoding: str = "utf-8", errors: str = "surrogateescape") -> int:
        """Write this text; the number of bytes."""
        return self.write_bytes(text.encode(encoding, errors))

    def readlink(self) -> BoxPath:
        """Where a symbolic link points."""
        return self._with(PurePosixPath(self._box.readlink(str(self))))

    def iterdir(self) -> Iterator[BoxPath]:
        """What is in the directory, in the order that the kernel gives."""
        for name in self._box.listdir(str(self)):
            yield self / name

    def glob(self, pattern: str) -> Iterator[BoxPath]:
        """What matches a pattern below: `*.ko`, `*/uevent`, `**/modalias`. Directories come before what is in them;
        `**` follows no links. Raises `ValueError` for a pattern that is empty or absolute."""
        parts = PurePosixPath(pattern).parts
        if not parts or PurePosixPath(pattern).is_absolute():
            raise ValueError(f"not a pattern below a directory: {pattern!r}")
        return self._glob(parts)

    def rglob(self, pattern: str = "*") -> Iterator[BoxPath]:
        """What matches a pattern in the directory, or in any below."""
        return self.glob(f"**/{pattern}")

    def _glob(self, parts: Sequence[str]) -> Iterator[BoxPath]:
        first, *rest = parts
        if first == "**" and not rest:
            yield self
            rest = ["**"]
        elif first == "**":
            yield from self._glob(rest)
            rest = list(parts)
        for path in self._children():
            if first == "**":
                if path.is_dir() and not path.is_symlink():
                    yield from path._glob(rest)
            elif fnmatch.fnmatchcase(path.name, first):
                if not rest:
                    yield path
                elif path.is_dir():
                    yield from path._glob(rest)

    def _children(self) -> list[BoxPath]:
        try:
            return sorted(self.iterdir())
        except OSError:  # it has gone meanwhile, or may not be read
            return []

    def walk(self) -> Iterator[tuple[BoxPath, list[str], list[str]]]:
        """As `Path.walk`: each directory below with the names of its directories and of its other files, top down; the
        first list may be changed to leave some out. Links are not followed."""
        directories: list[str] = []
        files: list[str] = []
        for path in self._children():
            (directories if path.is_dir() and not path.is_symlink() else files).append(path.name)
        yield self, directories, files
        for name in directories:
            yield from (self / name).walk()

    # -- changes ---------------------------------------------------------------------------------------------------

    def mkdir(self, mode: int = 0o777, *, parents: bool = False, exist_ok: bool = False) -> None:
        """mkdir(2)."""
        if parents and not self.parent.exists():
            self.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._box.syscall("mkdir", self, mode)
        except FileExistsError:
            if not exist_ok or not self.is_dir():
                raise

    def rmdir(self) -> None:
        """rmdir(2)."""
        self._box.syscall("rmdir", self)

    def unlink(self, *, missing_ok: bool = False) -> None:
        """unlink(2)."""
        try:
            self._box.syscall("unlink", self)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def rename(self, target: AnyPath) -> BoxPath:
        """rename(2): what is at `target` is replaced. The new path."""
        self._box.syscall("rename", self, path_text(target))
        return BoxPath(self._box, target)

    def replace(self, target: AnyPath) -> BoxPath:
        """As `rename`."""
        return self.rename(target)

    def symlink_to(self, target: AnyPath) -> None:
        """Make this a symbolic link to `target`."""
        self._box.syscall("symlink", path_text(target), self)

    def hardlink_to(self, target: AnyPath) -> None:
        """Make this a hard link to the file at `target`."""
        self._box.syscall("link", path_text(target), self)

    def chmod(self, mode: int) -> None:
        """chmod(2)."""
        self._box.syscall("chmod", self, mode)

    def chown(self, user: int, group: int) -> None:
        """chown(2), by numbers; -1 leaves one as it is."""
        self._box.syscall("chown", self, user & 0xFFFFFFFF, group & 0xFFFFFFFF)

    def touch(self, mode: int = 0o666, *, exist_ok: bool = True) -> None:
        """Make an empty file, or set the times of one that is there to now."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (0 if exist_ok else os.O_EXCL)
        fd = self._box.syscall("open", self, flags, mode)
        try:
            self._box.syscall("utimensat", fd, None, None, 0)
        finally:
            self._box.syscall("close", fd)
