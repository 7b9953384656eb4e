"""The tests that `kobox check` writes are Python: nothing that a module's file says gets into them as code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from kobox.checks.fuzz.program import ExerciseStep
from kobox.checks.report.finding import Finding, Frame, Severity
from kobox.checks.runner.minimise import Crash, source_of, word_of
from kobox.checks.runner.plan import CheckPlan

HOSTILE = [
    "x():\n    import os\n    os.abort()\ndef y",
    '"""\nimport os\nos.abort()\n"""',
    "a\\",
    "../../../etc/cron.d/x",
    "a\0b",
    "\x1b]0;x\x07",
    "\u2028import os",
    "e" * 5000,
    "",
]


@pytest.mark.parametrize("text", HOSTILE, ids=[f"case{n}" for n in range(len(HOSTILE))])
def test_names_and_messages_of_a_hostile_module_stay_data(text: str, tmp_path: Path) -> None:
    chain = (Frame(text, 1, text, text, 5),)
    finding = Finding("oops", Severity.ERROR, text, chain)
    crash = Crash(finding, ((ExerciseStep("open", 0, (text, text.encode())),),))
    plan = CheckPlan(f"{tmp_path}/m.ko", kernel=text, parameters=text, needs=(str(tmp_path / "n.ko"),))
    tree = ast.parse(source_of(crash, plan, text, tmp_path / "test_x.py"))
    kinds = [type(node) for node in tree.body]
    imports = [ast.ImportFrom] * 4
    assert kinds == [ast.Expr, *imports, ast.Assign, ast.Assign, ast.FunctionDef]
    name = f"test_{word_of(text)}_{crash.name}.py"
    assert "/" not in name
    assert "\0" not in name
    assert len(name) < 255
