"""The life of a module by what any kernel offers, in a real box; and where two lives differ."""

from __future__ import annotations

import pytest

from kobox.apps.plain_life import BoxPlace, PlainLife, comparable, difference
from kobox.apps.run_events import StoryEvent
from kobox.box.box import Box
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules


def test_the_life_of_a_module_in_a_box(box: Box, modules: BuiltTestModules) -> None:
    life = PlainLife(BoxPlace(box))
    events = list(life.tell([ModuleFile(modules("kbase")), ModuleFile(modules("kuser"))], ["", ""]))
    assert life.ok
    kinds = [event.kind for event in events if event.kind in ("load", "unload", "verdict")]
    assert kinds == ["load", "load", "unload", "unload", "verdict"]
    assert events[-1].data["loaded"] == ["kbase", "kuser"]
    assert any(event.text.startswith("/sys/module/kbase: ") for event in events)


def test_a_refused_module_fails_and_says_the_kernels_word(box: Box, modules: BuiltTestModules) -> None:
    life = PlainLife(BoxPlace(box))
    events = list(life.tell([ModuleFile(modules("kuser"))], [""]))
    assert [event.kind for event in events if event.kind != "log"] == ["load", "failed", "verdict"]
    assert any("Unknown symbol" in problem for problem in life.problems)


def told(*texts: str) -> list[StoryEvent]:
    """Lines of a log."""
    return [StoryEvent("log", text, 0.0, {}) for text in texts]


SAME = [
    ("WARNING: CPU: 0 PID: 80 at m.c:5 i+0x38/0x1000 [m]", "WARNING: CPU: 1 PID: 57 at m.c:5 i+0x38/0x1000 [m]"),
    (
        "BUG: unable to handle page fault for address: ffffc900",
        "BUG: unable to handle page fault for address: ffff8880",
    ),
    ("Oops: 0002 [#1]", "Oops: 0002 [#2]"),
    ("at ffff888003c41200", "at 0xffff888003c41999"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_is_the_machines_own_is_not_compared(one: str, other: str) -> None:
    assert difference(comparable(told(one)), comparable(told(other))) is None


def test_lines_that_one_machine_alone_has_are_left_out() -> None:
    lines = comparable(told("Hardware name: QEMU", "RAX: 0000 RBX: 0000", "loaded", " ? ksys_read+0xd4/0xf0"))
    assert lines == ["loaded"]


DIFFERENT = [
    (["a", "b"], ["a", "c"], (1, "b", "c")),
    (["a"], ["a", "b"], (1, None, "b")),
    (["a", "b"], ["a"], (1, "b", None)),
    (["n = 1"], ["n = 2"], (0, "n = 1", "n = 2")),
    (["i+0x38/0x1000"], ["i+0x3c/0x1000"], (0, "i+0x38/0x1000", "i+0x3c/0x1000")),
]


@pytest.mark.parametrize(("one", "other", "where"), DIFFERENT)
def test_the_first_difference_is_found(
    one: list[str], other: list[str], where: tuple[int, str | None, str | None]
) -> None:
    assert difference(one, other) == where
