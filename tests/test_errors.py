"""Every error comes back whole from another process: class, text, and facts."""

from __future__ import annotations

import copy
import errno
import importlib
import pickle
from collections.abc import Iterator

import pytest

from kobox.errors import (
    BoxHungError,
    BoxTimeoutError,
    BuildError,
    KernelError,
    KernelPanicError,
    KoboxError,
    ModuleFormatError,
    ModuleLoadError,
    ModuleUnloadError,
    ProcessDiedError,
)
from tests.test_architecture import MODULES

RAISED = [
    KoboxError("no", hint="Do it."),
    ModuleFormatError("cut short", path="a.ko", offset=0x40, hint="Copy it again."),
    BuildError("make failed", output="error: …", hint="Read it."),
    KernelError(errno.ENOENT, "x", log=["a", "b"]),
    ModuleLoadError(errno.EKEYREJECTED, "x.ko: not loaded", module="x", log=["Loading of unsigned module is rejected"]),
    ModuleUnloadError(errno.EBUSY, "x: not unloaded", module="x"),
    KernelPanicError("the kernel panicked", log=["Kernel panic"], pc="panic+0x1"),
    BoxHungError("a call has not come back", pc="0x1", box_lives=True, hint="…"),
    ProcessDiedError("killed", status=11, log=["Oops"]),
    BoxTimeoutError("sleeps"),
]


def _all_errors() -> Iterator[type[KoboxError]]:
    for module in MODULES:
        if not module.endswith("__main__"):
            importlib.import_module(module)
    waiting: list[type[KoboxError]] = [KoboxError]
    while waiting:
        kind = waiting.pop()
        yield kind
        waiting.extend(kind.__subclasses__())


def facts(error: KoboxError) -> dict[str, object]:
    known = {**error.__dict__, "text": str(error), "args": error.args}
    if isinstance(error, OSError):
        known |= {"errno": error.errno, "strerror": error.strerror}
    return known


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_an_error_comes_back_whole(error: KoboxError) -> None:
    error.add_note("seen by a worker")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert facts(again) == facts(error)


def test_every_class_of_error_can_be_pickled() -> None:
    for kind in _all_errors():
        error = kind.__new__(kind)
        KoboxError.__init__(error, "what happened", hint="what to do")
        error.fact = ("a", 1)  # type: ignore[attr-defined]
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind
        assert facts(again) == facts(error)
