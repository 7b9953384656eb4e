"""What a story is made of: its events, its verdict, and the facts of an error as an event has them."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from kobox.arch.registry import ARCHITECTURES
from kobox.box.inspect.errno_name import errno_name
from kobox.errors import BoxError, KernelError, KoboxError, ModuleLoadError
from kobox.ko.modulefile import ModuleFile

if TYPE_CHECKING:
    from kobox.apps.run_reports import RunReport
    from kobox.box.inspect.init_trace import InitOutcome

_KEYS = (errno.ENOKEY, errno.EKEYREJECTED, errno.EBADMSG)


class StoryEvent(NamedTuple):
    """One thing that happened. `kind`: load, log, appeared, gone, parameter, reference, unload, left, report, failed,
    verdict.

    `time` is in virtual seconds since boot; `data` holds the facts behind `text`, ready for JSON.
    """

    kind: str
    text: str
    time: float
    data: dict[str, Any]


class RunVerdict:
    """How it went. `ok`: everything was loaded and unloaded, nothing is left behind, and the kernel said nothing at the
    level of a warning or above about the modules, or in their calls."""

    def __init__(self) -> None:
        self.ok = True
        self.loaded: list[str] = []
        self.unloaded: list[str] = []
        self.problems: list[str] = []

    def fail(self, problem: str) -> None:
        """Remember a problem."""
        self.ok = False
        self.problems.append(problem)


def report_facts(report: RunReport, phase: str) -> dict[str, Any]:
    """A report of the kernel's."""
    source = report.source
    return {
        "finding": report.kind,
        "severity": report.severity,
        "message": report.what,
        "phase": phase,
        "place": report.place,
        "file": source.file if source else "",
        "line": source.line if source else None,
        "source": source.text if source else "",
        "calls": list(report.calls),
        "hint": report.advice,
    }


def error_facts(name: str, error: KoboxError) -> dict[str, Any]:
    """An error about a module, with its log and hint."""
    log = list(getattr(error, "log", ()))
    facts: dict[str, Any] = {"module": name, "error": type(error).__name__, "log": log, "hint": error.hint}
    if isinstance(error, KernelError):
        facts["errno"] = error.errno
    if isinstance(error, BoxError) and error.pc:
        facts["pc"] = error.pc
    return facts


def init_facts(outcome: InitOutcome) -> dict[str, Any]:
    """What an init function did, and which of its calls gave its result."""
    call = outcome.call
    return {
        "reached": outcome.reached,
        "returned": outcome.returned,
        "call": call.function if call else "",
        "place": call.place if call else "",
    }


def refused(module: ModuleFile, error: ModuleLoadError, processor: str) -> str:
    """The next step after a kernel for `processor` has refused a module."""
    path = module.path or f"{module.name}.ko"
    own = module.elf.architecture
    if any(arch.elf_machine == module.elf.machine and arch.name != processor for arch in ARCHITECTURES):
        return (
            f"It was built for {own}, and the kernel is for {processor}: `kobox run {path}` takes a kernel that fits."
        )
    if error.errno in _KEYS:
        return f"`kobox explain {path}` says what is wrong with its signature; `kobox sign` makes one."
    return f"`kobox explain {path}` says why, and what to do."


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def first_line(error: KoboxError) -> str:
    """The first line of an error."""
    return error.message.split("\n", 1)[0]


def reason(error: KoboxError) -> str:
    """Why it failed: by its errno, where it has one."""
    if isinstance(error, KernelError) and error.errno is not None:
        return f"{os.strerror(error.errno)} ({errno_name(error.errno)})"
    return first_line(error)
