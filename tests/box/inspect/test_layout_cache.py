"""LayoutCache that were looked up once are known the next time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.box.inspect.btf import BtfError
from kobox.box.inspect.layout_cache import LayoutCache
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
