"""What the module's code compares its input with, read while it runs: no magic number has to be guessed.

    write(fd, "\\x10\\x21\\x11\\x21…", 64)         64 is compared with 40: 40 bytes are wanted
    write(fd, "\\x10\\x21\\x11\\x21…", 40)         0x21112110 is compared with 0xc0deface: it is at offset 0
    write(fd, "\\xce\\xfa\\xde\\xc0…", 40)         0x2113 is compared with 7: it is at offset 6

Input whose words all differ tells where a compared number stood. The program is repeated with what it was compared with
in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Literal

from kobox.arch.code import Compared
from kobox.box.inspect.probes import Hit
from kobox.checks.fuzz.program import ExerciseStep, Program
from kobox.checks.module.callsites import CodeMap
from kobox.checks.runner.session import Check, Examination
from kobox.errors import KoboxError

_MANY = 400  # comparisons of a module that are watched
_TIMES = 96  # that one is looked at; then it is in a loop, and tells nothing new
_LARGEST = 1 << 16  # no input is made longer
_FIRST = 0x10  # the first byte of such input
_CARRIES = ("write", "pwrite", "ioctl", "sendto")
_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
_SMALLEST = 2  # bytes of a number that is looked for in input


def distinct(size: int) -> bytes:
    """`size` bytes of which no two words are the same, and none is small, as far as 64 KiB go."""
    return b"".join(bytes((_FIRST + n % 224, 0x21 + n // 224 % 94)) for n in range(size // 2 + 1))[:size]


class ComparisonTap(Check):
    """Notes what is compared while a program is played."""

    name = "comparisons"

    def __init__(self, code: CodeMap) -> None:
        self._code = code
        self._sites = list(self._find())
        self.seen: dict[Compared, None] = {}
        self._tried: set[tuple[str, int, Compared]] = set()

    def linked(self, examination: Examination) -> None:
        self._examination = examination
        starts = examination.placement.starts if examination.placement is not None else {}
        for section, offset, length in self._sites[:_MANY]:
            if section in starts:
                examination.probe_code(starts[section] + offset, partial(self._compares, length, [_TIMES]))

    def _find(self) -> Iterator[tuple[int, int, int]]:
        for name, functions in self._code.functions.items():
            if name.startswith((".init", ".exit", ".altinstr")):
                continue
            number = self._code.sections[name]
            data = self._code.elf.data(number)
            for start, size, _ in functions.rows:
                for row in self._code.arch.code.instructions(data, start, start + size):
                    if row.compares and row.immediate is not None:
                        yield number, row.offset, row.length

    def _compares(self, length: int, left: list[int], hit: Hit) -> None:
        if left[0] <= 0:
            return
        left[0] -= 1
        machine, pc = self._examination.box.machine, hit.registers.pc
        with suppress(KoboxError, ValueError):
            found = machine.arch.code.compared(machine.read(pc, length), pc, machine.register, machine.read)
            if found is not None and found.left != found.right and len(self.seen) < _MANY:
                self.seen[found] = None

    def variants(self, program: Program) -> list[Program]:
        """The program with what was compared with since `seen` was cleared, where the input held what was compared."""
        found: list[Program] = []
        for n, step in enumerate(program):
            data = _input_of(step)
            if not data:
                continue
            for compared in self.seen:
                for changed in self._changed(step, data, compared):
                    found.append((*program[:n], changed, *program[n + 1 :]))
        self.seen.clear()
        return found

    def _changed(self, step: ExerciseStep, data: bytes, compared: Compared) -> Iterator[ExerciseStep]:
        number, wanted, size = compared
        sized = step.call != "ioctl" and number == len(data) and 0 < wanted < _LARGEST
        if sized and self._is_new(step.call, -1, compared):
            longer = distinct(wanted) if data == distinct(len(data)) else (data + bytes(wanted))[:wanted]
            yield _with_input(step, longer)
        for width in dict.fromkeys((size, 4, 2)):
            if not _SMALLEST <= width <= size or number >> 8 * width or wanted >> 8 * width:
                continue
            places = [(order, data.find(number.to_bytes(width, order))) for order in _ORDERS]
            for order, at in places:
                if at >= 0 and self._is_new(step.call, at, compared):
                    yield _with_input(step, data[:at] + wanted.to_bytes(width, order) + data[at + width :])
            if any(at >= 0 for _, at in places):
                return

    def _is_new(self, call: str, at: int, compared: Compared) -> bool:
        key = call, at, compared
        new = key not in self._tried
        self._tried.add(key)
        return new


def _input_of(step: ExerciseStep) -> bytes:
    """The bytes that a step hands to the module."""
    at = 1 if step.call == "ioctl" else 0
    data = step.arguments[at] if step.call in _CARRIES and len(step.arguments) > at else b""
    return data if isinstance(data, bytes) else b""


def _with_input(step: ExerciseStep, data: bytes) -> ExerciseStep:
    at = 1 if step.call == "ioctl" else 0
    return step._replace(arguments=(*step.arguments[:at], data, *step.arguments[at + 1 :]))
