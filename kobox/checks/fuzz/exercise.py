"""The exercise: what is done with a module between its load and its unload.

    none          nothing
    FILE.py       `def exercise(box)` of a Python file, or its tests (`test_…(box, …)`)
    auto          whatever files the module has made are used in all ways, sensible and hostile

The generic exercise is made of programs: a few system calls on a file each. It begins with one of each kind for each
file, goes on with mutations of those that reached new code of the module, and stops after a number of calls: nothing in
it looks at a clock, so the same seed makes the same calls. What it found worth doing, its corpus, is what runs with
injected faults repeat.
"""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import os
import random
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kobox.box.guest.scheduler import Limits
from kobox.checks.runner.session import Exercise
from kobox.errors import BoxTimeoutError, KoboxError, ProcessDiedError

if TYPE_CHECKING:
    from kobox.box.box import Box, BoxProcess
    from kobox.checks.module.files import Target

CALLS = 1200
"""System calls that the generic exercise makes at most."""

_LIMITS = Limits(timeout=0.5, cpu=3.0)  # of one call, in virtual seconds
_ABANDONED = 24  # calls that do not come back, after which the exercise is over: their processes may be there for ever
_SLOTS = 3
_AT_A_TIME = 4  # programs of a device that are played before another file has its turn
_DRY = 4  # programs on one file that reach nothing new before the others go first


class ExerciseError(KoboxError):
    """A file is no exercise."""


class Step(NamedTuple):
    """One system call of a program. `slot` names an open file of the program; `arguments` are numbers, bytes and paths:

    open path flags      read size            write data          lseek offset whence   poll events
    close                pread size offset    pwrite data offset  ioctl request value   mmap length protection flags
    offset fsync                fcntl command value  ftruncate size      read_at address size  write_at address size
    mknod path mode device (no slot)          sleep seconds (no slot)
    socket family type protocol               sendto data address
    """

    call: str
    slot: int = 0
    arguments: tuple[Any, ...] = ()


Program = tuple[Step, ...]


class TestFile:
    """The tests of a pytest file: functions `test_…` that load, use and unload the module themselves.

    `tests` are they, one for each set of parameters (pytest.mark.parametrize). They may ask for `box`, `module` or `ko`
    (the module's path) and `modules` (by name); `left_out` names those that ask for more.
    """

    __test__ = False  # pytest: this is none

    def __init__(self, path: Path, functions: dict[str, Callable[..., Any]]) -> None:
        self.left_out: list[str] = []
        self._tests: list[tuple[Callable[..., Any], dict[str, Any]]] = []
        for name, function in functions.items():
            wanted = list(inspect.signature(function).parameters)
            for given in _parameter_sets(function):
                if unknown := set(wanted) - set(given) - _FIXTURES:
                    self.left_out.append(f"{path.name}: {name} wants {', '.join(sorted(unknown))}")
                    break
                self._tests.append((function, given))

    def tests(self, module: Path) -> list[Exercise]:
        """The tests as exercises of a module."""

        def one(function: Callable[..., Any], given: dict[str, Any]) -> Exercise:
            def exercise(box: Box) -> None:
                fixtures = {"box": box, "module": module, "ko": module, "modules": {module.stem: module}}
                wanted = inspect.signature(function).parameters
                _judged(function, {name: fixtures[name] for name in wanted if name in fixtures} | given)

            return exercise

        return [one(function, given) for function, given in self._tests]


_FIXTURES = frozenset(("box", "module", "ko", "modules"))


