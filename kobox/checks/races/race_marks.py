"""What debugging information and the source say about an access: where it stands, and whether it is meant to race."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress

from kobox.arch.code import Flow
from kobox.arch.unwind import StackFrame
from kobox.checks.report.finding import Chain, own_frame
from kobox.checks.runner.session import Examination, Trace
from kobox.errors import KoboxError
from kobox.ko.dwarf.live import Where

_MARKS = re.compile(
    r"READ_ONCE|WRITE_ONCE|data_race|ACCESS_PRIVATE|_rcu\b|rcu_|atomic|refcount_|kref_|smp_|xchg|jiffies|"
    r"(?<!_)(?:test|set|clear|change)_bit|(?<!_)test_and_|list_empty_careful|waitqueue_active|_acquire|_release|\bcomplete(?:_all)?\s*\(|_completion"
)
_MARKED_FUNCTIONS = re.compile(
    r"atomic|refcount|(?<!__set)(?<!__clear)(?<!__change)_bit$|^rcu_|_rcu$|^__rcu|seqcount|read_seq|write_seq|xchg|smp_|spin_|mutex_|rwsem|lockdep|"
    r"^get_current$|waitqueue_active|wq_has_sleeper|kref_|llist_|kfifo|list_empty_careful|work_pending|timer_pending|"
    r"completion"
)
_LARGEST = 1 << 16  # bytes of a structure
_SEQLOCK = re.compile(r"read_seq|write_seq|seqcount")
_LIST = re.compile(r"_*h?list_(add|del|move|splice|replace|cut)")


def is_marked_at(text: str, column: int) -> bool:
    """Whether the code at a column (from 1) of a line of source is, or lies within the arguments of, a mark that it may
    race. With column 0, which says nothing, a mark anywhere in the line counts."""
    for mark in _MARKS.finditer(text):
        if not column:
            return True
        begin, end = _whole_word(text, mark.start())
        if begin <= column - 1 < _end_of_call(text, end):
            return True
    return False


def _whole_word(text: str, at: int) -> tuple[int, int]:
    """Begin and end of the name that a character is part of."""
    begin, end = at, at + 1
    while begin and (text[begin - 1].isalnum() or text[begin - 1] == "_"):
        begin -= 1
    while end < len(text) and (text[end].isalnum() or text[end] == "_"):
        end += 1
    return begin, end


def _end_of_call(text: str, end: int) -> int:
    """Where the call that begins with a name ends; the end of the line where its last bracket is on another one."""
    begin = end + len(text[end:]) - len(text[end:].lstrip())
    if not text.startswith("(", begin):
        return end
    depth = 0
    for n in range(begin, len(text)):
        depth += {"(": 1, ")": -1}.get(text[n], 0)
        if not depth:
            return n + 1
    return len(text)


class RaceMarks:
    """The marks of one module's accesses, by address in the box."""

    def __init__(self, examination: Examination) -> None:
        self._examination = examination
        self._known: dict[int, bool] = {}
        self._under_seqlock: dict[tuple[int, int], bool] = {}  # by where the function is

    def frames(self, pc: int) -> Chain:
        """The function at an address, with those that are inlined there."""
        return self._examination.chain(Trace((StackFrame(pc, 0, True),), self._examination.placement))

    def place(self, pc: int) -> object:
        """The line of the module's own source; the address where that is not known."""
        frame = own_frame(self.frames(pc))
        return (frame.file, frame.line) if frame is not None and frame.line else pc

    def is_marked(self, pc: int, beside: int = 0) -> bool:
        """Whether the access is meant to race: by the functions inlined there, or by the line of the source. Under a
        seqlock it is, if the access at `beside` (0: any) is under one as well: who writes under it keeps out no reader
        that does not ask."""
        if pc not in self._known:
            self._known[pc] = self._look(pc)
        return self._known[pc] or (self._has_seqlock(pc) and (not beside or self._has_seqlock(beside)))

    def _look(self, pc: int) -> bool:
        columns = self._columns(pc)
        for frame in self.frames(pc):
            if frame.from_headers and _MARKED_FUNCTIONS.search(frame.function):
                return True
            if not frame.line:
                continue
            text = self._examination.sources.line(frame.file, frame.line)
            if is_marked_at(text, columns.get((frame.file, frame.line), 0)):
                return True
        return False

    def _columns(self, pc: int) -> dict[tuple[str, int], int]:
        """Where in its line each function at an address stands; nothing for what the compiler has not said."""
        placement = self._examination.placement
        place = placement.find(pc) if placement is not None else None
        found = self._examination.file.debug.lines(*place) if place is not None else ()
        return {(one.file, one.line): one.column for one in found if one.column}

    def member_at(self, address: int, pc: int, registers: Mapping[int, int]) -> str:
        """What lies at an address, by the pointers that live at `pc`, where the CPU has these registers:
        "dev->count"; "" when none points there."""
        examination = self._examination
        debug, placement = examination.file.debug, examination.placement
        place = placement.find(pc) if placement is not None else None
        if place is None or not debug.available:
            return ""
        own, found = own_frame(self.frames(pc)), ""
        with suppress(KoboxError):
            for one in reversed(debug.live(*place)):
                held = one.held(registers) if one.type.is_pointer else None
                if held is None or held.value is None or held.where is Where.MEMORY:
                    continue
                behind = address - held.value
                if 0 <= behind < _LARGEST and (member := debug.member_at(one, behind)):
                    if own is not None and one.function == own.function:
                        return f"{one.name}->{member}"
                    found = found or f"{one.name}->{member}"  # as a function of the headers calls it
        return found

    def decides_by(self, pc: int) -> bool:
        """Whether the flags of the instruction there are looked at by the next one: its result is used."""
        placement = self._examination.placement
        place = placement.find(pc) if placement is not None else None
        if place is None:
            return False
        code, decode = self._examination.file.elf.data(place[0]), self._examination.box.arch.code.decode
        first = decode(code, place[1])
        following = decode(code, first.end) if first is not None else None
        return following is not None and following.flow is Flow.BRANCH

    def stores_constant(self, pc: int) -> bool:
        """Whether the instruction there writes a number that it holds: nothing that was read before."""
        placement = self._examination.placement
        place = placement.find(pc) if placement is not None else None
        if place is None:
            return False
        found = self._examination.box.arch.code.decode(self._examination.file.elf.data(place[0]), place[1])
        return found is not None and found.memory and found.immediate is not None

    def _has_seqlock(self, pc: int) -> bool:
        """Whether the function reads or writes under a seqlock: its plain accesses are repeated when they have raced
        (include/linux/seqlock.h)."""
        placement, debug = self._examination.placement, self._examination.file.debug
        place = placement.find(pc) if placement is not None else None
        function = debug.function_at(*place) if place is not None else None
        if function is None:
            return False
        key = function.section, function.offset
        if key not in self._under_seqlock:
            self._under_seqlock[key] = any(map(_SEQLOCK.search, (function.name, *debug.inlined_in(*key))))
        return self._under_seqlock[key]

    def list_function(self, pc: int) -> str:
        """The function of include/linux/list.h that changes a list there."""
        for frame in self.frames(pc):
            if frame.from_headers and _LIST.match(frame.function):
                return frame.function.lstrip("_")
        return ""
