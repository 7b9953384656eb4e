"""LayoutCache that were looked up once are known the next time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.box.inspect.btf import BtfError
from kobox.box.inspect.layout_cache import LayoutCache
from kobox.box.inspect.missed_places import MissedPlaces
from kobox.box.inspect.symbols import SymbolNotFoundError, Symbols
from tests.building import BuiltTestModules


def never() -> Symbols:
    raise AssertionError("the symbols were asked for")


def test_what_was_looked_up_is_kept(box: Box, tmp_path: Path) -> None:
    cache = tmp_path / "places"
    first = LayoutCache(lambda: box.inspect.symbols, cache)
    root, place = first.address("proc_root"), first.member("net.proc_net")
    with pytest.raises(BtfError):
        first.member("net.nonsense")
    with pytest.raises(SymbolNotFoundError):
        first.address("no_such_variable")
    assert not cache.exists()
    first.keep()
    again = LayoutCache(never, cache)
    assert again.address("proc_root") == root == box.inspect.symbols.address("proc_root")
    assert again.member("net.proc_net") == place
    with pytest.raises(BtfError):
        again.member("net.nonsense")
    with pytest.raises(AssertionError):
        again.address("jiffies")


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"variables": {"a": "b"}, "members": {}}', '{"members": {"a": [1]}}']
)
def test_a_damaged_file_is_made_again(box: Box, tmp_path: Path, damage: str) -> None:
    cache = tmp_path / "places"
    cache.write_text(damage)
    places = LayoutCache(lambda: box.inspect.symbols, cache)
    assert places.address("proc_root") == box.inspect.symbols.address("proc_root")
    places.keep()
    assert json.loads(cache.read_text().splitlines()[0])["variables"] == {"proc_root": places.address("proc_root")}


def test_a_file_that_cannot_be_written_is_no_error(box: Box, tmp_path: Path) -> None:
    places = LayoutCache(lambda: box.inspect.symbols, tmp_path / "nowhere" / "places")
    places.address("proc_root")
    places.keep()


def test_a_variable_of_a_module_is_not_kept(box: Box, modules: BuiltTestModules, tmp_path: Path) -> None:
    box.insmod(modules("params"))
    places = LayoutCache(lambda: box.inspect.symbols, tmp_path / "places")
    assert places.address("params:params_exit") == box.inspect.symbols.address("params:params_exit")
    places.keep()
    assert not (tmp_path / "places").exists()


def test_what_was_missed_behind_a_wall_is_kept_by_the_next(box: Box, tmp_path: Path) -> None:
    cache = tmp_path / "places"
    behind = LayoutCache(lambda: box.inspect.symbols, cache)
    behind.keep_before_a_wall()
    place, root = behind.member("net.proc_net"), behind.address("proc_root")
    behind.find("no_such_variable")
    with pytest.raises(BtfError):
        behind.member("net.nonsense")
    assert not cache.exists(), "nothing is kept behind a wall"
    LayoutCache(lambda: box.inspect.symbols, cache).keep_before_a_wall()
    last = LayoutCache(never, cache)
    last.keep_before_a_wall()
    assert (last.member("net.proc_net"), last.address("proc_root"), last.find("no_such_variable")) == (
        place,
        root,
        None,
    )
    with pytest.raises(BtfError):
        last.member("net.nonsense")


@pytest.mark.parametrize(
    "written",
    [
        b"\xff" * (16 << 10),
        b"variable \nmember\nmember ../../x\nmember a..b\nvariable a b\n",
        b"variable " + b"a" * 65 + b"\n",
        b"member a.b.c.d.e.f.g\n",
        b"delete proc_root\n",
        b"variable proc_root",
        b"\n" * (16 << 10),
    ],
)
def test_what_a_hostile_process_wrote_as_missed_does_nothing(box: Box, tmp_path: Path, written: bytes) -> None:
    (tmp_path / "places-missed").write_bytes(written.ljust(16 << 10, b"\0"))
    LayoutCache(never, tmp_path / "places").keep_before_a_wall()
    assert not (tmp_path / "places").exists()
    assert (tmp_path / "places-missed").read_bytes() == bytes(16 << 10), "it is read once"


@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_a_file_of_missed_places_has_one_size(tmp_path: Path, size: int) -> None:
    path = tmp_path / "missed"
    path.write_bytes(b"x" * size)
    list(MissedPlaces(path).take())
    assert path.stat().st_size == 16 << 10


def test_a_full_file_of_missed_places_takes_no_more(tmp_path: Path) -> None:
    path = tmp_path / "missed"
    places = MissedPlaces(path)
    for number in range(2000):
        places.add("member", f"structure.member{number}")
    taken = list(MissedPlaces(path).take())
    assert 500 < len(taken) < 2000
    assert taken[:2] == [("member", "structure.member0"), ("member", "structure.member1")]
    assert list(places.take()) == []


def test_missed_places_do_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("mine")
    (tmp_path / "places-missed").symlink_to(tmp_path / "target")
    LayoutCache(never, tmp_path / "places").keep_before_a_wall()
    assert (tmp_path / "target").read_text() == "mine"