def _judged(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Call a test. What pytest raises to fail or skip is no Exception."""
    try:
        function(**arguments)
    except Exception:
        raise
    except BaseException as outcome:
        if type(outcome).__name__ == "Failed":
            raise AssertionError(str(outcome)) from outcome
        if type(outcome).__name__ != "Skipped":
            raise


def _parameter_sets(function: Callable[..., Any]) -> list[dict[str, Any]]:
    """The arguments that pytest.mark.parametrize gives: one dictionary for each call."""
    sets: list[dict[str, Any]] = [{}]
    for mark in getattr(function, "pytestmark", ()):
        if mark.name != "parametrize":
            continue
        names = mark.args[0].replace(",", " ").split() if isinstance(mark.args[0], str) else list(mark.args[0])
        rows = [
            getattr(value, "values", value) if len(names) > 1 or hasattr(value, "values") else (value,)
            for value in mark.args[1]
        ]
        sets = [{**before, **dict(zip(names, row, strict=True))} for before in sets for row in rows]
    return sets


def exercise_of(spec: str) -> Exercise | TestFile | None:
    """The exercise that `none` or the path of a Python file names. Raises `ExerciseError`."""
    if spec == "none":
        return None
    return _from_file(Path(spec))


def _from_file(path: Path) -> Exercise | TestFile:
    try:
        loader = importlib.util.spec_from_file_location(f"kobox_exercise_{path.stem}", path)
        assert loader is not None
        assert loader.loader is not None
        module: Any = importlib.util.module_from_spec(loader)
        loader.loader.exec_module(module)
    except Exception as error:
        raise ExerciseError(f"{path}: cannot be run: {type(error).__name__}: {error}") from error
    if callable(getattr(module, "exercise", None)):
        exercise: Exercise = module.exercise
        return exercise
    tests = {name: value for name, value in vars(module).items() if name.startswith("test_") and callable(value)}
    if not tests:
        raise ExerciseError(f"{path}: has no function `exercise(box)`, and no tests")
    return TestFile(path, tests)


class Steps:
    """An exercise that plays programs: `Steps([Step("open", 0, ("/dev/hello", 2)), …])`."""

    def __init__(self, *programs: Iterable[Step | tuple[Any, ...]]) -> None:
        self.programs = [tuple(Step(*step) for step in program) for program in programs]

    def __call__(self, box: Box) -> None:
        with Player(box) as player:
            for program in self.programs:
                player.play(program)


class Player:
    """Plays programs in a box, in a process of its own: a call that does not come back costs that process."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._process: BoxProcess | None = None
        self._slots: dict[int, int] = {}
        self.calls = 0
        self.abandoned = 0

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._box.alive:
            self._process.kill()

    def play(self, program: Program) -> None:
        """Make the calls of one program, whatever they answer, and close its files. Raises what kills the box or a
        process."""
        try:
            for step in program:
                with suppress(OSError):
                    self._step(step)
        finally:
            if self._box.alive:
                for fd in self._slots.values():
                    with suppress(OSError):
                        self._call("close", fd)
            self._slots.clear()

    def _step(self, step: Step) -> None:
        if step.call == "open":
            if step.slot in self._slots:
                self._call("close", self._slots.pop(step.slot))
            path, flags = step.arguments
            self._slots[step.slot] = self._call("open", path, flags | os.O_CLOEXEC, 0)
        elif step.call == "socket":
            self._slots[step.slot] = self._call("socket", *step.arguments)
        elif step.call == "mknod":
            self._call("mknod", *step.arguments)
        elif step.call == "sleep":
            self._box.sleep(*step.arguments)
        elif step.slot in self._slots:
            fd = self._slots.pop(step.slot) if step.call == "close" else self._slots[step.slot]
            if step.call == "mmap":
                self._mmap(fd, *step.arguments)
            else:
                name, arguments = system_call(step, fd)
                self._call(name, *arguments)

    def _mmap(self, fd: int, length: int, protection: int, flags: int, offset: int) -> None:
        """Map it, have the kernel bring each page in (its fault handler runs), and take it away."""
        address = self._call("mmap", 0, length, protection, flags, fd, offset)
        try:  # MADV_POPULATE_WRITE, MADV_POPULATE_READ
            self._call("madvise", address, min(length + 4095 & -4096, 1 << 16), 23 if protection & 2 else 22)
        finally:
            self._call("munmap", address, length)

    def _call(self, name: str, *arguments: Any) -> int:
        """A call of this player's process; one that blocks is abandoned with its process. Raises `OSError`."""
        if self._process is None or not self._process.alive:
            self._process = self._box.process()
        self.calls += 1
        try:
            return self._process.syscall(name, *arguments, limits=_LIMITS)
        except BoxTimeoutError:
            self.abandoned += 1
            process, self._process = self._process, None
            process.kill()
            raise OSError(110, "abandoned: it did not come back") from None
        except ProcessDiedError:
            self._process = None
            raise


def system_call(step: Step, fd: int) -> tuple[str, tuple[Any, ...]]:
    """The system call that a step on an open file is: its name and arguments. Not for open, mmap, mknod and sleep."""
    given = step.arguments
    if step.call in ("read", "pread"):
        size, *rest = given
        return ("read" if step.call == "read" else "pread64"), (fd, bytearray(size), size, *rest)
    if step.call in ("write", "pwrite"):
        data, *rest = given
        return ("write" if step.call == "write" else "pwrite64"), (fd, data, len(data), *rest)
    if step.call == "ioctl":
        request, value = given
        return "ioctl", (fd, request, bytearray(value) if isinstance(value, bytes) else value)
    if step.call == "sendto":
        data, address = given
        return "sendto", (fd, data, len(data), 0x40, address, len(address))  # MSG_DONTWAIT
    if step.call == "poll":
        return "poll", (bytearray(struct.pack("<ihh", fd, given[0] & 0x7FFF, 0)), 1, 0)
    return step.call.removesuffix("_at"), (fd, *given)


@dataclass(slots=True)
class Material:
    """What programs are made of: numbers that look like ioctl requests, other numbers, those below 256, and words of
    the module's code."""

    requests: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    words: tuple[bytes, ...] = ()
    bounds: tuple[int, ...] = ()


@dataclass(slots=True)
class GenericExercise:
    """The built-in exercise. Called with a box the first time it explores, and afterwards repeats what it found worth
    doing (`corpus`).

    `progress()` tells how many instructions of the module have been executed so far: what guides it. `targets(box)`
    finds the files; `found()` tells how many findings there are so far.
    """

    material: Material
    targets: Callable[[Box], Sequence[Target]]
    progress: Callable[[], int]
    seed: int = 0
    calls: int = CALLS
    corpus: list[Program] = field(default_factory=list)
    explored: bool = False
    played: list[Program] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    made: int = 0
    abandoned: int = 0
    found: Callable[[], int] = lambda: 0
    when: list[int] = field(default_factory=list)  # how many programs had been played when each finding was there

    def __call__(self, box: Box) -> None:
        if self.explored:
            with Player(box) as player:
                for program in self.corpus:
                    self._play(player, program)
            return
        self.explored = True
        self._explore(box)

    def led_to(self, number: int) -> Sequence[Program]:
        """The programs that were played until a finding was there."""
        return self.played[: self.when[number]] if number < len(self.when) else self.played

    def _play(self, player: Player, program: Program) -> None:
        self.played.append(program)
        try:
            player.play(program)
        finally:
            self.when += [len(self.played)] * (self.found() - len(self.when))

    def _explore(self, box: Box) -> None:
        chance = random.Random(self.seed)
        targets = list(self.targets(box))
        self.files = [target.path for target in targets]
        if not targets:
            return
        seen = self.progress()
        with Player(box) as player:
            try:
                for program in self._programs(targets, chance):
                    if player.calls >= self.calls or player.abandoned >= _ABANDONED:
                        break
                    self._play(player, program)
                    now = self.progress()
                    if now > seen:
                        seen = now
                        self.corpus.append(program)
            finally:
                self.made, self.abandoned = player.calls, player.abandoned

    def _programs(self, targets: Sequence[Target], chance: random.Random) -> Iterator[Program]:
        """One of each kind for each file, the files in turn, of devices some at a time, and last those where nothing
        new comes of it; then mutations, for ever."""
        turn = [(target, systematic_programs(target, self.material), 0) for target in targets]
        late: list[tuple[Target, Iterator[Program], int]] = []
        while turn or late:
            if not turn:
                turn, late = late, []
            target, programs, dry = turn.pop(0)
            before = len(self.corpus)
            some = 0
            for program in itertools.islice(programs, _AT_A_TIME if target.is_device else 1):
                some += 1
                yield program
            if some:
                dry = 0 if len(self.corpus) > before else dry + 1
                (late if dry >= _DRY else turn).append((target, programs, 0 if dry >= _DRY else dry))
        while True:
            if self.corpus and chance.random() < 0.7:
                yield mutated(chance.choice(self.corpus), self.material, chance)
            else:
                yield random_program(chance.choice(list(targets)), self.material, chance)


_SIZES = (0, 1, 7, 64, 4095, 4096, 4097, 65536)
_OFFSETS = (0, 1, -1, 4095, 4096, 1 << 31, (1 << 63) - 1, -(1 << 63))
_HOSTILE = (1, 0x1000, 0x7FFFFFFFF000, 0x800000000000, 0xFFFF888000000000, 0xFFFFFFFFFFFFF000)
_TEXTS = (b"0", b"1", b"-1", b"1\n", b"2147483648", b"x", b"%s%n", b"A" * 4096, b"\0" * 64, b"\xff" * 64)
_EVENTS = 0x1 | 0x4 | 0x2
_READ, _WRITE = os.O_RDONLY, os.O_WRONLY
_SHARED, _PRIVATE = 1, 2


def systematic_programs(target: Target, material: Material) -> Iterator[Program]:
    """Programs that use a file in each way once: first as it is meant, then at its bounds, then with malice."""
    if target.interface:
        yield from _interface_programs(target.interface)
        return
    path, both = target.path, target.flags
    opened = Step("open", 0, (path, both))
    text = target.value or b"x"
    yield from ((Step("mknod", 0, target.node), opened) for _ in range(bool(target.node)))
    yield (opened, Step("read", 0, (4096,)), Step("lseek", 0, (0, 0)), Step("read", 0, (64,)), Step("read", 0, (64,)))
    yield (
        opened,
        Step("write", 0, (text,)),
        Step("lseek", 0, (0, 0)),
        Step("read", 0, (4096,)),
        Step("poll", 0, (_EVENTS,)),
    )
    for request in material.requests if target.is_device else ():
        size = request >> 16 & 0x3FFF
        yield (
            opened,
            Step("ioctl", 0, (request, bytes(max(size, 64)))),
            Step("write", 0, (text,)),
            Step("ioctl", 0, (request, bytes(max(size, 64)))),
            Step("ioctl", 0, (request, b"\xff" * max(size, 64))),
            Step("ioctl", 0, (request, 0)),
            Step("ioctl", 0, (request, 1)),
        )
    for request in material.requests if target.is_device else ():
        yield from ((opened, *steps) for steps in _at_bounds(request, material.bounds))
    yield (Step("open", 0, (path, _READ)), Step("read", 0, (1,)), Step("read", 0, (1,)), Step("write", 0, (b"x",)))
    yield (Step("open", 0, (path, _WRITE)), Step("write", 0, (text,)), Step("write", 0, (text,)), Step("read", 0, (1,)))
    yield (
        Step("open", 0, (path, both | os.O_NONBLOCK)),
        Step("read", 0, (64,)),
        Step("write", 0, (text,)),
        Step("read", 0, (64,)),
    )
    yield (
        opened,
        Step("open", 1, (path, both)),
        Step("write", 0, (text,)),
        Step("read", 1, (64,)),
        Step("close", 0),
        Step("read", 1, (64,)),
    )
    yield (
        opened,
        *(Step("write", 0, (bytes(size),)) for size in _SIZES),
        Step("lseek", 0, (0, 0)),
        *(Step("read", 0, (size,)) for size in _SIZES),
    )
    for word in (*_TEXTS, *material.words):
        asked = (
            Step("ioctl", 0, (request, bytes(64))) for request in (material.requests[:4] if target.is_device else ())
        )
        yield (opened, Step("write", 0, (word,)), Step("lseek", 0, (0, 0)), Step("read", 0, (64,)), *asked)
    yield (
        opened,
        *(Step("pread", 0, (64, offset)) for offset in _OFFSETS),
        *(Step("pwrite", 0, (b"xyz", offset)) for offset in _OFFSETS),
    )
    yield (
        opened,
        *(Step("lseek", 0, (offset, whence)) for whence in (0, 1, 2) for offset in _OFFSETS),
        Step("read", 0, (64,)),
    )
    for back in (4096, 1):
        yield (
            opened,
            *(Step("lseek", 0, (-back, os.SEEK_END)), Step("read", 0, (back,)), Step("read", 0, (1,))),
            *(Step("lseek", 0, (-back, os.SEEK_END)), Step("write", 0, (b"y" * back,)), Step("write", 0, (b"z",))),
            Step("fsync", 0),
        )
    yield (
        opened,
        *(Step("read_at", 0, (address, 64)) for address in _HOSTILE),
        *(Step("write_at", 0, (address, 64)) for address in _HOSTILE),
    )
    yield (
        Step("open", 0, (path, both | os.O_APPEND)),
        Step("write", 0, (text,)),
        Step("fsync", 0),
        Step("ftruncate", 0, (0,)),
    )
    yield (
        opened,
        Step("fcntl", 0, (4, 0o20000)),
        Step("write", 0, (text,)),
        Step("fcntl", 0, (4, 0)),
    )  # F_SETFL, O_ASYNC
    if target.is_device:
        yield (
            opened,
            Step("mmap", 0, (4096, 3, _SHARED, 0)),
            Step("mmap", 0, (4096, 1, _SHARED, 0)),
            Step("mmap", 0, (4096, 3, _PRIVATE, 0)),
        )
        yield (
            opened,
            *(
                Step("mmap", 0, (length, 3, _SHARED, offset))
                for length in (1, 8192, 1 << 24)
                for offset in (0, 4096, 1 << 40)
            ),
        )
        for request in (*material.requests, *material.numbers, *range(8), 0x5401, 0x541B):
            yield (
                opened,
                *(Step("ioctl", 0, (request, address)) for address in _HOSTILE),
                Step("ioctl", 0, (request, -1)),
            )


def _at_bounds(request: int, bounds: Sequence[int]) -> Iterator[Program]:
    """The calls of a request whose structure has a number that the module compares with, or the next one, in one of
    its first words."""
    size = request >> 16 & 0x3FFF
    values = sorted({value & 0xFFFFFFFF for bound in bounds for value in (bound - 1, bound, bound + 1)})
    for at in range(0, min(size, 16) - 3 if values else 0, 4):
        yield tuple(
            Step("ioctl", 0, (request, bytes(at) + struct.pack("<I", value) + bytes(size - at - 4))) for value in values
        )


_SOCKET = Step("socket", 0, (2, 2, 0))  # AF_INET, SOCK_DGRAM


def _interface_programs(name: str) -> Iterator[Program]:
    """Programs that use a network interface: up with an address, packets out, its settings at their bounds, and
    down."""

    def asked(request: int, content: bytes) -> Step:
        return Step("ioctl", 0, (request, name.encode().ljust(16, b"\0") + content.ljust(24, b"\0")))

    address = struct.pack("<HH4s", 2, 0, bytes((10, 99, 7, 1)))
    peer = struct.pack("<H2s4s8x", 2, b"\0\x09", bytes((10, 99, 7, 2)))
    up, down = asked(0x8914, struct.pack("<H", 1)), asked(0x8914, b"")  # SIOCSIFFLAGS
    begin = (_SOCKET, asked(0x8916, address), up)  # SIOCSIFADDR
    yield (_SOCKET, up, down, up, down)
    yield (
        *begin,
        *(Step("sendto", 0, (bytes(size), peer)) for size in (1, 64, 1400, 9000)),
        Step("sleep", 0, (5.0,)),
        down,
    )
    for mtu in (68, 1500, 9000, 65536, -1):  # SIOCSIFMTU
        yield (*begin, asked(0x8922, struct.pack("<i", mtu)), Step("sendto", 0, (bytes(1000), peer)), down)
    yield (*begin, down, asked(0x8924, struct.pack("<H6s", 1, b"\2kobox")), up, Step("sendto", 0, (b"x", peer)), down)
    yield (
        *begin,
        *(asked(request, bytes(24)) for request in (0x8913, 0x8915, 0x8921, 0x8927, 0x8942, 0x8947, 0x8948, 0x8970)),
        down,
    )
    yield (
        *begin,
        asked(0x8914, struct.pack("<H", 0x1101)),
        Step("sendto", 0, (b"x", peer)),
        down,
    )  # promiscuous, multicast
    yield (*begin, *(asked(request, b"\xff" * 24) for request in range(0x89F0, 0x8A00)), down)  # SIOCDEVPRIVATE


def random_program(target: Target, material: Material, chance: random.Random) -> Program:
    """A program of up to eight calls on one file."""
    if target.interface:
        return chance.choice(list(_interface_programs(target.interface)))
    steps = [Step("open", 0, (target.path, target.flags))]
    steps += [_random_step(target.path, target.flags, material, chance) for _ in range(chance.randint(1, 8))]
    return tuple(steps)


def mutated(program: Program, material: Material, chance: random.Random) -> Program:
    """A program with one or two steps changed, left out, repeated or added."""
    steps = list(program)
    opened = next((step for step in steps if step.call == "open"), None)
    if opened is None:
        return program
    path, flags = opened.arguments
    for _ in range(chance.randint(1, 2)):
        at = chance.randrange(len(steps))
        what = chance.randrange(4)
        if what == 0 and len(steps) > 2:
            del steps[at]
        elif what == 1:
            steps.insert(at, steps[chance.randrange(len(steps))])
        elif what == 2:
            steps[at] = _changed(steps[at], material, chance)
        else:
            steps.insert(at + 1, _random_step(path, flags, material, chance))
    return tuple(steps[:16])


def _random_step(path: str, flags: int, material: Material, chance: random.Random) -> Step:
    slot = chance.randrange(_SLOTS) if chance.random() < 0.2 else 0
    make = chance.choice(_MAKERS)
    if make is None:
        return Step("open", slot, (path, flags | chance.choice((0, 0, os.O_NONBLOCK, os.O_APPEND, os.O_EXCL))))
    return make(slot, material, chance)


def _a_number(material: Material, chance: random.Random) -> int:
    return chance.choice(
        (*_SIZES, *_OFFSETS, *material.numbers, *material.bounds, chance.randrange(256), chance.randrange(1 << 32))
    )


def _some_bytes(material: Material, chance: random.Random) -> bytes:
    kind = chance.randrange(4)
    if kind == 0:
        return chance.choice((*_TEXTS, *material.words))
    if kind == 1:
        return str(_a_number(material, chance)).encode()
    if kind == 2:
        size = chance.choice((4, 8))
        return b"".join(
            (_a_number(material, chance) & (1 << 8 * size) - 1).to_bytes(size, "little")
            for _ in range(chance.randint(1, 16))
        )
    return chance.randbytes(chance.choice(_SIZES))


def _a_request(material: Material, chance: random.Random) -> int:
    if material.requests and chance.random() < 0.8:
        return chance.choice(material.requests)
    return _a_number(material, chance) & 0xFFFFFFFF


_MAKERS: tuple[Callable[[int, Material, random.Random], Step] | None, ...] = (
    None,
    lambda slot, material, chance: Step("read", slot, (chance.choice(_SIZES),)),
    lambda slot, material, chance: Step("read", slot, (chance.choice(_SIZES),)),
    lambda slot, material, chance: Step("write", slot, (_some_bytes(material, chance),)),
    lambda slot, material, chance: Step("write", slot, (_some_bytes(material, chance),)),
    lambda slot, material, chance: Step(
        "ioctl", slot, (_a_request(material, chance), _some_bytes(material, chance) or bytes(8))
    ),
    lambda slot, material, chance: Step(
        "ioctl", slot, (_a_request(material, chance), _some_bytes(material, chance) or bytes(8))
    ),
    lambda slot, material, chance: Step("ioctl", slot, (_a_request(material, chance), _a_number(material, chance))),
    lambda slot, material, chance: Step("lseek", slot, (_a_number(material, chance), chance.randrange(3))),
    lambda slot, material, chance: Step("pread", slot, (chance.choice(_SIZES), _a_number(material, chance))),
    lambda slot, material, chance: Step("pwrite", slot, (_some_bytes(material, chance), _a_number(material, chance))),
    lambda slot, material, chance: Step("poll", slot, (_EVENTS,)),
    lambda slot, material, chance: Step("close", slot),
    lambda slot, material, chance: Step("fsync", slot),
    lambda slot, material, chance: Step(
        "mmap", slot, (chance.choice((1, 4096, 8192)), chance.choice((1, 3)), 1, chance.choice((0, 4096)))
    ),
)


def _changed(step: Step, material: Material, chance: random.Random) -> Step:
    """A step with one of its arguments changed."""
    if not step.arguments or step.call in ("open", "mknod"):
        return step
    at = chance.randrange(len(step.arguments))
    old = step.arguments[at]
    if isinstance(old, bytes):
        new: Any = _some_bytes(material, chance) if chance.random() < 0.5 or not old else _flipped(old, chance)
    elif step.call in ("read", "mmap") or (step.call == "pread" and at == 0):
        new = chance.choice(_SIZES)
    elif step.call == "lseek" and at == 1:
        new = chance.randrange(5)
    elif step.call in ("read_at", "write_at") and at == 1:
        new = chance.choice(_SIZES)
    else:
        new = _a_number(material, chance)
    return step._replace(arguments=(*step.arguments[:at], new, *step.arguments[at + 1 :]))


def _flipped(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << chance.randrange(8),)) + data[at + 1 :]
