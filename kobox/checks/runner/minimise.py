"""Crashes: what the generic exercise has done when something was found, made as short as it can be, and kept as a test
that fails.

programs that were played  ->  those that matter  ->  steps that matter  ->  test_hello_use_after_free.py
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kobox.checks.fuzz.program import ExerciseStep, Program
from kobox.checks.report.finding import Finding
from kobox.printable import one_line

if TYPE_CHECKING:
    from kobox.checks.runner.plan import CheckPlan

_TRIES = 16
"""Runs that one crash may take to be made short."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Crash:
    """What leads to a finding of the exercise: `programs`, as short as they could be made."""

    finding: Finding
    programs: tuple[Program, ...]

    @property
    def name(self) -> str:
        """A name for files and functions."""
        where = self.finding.where
        words = f"{self.finding.kind}_{where.function}" if where else self.finding.kind
        words += f"_{where.line}" if where and where.line else ""  # a function can have more than one mistake
        return word_of(words)


def word_of(text: str) -> str:
    """A text as part of a name in Python and of a file's. What a module's file says of its name may be anything."""
    return re.sub(r"\W+", "_", text, flags=re.ASCII)[:100]


def shrink(
    programs: Sequence[Program], still: Callable[[Sequence[Program]], bool], tries: int = _TRIES
) -> tuple[Program, ...]:
    """The least of `programs` for which `still()` is true, as far as `tries` calls of it tell."""
    left = [tries]

    def asked(candidate: Sequence[Program]) -> bool:
        left[0] -= 1
        return left[0] >= 0 and still(candidate)

    short = list(programs)
    short = short[-1:] if len(short) > 1 and asked(short[-1:]) else _without(short, asked)
    for number in range(len(short) - 1, -1, -1):

        def with_steps(steps: Sequence[ExerciseStep], number: int = number) -> bool:
            return asked([*short[:number], tuple(steps), *short[number + 1 :]])

        short[number] = tuple(_without(list(short[number]), with_steps))
    return tuple(program for program in short if program)


def _without(items: list[Item], still: Callable[[Sequence[Item]], bool]) -> list[Item]:
    """Leave out halves, then quarters, and so on, of what is not needed (Zeller's delta debugging)."""
    size = max(1, len(items) // 2)
    while items:
        at = 0
        while at < len(items):
            fewer = items[:at] + items[at + size :]
            if still(fewer):
                items = fewer
            else:
                at += size
        if size == 1:
            break
        size //= 2
    return items


def source_of(crash: Crash, plan: CheckPlan, module: str, place: Path) -> str:
    """A pytest file, to be written to `place`, that fails as long as the module does what was found."""
    steps = "".join(
        "    [\n" + "".join(f"        {tuple(step)!r},\n" for step in program) + "    ],\n"
        for program in crash.programs
    )
    path = os.path.relpath(plan.module, place.parent)
    options = f", kernel={plan.kernel!r}" + (f", parameters={plan.parameters!r}" if plan.parameters else "")
    if plan.needs:
        options += f", needs={tuple(str(Path(need).resolve()) for need in plan.needs)!r}"
    return f'''"""{_one_line(f"{module}: {crash.finding}")}

Found by `kobox check`. The steps are: system call, number of the open file, arguments
(`ExerciseStep` of kobox.checks.fuzz.program).
"""

from pathlib import Path

from kobox.checks.runner.plan import CheckPlan
from kobox.checks.runner.check import examine
from kobox.checks.fuzz.player import Steps

MODULE = Path(__file__).parent / {path!r}

PROGRAMS = [
{steps}]


def test_{word_of(module)}_{crash.name}():
    findings = examine(CheckPlan(str(MODULE){options}), Steps(*PROGRAMS))
    assert not findings, "\\n".join(map(str, findings))
'''


def _one_line(text: str) -> str:
    """A text that ends no docstring."""
    return one_line(text.split("\n", 1)[0]).replace("\\", "/").replace('"', "'")
