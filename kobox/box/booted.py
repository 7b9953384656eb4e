"""What the files of this room need of a box: a kernel that has booted, and takes system calls.

`Box` is one (`kobox/box/box.py`), and stands above all files that take this instead.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Literal, Protocol, Self

from kobox.arch.arch import Arch
from kobox.box.guest.box_process import BoxProcess
from kobox.box.guest.guest_side import GuestSide
from kobox.box.guest.process import Limits
from kobox.box.guest.syscall import Argument
from kobox.box.inspect.inspector import Inspector
from kobox.box.inspect.printk import KernelLog
from kobox.machine.pc import Machine


class OpenedFile(Protocol):
    """A file of a box that is open for reading: `kobox.box.guest.files.BoxFile`."""

    def read(self, size: int = -1, /) -> bytes | None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> object: ...


class BootedKernel(Protocol):
    """A box, as its own parts see it. Each name means what it means in `Box`."""

    log: KernelLog
    guest: GuestSide
    inspect: Inspector

    @property
    def alive(self) -> bool: ...

    @property
    def machine(self) -> Machine: ...

    @property
    def arch(self) -> Arch: ...

    @property
    def release(self) -> str: ...

    def syscall(self, name: str, *arguments: Argument, limits: Limits | None = None) -> int: ...

    def process(self) -> BoxProcess: ...

    def sleep(self, seconds: float) -> None: ...

    def modprobe(self, name: str) -> object: ...

    def rmmod(self, name: str, *, force: bool = False) -> None: ...

    def open(self, path: str, mode: Literal["rb"], /) -> OpenedFile: ...

    def read_bytes(self, path: str) -> bytes: ...

    def read_text(self, path: str) -> str: ...

    def write_bytes(self, path: str, data: bytes) -> None: ...

    def listdir(self, path: str) -> list[str]: ...

    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result: ...

    def exists(self, path: str) -> bool: ...

    def readlink(self, path: str) -> str: ...
