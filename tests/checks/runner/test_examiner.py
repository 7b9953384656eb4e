"""Why an examination ended early, in the words of a check."""

from __future__ import annotations

import pytest

from kobox.checks.runner import examiner
from kobox.checks.runner.check import check
from kobox.checks.runner.plan import CheckPlan
from kobox.images.store import KernelImage
from tests.building import BuiltTestModules


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (
            "what=call",
            "init returned -ENOENT, from register_kprobe() at verdict.c:",
        ),
        (
            "what=own",
            "init returned -EKEYREJECTED, which none of its calls did",
        ),
    ],
)
def test_the_errno_of_init_is_told_as_init_s(debian_kernel: KernelImage, parameters: str, said: str) -> None:
    module = BuiltTestModules(debian_kernel, "verdicts")("verdict")
    plan = CheckPlan(str(module), debian_kernel.name, parameters=parameters, exercise="none", loads=1, workers=1)
    assert check(plan).ended.startswith(f"verdict: not loaded: all checks passed; {said}")


def test_a_refusal_of_the_loader_is_told_as_the_loader_s(debian_kernel: KernelImage) -> None:
    module = BuiltTestModules(debian_kernel)("kuser")  # what it needs is not loaded
    plan = CheckPlan(str(module), debian_kernel.name, exercise="none", loads=1, workers=1)
    assert check(plan).ended == "kuser: not loaded: No such file or directory (ENOENT)"


def test_calls_that_all_answer_end_with_the_unit_s_time(
    debian_kernel: KernelImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examiner, "_LEAST", 1.0)
    monkeypatch.setattr(examiner, "_LAST", 0.5)
    module = BuiltTestModules(debian_kernel)("attacks")  # its read(2) never comes to the end of a file
    plan = CheckPlan(
        str(module), debian_kernel.name, parameters="attack=endless_read", loads=1, workers=1, seconds=1.0, faults=False
    )
    report = check(plan)
    hangs = [finding for finding in report.findings if finding.kind == "hang"]
    assert hangs
    assert any("all calls of this run together have taken its CPU time" in one for one in report.unchecked), (
        report.unchecked
    )
    assert not [finding for finding in report.findings if finding.kind == "not-finished"]
