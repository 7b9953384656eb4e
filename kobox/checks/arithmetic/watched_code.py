"""Instructions of one kind that are watched in a module's whole code."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import TypeVar

from kobox.box.inspect.probes import Hit
from kobox.checks.module.callsites import CodeMap
from kobox.checks.runner.session import Examination

_MANY = 256  # instructions that are watched, at most
_CODE = 256 << 10  # bytes of code in one section, at most
Fact = TypeVar("Fact")
Find = Callable[[bytes, int, int], Iterable[tuple[int, Fact]]]
"""(a section's code, start, end of a function) -> (offset of an instruction, what is known of it)."""


def watch_code(examination: Examination, code: CodeMap, find: Find[Fact], reached: Callable[[Fact, Hit], None]) -> None:
    """Have `reached(fact, hit)` called before each instruction that `find` finds in the module, which was linked."""
    for address, fact in islice(_found(examination, code, find), _MANY):
        examination.probe_code(address, partial(reached, fact))


def _found(examination: Examination, code: CodeMap, find: Find[Fact]) -> Iterable[tuple[int, Fact]]:
    assert examination.placement is not None
    starts = examination.placement.starts
    for name, functions in code.functions.items():
        number = code.sections[name]
        data = code.elf.data(number)
        if number not in starts or len(data) > _CODE:
            continue
        for start, size, _ in functions.rows:
            for offset, fact in find(data, start, start + size):
                yield starts[number] + offset, fact
