"""Workers: units are done side by side, and one that kills its worker is reported."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from kobox.checks.runner.worker_pool import Pool, WorkerDied
from kobox.errors import KoboxError


def doing(do: Callable[[int], int]) -> Callable[[], Callable[[int], int]]:
    return lambda: do


def test_units_come_back_with_what_came_of_them() -> None:
    with Pool[int, int](doing(lambda n: n * n), 2) as pool:
        for n in range(20):
            pool.submit(n)
        assert dict(pool.results()) == {n: n * n for n in range(20)}


def test_a_worker_that_dies_is_replaced_and_its_unit_reported() -> None:
    def do(n: int) -> int:
        if n == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    with Pool[int, int](doing(do), 2) as pool:
        for n in range(8):
            pool.submit(n)
        found = dict(pool.results())
    died = found.pop(3)
    assert isinstance(died, WorkerDied)
    assert "SIGKILL" in str(died)
    assert found == {n: n for n in range(8) if n != 3}


def test_a_unit_that_takes_too_long_is_given_up() -> None:
    def do(n: int) -> int:
        if n:
            time.sleep(60)
        return n

    with Pool[int, int](doing(do), 1, patience=0.5) as pool:
        pool.submit(1)
        pool.submit(0)
        found = dict(pool.results())
    assert isinstance(found[1], WorkerDied)
    assert found[0] == 0


def test_a_worker_that_cannot_begin_says_why() -> None:
    def make() -> Callable[[int], int]:
        raise KoboxError("no kernel", hint="Add one.")

    with Pool[int, int](make, 2) as pool:
        pool.submit(1)
        with pytest.raises(KoboxError, match="no kernel"):
            list(pool.results())


def _fails(n: int) -> int:
    return 1 // n


@pytest.mark.parametrize("whole", [False, True])
def test_a_mistake_of_kobox_s_own_is_one_line_and_its_traceback_only_where_asked_for(
    whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if whole:
        monkeypatch.setenv("KOBOX_TRACEBACK", "1")
    else:
        monkeypatch.delenv("KOBOX_TRACEBACK", raising=False)
    with Pool[int, int](doing(_fails), 1) as pool:
        pool.submit(0)
        pool.submit(1)
        found = dict(pool.results())
    died = str(found[0])
    assert isinstance(found[0], WorkerDied)
    assert found[1] == 1  # the worker goes on
    assert died.startswith("kobox itself failed: ")
    assert "ZeroDivisionError: integer division or modulo by zero" in died
    assert ("Traceback (most recent call last)" in died, "\n" in died) == (whole, whole)
    line = _fails.__code__.co_firstlineno + 1
    assert (f'test_worker_pool.py", line {line}, in _fails' if whole else f"(test_worker_pool.py:{line})") in died


def test_units_may_be_added_while_others_come_back_and_taken_back() -> None:
    with Pool[int, int](doing(lambda n: n), 2) as pool:
        pool.submit(0)
        seen = []
        for n, _ in pool.results():
            seen.append(n)
            if n < 5:
                pool.submit(n + 1)
            if n == 5:
                pool.submit(6)
                assert pool.withdraw() == [6]
        assert seen == [0, 1, 2, 3, 4, 5]
