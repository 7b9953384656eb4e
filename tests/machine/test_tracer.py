"""Marks and ways out of traced code, as the native core reports them."""

from __future__ import annotations

import pytest

from kobox.box.box import Box
from kobox.machine.pc import MachineError
from kobox.machine.tracer import CallTracer, Passage


def function(box: Box, name: str) -> tuple[int, int]:
    """Where a function of the kernel begins and ends."""
    start = box.inspect.symbols.address(name)
    return start, start + box.inspect.symbols.extent(name)


def test_a_mark_is_told_each_time_until_it_is_taken_away(box: Box) -> None:
    entry, seen = function(box, "__x64_sys_getpid")[0], list[tuple[Passage, int]]()
    with CallTracer(box.machine, lambda passage, address: seen.append((passage, address))) as tracer:
        tracer.mark(entry)
        box.syscall("getpid")
        box.syscall("getpid")
        tracer.unmark(entry)
        box.syscall("getpid")
        tracer.unmark(entry + 1)  # there is none
    box.syscall("getpid")
    assert seen == [(Passage.MARK, entry)] * 2


def test_deep_marks_count_only_while_they_are_switched_on(box: Box) -> None:
    entry, seen = function(box, "__x64_sys_getpid")[0], list[int]()
    with CallTracer(box.machine, lambda _, address: seen.append(address)) as tracer:
        tracer.mark(entry, deep=True)
        box.syscall("getpid")
        assert seen == []
        tracer.set_deep(True)
        box.syscall("getpid")
        tracer.set_deep(False)
        box.syscall("getpid")
    assert seen == [entry]


def test_the_first_block_outside_of_traced_code_is_told(box: Box) -> None:
    start, end = function(box, "__x64_sys_getppid")
    seen: list[tuple[Passage, int]] = []
    with CallTracer(box.machine, lambda passage, address: seen.append((passage, address))) as tracer:
        tracer.trace_code(start, end)
        box.syscall("getppid")
        count = len(seen)
        assert count >= 1
        assert all(passage is Passage.OUT and not start <= address < end for passage, address in seen)
        tracer.trace_code(start, end, on=False)
        box.syscall("getppid")
    assert len(seen) == count


def test_many_marks_and_the_limits(box: Box) -> None:
    entry, seen = function(box, "__x64_sys_getpid")[0], list[int]()
    with CallTracer(box.machine, lambda _, address: seen.append(address)) as tracer:
        for number in range(20_000):  # the table grows, and what was taken away leaves nothing behind
            tracer.mark(0x1000 + 16 * number)
        for number in range(0, 20_000, 2):
            tracer.unmark(0x1000 + 16 * number)
        tracer.mark(entry)
        for number in range(20_000, 40_000):
            tracer.mark(0x1000 + 16 * number)
        box.syscall("getpid")
        for number in range(256):
            tracer.trace_code(16 * number + 16, 16 * number + 20)
        with pytest.raises(MachineError, match="256 ranges"):
            tracer.trace_code(1 << 20, 1 << 21)
        with pytest.raises(MachineError):
            tracer.mark(0)
    assert seen == [entry]


def test_one_at_a_time_and_what_a_listener_raises(box: Box) -> None:
    def refuse(_: Passage, address: int) -> None:
        raise RuntimeError(f"{address:#x}")

    entry = function(box, "__x64_sys_getpid")[0]
    with CallTracer(box.machine, refuse) as tracer:
        with pytest.raises(MachineError, match="traced already"):
            CallTracer(box.machine, refuse)
        tracer.mark(entry)
        with pytest.raises(RuntimeError, match=f"{entry:#x}"):
            box.syscall("getpid")
        tracer.unmark(entry)
    tracer.close()  # a second time nothing happens
    box.reset()
    with CallTracer(box.machine, refuse):
        assert box.syscall("getpid") > 0
