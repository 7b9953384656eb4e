"""A kernel is a place that takes system calls: the one interface that every tool works through.

`Box` (a kernel booted inside this process) and `Host` (this machine's own kernel) implement it. Nothing above
it knows which of the two it talks to; nothing below it knows about modprobe.
"""

from __future__ import annotations

import abc
import errno
import os

from kobox.startup import IntFlag


class InitFlags(IntFlag):
    """Flags of finit_module(2) (include/uapi/linux/module.h)."""

    NONE = 0
    IGNORE_MODVERSIONS = 1
    IGNORE_VERMAGIC = 2
    COMPRESSED_FILE = 4


class DeleteFlags(IntFlag):
    """Flags of delete_module(2). Without NONBLOCK, kernels before 3.13 waited; since then both answer at once."""

    NONE = 0
    NONBLOCK = os.O_NONBLOCK
    FORCE = os.O_TRUNC


class Kernel(abc.ABC):
    """Files, the module system calls, the log and the release of one kernel.

    Paths are absolute paths as that kernel sees them. Every method raises `OSError` (with errno) as the
    system call does.
    """

    @property
    @abc.abstractmethod
    def release(self) -> str:
        """The release string, as `uname -r` prints it."""

    @abc.abstractmethod
    def read_bytes(self, path: str) -> bytes:
        """The whole content of a file."""

    @abc.abstractmethod
    def write_bytes(self, path: str, data: bytes) -> None:
        """Open a file for writing (created and truncated if need be) and write all of `data` to it."""

    @abc.abstractmethod
    def listdir(self, path: str) -> list[str]:
        """The names in a directory, without `.` and `..`, in the order the kernel gives them."""

    @abc.abstractmethod
    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        """stat(2), or lstat(2)."""

    @abc.abstractmethod
    def readlink(self, path: str) -> str:
        """Where a symbolic link points."""

    @abc.abstractmethod
    def init_module(self, image: bytes, parameters: str = "", flags: InitFlags = InitFlags.NONE) -> None:
        """Load a module from the bytes of its file.

        The kernel's bare answer: raises `OSError`. With `flags` the call is finit_module(2), else init_module(2).
        """

    @abc.abstractmethod
    def delete_module(self, name: str, flags: DeleteFlags = DeleteFlags.NONBLOCK) -> None:
        """delete_module(2): unload a module. Raises `OSError`."""

    def mkdir(self, path: str) -> None:
        """mkdir(2); a kernel whose files cannot be changed raises `OSError` with EROFS."""
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    def rmdir(self, path: str) -> None:
        """rmdir(2); a kernel whose files cannot be changed raises `OSError` with EROFS."""
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    def read_text(self, path: str) -> str:
        """The whole content of a file as text (UTF-8, undecodable bytes kept as surrogates)."""
        return self.read_bytes(path).decode(errors="surrogateescape")

    def exists(self, path: str) -> bool:
        """Whether stat(2) finds the path."""
        try:
            self.stat(path)
        except OSError:
            return False
        return True
