"""What a worker sends is read as facts: nothing in it is called, and nothing of it is waited for."""

from __future__ import annotations

import copyreg
import os
import pickle
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.box.inspect.printk import LogRecord
from kobox.checks.fuzz.program import ExerciseStep
from kobox.checks.report.finding import Finding, Severity
from kobox.checks.runner import transport
from kobox.checks.runner.outcome import UnitOutcome
from kobox.errors import ModuleLoadError


class Calls:
    """A pickle of it calls a function with one argument."""

    def __init__(self, function: Callable[..., object], argument: object) -> None:
        self._call = function, (argument,)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._call


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"a": (1, 2.5, b"x", "text", True, None, [1], {2}, frozenset({3}))},
        UnitOutcome(
            findings=(Finding("oops", Severity.ERROR, "message"),),
            programs=((ExerciseStep("open", 0, ()),),),
        ),
        LogRecord(*range(len(LogRecord._fields))),  # type: ignore[arg-type]
    ],
    ids=["none", "plain", "outcome", "record"],
)
def test_facts_come_as_they_were_sent(value: object) -> None:
    ours, theirs = os.pipe()
    transport.send(theirs, value)
    assert transport.receive(ours) == value
    os.close(ours)
    os.close(theirs)


def test_an_error_comes_whole() -> None:
    error = transport.loads(transport.dumps(ModuleLoadError(2, "no", module="m", log=("a",), hint="h")))
    assert isinstance(error, ModuleLoadError)
    assert (error.errno, error.module, error.log, error.hint) == (2, "m", ("a",), "h")


def test_nobody_else_says_how_an_error_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As tblib does for all exceptions, once `distributed` has been imported."""

    def foreign(error: Exception) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, ("true",)

    for kind in (ModuleLoadError, RuntimeError):
        monkeypatch.setitem(copyreg.dispatch_table, kind, foreign)
    errors = ModuleLoadError(2, "no", module="m", log=("a",), hint="h"), RuntimeError("text")
    ours, theirs = os.pipe()
    transport.send(theirs, errors)
    load, other = transport.receive(ours)  # type: ignore[misc]
    os.close(ours)
    os.close(theirs)
    assert (type(load), load.errno, load.module, load.log, load.hint) == (ModuleLoadError, 2, "m", ("a",), "h")
    assert (type(other), other.args) == (RuntimeError, ("text",))


@pytest.mark.parametrize(
    "value",
    [
        Calls(os.system, "true"),
        Calls(subprocess.Popen, "true"),
        Calls(eval, "1"),
        Calls(exec, "1"),
        Calls(__import__, "os"),
        Calls(getattr, "x"),
        Calls(print, "x"),
        Calls(open, "/dev/null"),
        Calls(Path, "/"),
        Calls(transport.loads, b""),  # a function of kobox
        Calls(transport.Receiver, 0),  # a class of kobox that holds no facts
        (1, [Calls(os.system, "true")]),
    ],
    ids=[f"case{n}" for n in range(12)],
)
def test_nothing_is_called(value: object) -> None:
    with pytest.raises(transport.TransportError):
        transport.loads(pickle.dumps(value))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04",
        b"cposix\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x8c\x0ckobox.errors\x8c\x02os\x93.",  # what a module of kobox has imported
        b"\x80\x04\x8c\x0ckobox.errors\x8c\x0bos.environ\x93.",
        b"\x80\x04\x8c\x0ekobox.no_module\x8c\x01x\x93.",
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60),
        b"\x80\x04P1\n.",  # a persistent ID
        b"\x80\x04" + b"(" * 2000 + b"t" * 2000,
        b"\x80\x04Nr\xff\xff\xff\xff0",  # LONG_BINPUT: the C reader makes a table of 64 GiB for that
        b"\x80\x04\x8b\xff\xff\xff\x7f",  # LONG4
    ],
    ids=[f"case{n}" for n in range(11)],
)
def test_what_is_no_pickle_of_facts_is_refused(data: bytes) -> None:
    with pytest.raises(transport.TransportError):
        transport.loads(data)


@pytest.mark.parametrize("size", [transport.MOST + 1, 1 << 40, (1 << 64) - 1])
def test_nothing_is_allocated_by_the_worker_s_word(size: int) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, struct.pack("<Q", size) + b"x")
    with pytest.raises(transport.TransportError):
        transport.Receiver(ours).receive()
    os.close(ours)
    os.close(theirs)


def test_half_a_value_keeps_nobody_waiting() -> None:
    ours, theirs = os.pipe()
    receiver = transport.Receiver(ours)
    data = pickle.dumps([1, 2, 3])
    framed = struct.pack("<Q", len(data)) + data
    for at in range(len(framed) - 1):
        os.write(theirs, framed[at : at + 1])
        assert receiver.receive() == (False, None)
    os.write(theirs, framed[-1:])
    assert receiver.receive() == (True, [1, 2, 3])
    os.close(theirs)
    with pytest.raises(EOFError):
        receiver.receive()
    os.close(ours)


def test_two_answers_to_one_unit_are_refused() -> None:
    ours, theirs = os.pipe()
    transport.send(theirs, 1)
    transport.send(theirs, 2)
    with pytest.raises(transport.TransportError):
        transport.Receiver(ours).receive()
    os.close(ours)
    os.close(theirs)
