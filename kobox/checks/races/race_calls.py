"""Two calls that race, as small values: which, on what file, and where the first is held. An ID says all of it."""

from __future__ import annotations

import errno
import json
import struct
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from kobox.box.box import Box
from kobox.box.guest.process import Limits
from kobox.box.guest.syscall import Argument, PendingCall
from kobox.checks.fuzz.program import ExerciseStep, Program, plain_step, step_of, system_call
from kobox.errors import BoxError, KoboxError
from kobox.json_text import parse_json

TIME = ExerciseStep("time")
"""Instead of a call: time passes, so that timers, work and threads of the module come."""
CLOSE = ExerciseStep("close")
HOLD_BLOCKS = 200_000
"""What the other CPU may execute while one is held, if the race does not say otherwise."""
_REMOVES, _NONBLOCK = "rmmod", 0o4000
LIMITS = Limits(timeout=5.0, cpu=0.5)
_TIME_NS = 20_000_000
_READY = 0.5  # virtual seconds for a call before the race
_SETUP = 6  # calls before the race at most
_KINDS = 12  # of calls on one file
_VARIANTS = 4  # of one kind of call
_FILES, _KINDS_OF_FILE = 4, 3  # that race with each other
_MADE_READY = 8  # states in which calls race: the fresh one, and those that one kind of call has led to
_NO_PLACE = (-1, 0, 0, 0)
_OPENS = ("open", "socket")
_NO_CALLS = ("open", "close", "mknod", "sleep", "mmap", "lseek", "fcntl", "socket")


class RaceCalls(NamedTuple):
    """Two calls that are made at the same moment: `first` on the file that `setup` has opened, `second` on that file,
    or (not `same`) on another open file of the same path."""

    setup: Program
    first: ExerciseStep
    second: ExerciseStep
    same: bool


class AccessPlace(NamedTuple):
    """Code at `offset` of `section` touches `size` bytes that lie at `address` in one state of the box."""

    section: int
    offset: int
    address: int
    size: int


@dataclass(frozen=True, slots=True)
class DataRace:
    """One schedule: the first call is held before the code at `offset` of `section` touches `size` bytes that lie at
    `address` in this state of the box, or, where `size` is 0, makes a call there. With TIME for the first it is what
    the module does by itself on CPU `cpu`. `readers` are calls that show what is there; `used`, that the module itself
    reads it elsewhere; `reads`, that the function that writes it has read it before. The other CPU executes `blocks`
    basic blocks at most while it is held.

    With `then`, the first call is held before any access at that place, and when the second comes to `then`, that one
    is held, and the first goes on: `address` and `size` are those of `then`. With `store`, that store of the first
    call is still in its CPU's buffer while it is held. With `alone`, only the first call is made, on the CPU `cpu`.
    With `stack`, what the first call has begun is held instead of it: work, a thread or a timer, on the stack there."""

    calls: RaceCalls
    section: int
    offset: int
    address: int
    size: int
    cpu: int = 1
    used: bool = False
    reads: bool = False
    readers: tuple[ExerciseStep, ...] = ()
    blocks: int = HOLD_BLOCKS
    then: AccessPlace | None = None
    store: AccessPlace | None = None
    alone: bool = False
    stack: int = 0

    @property
    def titles(self) -> tuple[str, str]:
        """What the two that race are called in a sentence."""
        first = title_of(self.calls.first)
        return f"what {first} has begun" if self.stack else first, title_of(self.calls.second)

    def __str__(self) -> str:
        setup, first, second, same = self.calls
        plain = [[plain_step(step) for step in setup], plain_step(first), plain_step(second), same]
        numbers = [self.section, self.offset, self.address, self.size, self.cpu, int(self.used), int(self.reads)]
        more = self.then is not None or self.store is not None or self.alone or self.stack
        if self.blocks != HOLD_BLOCKS or more:
            numbers += [self.blocks, *(self.then or _NO_PLACE), *(self.store or _NO_PLACE), int(self.alone), self.stack]
        data = json.dumps([*plain, [plain_step(step) for step in self.readers], *numbers]).encode()
        return f"datarace:{urlsafe_b64encode(zlib.compress(data, 9)).decode()}"


