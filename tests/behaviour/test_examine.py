"""Hostile modules, each with one behaviour, and honest ones that do the like by honest means."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.behaviour.examine import examine
from kobox.behaviour.html import page
from kobox.behaviour.report import BehaviourReport, Trait
from kobox.behaviour.static import entropy
from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.box.guest.scheduler import BLOCKS_A_SECOND
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
        ("shell", "hostile", "runs a shell", "/bin/sh -c id > /tmp/owned"),
        ("keys", "suspicious", "keyboard notifier", "rootkit_init"),
        ("secrets", "suspicious", "secrets", "/etc/shadow"),
        ("stays", "note", "stays", "cannot be unloaded"),
        ("hide", "hostile", "hides itself", "/proc/kallsyms"),
        ("table", "hostile", "write protection", "switches write protection off (CR0.WP) rootkit_init"),
        ("entry", "suspicious", "system register", "to the model-specific register LSTAR"),
        ("interrupts", "hostile", "system register", "IDTR was changed"),
        ("smep", "suspicious", "control register", "to CR4"),
        ("operations", "hostile", "operations", "/proc/modules (i_fop)"),
        ("ports", "hostile", "hides ports", "tcp port 31444"),
        ("log", "hostile", "hides log lines", "records of the kernel's log are not shown"),
        ("knock", "suspicious", "waits for a packet", "opensesame"),
        ("door", "hostile", "grants root", "writes giverootnow to /proc/door"),
        ("waits", "note", "waits", "172800 seconds"),
        ("waits", "suspicious", "runs a program of a user's", "/tmp/.hidden"),
        ("memory", "hostile", "hidden code", "memory that belongs to no module"),
        ("memory", "suspicious", "secrets", "/root/.ssh/id_rsa"),
        ("jump", "suspicious", "secrets", "/etc/ssh/keys by_a_jump"),
        ("survives", "hostile", "survives rmmod", "thread survivor"),
        ("hypervisor", "suspicious", "looks for a hypervisor", "CPUID leaf 0x40000000"),
        ("cipher", "note", "key", "7369787465656e2062797465206b6579"),
        ("", "suspicious", "writes CR0", "rootkit_"),
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
    found_evidence = [one for one in seen if evidence in f"{one.text} {one.where} {one.before} {one.after}"]
    assert found_evidence, seen
    assert {one.level for one in found_evidence} == {level}
    assert kind in report.judgement or report.level != level
    assert what == "entry" or not report.unseen  # where system calls lead nowhere, not much can be looked at


@pytest.mark.parametrize(
    ("what", "level", "kind", "evidence"),
    [
        ("logger", "suspicious", "keyboard notifier", "waiter_init"),
        ("logger", "note", "writes a file", "writes .typed"),
        ("stream", "suspicious", "waits for a packet", "a TCP segment with b'openstream'"),
        ("login", "suspicious", "runs a program of a user's", "starts /tmp/.dropper"),
        ("packed", "hostile", "hides files", "sneaky"),
    ],
)
def test_what_shows_only_when_somebody_logs_in_types_or_sends(
    clean: Box, samples: BuiltTestModules, what: str, level: str, kind: str, evidence: str
) -> None:
    report = found(clean, samples, "waiter", what)
    seen = [one for one in report.traits if one.kind == kind and evidence in f"{one.text} {one.where}"]
    assert seen, report.traits
    assert {one.level for one in seen} == {level}
    assert not report.unseen


HONEST = [
    "portal",
    "hotkey",
    "names",
    "",
    "filter",
    "debugger",
    "notifier",
    "thread",
    "helper",
    "firewall",
    "day",
    "cipher",
    "processor",
    "settings",
]


@pytest.mark.parametrize("what", HONEST)
def test_an_honest_module_is_not_called_hostile_or_suspicious(clean: Box, samples: BuiltTestModules, what: str) -> None:
    report = found(clean, samples, "honest", what)
    assert report.judgement == "nothing hostile or suspicious seen", [t for t in report.traits if t.level != "note"]
    assert not report.unseen


@pytest.mark.parametrize(
    ("what", "kind", "text"),
    [
        ("helper", "starts a program", "starts /sbin/honest-firmware-helper load"),
        ("firewall", "takes packets", "every datagram to UDP port 31337 does not arrive any more"),
        ("day", "waits", "waits 86400 seconds before it goes on"),
        ("cipher", "key", "sets a key of 22 bytes for a cipher or a hash: " + b"documented test vector".hex()),
        ("processor", "processor identity", "asks the processor what it is (CPUID leaf 0x1)"),
    ],
)
def test_what_an_honest_module_does_is_told_as_a_note(
    clean: Box, samples: BuiltTestModules, what: str, kind: str, text: str
) -> None:
    report = found(clean, samples, "honest", what)
    assert (kind, "note", text) in {(one.kind, one.level, one.text) for one in report.traits}


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


def test_nothing_of_a_report_is_markup() -> None:
    hostile = "<script>alert(1)</script>&\x1b[2J\"'"
    trait = Trait(hostile, "hostile", hostile, hostile, hostile, hostile, 1.0)
    text = page(BehaviourReport(hostile, hostile, hostile, [trait], [hostile]))
    assert "<script" not in text
    assert "\x1b" not in text
    assert text.count("&lt;script&gt;") == 12


def test_entropy() -> None:
    assert entropy(bytes(100)) == 0
    assert entropy(bytes(range(256)) * 16) == 8


def test_the_command(samples: BuiltTestModules, debian_kernel: KernelImage, tmp_path: Path) -> None:
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
    assert inspect(str(samples("rootkit")), "what=secrets").returncode == 3
    html = tmp_path / "report.html"
    assert inspect(str(samples("rootkit")), "--html", str(html), "what=ports").returncode == 1  # behind the wall
    assert "tcp port 31444" in html.read_text()
    assert "<script" not in html.read_text()
    assert inspect("/no/such/module.ko").returncode == 1


@pytest.mark.parametrize(
    ("parameters", "kind", "unseen"),
    [
        ("attack=module_list", "kernel report", "burnt 5 s of CPU time"),
        ("attack=spin", "", "burnt 5 s of CPU time"),
        ("attack=rows", "kernel code", "index out of range"),
        ("attack=many_paths number=3000", "opens a file", ""),
        ("attack=getdents text=../../x", "hides processes", ""),
        ("attack=lying_read number=0x7fffffff", "write protection", ""),
        ("attack=stopped", "", "interrupts off"),
    ],
)
def test_a_module_that_attacks_the_one_who_looks(
    clean: Box, modules: BuiltTestModules, parameters: str, kind: str, unseen: str
) -> None:
    """There is a report, within one budget and of a size that can be read."""
    limit, clean.limits.cpu = clean.limits.cpu, 5
    try:
        began = clean.machine.work
        report = examine(clean, ModuleFile(str(modules("attacks"))), parameters)
        assert (clean.machine.work - began) / BLOCKS_A_SECOND < 7
    finally:
        clean.limits.cpu = limit
    assert len(report.traits) < 400
    assert not kind or kind in {one.kind for one in report.traits}
    assert unseen in " ".join(report.unseen)
    assert clean.alive or "stops the kernel" in {one.kind for one in report.traits}
