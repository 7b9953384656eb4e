"""Moments of a life by what happens there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from kobox.box.box import Box
from kobox.debug.moments import MomentError, MomentSpec, find_moment, visit
from kobox.debug.replay import Moment, Replay

Words = tuple[str, ...]


@pytest.mark.parametrize(
    ("text", "what", "more"),
    [
        ("oops", "oops", 0),
        ("oops-1000", "oops", -1000),
        ("end-1", "end", -1),
        ("123", "123", 0),
        ("123+4", "123", 4),
        ("hello:hello_init+2", "hello:hello_init", 2),
        ("foo.constprop.0", "foo.constprop.0", 0),
    ],
)
def test_how_a_moment_is_written(text: str, what: str, more: int) -> None:
    assert MomentSpec.parse(text) == MomentSpec(what, more)


@pytest.mark.parametrize("text", ["", "-5", "oops-", "oops--1", "a b", "oops-x", ":x"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(MomentError, match="no moment of a life"):
        MomentSpec.parse(text)


@pytest.fixture
def replay(box: Box, life_of: Callable[[Box, Words], Callable[[], None]]) -> Iterator[Replay]:
    """A life whose second word makes the kernel oops."""
    with Replay(box, life_of(box, ("one", "extraordinary"))) as replay:
        yield replay


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ("oops", "journal_write+"),
        ("oops-40", "copy_user"),
        ("journal:add_entry", "add_entry+0x0/"),
        ("misc_register", "misc_register+0x0/"),
        ("vfs_write+1", "vfs_write+0x"),
    ],
)
def test_a_moment_is_found_and_visited(replay: Replay, spec: str, where: str) -> None:
    seen: list[tuple[int, str]] = []

    def look(moment: Moment) -> None:
        seen.append((moment.count, replay.box.inspect.symbols.describe(replay.box.machine.pc)))

    count = find_moment(replay, MomentSpec.parse(spec))
    visit(replay, count, look)
    assert seen[0][0] == count
    assert where in seen[0][1]
    assert find_moment(replay, MomentSpec.parse(str(count))) == count


def test_the_end_and_what_never_comes(replay: Replay) -> None:
    end = find_moment(replay, MomentSpec.parse("end"))
    assert end > find_moment(replay, MomentSpec.parse("oops"))
    with pytest.raises(MomentError, match="never happens"):
        find_moment(replay, MomentSpec.parse("panic"))
