"""Where a module's own code changes a count of references: get_pid(), dev_put() and their kin are inline functions.

    get_pid(pid)    refcount_inc(&pid->count), one atomic instruction of the module's
    dev_put(dev)    this_cpu_dec(*dev->pcpu_refcnt), one instruction for this CPU's part of the count

Debugging information says which instruction belongs to which inline function; without it, nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from kobox.checks.module.callsites import CodeMap
from kobox.checks.runner.session import Examination
from kobox.ko.modulefile import ModuleFile

_MANY = 512  # instructions that are looked up


class CountSite(NamedTuple):
    """One instruction that changes a count: where it is in the box, its bytes, and the inline function it is of."""

    address: int
    code: bytes
    function: str


@lru_cache(maxsize=4)
def named_in(file: ModuleFile, functions: tuple[str, ...]) -> frozenset[str]:
    """Which of these functions a module's debugging information may name: their names stand somewhere in the file."""
    return frozenset(name for name in functions if f"{name}\0".encode() in file.content)


def count_sites(examination: Examination, code: CodeMap, functions: Mapping[str, object]) -> Iterator[CountSite]:
    """The instructions of these inline functions that change a count, in the module, which was linked."""
    debug, placement = examination.file.debug, examination.placement
    if not debug.available or placement is None or not named_in(examination.file, tuple(functions)):
        return
    for section, offset, text in islice(_changes(code), _MANY):
        if section not in placement.starts:
            continue
        for place in debug.lines(section, offset):
            if place.function in functions:
                address = placement.starts[section] + offset
                # As it was linked, but with the prefix: the kernel replaces lock where there is one CPU.
                linked = text[:1] + examination.box.machine.read(address + 1, len(text) - 1)
                yield CountSite(address, linked, place.function)
                break


def _changes(code: CodeMap) -> Iterator[tuple[int, int, bytes]]:
    """(section, offset, bytes) of all instructions that change a counter in one step."""
    reader = code.arch.code
    for name, functions in code.functions.items():
        number = code.sections[name]
        data = code.elf.data(number)
        for start, size, _ in functions.rows:
            for offset in reader.counter_changes(data, start, start + size):
                found = reader.decode(data, offset)
                if found is not None:
                    yield number, offset, data[offset : found.end]
