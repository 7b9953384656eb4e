"""Hostile modules, each with one behaviour, and honest ones that do the like by honest means."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.behaviour.examine import examine
from kobox.behaviour.report import BehaviourReport, Trait
from kobox.behaviour.static import entropy
from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules

KOBOX = str(Path(sys.executable).with_name("kobox"))


@pytest.fixture(scope="module")
def samples(debian_kernel: KernelImage) -> BuiltTestModules:
    """tests/modules/inspect: rootkit.c, one behaviour a value of `what`, and honest.c."""
    return BuiltTestModules(debian_kernel, "inspect")


@pytest.fixture(scope="module")
def kept(debian_kernel: KernelImage) -> Box:
    return boot(debian_kernel)


@pytest.fixture
def clean(kept: Box) -> Box:
    kept.reset()
    return kept


def found(box: Box, samples: BuiltTestModules, name: str, what: str) -> BehaviourReport:
    return examine(box, ModuleFile(str(samples(name))), f"what={what}")


def trait(report: BehaviourReport, kind: str) -> Trait:
    return next(trait for trait in report.traits if trait.kind == kind)


@pytest.mark.parametrize(
    ("what", "level", "kind", "evidence"),
    [
        ("hide", "hostile", "hides itself", "/proc/modules"),
        ("root", "hostile", "grants root", "signal 62"),
        ("root", "hostile", "credentials", "before_kill"),
        ("files", "hostile", "hides files", "xxhidden"),
        ("processes", "hostile", "hides processes", "(miner) runs, and /proc does not list it"),
        ("table", "hostile", "system call table", "my_kill"),
        ("code", "hostile", "kernel code", "audit_log_start"),
        ("shell", "suspicious", "runs a shell", "/bin/sh -c id > /tmp/owned"),
        ("keys", "suspicious", "keyboard notifier", "rootkit_init"),
        ("secrets", "suspicious", "secrets", "/etc/shadow"),
        ("stays", "note", "stays", "cannot be unloaded"),
        ("", "suspicious", "writes CR0", ".text"),
        ("", "suspicious", "symbols that are not exported", "kallsyms_lookup_name"),
        ("", "suspicious", "symbol lookup", "sys_call_table"),
    ],
)
def test_a_hostile_behaviour_is_seen_with_its_evidence(
    clean: Box, samples: BuiltTestModules, what: str, level: str, kind: str, evidence: str
) -> None:
    report = found(clean, samples, "rootkit", what)
    seen = [one for one in report.traits if one.kind == kind]
    assert seen, report.judgement
    assert {one.level for one in seen} == {level}
    assert any(evidence in f"{one.text} {one.where} {one.before} {one.after}" for one in seen), seen
    assert kind in report.judgement or report.level != level
    assert not report.unseen


@pytest.mark.parametrize("what", ["", "filter", "debugger", "notifier", "thread"])
def test_an_honest_module_is_not_called_hostile_or_suspicious(clean: Box, samples: BuiltTestModules, what: str) -> None:
    report = found(clean, samples, "honest", what)
    assert report.judgement == "nothing hostile or suspicious seen", [t for t in report.traits if t.level != "note"]
    assert not report.unseen


def test_a_driver_that_starts_its_helper_is_told_with_the_program_and_is_not_hostile(
    clean: Box, samples: BuiltTestModules
) -> None:
    report = found(clean, samples, "honest", "helper")
    assert report.level == "suspicious"
    assert trait(report, "starts a program").text == "starts /sbin/honest-firmware-helper load"


def test_hooks_by_the_kernel_s_own_means_are_notes(clean: Box, samples: BuiltTestModules) -> None:
    assert trait(found(clean, samples, "honest", "debugger"), "kprobe").text == "probes do_exit"
    clean.reset()
    assert trait(found(clean, samples, "honest", "filter"), "netfilter hook").level == "note"


def test_what_was_overwritten_is_told_with_before_and_after(clean: Box, samples: BuiltTestModules) -> None:
    seen = trait(found(clean, samples, "rootkit", "table"), "system call table")
    assert seen.before.startswith("__x64_sys_kill+0x0")
    assert seen.after.startswith("my_kill+0x0")
    assert seen.time


@pytest.mark.parametrize("name", ["loop", "dummy", "nf_tables", "btrfs"])
def test_modules_of_debian_s_are_not_called_hostile(clean: Box, debian_kernel: KernelImage, name: str) -> None:
    assert debian_kernel.modules is not None
    (path,) = debian_kernel.modules.rglob(f"{name}.ko")
    report = examine(clean, ModuleFile(str(path)))
    assert report.level != "hostile", report.judgement


def test_a_module_for_another_kernel_is_looked_at_as_a_file(
    clean: Box, samples: BuiltTestModules, trixie_kernel: KernelImage
) -> None:
    report = examine(clean, ModuleFile(str(BuiltTestModules(trixie_kernel, "inspect")("rootkit"))))
    assert any("it was not loaded" in sentence for sentence in report.unseen)
    assert trait(report, "writes CR0")


def test_entropy() -> None:
    assert entropy(bytes(100)) == 0
    assert entropy(bytes(range(256)) * 16) == 8


def test_the_command(samples: BuiltTestModules, debian_kernel: KernelImage) -> None:
    def inspect(*words: str) -> subprocess.CompletedProcess[str]:
        command = [KOBOX, "inspect", "-k", debian_kernel.name, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = inspect(str(samples("rootkit")), "what=hide")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[-1] == "rootkit: hostile: hides itself"
    assert "import kallsyms" not in done.stdout
    done = inspect("--json", str(samples("honest")), "what=debugger")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert (report["level"], report["module"]) == ("note", "honest")
    assert any(each["text"] == "probes do_exit" for each in report["traits"])
    assert inspect(str(samples("honest")), "what=helper").returncode == 3
    assert inspect("/no/such/module.ko").returncode == 1
