"""A debugger's view of the CPU: what is counted, what it stops for, and that looking changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.machine.pc import MachineError
from kobox.machine.stepper import Stepper, Stop, StopReason, Touch
from tests.building import BuiltTestModules


def load_and_unload(box: Box, module: Path) -> tuple[int, int]:
    """The blocks and the virtual time that it takes."""
    blocks, time = box.machine.blocks, box.machine.time
    box.insmod(module).unload()
    return box.machine.blocks - blocks, box.machine.time - time


def test_a_run_that_is_looked_at_is_the_run_that_is_not(box: Box, modules: BuiltTestModules) -> None:
    plain = load_and_unload(box, modules("hello"))
    box.reset()
    with Stepper(box.machine) as stepper:
        assert load_and_unload(box, modules("hello")) == plain
        counted = stepper.count
    box.reset()
    assert load_and_unload(box, modules("hello")) == plain
    box.reset()
    with Stepper(box.machine) as stepper:
        load_and_unload(box, modules("hello"))
        assert stepper.count == counted > plain[0]


def test_a_stop_changes_nothing_either(box: Box, modules: BuiltTestModules) -> None:
    plain = load_and_unload(box, modules("hello"))
    box.reset()
    stops: list[Stop] = []
    with Stepper(box.machine) as stepper:
        stepper.listener = lambda stop: (stops.append(stop), stepper.stop_after(997))[0]
        stepper.stop_after(1)
        assert load_and_unload(box, modules("hello")) == plain
    assert [stop.count for stop in stops[:3]] == [1, 998, 1995]
    assert {stop.reason for stop in stops} == {StopReason.COUNT}


def test_a_breakpoint_is_met_before_its_instruction(box: Box) -> None:
    address, stops = box.inspect.symbols.address("__x64_sys_getpid"), list[Stop]()
    with Stepper(box.machine) as stepper:
        stepper.listener = stops.append
        stepper.set_breakpoint(address)
        box.syscall("getpid")
        box.syscall("getpid")
        stepper.set_breakpoint(address, on=False)
        box.syscall("getpid")
    assert [(stop.reason, stop.pc) for stop in stops] == [(StopReason.BREAKPOINT, address)] * 2
    assert stops[0].count < stops[1].count


def test_a_range_ends_where_the_code_leaves_it(box: Box) -> None:
    symbols, stops = box.inspect.symbols, list[Stop]()
    start = symbols.address("__x64_sys_getpid")

    with Stepper(box.machine) as stepper:

        def leave(stop: Stop) -> None:
            stops.append(stop)
            if stop.reason is StopReason.BREAKPOINT:
                stepper.stop_outside(start, start + symbols.extent("__x64_sys_getpid"))
            else:
                stepper.run_free()

        stepper.listener = leave
        stepper.set_breakpoint(start)
        box.syscall("getpid")
    assert [stop.reason for stop in stops] == [StopReason.BREAKPOINT, StopReason.RANGE]
    assert not start <= stops[1].pc < start + symbols.extent("__x64_sys_getpid")


@pytest.mark.parametrize("access", [Touch.WRITES, Touch.READS, Touch.READS | Touch.WRITES])
def test_watched_bytes(box: Box, access: Touch) -> None:
    """jiffies_64 is read and written by the kernel all the time."""
    stops: list[Stop] = []
    address = box.inspect.symbols.address("jiffies_64")
    with Stepper(box.machine) as stepper:
        stepper.listener = stops.append
        stepper.watch(address, 8, access)
        box.sleep(0.02)
        seen = len(stops)
        stepper.watch(address, 8, access, on=False)
        box.sleep(0.02)
    assert seen == len(stops) > 0
    assert {(stop.reason, stop.watched) for stop in stops} == {(StopReason.WATCHED, address)}


def test_a_watched_range_over_two_pages(box: Box, modules: BuiltTestModules) -> None:
    """What the kernel copies into a buffer of user space that lies across two pages."""
    stops: list[Stop] = []
    buffer = box.syscall("mmap", None, 8192, 3, 0x22, -1, 0) & 0xFFFFFFFFFFFFFFFF
    box.syscall("uname", buffer + 4096 - 200)
    with Stepper(box.machine) as stepper:
        stepper.listener = stops.append
        stepper.watch(buffer + 4096 - 8, 16, Touch.WRITES)
        box.syscall("uname", buffer + 4096 - 200)
    assert {stop.watched for stop in stops} == {buffer + 4088, buffer + 4096}


def test_a_search_remembers_the_last_stop_before_a_moment(box: Box) -> None:
    address, stops = box.inspect.symbols.address("__x64_sys_getpid"), list[Stop]()
    with box.checkpoint() as before, Stepper(box.machine) as stepper:
        stepper.listener = stops.append
        stepper.set_breakpoint(address)
        for _ in range(3):
            box.syscall("getpid")
        before.restore()
        stepper.rewound(0)
        met = list(stops)
        stepper.search(met[2].count)
        for _ in range(3):
            box.syscall("getpid")
        found = stepper.last
    assert found is not None
    assert (found.count, found.pc) == (met[1].count, address)
    assert [(stop.reason, stop.count) for stop in stops[3:]] == [(StopReason.COUNT, met[2].count)]


def test_what_the_listener_raises_is_raised_by_the_call(box: Box) -> None:
    def fail(stop: Stop) -> None:
        raise LookupError(f"{stop.pc:#x}")

    with Stepper(box.machine) as stepper:
        stepper.listener = fail
        stepper.stop_after(10)
        with pytest.raises(LookupError):
            box.syscall("getpid")
    box.reset()
    assert box.syscall("getpid") > 0


def test_limits(box: Box) -> None:
    with Stepper(box.machine) as stepper:
        with pytest.raises(MachineError, match="under a debugger already"):
            Stepper(box.machine)
        for n in range(4096):
            stepper.set_breakpoint(0x1000 + n)
        with pytest.raises(MachineError, match="4096 breakpoints"):
            stepper.set_breakpoint(1)
        with pytest.raises(MachineError, match="256 watched"):
            stepper.watch(0, 4096 * 300, Touch.READS)
    with Stepper(box.machine):
        pass
