"""One event, any number of listeners."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kobox.machine.subscribers import Subscribers


def test_listeners_are_called_in_the_order_in_which_they_subscribed() -> None:
    slot: Subscribers[[int], str] = Subscribers()
    for name in "abc":
        slot.subscribe(lambda number, name=name: f"{name}{number}")  # type: ignore[misc]
    assert slot.notify(1) == ["a1", "b1", "c1"]
    assert len(slot) == 3


def test_undo_takes_away_exactly_one_subscription() -> None:
    slot: Subscribers[[], int] = Subscribers()

    def one() -> int:
        return 1

    first, second = slot.subscribe(one), slot.subscribe(one)
    assert slot.notify() == [1, 1]
    first()
    first()
    assert slot.notify() == [1]
    second()
    assert slot.notify() == []


def test_undo_and_subscribe_during_an_event() -> None:
    slot: Subscribers[[], str] = Subscribers()
    undo: list[Callable[[], None]] = []

    def first() -> str:
        undo.pop()()
        slot.subscribe(lambda: "new")
        return "first"

    slot.subscribe(first)
    undo.append(slot.subscribe(lambda: "undone"))
    undo.append(slot.subscribe(lambda: "undone too"))
    assert slot.notify() == ["first", "undone"]
    assert slot.notify() == ["first", "new"]


def test_an_error_is_raised_after_the_other_listeners_ran() -> None:
    slot: Subscribers[[], None] = Subscribers()
    called: list[str] = []

    def fails(error: BaseException) -> None:
        called.append("fails")
        raise error

    slot.subscribe(lambda: fails(ValueError("the first")))
    slot.subscribe(lambda: called.append("runs"))
    slot.subscribe(lambda: fails(KeyboardInterrupt("the second")))
    with pytest.raises(ValueError, match="the first") as caught:
        slot.notify()
    assert called == ["fails", "runs", "fails"]
    assert "KeyboardInterrupt: the second" in caught.value.__notes__[0]


def test_what_an_event_costs_is_paid_only_while_somebody_listens() -> None:
    watched: list[bool] = []
    slot: Subscribers[[], None] = Subscribers(watched.append)
    undo = [slot.subscribe(lambda: None) for _ in range(2)]
    assert watched == [True]
    undo[0]()
    assert watched == [True]
    undo[1]()
    undo[1]()
    assert watched == [True, False]
