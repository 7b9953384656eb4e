"""Cycles of modules: the same as depmod 34.2 reports, and only true ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobox.kmod.index.cycles import UNSORTED, cycles
from tests.kmod.module_maker import make_module
from tests.kmod_fixtures import Answer, kobox

# Which modules each module needs: the shapes that kmod's own test has, and neighbours of them.
GRAPHS = {
    "two that need each other": {"d": "e", "e": "d"},
    "one that needs itself": {"a": "a"},
    "two ways back": {"h": "i", "i": "j", "j": "hk", "k": "h"},
    "three in a circle, all need others": {"a": "bfg", "b": "cfg", "c": "a", "f": "", "g": ""},
    "all of these at once": {
        "a": "bfg",
        "b": "cfg",
        "c": "a",
        "d": "e",
        "e": "d",
        "f": "",
        "g": "",
        "h": "i",
        "i": "j",
        "j": "hk",
        "k": "h",
    },
    "one outside that needs the circle": {"a": "b", "b": "a", "c": "a"},
}


def module_of(name: str, needs: str) -> bytes:
    return make_module(exports=[f"print_{name}"], needs=[f"print_{other}" for other in needs])


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_cycles_are_reported_as_depmod_reports_them(
    graph: dict[str, str], kmod: Callable[..., Answer], tmp_path: Path
) -> None:
    tree = tmp_path / "lib/modules/1.0"
    tree.mkdir(parents=True)
    for name, needs in graph.items():
        (tree / f"mod-loop-{name}.ko").write_bytes(module_of(name, needs))
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        (tree / name).touch()
    assert kobox("depmod", "-b", tmp_path, "1.0") == kmod("depmod", "-b", tmp_path, "1.0")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), max_size=4), min_size=7, max_size=7))
def test_every_cycle_reported_is_one_and_every_module_of_a_cycle_is_in_one(uses: list[list[int]]) -> None:
    uses = [list(dict.fromkeys(below)) for below in uses]
    found = cycles(uses, [UNSORTED] * len(uses))
    for cycle in found:
        assert all(below in uses[module] for module, below in zip(cycle, [*cycle[1:], cycle[0]], strict=True))
        assert len(set(cycle)) == len(cycle)

    def reaches(start: int) -> set[int]:
        seen: set[int] = set()
        todo = list(uses[start])
        while todo:
            module = todo.pop()
            if module not in seen:
                seen.add(module)
                todo += uses[module]
        return seen

    assert {module for cycle in found for module in cycle} == {m for m in range(len(uses)) if m in reaches(m)}


def test_many_modules_that_all_need_each_other_end() -> None:
    uses = [[other for other in range(60) if other != module] for module in range(60)]
    found = cycles(uses, [UNSORTED] * 60)
    assert {module for cycle in found for module in cycle} == set(range(60))
    assert len(found) < 1000
