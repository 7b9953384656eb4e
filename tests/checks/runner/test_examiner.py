"""Why an examination ended early, in the words of a check."""

from __future__ import annotations

import pytest

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
