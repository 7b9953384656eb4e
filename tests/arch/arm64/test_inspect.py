"""`kobox inspect` for modules of an arm64 kernel."""

from __future__ import annotations

import pytest

from kobox.behaviour.examine import examine
from kobox.behaviour.report import BehaviourReport
from kobox.box.boot.boot import boot
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import built_module


def _report(kernel: KernelImage, name: str, what: str) -> BehaviourReport:
    with boot(kernel) as box:
        return examine(box, ModuleFile(built_module(kernel, name)), f"what={what}")


@pytest.mark.parametrize(
    ("what", "level", "kind", "evidence"),
    [
        ("hide", "hostile", "hides itself", "/proc/modules"),
        ("files", "hostile", "hides files", "xxhidden"),
        ("lookup", "suspicious", "symbol lookup", "looks up sys_call_table"),
        ("secrets", "suspicious", "secrets", "/etc/shadow"),
    ],
)
def test_a_hostile_behaviour_is_seen(
    arm64_kernel: KernelImage, what: str, level: str, kind: str, evidence: str
) -> None:
    report = _report(arm64_kernel, "anyrootkit", what)
    seen = [one for one in report.traits if one.kind == kind and evidence in f"{one.text} {one.where}"]
    assert seen, report.traits
    assert {one.level for one in seen} == {level}


def test_an_honest_module_is_called_neither(arm64_kernel: KernelImage) -> None:
    report = _report(arm64_kernel, "anyrootkit", "")
    assert report.judgement == "nothing hostile or suspicious seen", report.traits
    assert not report.unseen
