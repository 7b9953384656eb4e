"""A module's life with exercises of both kinds: those that find it loaded, and tests that load it themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobox.apps.module_life import ModuleLife
from kobox.box.box import Box
from kobox.checks.fuzz.exercise_file import exercises_of
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules

FOUND_LOADED = "def exercise(box):\n    assert 'params' in box.modules\n    seen(box, 'exercise')\n"
LOADS = (
    "def test_one(box, module):\n    loaded = box.insmod(module)\n    seen(box, 'one')\n    loaded.unload()\n"
    "def test_two(box, ko):\n    loaded = box.insmod(ko, number=7)\n    seen(box, 'two')\n    loaded.unload()\n"
)
HEAD = "def seen(box, word):\n    box.write_bytes('/seen', box.read_bytes('/seen') + word.encode() + b' ')\n"


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        ([FOUND_LOADED], "exercise "),
        ([LOADS], "one two "),
        ([FOUND_LOADED, LOADS], "one two exercise "),
    ],
    ids=["exercise", "tests", "both"],
)
def test_each_kind_finds_the_module_as_it_wants(
    box: Box, modules: BuiltTestModules, tmp_path: Path, texts: list[str], order: str
) -> None:
    path, uses = modules("params"), []
    for number, text in enumerate(texts):
        file = tmp_path / f"use{number}.py"
        file.write_text(HEAD + text)
        uses += exercises_of(str(file), path)
    box.write_bytes("/seen", b"")
    life = ModuleLife(box, [ModuleFile(str(path))], [""], uses=uses)
    for _ in range(2):
        life()
    assert box.read_text("/seen") == 2 * order
    assert "params" not in box.modules
