"""What a command prints is a stranger's word: anything that does not read as it should is a failed step."""

from __future__ import annotations

import json

import pytest

from kobox.matrix.cell import StepOutcome
from kobox.matrix.commands import CommandOutput, CommandRunner
from kobox.matrix.steps import CellTask, CheckWords, run_cell

TASK = CellTask("6.1", ("/m/my-mod.ko",), load_key="l", clean_key="c")


class Answering(CommandRunner):
    """Answers every command with the same output."""

    def __init__(self, stdout: str, status: int = 0, stderr: str = "") -> None:
        super().__init__()
        self._output = CommandOutput(status, stdout, stderr, 0.1)

    def run(self, *words: str, environment: dict[str, str] | None = None) -> CommandOutput:
        """The output, whatever the command."""
        return self._output


GARBAGE = [
    "",
    "\n\n",
    "{",
    "[]",
    "null",
    "3",
    '"x"',
    "[" * 100_000,
    '{"kind": "verdict"',
    "\x00\x1b[2J",
    "{}",
    "[1, 2]",
]


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_in_place_of_a_run_is_a_failed_load(text: str) -> None:
    loads, clean = run_cell(Answering(text, -9), TASK)
    assert (loads.outcome, clean.outcome) == (StepOutcome.FAILED, StepOutcome.SKIPPED)
    assert loads.finding
    assert len(loads.log) <= 65_000


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_in_place_of_a_report_is_a_failed_check(text: str) -> None:
    task = CellTask("6.1", ("/m/a.ko",), check=CheckWords(), check_key="k")
    (step,) = run_cell(Answering(text, 1), task)
    assert step.outcome is StepOutcome.FAILED


VERDICTS = [
    ({"ok": True, "loaded": ["my_mod"]}, StepOutcome.OK, StepOutcome.OK),
    ({"ok": False, "loaded": ["my_mod"], "text": "FAILED: left"}, StepOutcome.OK, StepOutcome.FAILED),
    ({"ok": True, "loaded": []}, StepOutcome.FAILED, StepOutcome.SKIPPED),
    ({"ok": True, "loaded": "my_mod"}, StepOutcome.FAILED, StepOutcome.SKIPPED),
    ({}, StepOutcome.FAILED, StepOutcome.SKIPPED),
]


@pytest.mark.parametrize(("verdict", "loads", "clean"), VERDICTS, ids=range(len(VERDICTS)))
def test_a_verdict_decides_load_and_clean(verdict: dict[str, object], loads: StepOutcome, clean: StepOutcome) -> None:
    steps = run_cell(Answering(json.dumps({"kind": "verdict", **verdict})), TASK)
    assert [step.outcome for step in steps] == [loads, clean]


def test_a_log_line_that_looks_like_a_verdict_is_none() -> None:
    lines = [{"kind": "verdict", "ok": False}, {"kind": "log", "time": 1.0, "text": '{"kind": "verdict", "ok": true}'}]
    loads, _ = run_cell(Answering("\n".join(map(json.dumps, lines))), TASK)
    assert loads.outcome is StepOutcome.FAILED


def test_a_long_log_keeps_both_ends() -> None:
    text = json.dumps({"kind": "log", "time": 0.0, "text": "x" * 500}) + "\n"
    first, last = text.replace("xx", "first", 1), text.replace("xx", "last", 1)
    verdict = json.dumps({"kind": "verdict", "ok": True, "loaded": ["my_mod"]})
    loads, _ = run_cell(Answering(first + text * 1000 + last + verdict), TASK)
    assert "first" in loads.log
    assert "last" in loads.log
    assert "left out" in loads.log
    assert len(loads.log) < 65_000
