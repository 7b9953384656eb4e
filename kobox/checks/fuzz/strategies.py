"""Hypothesis strategies for what programs do with a module's files (`pip install kobox[hypothesis]`).

    from hypothesis import given
    from kobox.arch.registry import HOSTILE_ADDRESSES
from kobox.checks.fuzz.strategies import programs

    @given(programs("/dev/hello", requests=[HELLO_CLEAR]))
    def test_nothing_hurts(program):
        assert not examine(Plan("hello.ko"), Steps(program))

Hypothesis makes what fails short by itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from kobox.arch.registry import HOSTILE_ADDRESSES
from kobox.checks.fuzz.program import ExerciseStep, Program

_SIZES = st.one_of(st.integers(0, 64), st.sampled_from((4095, 4096, 4097, 65536)))
_OFFSETS = st.one_of(st.integers(-4096, 8192), st.sampled_from((1 << 31, (1 << 63) - 1, -(1 << 63))))
_HOSTILE = st.sampled_from((0, *HOSTILE_ADDRESSES))


def contents(words: Sequence[bytes] = ()) -> SearchStrategy[bytes]:
    """What may be written: bytes, numbers as text, and the given words."""
    numbers = st.integers(-(1 << 63), (1 << 64) - 1).map(lambda number: str(number).encode())
    choices = [st.binary(max_size=64), numbers, st.integers(0, 8192).map(lambda size: b"A" * size)]
    return st.one_of(*choices, st.sampled_from(list(words))) if words else st.one_of(*choices)


def steps(
    path: str, *, flags: int = os.O_RDWR, requests: Sequence[int] = (), words: Sequence[bytes] = (), slots: int = 2
) -> SearchStrategy[ExerciseStep]:
    """One system call on an open file of a program (`kobox.checks.fuzz.exercise.Step`)."""
    slot = st.integers(0, slots - 1)

    def step(call: str, *arguments: SearchStrategy[object]) -> SearchStrategy[ExerciseStep]:
        return st.builds(ExerciseStep, st.just(call), slot, st.tuples(*arguments))

    request = (
        st.one_of(st.sampled_from(list(requests)), st.integers(0, 0xFFFFFFFF))
        if requests
        else st.integers(0, 0xFFFFFFFF)
    )
    value = st.one_of(st.binary(min_size=1, max_size=256), _HOSTILE, st.integers(0, 64))
    return st.one_of(
        step("open", st.just(path), st.sampled_from((flags, flags | os.O_NONBLOCK, flags | os.O_APPEND, os.O_RDONLY))),
        step("read", _SIZES),
        step("write", contents(words)),
        step("lseek", _OFFSETS, st.integers(0, 4)),
        step("pread", _SIZES, _OFFSETS),
        step("pwrite", contents(words), _OFFSETS),
        step("ioctl", request, value),
        step("poll", st.integers(0, 0x7FFF)),
        step(
            "mmap",
            st.sampled_from((1, 4096, 8192, 1 << 20)),
            st.sampled_from((1, 3)),
            st.sampled_from((1, 2)),
            st.sampled_from((0, 4096)),
        ),
        step("read_at", _HOSTILE, _SIZES),
        step("write_at", _HOSTILE, _SIZES),
        step("close"),
    )


def programs(
    path: str,
    *,
    flags: int = os.O_RDWR,
    requests: Sequence[int] = (),
    words: Sequence[bytes] = (),
    length: int = 12,
) -> SearchStrategy[Program]:
    """A program that opens `path` and makes up to `length` calls on it. `requests` are numbers of ioctls,
    `words` what it makes sense to write."""
    first = ExerciseStep("open", 0, (path, flags))
    rest = st.lists(steps(path, flags=flags, requests=requests, words=words), max_size=length)
    return rest.map(lambda calls: (first, *calls))
