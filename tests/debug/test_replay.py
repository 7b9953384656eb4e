"""A life gone through forwards and backwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from kobox.box.box import Box
from kobox.debug.replay import FindLast, Going, GoTo, Moment, Replay, ReplayError
from kobox.errors import ProcessDiedError
from kobox.machine.stepper import Stop, StopReason, Touch

Life = Callable[[Box, tuple[str, ...]], Callable[[], None]]


class Script:
    """Meets the moments of a replay with one answer after another."""

    def __init__(self, replay: Replay, *answers: Callable[[Moment], Going]) -> None:
        self.moments: list[Moment] = []
        self._answers = list(answers)
        replay.play(self._meet)

    def _meet(self, moment: Moment) -> Going:
        self.moments.append(moment)
        return self._answers.pop(0)(moment) if self._answers else None


@pytest.fixture
def replay(box: Box, life_of: Life) -> Iterator[Replay]:
    with Replay(box, life_of(box, ("one", "two", "three"))) as replay:
        yield replay


def breakpoint_in(replay: Replay, name: str) -> None:
    replay.stepper.set_breakpoint(replay.box.inspect.symbols.address(name))


def test_moments_are_the_same_in_every_life(replay: Replay) -> None:
    breakpoint_in(replay, "misc_register")
    breakpoint_in(replay, "misc_deregister")
    first, again = Script(replay).moments, Script(replay).moments
    assert first == again
    assert [moment.reason for moment in first] == [StopReason.BREAKPOINT, StopReason.BREAKPOINT, StopReason.NONE]
    assert first[-1].ended
    assert first[-1].error is None


@pytest.mark.parametrize("back", [1, 2, 50, 5_000, 100_000])
def test_back_and_forward_by_instructions(replay: Replay, back: int) -> None:
    """Within the call that is under way, and far before it."""
    breakpoint_in(replay, "misc_deregister")
    moments = Script(
        replay,
        lambda moment: GoTo(moment.count - back),
        lambda moment: GoTo(moment.count + back),
    ).moments
    assert moments[1].count == moments[0].count - back
    assert (moments[2].count, moments[2].pc) == (moments[0].count, moments[0].pc)
    assert moments[1].pc != moments[0].pc


def test_registers_and_memory_are_those_of_the_moment(replay: Replay) -> None:
    seen = []

    def look(moment: Moment) -> None:
        registers = replay.box.machine.registers()
        seen.append((registers, replay.box.machine.read(registers.sp, 64)))

    breakpoint_in(replay, "misc_deregister")
    Script(
        replay,
        lambda moment: look(moment) or GoTo(moment.count - 20_000),
        lambda moment: look(moment) or GoTo(moment.count + 20_000),
        lambda moment: look(moment),
    )
    assert seen[0] == seen[2] != seen[1]


def test_who_wrote_this_byte_last(replay: Replay) -> None:
    """From the end of the life back to the last write of a variable of the module's."""
    found: list[Stop | None] = []
    symbols = replay.box.inspect.symbols

    def watch(moment: Moment) -> None:
        address = next(s.address for s in symbols.symbols_of("journal") if s.name == "written")
        replay.stepper.watch(address, 4, Touch.WRITES)

    def back(stop: Stop | None) -> Going:
        found.append(stop)
        return None if stop is None else GoTo(stop.count)

    breakpoint_in(replay, "misc_register")
    moments = Script(
        replay, lambda moment: watch(moment), *[lambda moment: None] * 3, lambda moment: FindLast(moment.count, back)
    ).moments
    writes = [moment for moment in moments if moment.reason is StopReason.WATCHED]
    assert [stop.count for stop in found if stop] == [writes[2].count]
    assert symbols.describe(writes[0].pc).startswith("add_entry+") or moments[-1].ended


@pytest.mark.parametrize("later", [0, 1, 500])
def test_the_write_that_was_just_met_is_the_last_one(replay: Replay, later: int) -> None:
    """At the stop for a write, and some instructions later, it is that write; before it, the one before."""
    found: list[int] = []
    symbols = replay.box.inspect.symbols

    def watch(moment: Moment) -> None:
        address = next(s.address for s in symbols.symbols_of("journal") if s.name == "written")
        replay.stepper.watch(address, 4, Touch.WRITES)

    def back(stop: Stop | None) -> Going:
        found.append(0 if stop is None or not stop.watched else stop.count)
        return None if stop is None else GoTo(stop.count - 1)

    def find_last(moment: Moment) -> Going:
        return FindLast(moment.count, back)

    breakpoint_in(replay, "misc_register")
    first, second = (lambda moment: None), (lambda moment: GoTo(moment.count + later))
    moments = Script(replay, watch, first, second, find_last, find_last).moments
    assert found[:2] == [moments[2].count, moments[1].count]


@pytest.mark.parametrize(("back", "kept"), [(1, True), (2_000, True), (60_000, False)])
def test_what_is_written_is_there_from_that_moment_on(replay: Replay, back: int, kept: bool) -> None:
    """A variable of the module's is set; later one goes back to before or after that."""
    objects, symbols, seen = replay.box.inspect.objects, replay.box.inspect.symbols, list[int]()

    def address() -> int:
        return next(s.address for s in symbols.symbols_of("journal") if s.name == "written")

    def change(moment: Moment) -> None:
        replay.write(address(), (40).to_bytes(4, "little"))

    breakpoint_in(replay, "misc_register")
    breakpoint_in(replay, "misc_open")
    moments = Script(
        replay,
        lambda moment: None,
        change,
        lambda moment: GoTo(moment.count - back),
        lambda moment: seen.append(objects.u32(address())),
    ).moments
    assert moments[2].count - moments[1].count < 60_000
    assert seen == [41 if kept and back < 2_000 else 41 if kept else 0]


def test_a_life_that_ends_with_an_error(box: Box, life_of: Life) -> None:
    with Replay(box, life_of(box, ("extraordinary",))) as replay:
        moments = Script(replay).moments
    assert [moment.ended for moment in moments] == [True]
    assert isinstance(moments[0].error, ProcessDiedError)


def test_a_life_that_does_not_repeat_itself_is_told(box: Box) -> None:
    lives = []

    def life() -> None:
        lives.append(1)
        for _ in range(2 if len(lives) == 1 else 1):
            box.syscall("getpid")

    with Replay(box, life) as replay, pytest.raises(ReplayError, match="ended earlier"):
        Script(replay, lambda moment: GoTo(moment.count - 2))


def test_what_is_met_with_an_exception_ends_the_play(replay: Replay) -> None:
    def fail(moment: Moment) -> None:
        raise LookupError

    breakpoint_in(replay, "misc_register")
    with pytest.raises(LookupError):
        replay.play(fail)
    replay.close()
    replay.box.reset()
    assert replay.box.syscall("getpid") > 0
