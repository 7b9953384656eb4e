"""What debugging information says, as data: lines of source, functions and variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Place(NamedTuple):
    """A line of source. `file` is relative to the module's directory, or for kernel headers to the kernel's; `path` is
    as the compiler saw it; `inlined` when the function's code is part of the next place's. `column` counts from 1; 0:
    the compiler has not said it."""

    function: str
    file: str
    line: int
    path: str = ""
    inlined: bool = False
    column: int = 0


class Row(NamedTuple):
    """A stretch of code that comes from one line."""

    section: int
    start: int
    end: int
    path: str
    line: int


class InlinedCall(NamedTuple):
    """Where the code of an inline function begins, in a function that calls it; also of one that has no code. `path`
    and `line` are those of the call."""

    function: str
    section: int
    offset: int
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Function:
    """A function with code of its own: where it begins in which section, its bytes, and where it is defined."""

    name: str
    section: int
    offset: int
    size: int
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Local:
    """A variable in a function's frame: it lies at the canonical frame address (what the stack pointer is after the
    return) plus `offset`, and is `size` bytes long. `function` is another function's name when the variable came by
    inlining. `ranges` are the (start, end) offsets in the section where it lives; () for all of the function."""

    name: str
    offset: int
    size: int
    function: str
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable with an address of its own, also one that is local to a function: from the symbol table."""

    name: str
    section: int
    offset: int
    size: int
