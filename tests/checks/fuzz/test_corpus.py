"""The corpus that `kobox check --corpus FILE` keeps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.checks.fuzz.corpus import corpus_text, read_corpus
from kobox.checks.fuzz.exercise import GenericExercise
from kobox.checks.fuzz.program import Material, step
from kobox.checks.module.files import Target
from kobox.errors import KoboxError

PROGRAM = (step("open", "/dev/hello", 2), step("write", b"\0x\xff", slot=1), step("sleep", 0.5), step("read", 64))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "corpus.json"
    assert read_corpus(path) == {}
    path.write_text(corpus_text({"hello": [PROGRAM], "other": []}))
    assert read_corpus(path) == {"hello": (PROGRAM,), "other": ()}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"format": 2, "modules": {}}',
        '{"format": 1}',
        '{"format": 1, "modules": []}',
        '{"format": 1, "modules": {"m": [[["read", 0, [99999999999]]]]}}',
        '{"format": 1, "modules": {"m": [[["read", 0, ["x"]]]]}}',
        '{"format": 1, "modules": {"m": [[["read", "0", [1]]]]}}',
        '{"format": 1, "modules": {"m": [[[7, 0, []]]]}}',
        '{"format": 1, "modules": {"m": [[["write", 0, [{"hex": "zz"}]]]]}}',
        '{"format": 1, "modules": {"m": [[["write", 0, [null]]]]}}',
        "[" * 100_000,
    ],
    ids=range(12),
)
def test_a_file_that_is_no_corpus_is_named_with_the_cause(tmp_path: Path, content: str) -> None:
    path = tmp_path / "corpus.json"
    path.write_text(content)
    with pytest.raises(KoboxError, match=r"corpus\.json: not a corpus") as caught:
        read_corpus(path)
    assert caught.value.hint


def test_what_is_kept_is_played_first(box: Box) -> None:
    kept = (step("open", "/dev/null", 2), step("write", b"kept"))
    exercise = GenericExercise(
        Material(), lambda _: [Target("/dev/null", 2, True)], lambda: 0, calls=12, kept=[kept, kept]
    )
    exercise(box)
    assert exercise.played[:2] == [kept, kept]
    assert len(exercise.played) > 2


def test_the_command_says_which_file_is_no_corpus(tmp_path: Path) -> None:
    path = tmp_path / "corpus.json"
    path.write_text(json.dumps([]))
    command = [sys.executable, "-m", "kobox", "check", "hello.ko", "--corpus", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{path}: not a corpus" in done.stderr
    assert "Traceback" not in done.stderr