def parse_data_race(text: str) -> DataRace:
    """Undo `str()`. Raises `KoboxError`."""
    try:
        plain = parse_json(zlib.decompress(urlsafe_b64decode(text.removeprefix("datarace:"))))
        setup, first, second, same, readers, *numbers = plain
        rest = (HOLD_BLOCKS, *_NO_PLACE, *_NO_PLACE, 0, 0)[len(numbers) - 7 :]
        section, offset, address, size, cpu, used, reads, blocks, *places = map(int, (*numbers, *rest))
        then, store = AccessPlace(*places[:4]), AccessPlace(*places[4:8])
        alone, stack = places[8:]
        calls = RaceCalls(tuple(map(step_of, setup)), step_of(first), step_of(second), bool(same))
        return DataRace(
            calls,
            section,
            offset,
            address,
            size,
            cpu,
            bool(used),
            bool(reads),
            tuple(map(step_of, readers)),
            blocks,
            then if then.section >= 0 else None,
            store if store.section >= 0 else None,
            bool(alone),
            stack,
        )
    except (ArithmeticError, LookupError, ValueError, TypeError, zlib.error) as error:
        raise KoboxError(f"{text!r} is no ID of a data race", hint="The report has them, behind `fault`.") from error


class FileCalls(NamedTuple):
    """A file of the corpus: the calls that open it, those that have led to some state (`longest`), and by kind the
    calls that are made on it, with different arguments."""

    opens: Program
    longest: Program
    kinds: dict[tuple[Any, ...], list[ExerciseStep]]

    @property
    def opening(self) -> ExerciseStep | None:
        """The call that opens it; None for several files."""
        found = [one for one in self.opens if one.call in _OPENS]
        return found[0] if len(found) == 1 else None

    def variants(self, kind: tuple[Any, ...]) -> list[ExerciseStep]:
        """The calls of a kind: those of the corpus, and requests with small numbers, which may name what others
        made."""
        known = self.kinds[kind]
        if known[0].call != "ioctl":
            return known
        numbers = [ExerciseStep("ioctl", known[0].slot, (known[0].arguments[0], number)) for number in (0, 1)]
        return list(dict.fromkeys([*known[:_VARIANTS], *numbers]))

    def setups(self, steps: Sequence[ExerciseStep]) -> list[Program]:
        """What makes states ready in which `steps` may race: nothing, each of them once, one twice, `longest`."""
        made = [self.opens]
        made += [(*self.opens, one) for one in steps if one.call not in _NO_CALLS]
        if len(self.longest) > len(self.opens):
            made.append(self.longest)
        made += [(*self.opens, one, one) for one in steps if one.call.startswith(("write", "pwrite"))]
        return list(dict.fromkeys(made))[:_MADE_READY]


def files_of(programs: Sequence[Program]) -> list[FileCalls]:
    """The files of the corpus, with what is done to each."""
    found: dict[object, FileCalls] = {}
    for program in programs:
        opening = next((step for step in program if step.call in _OPENS), None)
        if opening is None:
            continue
        key = opening.arguments[0] if opening.call == "open" else opening.arguments
        opens = tuple(step for step in program if step.call == "mknod" or step is opening)
        if key not in found:
            found[key] = FileCalls(opens, opens, {})
        known = found[key]
        for number, step in enumerate(program):
            if step.call in _NO_CALLS or step.slot != opening.slot:
                continue
            kind = (step.call, *(step.arguments[:1] if step.call in ("ioctl", "call", "use") else ()))
            if kind in known.kinds or len(known.kinds) < _KINDS:
                variants = known.kinds.setdefault(kind, [])
                if step not in variants and len(variants) < _VARIANTS:
                    variants.append(step)
            if len(known.longest) < number <= _SETUP:
                known = found[key] = known._replace(longest=program[:number])
    return list(found.values())


