"""Walking stacks: the same calls as the kernel's own unwinder finds, in every kind of place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from kobox.arch.unwind import KernelView, StackFrame, Unwinder
from kobox.arch.x86_64.unwind import OrcUnwinder
from kobox.box.boot.bare_boot import boot
from kobox.box.box import Box
from tests.building import BuiltTestModules


@pytest.fixture(scope="module", params=["debian_kernel", "trixie_kernel", "sid_kernel"])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Box, BuiltTestModules]]:
    kernel = request.getfixturevalue(request.param)
    with boot(kernel) as box:
        yield box, BuiltTestModules(kernel, "stacks")


TRACE = re.compile(r"\btrace from (\w+)$")


def kernel_traces(lines: list[str]) -> dict[str, list[str]]:
    """What the kernel has printed: "trace from X", then a line for each call; those with "?" are guesses of its.
    RV64's have their address in front, ARMv7's the function that was called."""
    traces: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        if (begins := TRACE.search(line)) is not None:
            current = traces[begins[1]] = []
        elif line.startswith("[<") or (line.startswith(" ") and line[1] not in "?<"):
            current.append(call_of(line.partition(">] ")[2] or line.partition(" from ")[2] or line))
    return traces


def call_of(text: str) -> str:
    """ "name+0x12/0x34 [module]" without the function's size, which the kernel takes to the next symbol."""
    return text.strip().partition("/")[0]


def unwinder_of(box: Box) -> Unwinder:
    """An unwinder that remembers nothing."""
    return box.arch.unwinder(
        KernelView(box.machine.registers, box.machine.read, box.inspect.symbols, lambda: box.inspect.generation)
    )


def described(box: Box, frames: tuple[StackFrame, ...]) -> list[str]:
    return [call_of(box.inspect.symbols.describe(frame.address)) for frame in frames]


def test_the_calls_are_those_that_the_kernel_prints(place: tuple[Box, BuiltTestModules]) -> None:
    box, modules = place
    box.reset()
    unwinder = unwinder_of(box)
    assert unwinder.reliable
    mine: list[list[str]] = []
    with box.probe("dump_stack", lambda hit: mine.append(described(box, unwinder.walk(hit.registers)))):
        loaded = box.insmod(modules("stacks"))
        loaded.unload()
    theirs = kernel_traces([record.text for record in box.log.since(loaded)])
    order = [record.text.rpartition(" ")[2] for record in box.log.since(loaded) if "trace from" in record.text]
    assert sorted(order) == ["exit", "init", "interrupt", "timer", "work"]
    for where, calls in zip(order, mine, strict=True):
        assert calls[0] == "dump_stack+0x0"
        # Of an interrupted function the kernel prints registers in place of a line.
        assert [call for call in calls[1:] if not call.startswith("delay_")] == theirs[where][1:], where
    assert any(call.startswith("delay_") for call in mine[order.index("interrupt")])


def test_the_calls_that_led_to_a_warning(place: tuple[Box, BuiltTestModules]) -> None:
    """A WARN is an exception: the walk crosses its frame, to the very instruction."""
    box, modules = place
    box.reset()
    unwinder = unwinder_of(box)
    mine: list[tuple[StackFrame, ...]] = []
    loaded = box.insmod(modules("stacks"))
    start = box.log.next_seq
    with box.probe("__warn", lambda hit: mine.append(unwinder.walk(hit.registers))):
        box.path("/sys/module/stacks/parameters/file").read_text()
    (frames,) = mine
    theirs = kernel_traces([record.text for record in box.log.since(start)])["file"]
    calls = described(box, frames)
    at = next(n for n, frame in enumerate(frames) if frame.exact and n)
    assert calls[at].startswith("stacks_shown+")
    trap = box.inspect.memory.read(frames[at].address, 4)
    assert trap.startswith(b"\x0f\x0b") or trap.endswith(b"\x0f\xb9")  # ud2, or since 2026 a ud1
    assert calls[at + 1 :] == theirs
    loaded.unload()


def test_frames_lie_one_above_the_other_and_return_addresses_below_them(place: tuple[Box, BuiltTestModules]) -> None:
    box, _ = place
    box.reset()
    unwinder = unwinder_of(box)

    def look(hit: Any) -> None:
        frames = unwinder.walk(hit.registers)
        assert frames[0] == (hit.registers.pc, box.arch.calls.sp_after_return(hit.registers), True)
        assert frames[1].address == hit.caller
        for inner, outer in pairwise(frames[:-1]):
            assert int.from_bytes(hit.read(inner.cfa - 8, 8), "little") == outer.address
            assert inner.cfa < outer.cfa
        assert unwinder.walk(hit.registers, limit=3) == frames[:3]
        seen.append(len(frames))

    seen: list[int] = []
    with box.probe("vfs_read", look):
        box.read_bytes("/proc/version")
    assert seen


def test_user_space_has_no_calls(place: tuple[Box, BuiltTestModules]) -> None:
    box, _ = place
    box.reset()
    assert unwinder_of(box).walk() == ()


def test_without_tables_the_calls_are_among_what_is_guessed(place: tuple[Box, BuiltTestModules]) -> None:
    box, modules = place
    box.reset()
    exact, guessing = unwinder_of(box), unwinder_of(box)
    assert isinstance(guessing, OrcUnwinder)
    guessing._tables = None
    assert not guessing.reliable
    walks: list[tuple[list[str], list[str]]] = []

    def look(hit: Any) -> None:
        walks.append((described(box, exact.walk(hit.registers)), described(box, guessing.walk(hit.registers))))

    with box.probe("dump_stack", look):
        box.insmod(modules("stacks"))
    sure, guessed = walks[0]
    assert [call for call in guessed if call in sure] == sure


def test_the_unwinder_follows_modules_that_come_to_lie_elsewhere(place: tuple[Box, BuiltTestModules]) -> None:
    box, modules = place
    unwinder = unwinder_of(box)
    walks: list[list[str]] = []
    with box.probe("dump_stack", lambda hit: walks.append(described(box, unwinder.walk(hit.registers)))):
        for _ in range(2):
            box.reset()
            box.insmod(modules("stacks")).unload()
            box.insmod(modules("stacks"))
    first = [walk for walk in walks if any(call.startswith("stacks_init") for call in walk)]
    assert [walk[-1].partition("+")[0] for walk in first] == ["entry_SYSCALL_64_after_hwframe"] * len(first)
    assert len(first) >= 4
