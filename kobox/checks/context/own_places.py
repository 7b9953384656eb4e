"""Where a module's own code takes locks, turns interrupts off or opens a section, because what does that is inline.

    spin_lock(&lock)        an atomic instruction                   debugging information has it in __raw_spin_lock()
    local_irq_disable()     one instruction                         known by itself
    get_user(v, p)          a load with the rights of user space    likewise: it may sleep
    rcu_read_lock()         nothing, without CONFIG_PREEMPT_RCU     where debugging information has the inlined call
    preempt_disable()       nothing, without CONFIG_PREEMPT_COUNT   a macro: where its line of the source begins

What compiles to nothing cannot hurt this kernel, but the same source does hurt one that counts. Sources:
include/linux/spinlock_api_smp.h, rwlock_api_smp.h, rcupdate.h, preempt.h.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from kobox.checks.module.callsites import CodeMap
from kobox.checks.resources.inlined_counts import named_in
from kobox.checks.runner.session import Examination
from kobox.ko.dwarf.places import InlinedCall
from kobox.ko.modulefile import ModuleFile

_MANY = 512  # instructions that are looked up in debugging information
_RCU = {"rcu_read_lock": True, "rcu_read_unlock": False}
_OPENS = re.compile(r"\b(?:preempt_disable(?:_notrace)?|get_cpu|get_cpu_var|get_cpu_ptr)\s*\(")
_CLOSES = re.compile(r"\b(?:preempt_enable(?:_no_resched|_notrace)?|put_cpu|put_cpu_var|put_cpu_ptr)\s*\(")


class OwnPlace(NamedTuple):
    """One instruction of a module's: where it is in the box, the inline function that it is of, and the number of the
    register that holds the lock's address or the flags."""

    address: int
    function: str
    register: int | None = None


class SectionMark(NamedTuple):
    """Where a section begins (`opens`) or ends, and the line of the source that says so."""

    place: OwnPlace
    opens: bool
    file: str
    line: int


class _Unlinked(NamedTuple):
    """The same before the module is linked: `offset` in `section`."""

    section: int
    offset: int
    opens: bool
    file: str
    line: int


def lock_places(examination: Examination, code: CodeMap, functions: Mapping[str, bool]) -> Iterator[OwnPlace]:
    """The instructions that take or release a lock in inline functions, which are named with whether they take one."""
    debug = examination.file.debug
    if not debug.available or not named_in(examination.file, tuple(functions)):
        return
    reader = code.arch.code
    accesses = (
        (number, found) for number, data, at, end in _stretches(code) for found in reader.lock_accesses(data, at, end)
    )
    for number, found in islice(accesses, _MANY):
        for place in debug.lines(number, found.offset):
            if functions.get(place.function) is found.acquires:
                yield from _placed(examination, number, found.offset, place.function, found.register)
                break


def interrupt_places(examination: Examination, code: CodeMap) -> Iterator[tuple[OwnPlace, bool | None]]:
    """The instructions that turn interrupts on or off, with which they do; None: as the flags in a register say."""
    for number, data, at, end in _stretches(code):
        for found in code.arch.code.interrupt_switches(data, at, end):
            for place in _placed(examination, number, found.offset, "local_irq_restore", found.register):
                yield place, found.on


def user_places(examination: Examination, code: CodeMap) -> Iterator[tuple[OwnPlace, int]]:
    """The instructions that get_user() and put_user() are, with how many bytes they access."""
    for number, data, at, end in _stretches(code):
        for found in code.arch.code.user_accesses(data, at, end):
            for place in _placed(examination, number, found.offset, "put_user" if found.writes else "get_user", None):
                yield place, found.size


def rcu_sections(examination: Examination) -> Iterator[SectionMark]:
    """Where rcu_read_lock() and rcu_read_unlock() were inlined, though they are no instruction."""
    calls = _rcu_calls(examination.file) if named_in(examination.file, tuple(_RCU)) else ()
    shown = examination.file.debug.shown
    yield from _sections(
        examination,
        [_Unlinked(call.section, call.offset, _RCU[call.function], shown(call.path), call.line) for call in calls],
    )


@lru_cache(maxsize=4)
def _rcu_calls(file: ModuleFile) -> tuple[InlinedCall, ...]:
    return file.debug.inlined_calls(frozenset(_RCU))


def preemption_sections(examination: Examination) -> Iterator[SectionMark]:
    """Where the lines of the module's source begin that turn preemption off or on, if the source is at hand."""
    if examination.file.debug.available:
        yield from _sections(examination, _preemption_lines(examination))


def _preemption_lines(examination: Examination) -> list[_Unlinked]:
    sources, found = examination.sources, list[_Unlinked]()
    first: dict[tuple[int, str, int], int] = {}
    for section, offset, file, line in _statements(examination.file):
        text = sources.line(file, line)
        if _CLOSES.search(text):
            found.append(_Unlinked(section, offset, False, file, line))
        elif _OPENS.search(text):  # where it begins: the rest may be mixed with what follows
            key = section, file, line
            first[key] = min(first.get(key, offset), offset)
    return [*found, *(_Unlinked(section, offset, True, file, line) for (section, file, line), offset in first.items())]


@lru_cache(maxsize=4)
def _statements(file: ModuleFile) -> tuple[tuple[int, int, str, int], ...]:
    """(section, offset, file, line) of the module's own statements, also those that are no instruction."""
    debug = file.debug
    rows = ((row.section, row.start, debug.shown(row.path), row.line) for row in debug.statements())
    return tuple(row for row in rows if not row[2].startswith(("include/", "arch/", "/")))


def _sections(examination: Examination, marks: list[_Unlinked]) -> Iterator[SectionMark]:
    """What begins and ends at one and the same place is no section."""
    by_place: dict[tuple[int, int], dict[bool, _Unlinked]] = {}
    for mark in marks:
        by_place.setdefault((mark.section, mark.offset), {}).setdefault(mark.opens, mark)
    for section, offset in sorted(by_place):
        found = by_place[section, offset]
        if len(found) == 1:
            mark = next(iter(found.values()))
            for place in _placed(examination, section, offset, "", None):
                yield SectionMark(place, mark.opens, mark.file, mark.line)


def _stretches(code: CodeMap) -> Iterator[tuple[int, bytes, int, int]]:
    """(section, its bytes, start, end) of each function."""
    for name, functions in code.functions.items():
        number = code.sections[name]
        data = code.elf.data(number)
        for start, size, _ in functions.rows:
            yield number, data, start, start + size


def _placed(
    examination: Examination, section: int, offset: int, function: str, register: int | None
) -> Iterator[OwnPlace]:
    placement = examination.placement
    if placement is not None and section in placement.starts:
        yield OwnPlace(placement.starts[section] + offset, function, register)
