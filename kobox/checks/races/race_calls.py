"""Two calls that race, as small values: which, on what file, and where the first is held. An ID says all of it."""

from __future__ import annotations

import json
import struct
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from kobox.box.box import Box
from kobox.box.guest.process import Limits
from kobox.checks.fuzz.program import ExerciseStep, Program, system_call
from kobox.checks.races.races import plain_step, step_of
from kobox.errors import BoxError, KoboxError

TIME = ExerciseStep("time")
"""Instead of the second call: time passes, so that timers and work of the module come."""
LIMITS = Limits(timeout=5.0, cpu=0.5)
_TIME_NS = 20_000_000
_SETUP = 6  # calls before the race at most
_KINDS = 12  # of calls on one file
_NO_CALLS = ("open", "close", "mknod", "sleep", "mmap", "poll", "lseek", "fcntl", "socket")


class RaceCalls(NamedTuple):
    """Two calls that are made at the same moment: `first` on the file that `setup` has opened, `second` on that file,
    or (not `same`) on another open file of the same path."""

    setup: Program
    first: ExerciseStep
    second: ExerciseStep
    same: bool


@dataclass(frozen=True, slots=True)
class DataRace:
    """One schedule: the first call is held before the code at `offset` of `section` touches `size` bytes that lie at
    `address` in this state of the box, or, where `size` is 0, makes a call there."""

    calls: RaceCalls
    section: int
    offset: int
    address: int
    size: int

    def __str__(self) -> str:
        setup, first, second, same = self.calls
        plain = [[plain_step(step) for step in setup], plain_step(first), plain_step(second), same]
        data = json.dumps([*plain, self.section, self.offset, self.address, self.size]).encode()
        return f"datarace:{urlsafe_b64encode(zlib.compress(data, 9)).decode()}"


def parse_data_race(text: str) -> DataRace:
    """Undo `str()`. Raises `KoboxError`."""
    try:
        plain = json.loads(zlib.decompress(urlsafe_b64decode(text.removeprefix("datarace:"))))
        setup, first, second, same, *numbers = plain
        section, offset, address, size = map(int, numbers)
        calls = RaceCalls(tuple(map(step_of, setup)), step_of(first), step_of(second), bool(same))
        return DataRace(calls, section, offset, address, size)
    except (ValueError, TypeError, zlib.error) as error:
        raise KoboxError(f"{text!r} is no ID of a data race", hint="The report has them, behind `fault`.") from error


def files_of(programs: Sequence[Program]) -> Iterator[tuple[list[Program], list[ExerciseStep]]]:
    """For each file of the corpus: the calls that make it ready (only its open(), and more), and one call of each kind
    that is made on it, open() too. Before that, open() alone, with no file open."""
    setups: dict[str, Program] = {}
    opens: dict[str, ExerciseStep] = {}
    steps: dict[str, dict[tuple[Any, ...], ExerciseStep]] = {}
    for program in programs:
        opened_by = next((step for step in program if step.call == "open"), None)
        if opened_by is None:
            continue
        path = opened_by.arguments[0]
        opens.setdefault(path, opened_by)
        setups.setdefault(path, tuple(step for step in program if step.call in ("open", "mknod")))
        for number, step in enumerate(program):
            if step.call in _NO_CALLS or step.slot != opened_by.slot:
                continue
            kind = (step.call, step.arguments[0] if step.call == "ioctl" else None)
            known = steps.setdefault(path, {})
            if kind not in known and len(known) < _KINDS:
                known[kind] = step
            if len(setups[path]) < number <= _SETUP:
                setups[path] = program[:number]
    for path, longest in setups.items():
        fresh = tuple(step for step in longest if step.call in ("open", "mknod"))
        yield [tuple(step for step in fresh if step.call == "mknod")], [opens[path]]
        yield ([fresh] if fresh == longest else [fresh, longest]), [*steps.get(path, {}).values(), opens[path]]


def opened(box: Box, setup: Program) -> tuple[int, int]:
    """Play the calls of `setup`; its open file, and another of the same path (-1 where it opens none). Raises `OSError`
    when it cannot be opened."""
    for one in setup:
        if one.call == "mknod":
            with suppress(OSError):  # an earlier one is still there
                box.syscall("mknod", *one.arguments)
    step = next((step for step in setup if step.call == "open"), None)
    if step is None:
        return -1, -1
    path, flags = step.arguments
    fd = box.syscall("open", path, flags, 0)
    try:
        other = box.syscall("open", path, flags, 0)
    except OSError:  # exclusive
        other = fd
    for one in setup:
        if one.call not in _NO_CALLS:
            name, arguments = system_call(one, fd)
            with suppress(OSError, BoxError):
                box.syscall(name, *arguments, limits=LIMITS)
    return fd, other


def call_of(step: ExerciseStep, fd: int) -> tuple[str, tuple[Any, ...]]:
    """The system call that a step is: its name and arguments."""
    if step == TIME:
        return "nanosleep", (struct.pack("<qq", 0, _TIME_NS), None)
    if step.call == "open":
        return "open", (*step.arguments, 0)
    return system_call(step, fd)


def answer_of(step: ExerciseStep, call: Callable[[], int]) -> int | None:
    """What a call answers, -errno for an error; None when it does not come back. Which number a file gets is chance."""
    try:
        return min(call(), 0) if step.call == "open" else call()
    except BoxError:
        return None
    except OSError as error:
        return -(error.errno or 0)


def title_of(step: ExerciseStep) -> str:
    """What a call is called in a sentence."""
    return "the passing of time" if step == TIME else f"{step.call.removesuffix('_at')}()"
