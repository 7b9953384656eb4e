"""The exceptions of kobox: one small tree under `KoboxError`.

Each carries its facts as attributes (errno, the kernel's lines, the file), and its text says what happened,
why, and what to do next. The library raises; only `kobox.cli` turns an error into text and an exit status.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing's, which takes as long to import as Python to start

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class KoboxError(Exception):
    """Anything kobox refuses or finds wrong.

    `hint` is the next step, one sentence, or "" when there is none to offer.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Callable[..., KoboxError], tuple[object, ...]]:
        """An error comes back whole from another process, with all its facts (a worker's errors are its parent's)."""
        facts = dict(self.__dict__)
        if isinstance(self, OSError):
            facts |= {name: getattr(self, name) for name in ("errno", "strerror", "filename", "filename2")}
        return _again, (type(self), self.args, facts)


class ModuleFormatError(KoboxError, ValueError):
    """A file is not the kernel module it should be: damaged, truncated, or something else.

    `path` names the file ("" for bytes), `offset` the byte where it goes wrong (None when no single one does).
    """

    def __init__(self, message: str, *, path: str = "", offset: int | None = None, hint: str = "") -> None:
        where = f"{path or 'module'}: " + (f"offset {offset:#x}: " if offset is not None else "")
        super().__init__(where + message, hint=hint)
        self.path = path
        self.offset = offset


class KernelNotFoundError(KoboxError, LookupError):
    """No kernel of that name is in the cache."""


class KernelImageError(KoboxError, ValueError):
    """A file is no kernel that kobox can boot."""


class FetchError(KoboxError):
    """A kernel could not be fetched: no network, no such package, no space."""


class BuildError(KoboxError):
    """Building a module failed. `output` holds what make and the compiler said."""

    def __init__(self, message: str, *, output: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.output = output


class SigningError(KoboxError):
    """A key, a certificate or a signature cannot be used: wrong passphrase, wrong type, a pair that does not match."""


class KernelError(KoboxError, OSError):
    """The kernel refused something. `errno` is its answer, `log` the kernel log lines it gave with it."""

    def __init__(self, errno: int, message: str, *, log: Sequence[str] = (), hint: str = "") -> None:
        lines = _kernel_lines(log)
        text = f"{message}: {os.strerror(errno)} ({_name(errno)}){lines}"
        KoboxError.__init__(self, text, hint=hint)
        self.errno = errno
        self.strerror = os.strerror(errno)
        self.log = tuple(log)


class ModuleLoadError(KernelError):
    """`init_module` or `finit_module` failed. `module` is the module's name."""

    def __init__(self, errno: int, message: str, *, module: str = "", log: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(errno, message, log=log, hint=hint)
        self.module = module


class ModuleUnloadError(KernelError):
    """`delete_module` failed. `module` is the module's name."""

    def __init__(self, errno: int, message: str, *, module: str = "", log: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(errno, message, log=log, hint=hint)
        self.module = module


class BoxError(KoboxError):
    """Something went wrong inside a box. `log` holds the kernel log lines that belong to it, oops report included.

    `pc` is where the CPU was, with symbol where known. `box_lives` says whether the box can go on; when it cannot,
    restore a checkpoint or boot another.
    """

    def __init__(
        self, message: str, *, log: Sequence[str] = (), pc: str = "", box_lives: bool = False, hint: str = ""
    ) -> None:
        lines = _kernel_lines(log)
        super().__init__(f"{message}{f' (CPU at {pc})' if pc else ''}{lines}", hint=hint)
        self.log = tuple(log)
        self.pc = pc
        self.box_lives = box_lives


class KernelPanicError(BoxError):
    """The kernel in the box panicked, or stopped for good."""


class BoxHungError(BoxError):
    """A call used up its CPU time: an endless loop, or a deadlock that spins."""


class ProcessDiedError(BoxError):
    """The process that made a call was killed in it, as by an oops. `status` is its wait status."""

    def __init__(
        self, message: str, *, status: int = 0, log: Sequence[str] = (), pc: str = "", box_lives: bool = True
    ) -> None:
        super().__init__(message, log=log, pc=pc, box_lives=box_lives)
        self.status = status


class BoxTimeoutError(BoxError, TimeoutError):
    """A call did not come back within its limit of virtual time: it sleeps for something that never happens."""


class ProgramError(KoboxError):
    """A program cannot be run in the box: of another architecture, a library is missing, no such program."""


class SnapshotError(KoboxError):
    """A snapshot is damaged or of another build."""


def _again(kind: type[KoboxError], arguments: tuple[object, ...], facts: dict[str, object]) -> KoboxError:
    """The error that `KoboxError.__reduce__` took apart: its class is not called, which may ask for other arguments."""
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    for name, value in facts.items():
        setattr(error, name, value)
    return error


def _kernel_lines(log: Sequence[str]) -> str:
    """Log lines below a message. A record of several lines is indented, so that it cannot pass for the message."""
    return "".join("\n  kernel: " + line.replace("\n", "\n          ") for line in log)


def _name(errno: int) -> str:
    import errno as table

    return table.errorcode.get(errno, str(errno))
