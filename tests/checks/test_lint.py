"""Rules of modules: what a module says of itself, and how much it prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kobox.checks.lint import LintCheck
from kobox.checks.report.finding import Finding
from kobox.ko.modulefile import ModuleFile
from tests.checks.conftest import Laboratory

SOURCE = Path("rules/talks.c")


def kinds(findings: list[Finding]) -> list[tuple[str, str]]:
    return sorted((finding.kind, str(finding.severity)) for finding in findings)


def test_a_module_that_keeps_all_rules(laboratory: Laboratory) -> None:
    assert laboratory.examine(laboratory.file("talks", "rules"), [LintCheck()]) == []


def test_a_licence_that_taints_and_no_description(laboratory: Laboratory) -> None:
    findings = laboratory.examine(laboratory.file("closed", "rules"), [LintCheck()])
    assert kinds(findings) == [("module-info", "note"), ("taint", "warning")]
    assert any('"Proprietary"' in finding.message for finding in findings)
    assert all(finding.advice for finding in findings)


def test_no_licence_at_all(laboratory: Laboratory) -> None:
    content = laboratory.file("talks", "rules").content.replace(b"\0license=GPL\0", b"\0lizense=GPL\0")
    findings = laboratory.examine(ModuleFile(content), [LintCheck()])
    assert ("module-info", "warning") in kinds(findings)
    assert "MODULE_LICENSE" in findings[0].message


def test_no_exit_function(laboratory: Laboratory) -> None:
    findings = laboratory.examine(laboratory.file("noexit"), [LintCheck()])
    assert ("no-exit", "warning") in kinds(findings)


def test_a_line_that_floods_the_log(laboratory: Laboratory, line_of: Callable[[str, Path], int]) -> None:
    def read(box: object) -> None:
        box.read_bytes("/sys/module/talks/parameters/read")  # type: ignore[attr-defined]

    findings = laboratory.examine(laboratory.file("talks", "rules"), [LintCheck()], "count=300", read)
    assert kinds(findings) == [("printk-rate", "note"), ("printk-rate", "warning")]
    places = {finding.severity: finding.where for finding in findings}
    init, used = (places[severity] for severity in ("warning", "note"))  # type: ignore[index]
    assert init is not None
    assert used is not None
    assert (init.file, init.line) == ("talks.c", line_of("/* in init */", SOURCE))
    assert (used.file, used.line) == ("talks.c", line_of("/* when read */", SOURCE))
    assert "300 messages" in findings[0].message
