"""What programs do while they run: sides of branches, exact counts, without the jumps that are not the program's."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.box.bpf.bpf_object import BpfObject
from kobox.box.bpf.observation import BpfObservation
from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from tests.bpf.objects import PROGRAMS, bpf_object

_SOURCE = (PROGRAMS / "branches.bpf.c").read_text().splitlines()


def skb(mark: int) -> bytes:
    """struct __sk_buff with a mark."""
    return bytes(8) + struct.pack("<I", mark) + bytes(180)


@pytest.fixture(scope="module")
def own(debian_kernel: KernelImage) -> Iterator[Box]:
    with boot(debian_kernel) as made:
        yield made


@pytest.fixture(scope="module")
def loaded(own: Box, debian_kernel: KernelImage) -> Iterator[BpfObject]:
    with own.bpf.load(bpf_object("branches", debian_kernel)) as made:
        yield made


def sides(seen: BpfObservation, program: str) -> dict[str, tuple[int, int]]:
    """By the word in the comment of its line: (taken, passed) of each branch, in either order of the compiler's."""
    found = {}
    for one in seen.branches(program):
        assert one.line is not None
        found[_word(one.line.number)] = tuple(sorted((one.taken, one.passed)))
    return found  # type: ignore[return-value]


def _word(number: int) -> str:
    _, star, rest = _SOURCE[number - 1].partition("/* ")
    return rest.partition(" */")[0] if star else _SOURCE[number - 1].strip()


def test_each_side_is_counted(loaded: BpfObject) -> None:
    program = loaded.programs["two_ways"]
    with loaded.observe("two_ways") as seen:
        for first in (7, 1, 2, 7, 3):
            program.test_run(bytes([first]) + bytes(63))
    found = sides(seen, "two_ways")
    assert found["SEVEN"] == (2, 3)
    assert len(found) == 2  # the constant `never` leaves no branch behind: the verifier took it away
    assert len(seen.runs("two_ways")) == 5


def test_a_run_costs_the_same_each_time(loaded: BpfObject) -> None:
    program = loaded.programs["two_ways"]
    with loaded.observe("two_ways") as seen:
        for first in (7, 7, 1, 1):
            program.test_run(bytes([first]) + bytes(63))
    short, again, long, once_more = seen.runs("two_ways")
    assert short == again
    assert long == once_more
    assert 5 < short.own < long.own == long.all < 60
    assert long.nanoseconds > 0


def test_what_the_verifier_inlines_is_no_branch_of_the_program(loaded: BpfObject) -> None:
    program = loaded.programs["look_ups"]
    for key in (1, 5):
        loaded.maps["seen"][key] = 1
    with loaded.observe("look_ups") as seen:
        for mark in (1, 1, 5, 9, 9, 9):
            program.test_run(bytes(64), context=skb(mark))
    assert sides(seen, "look_ups") == {"MISSING": (3, 3), "BEYOND": (1, 2)}
    assert all(run.all > run.own for run in seen.runs("look_ups"))  # the hash's function


def test_a_tail_call_s_bounds_are_no_branch_and_its_instructions_count(loaded: BpfObject) -> None:
    loaded.maps["tails"][0] = loaded.programs["tail_called"]
    with loaded.observe("calls_tail", "tail_called") as seen:
        for size in (64, 14, 64):
            loaded.programs["calls_tail"].test_run(bytes(size))
    assert seen.branches("calls_tail") == []
    assert sides(seen, "tail_called") == {"LENGTH": (1, 2)}
    assert len(seen.runs("calls_tail")) == 3
    del loaded.maps["tails"][0]


def test_reads_that_may_fault_add_no_branch(own: Box, loaded: BpfObject) -> None:
    loaded.programs["reads"].attach()
    with loaded.observe("reads") as seen:
        own.read_text("/proc/version")
        own.read_text("/proc/version")
    assert sides(seen, "reads") == {"PARENT": (0, 2)}


def test_functions_and_callbacks(loaded: BpfObject) -> None:
    with loaded.observe("loops") as seen:
        assert loaded.programs["loops"].test_run(bytes(64), context=skb(9)).result == 3 * 10 + 4
    assert sides(seen, "loops")["THIRD"] == (3, 4)  # 0 to 6: the seventh step ends the loop
    (run,) = seen.runs("loops")
    assert run.all >= run.own > 100


def test_lines_are_counted(loaded: BpfObject) -> None:
    with loaded.observe("two_ways") as seen:
        loaded.programs["two_ways"].test_run(bytes([7]) + bytes(63))
    times = {line.number: count for line, count in seen.lines("two_ways").items()}
    assert times[next(n for n, text in enumerate(_SOURCE, 1) if "SEVEN" in text)] == 1


def test_after_it_the_kernel_runs_as_before(own: Box, loaded: BpfObject) -> None:
    with loaded.observe("two_ways"), pytest.raises(KoboxError, match="debugger"):
        loaded.observe("loops")
    loaded.programs["two_ways"].test_run(bytes(64))
    assert own.read_text("/proc/version")


def test_a_program_that_is_not_there(loaded: BpfObject) -> None:
    with pytest.raises(KeyError):
        loaded.observe("nothing")


def test_on_arm64(arm64_kernel: KernelImage) -> None:
    """Compiled for that kernel's types, loaded by libbpf there, run as arm64's machine code."""
    with boot(arm64_kernel) as box:
        opened = box.bpf.open(bpf_object("branches", arm64_kernel))
        opened.choose("two_ways", "look_ups")
        with opened.load() as loaded, loaded.observe() as seen:
            for first in (7, 1, 7):
                loaded.programs["two_ways"].test_run(bytes([first]) + bytes(63))
            loaded.programs["look_ups"].test_run(bytes(64), context=skb(1))
        assert sides(seen, "two_ways")["SEVEN"] == (1, 2)
        assert sides(seen, "look_ups")["MISSING"] == (0, 1)
        first, other, again = seen.runs("two_ways")
        assert first == again
        assert first.own < other.own < 60