def swapped(step: ExerciseStep) -> list[ExerciseStep]:
    """The same call with arguments that may name two things, one way round and the other: two numbers of one size where
    its data begins, or in one number."""
    last = step.arguments[-1] if step.arguments else None
    if step.call == "ioctl" and isinstance(last, int):
        return [step._replace(arguments=(*step.arguments[:-1], 1 << shift)) for shift in (0, 4, 8, 16, 32)]
    at = {"write": 0, "pwrite": 0, "ioctl": 1, "sendto": 0}.get(step.call)
    data = step.arguments[at] if at is not None and len(step.arguments) > at else b""
    if at is None or not isinstance(data, bytes):
        return []
    found = []
    for size in (1, 2, 4, 8):
        for pair in ((0, 1), (1, 0)):
            head = b"".join(number.to_bytes(size, "little") for number in pair)
            if len(data) >= len(head):
                changed = (*step.arguments[:at], head + data[len(head) :], *step.arguments[at + 1 :])
                found.append(step._replace(arguments=changed))
    return found


def together(files: Sequence[FileCalls]) -> FileCalls | None:
    """Several files of a module as one, each with a slot of its own; None where there is one only."""
    if len(files) < 2:
        return None
    opens: list[ExerciseStep] = []
    kinds: dict[tuple[Any, ...], list[ExerciseStep]] = {}
    for slot, file in enumerate(files[:_FILES]):
        opens += [step._replace(slot=slot) if step.call in _OPENS else step for step in file.opens]
        for kind, steps in list(file.kinds.items())[:_KINDS_OF_FILE]:
            kinds[slot, *kind] = [step._replace(slot=slot) for step in steps]
    return FileCalls(tuple(opens), tuple(opens), kinds)


class OpenFiles(dict[int, tuple[int, int]]):
    """By slot: an open file, and another of the same path."""

    def of(self, step: ExerciseStep, *, same: bool = True) -> int:
        """The file that a call is made on, or (not `same`) the other one; -1 for none."""
        return self.get(step.slot, (-1, -1))[not same]


def opened(box: Box, setup: Program) -> OpenFiles:
    """Play the calls of `setup`; the files that are open then. Raises `OSError` when one cannot be opened, or a call
    does not come back."""
    files = OpenFiles()
    for step in setup:
        if step.call == "mknod":
            with suppress(OSError):  # an earlier one is still there
                box.syscall("mknod", *step.arguments)
        elif step.call in _OPENS:
            call = ("open", *step.arguments, 0) if step.call == "open" else ("socket", *step.arguments)
            fd = other = box.syscall(*call)
            with suppress(OSError):  # exclusive
                other = box.syscall(*call)
            files[step.slot] = (fd, other)
        elif step.call not in _NO_CALLS and step.slot in files:
            name, arguments = system_call(step, files.of(step))
            pending = box.guest.calls.start(box.guest.main(), name, arguments)
            if not pending.wait(_READY):
                raise OSError(errno.ETIMEDOUT, "a call that makes the state ready does not come back")
    return files


def call_of(step: ExerciseStep, fd: int) -> tuple[str, tuple[Argument, ...]]:
    """The system call that a step is: its name and arguments."""
    if step == TIME:
        return "nanosleep", (struct.pack("<qq", 0, _TIME_NS), None)
    if step.call == _REMOVES:
        return "delete_module", (*step.arguments, _NONBLOCK)
    if step.call == "open":
        return "open", (*step.arguments, 0)
    return system_call(step, fd)


def answer_of(step: ExerciseStep, pending: PendingCall, patience: float) -> int | None:
    """What a call answers, -errno for an error; None when it does not come back in `patience` virtual seconds. Which
    number a file gets is chance."""
    try:
        if not pending.wait(patience):
            return None
        return min(pending.result(), 0) if step.call in _OPENS else pending.result()
    except BoxError:
        return None
    except OSError as error:
        return -(error.errno or 0)


def removal(name: str) -> ExerciseStep:
    """Instead of a call: the module of that name is unloaded."""
    return ExerciseStep(_REMOVES, 0, (name,))


def title_of(step: ExerciseStep) -> str:
    """What a call is called in a sentence."""
    if step == TIME:
        return "what it does by itself"
    return "rmmod" if step.call == _REMOVES else f"{step.call.removesuffix('_at')}()"
