"""The file system of a box as a whole: mounts, device nodes, copies from and to this machine, shared directories."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from kobox.box.booted import BootedKernel
from kobox.box.guest.answers import MOST_NAMES, answered
from kobox.box.guest.files import parse_dirents
from kobox.box.guest.syscall import AnyPath, path_text

if TYPE_CHECKING:
    from kobox.box.guest.host_share import SavedShare, Shares
    from kobox.box.guest.lazy_copy import LazyCopy, SavedCopy


class BoxFiles:
    """What can be done with the files of a box besides opening them: `box.files`. Everything raises `OSError` as the
    system call does."""

    def __init__(self, box: BootedKernel) -> None:
        self._box = box
        self._shares: Shares | None = None
        self._copies: list[LazyCopy] = []

    def mkdir(self, path: AnyPath, mode: int = 0o777) -> None:
        """mkdir(2)."""
        self._box.syscall("mkdir", path, mode)

    def mknod(self, path: AnyPath, mode: int, device: tuple[int, int] = (0, 0)) -> None:
        """mknod(2); `mode` has the type (stat.S_IFCHR …), `device` is (major, minor)."""
        self._box.syscall("mknod", path, mode, os.makedev(*device))

    def mount(self, source: AnyPath, target: AnyPath, kind: str, flags: int = 0, data: str = "") -> None:
        """mount(2)."""
        self._box.syscall("mount", source, target, kind, flags, data or None)

    def umount(self, target: AnyPath, flags: int = 0) -> None:
        """umount2(2)."""
        self._box.syscall("umount2", target, flags)

    def unlink(self, path: AnyPath) -> None:
        """unlink(2)."""
        self._box.syscall("unlink", path)

    def scandir(self, path: AnyPath, until: Callable[[str], bool] | None = None) -> Iterator[str]:
        """The names in a directory, as the kernel gives them, up to the first for which `until(name)` is true; the
        kernel is not asked for more than that."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        fd = self._box.syscall("open", path, flags, 0)
        names = 0
        buffer = bytearray(1 << 15 if until is None else 512)
        try:
            while count := self._box.syscall("getdents64", fd, buffer, len(buffer)):
                for name in parse_dirents(bytes(buffer[: answered(count, len(buffer))]), path_text(path)):
                    names += 1
                    if names > MOST_NAMES:
                        raise OSError(errno.E2BIG, f"getdents64: more than {MOST_NAMES} names", path_text(path))
                    if until is not None and until(name):
                        return
                    yield name
        finally:
            if self._box.alive:
                self._box.syscall("close", fd)

    # -- this machine ------------------------------------------------------------------------------------------------

    def copy_in(self, source: str | os.PathLike[str], target: AnyPath) -> None:
        """Copy a file or a directory tree of this machine into the box, to `target`, or into it where it is a
        directory."""
        from kobox.box.guest import host_copy

        host_copy.copy_in(self._box, source, path_text(target))

    def copy_out(self, source: AnyPath, target: str | os.PathLike[str]) -> None:
        """Copy a file or a directory tree of the box to this machine: to `target`, or into it where it is a directory.

        The box is not trusted: see `kobox.box.guest.copy_out`. Raises `BoxError` for an answer that is impossible.
        """
        from kobox.box.guest.copy_out import copy_out

        copy_out(self._box, path_text(source), target)

    def share(
        self,
        directory: str | os.PathLike[str],
        target: AnyPath,
        *,
        private_copy: bool = False,
        attr_timeout: float = 1.0,
    ) -> None:
        """Have a directory of this machine in the box at `target`, read only, or (`private_copy`) writable there, with
        what is written kept in the box. Nothing is ever written here.

        Files are read when they are used. `attr_timeout`: virtual seconds for which the box need not look for changes,
        as the option of that name of FUSE. Raises `OSError`; `BoxError` when the kernel has no FUSE or overlay file
        system.
        """
        self._box.guest.must_be_open()
        if self._shares is None:
            from kobox.box.guest.host_share import Shares

            self._shares = Shares(self._box, [])
        self._shares.add(os.fspath(directory), path_text(target), private_copy=private_copy, attr_timeout=attr_timeout)

    def copy_when_opened(self, directory: str | os.PathLike[str], target: AnyPath, *, most: int = 32 << 20) -> None:
        """Have a directory of this machine in the box at `target`, as a file system in memory that can be written to.
        A file's content is copied when the file is opened; of files that the box has not changed it keeps `most` bytes
        at a time.

        No module of the kernel is needed. Nothing is ever written here, and what changes here later is not seen. Raises
        `OSError`, where the kernel has no fanotify(7) with permissions too.
        """
        from kobox.box.guest.lazy_copy import LazyCopy

        self._box.guest.must_be_open()
        self._copies.append(LazyCopy.make(self._box, os.fspath(directory), path_text(target), most))

    def save(self) -> list[list[SavedShare]]:
        """The shared directories as plain data, for a snapshot."""
        return self._shares.save() if self._shares is not None else []

    def save_copies(self) -> list[list[SavedCopy]]:
        """The same of the directories that are copied when files are opened."""
        return [copy.save() for copy in self._copies]

    def load(self, saved: Sequence[list[SavedShare]], copies: Sequence[list[SavedCopy]]) -> None:
        """Undo `save` and `save_copies`: the workers that serve directories go on with the call that they are in."""
        self._shares, self._copies = None, []
        if copies:
            from kobox.box.guest.lazy_copy import LazyCopy

            known = self._box.guest.processes.by_number
            self._copies = [LazyCopy.resume(self._box, row) for row in copies if row[3] in known]
        if saved:
            from kobox.box.guest.host_share import Shares

            self._shares = Shares(self._box, saved)
