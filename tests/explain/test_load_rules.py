"""Every refusal of the kernel, produced for real, and named rightly before the load and from the log."""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.errors import KoboxError, ModuleUnloadError, ProcessDiedError
from kobox.explain.box_answer import try_in_box
from kobox.explain.cause import Cause
from kobox.explain.explanation import Conditions, Explanation, Fact
from kobox.explain.load_rules import explain
from kobox.explain.log import cause_of, causes_in
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from kobox.ko.signature import strip
from kobox.signing import keys
from kobox.signing.sign import append, signature_of, signer_from
from tests.box.test_module_handle import ROWS, Row, corrupted, replaced
from tests.building import BuiltTestModules
from tests.conftest import clean_box

KOBOX = str(Path(sys.executable).with_name("kobox"))
RULES = {
    "unsigned": "unsigned",
    "unsigned, enforced": "unsigned",
    "foreign key": "unsigned",
    "foreign key, enforced": "foreign-key",
    "garbage PKCS#7": "signature-garbage",
    "garbage PKCS#7, enforced": "signature-garbage",
    "lockdown, unsigned": "lockdown",
    "blacklisted": "blacklisted",
    "vermagic flags differ": "vermagic",
    "only the release differs": "out-of-tree",
    "only the release differs, IGNORE_VERMAGIC": "vermagic-forced",
    "vermagic flags differ, IGNORE_VERMAGIC": "vermagic-forced",
    "CRC of module_layout differs": "module-layout",
    "CRC of a function differs": "crc",
    "no __versions": "versions-forced",
    "IGNORE_MODVERSIONS": "versions-forced",
    "bad parameter": "bad-parameter",
    "unknown parameter": "unknown-parameter",
    "truncated": "truncated",
    "not ELF": "not-elf",
    "compressed, not unpacked": "not-elf",
    "wrong architecture": "architecture",
    "empty": "not-elf",
    "empty, by descriptor": "invalid",
    "invalid flag": "invalid",
    "init returns an error": "init-failed",
    "init returns a positive number": "init-positive",
}
AT_RUN_TIME = {"init returns an error", "init returns a positive number"}  # nobody can know before


@pytest.fixture(scope="module")
def good(modules: BuiltTestModules) -> bytes:
    return modules("good").read_bytes()


@pytest.fixture(scope="module")
def foreign(good: bytes) -> bytes:
    key = keys.generate("rsa:2048")
    return append(good, signature_of(good, signer_from(key, keys.self_signed(key, "a stranger"))))


@pytest.fixture
def boxes(machine_room: dict[str, Box], debian_kernel: KernelImage) -> Callable[[str], Box]:
    return lambda cmdline: clean_box(machine_room, debian_kernel, cmdline)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.case)
def test_every_row_of_the_kernel_s_answers(
    row: Row, boxes: Callable[[str], Box], debian_kernel: KernelImage, good: bytes, foreign: bytes
) -> None:
    image = row.change(foreign if row.signed else good)
    conditions = Conditions(parameters=row.parameters, cmdline=row.cmdline, flags=row.flags)
    expected = errno.errorcode.get(row.errno, "")
    before = explain(image, debian_kernel, conditions)
    if row.case not in AT_RUN_TIME:
        rules = [fact.rule for fact in before.facts]
        assert before.errno == expected, before
        assert (before.decisive.rule if before.decisive else RULES[row.case]) == RULES[row.case]
        assert RULES[row.case] in rules or row.case == "foreign key", rules
    after = try_in_box(image, before, boxes(row.cmdline), conditions)
    assert after.errno == expected
    assert after.agrees or row.case in AT_RUN_TIME
    if row.case not in AT_RUN_TIME:
        assert [line for line in before.log if line not in after.log] == [], after.log
    assert RULES[row.case] in [rule for cause in from_the_log(after) for rule in rules_of(cause)]


def from_the_log(result: Explanation) -> list[Cause]:
    """As a user has it: dmesg, and what insmod said."""
    text = "".join(f"[   12.345678] {line}\n" for line in result.log)
    if result.errno:
        reason = {"ENOEXEC": "Invalid module format"}.get(
            result.errno, os.strerror(getattr(errno, result.errno)) if result.errno != "DIED" else ""
        )
        text += f"insmod: ERROR: could not insert module ./good.ko: {reason}\n"
    return causes_in(text)


def rules_of(cause: Cause) -> list[str]:
    """What a cause can be, the likeliest first."""
    return [cause.rule, *(other.rule for other in cause.alternatives)]


def decided(result: Explanation) -> tuple[str, str]:
    assert result.decisive is not None, result
    return result.decisive.rule, result.errno


def refusals(result: Explanation) -> list[Fact]:
    return [fact for fact in result.facts if fact.errno]


def test_a_corrupted_signature(box: Box, debian_kernel: KernelImage) -> None:
    assert debian_kernel.modules is not None
    own = (debian_kernel.modules / "kernel/net/llc/llc.ko").read_bytes()
    fine = try_in_box(own, explain(own, debian_kernel), box)
    assert (fine.errno, fine.facts[0].rule, fine.agrees) == ("", "signature", True)
    result = try_in_box(corrupted(own), explain(corrupted(own), debian_kernel), box)
    assert decided(result) == ("signature-broken", "EKEYREJECTED")
    assert result.agrees
    (cause,) = from_the_log(result)  # the kernel says nothing: most often the answer is Secure Boot
    assert rules_of(cause)[:2] == ["foreign-key", "signature-broken"]


def test_a_corrupted_signature_under_enforcement(boxes: Callable[[str], Box], debian_kernel: KernelImage) -> None:
    assert debian_kernel.modules is not None
    own = corrupted((debian_kernel.modules / "kernel/net/llc/llc.ko").read_bytes())
    conditions = Conditions(cmdline="module.sig_enforce=1")
    result = try_in_box(own, explain(own, debian_kernel, conditions), boxes(conditions.cmdline), conditions)
    assert decided(result) == ("signature-broken", "EKEYREJECTED")
    assert result.agrees
    (cause,) = from_the_log(result)  # the kernel says nothing: most often the answer is Secure Boot
    assert rules_of(cause)[:2] == ["foreign-key", "signature-broken"]


@pytest.mark.parametrize("image", [b"", b"anything"], ids=["good", "no module"])
def test_loading_is_turned_off(image: bytes, box: Box, debian_kernel: KernelImage, good: bytes) -> None:
    conditions = Conditions(disabled=True)
    result = try_in_box(image or good, explain(image or good, debian_kernel, conditions), box, conditions)
    assert decided(result) == ("disabled", "EPERM")
    assert result.agrees
    (cause,) = from_the_log(result)
    assert rules_of(cause) == ["lockdown", "not-root", "disabled", "blacklisted", "init-failed"]


def test_a_trusted_signature_under_enforcement(debian_kernel: KernelImage, good: bytes) -> None:
    key = keys.generate("rsa:2048")
    certificate = keys.self_signed(key, "mine")
    signed = append(good, signature_of(good, signer_from(key, certificate)))
    conditions = Conditions(trust=(certificate,), enforce=True)
    with boot(debian_kernel, trust=[certificate], enforce_signatures=True) as box:
        for image, answer in ((signed, ""), (good, "EKEYREJECTED")):
            result = try_in_box(image, explain(image, debian_kernel, conditions), box, conditions)
            assert (result.errno, result.agrees) == (answer, True)


@pytest.mark.parametrize("size", [2 << 30, 900 << 20], ids=["more than the addresses", "more than the memory"])
def test_a_module_that_is_too_large(size: int, box: Box, debian_kernel: KernelImage, good: bytes) -> None:
    elf = ModuleFile(good).elf
    at = struct.unpack_from("<Q", good, 40)[0] + 64 * elf.find(b".bss") + 32
    huge = good[:at] + struct.pack("<Q", size) + good[at + 8 :]
    result = try_in_box(huge, explain(huge, debian_kernel), box)
    assert result.errno == "ENOMEM"
    if size > 1 << 30:  # how much memory there is, nobody knows before
        assert decided(result)[0] == "memory"
        assert result.agrees
    assert "memory" in [cause.rule for cause in from_the_log(result) if cause.fatal]


def test_btf_of_another_kernel(sid_kernel: KernelImage) -> None:
    assert sid_kernel.modules is not None
    (path,) = sid_kernel.modules.glob("kernel/net/llc/llc.ko*")
    module = strip(ModuleFile(path).content)[0]
    elf = ModuleFile(module).elf
    at = elf.section_at(elf.find(b".BTF")).offset
    types = at + struct.unpack_from("<I", module, at + 4)[0]  # the header's length
    damaged = module[: types + 8] + struct.pack("<I", 0x7FFFFFF0) + module[types + 12 :]
    with boot(sid_kernel) as newest:
        result = try_in_box(damaged, explain(damaged, sid_kernel), newest)
    assert result.errno == "EINVAL"
    assert [cause.rule for cause in from_the_log(result) if cause.fatal] == ["btf"]


def test_already_loaded(box: Box, debian_kernel: KernelImage, good: bytes) -> None:
    conditions = Conditions(beside=(ModuleFile(good),))
    result = try_in_box(good, explain(good, debian_kernel, conditions), box, conditions)
    assert decided(result) == ("already-loaded", "EEXIST")
    assert result.agrees
    assert [cause.rule for cause in from_the_log(result) if cause.fatal] == ["already-loaded"]


def test_symbols_of_other_modules(box: Box, debian_kernel: KernelImage, modules: BuiltTestModules) -> None:
    user, base = modules("kuser").read_bytes(), ModuleFile(modules("kbase"))
    alone = try_in_box(user, explain(user, debian_kernel), box)
    assert decided(alone) == ("unknown-symbol", "ENOENT")
    assert alone.agrees
    assert "kbase" in refusals(alone)[-1].advice
    assert "unknown-symbol" in [cause.rule for cause in from_the_log(alone)]
    conditions = Conditions(beside=(base,))
    together = try_in_box(user, explain(user, debian_kernel, conditions), box, conditions)
    assert (together.errno, together.agrees) == ("", True)
    box.reset()
    proprietary = replaced(user, ".modinfo", lambda info: info.replace(b"license=GPL\0", b"license=BSD\0"))
    result = try_in_box(proprietary, explain(proprietary, debian_kernel, conditions), box, conditions)
    assert decided(result) == ("unknown-symbol", "ENOENT")
    assert "kbase_gpl_fn is for GPL modules only, and this module's licence is BSD" in refusals(result)[-1].text
    assert result.agrees
    assert set(result.decisive.log if result.decisive else ()) <= set(result.log)


def test_a_symbol_exported_twice(box: Box, debian_kernel: KernelImage, modules: BuiltTestModules) -> None:
    base = modules("kbase").read_bytes()
    again = base.replace(b"name=kbase\0", b"name=kdupe\0").replace(b"\0kbase\0", b"\0kdupe\0")
    conditions = Conditions(beside=(ModuleFile(base),))
    result = try_in_box(again, explain(again, debian_kernel, conditions), box, conditions)
    assert decided(result) == ("duplicate-export", "ENOEXEC")
    assert result.agrees
    assert [cause.rule for cause in from_the_log(result) if cause.fatal] == ["duplicate-export"]


@pytest.mark.parametrize("suite", ["debian_kernel", "trixie_kernel", "sid_kernel"])
def test_a_namespace_that_is_not_imported(suite: str, request: pytest.FixtureRequest) -> None:
    kernel: KernelImage = request.getfixturevalue(suite)
    module = importing_a_namespace(kernel)
    foreign = replaced(module, ".modinfo", lambda info: info.replace(b"import_ns=", b"import_no="))
    with boot(kernel) as box:
        result = try_in_box(foreign, explain(foreign, kernel), box)
        assert decided(result) == ("namespace", "EINVAL")
        assert result.agrees, result
        missing = [line.split("(")[1].split(")")[0] for line in result.log if "from namespace" in line]
        (cause,) = (cause for cause in from_the_log(result) if cause.fatal)  # one cause for all symbols
        assert (cause.rule, cause.symbols) == ("namespace", tuple(missing))
        box.reset()
        fine = try_in_box(module, explain(module, kernel), box)
        assert (fine.errno, fine.agrees) == ("", True)


def importing_a_namespace(kernel: KernelImage) -> bytes:
    """A module of the kernel's tree that imports a namespace, without its signature."""
    assert kernel.modules is not None
    for path in sorted(kernel.modules.glob("kernel/crypto/*.ko*")):
        module = ModuleFile(path)
        if module.import_namespaces:
            return strip(module.content)[0] if module.is_signed else module.content
    raise AssertionError("no module of this kernel imports a namespace")


def test_a_module_of_another_kernel(
    box: Box, debian_kernel: KernelImage, trixie_kernel: KernelImage, sid_kernel: KernelImage
) -> None:
    module = BuiltTestModules(trixie_kernel)("good").read_bytes()
    result = try_in_box(module, explain(module, debian_kernel, others=[trixie_kernel, sid_kernel]), box)
    assert decided(result) == ("module-layout", "ENOEXEC")
    assert "0x" in result.facts[1].text
    assert result.agrees
    assert "module-layout" in [cause.rule for cause in from_the_log(result)]
    with boot(sid_kernel) as newest:
        result = try_in_box(module, explain(module, sid_kernel), newest)
        assert (result.errno, result.agrees) == ("ENOEXEC", True)
        assert {cause.rule for cause in from_the_log(result)} & {"layout-size", "vermagic"}


def test_a_missing_symbol_is_looked_for_nearby_and_in_other_kernels(
    debian_kernel: KernelImage, trixie_kernel: KernelImage, good: bytes
) -> None:
    def naming(symbol: bytes) -> Explanation:
        """The good module, with another symbol in the place of _printk."""
        table = replaced(good, ".strtab", lambda names: names.replace(b"\0_printk\0", b"\0" + symbol + b"\0"))
        return explain(table, debian_kernel, others=[trixie_kernel])

    assert "near it: _printk (vmlinux)" in refusals(naming(b"_prinkt"))[-1].text
    only_there = next(
        line.split("\t")[1]
        for line in (trixie_kernel.headers / "Module.symvers").read_text().splitlines()  # type: ignore[operator]
        if len(line.split("\t")[1]) == 7
        and f"\t{line.split(chr(9))[1]}\t" not in (debian_kernel.headers / "Module.symvers").read_text()  # type: ignore[operator]
    )
    found = naming(only_there.encode())
    assert f"{trixie_kernel.name} has it" in refusals(found)[-1].text
    assert found.errno == "ENOENT"


def test_dependencies_are_told_and_loaded(box: Box, debian_kernel: KernelImage) -> None:
    assert debian_kernel.modules is not None
    with boot(debian_kernel) as fresh:
        module = (debian_kernel.modules / "kernel/fs/btrfs/btrfs.ko").read_bytes()
        result = try_in_box(module, explain(module, debian_kernel), fresh)
        assert {"xor", "raid6_pq", "zstd_compress"} <= set(result.dependencies)
        assert (result.errno, result.agrees) == ("", True)
        assert result.size > 1 << 20


def test_refused_unloads_by_the_log_and_the_errno(box: Box, modules: BuiltTestModules) -> None:
    def rule(name: str) -> str:
        with pytest.raises(ModuleUnloadError) as caught:
            box.rmmod(name)
        (cause,) = causes_in(str(caught.value))
        assert cause == cause_of(errno.errorcode[caught.value.errno], module=name, unload=True, line=cause.line)
        return cause.rule

    box.insmod(modules("good"), hold=True)
    assert rule("good") == "in-use"
    box.insmod(modules("kbase"))
    box.insmod(modules("kuser"))
    assert rule("kbase") == "in-use"
    box.insmod(modules("noexit"))
    assert rule("noexit") == "no-exit"
    assert rule("nowhere") == "not-loaded"
    with pytest.raises(ProcessDiedError):
        box.insmod(modules("faulty"), what="null")
    assert rule("faulty") == "no-exit"
    box.write_bytes("/proc/sys/kernel/modules_disabled", b"1")
    assert rule("kuser") == "not-root"  # or disabled: the errno alone does not say


def test_what_a_forced_unload_leaves_in_the_log(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("kbase"))
    box.insmod(modules("kuser"))
    with pytest.raises(ModuleUnloadError) as caught:
        box.rmmod("kbase", force=True)
    assert [cause.rule for cause in causes_in(str(caught.value))] == ["in-use"]  # force is no help against users
    box.insmod(modules("good"), hold=True)
    start = box.log.next_seq
    box.rmmod("good", force=True)
    causes = causes_in("\n".join(record.text for record in box.log.since(start)))
    assert [(cause.rule, cause.fatal) for cause in causes] == [("forced", False)]
    box.insmod(modules("noexit"))
    box.rmmod("noexit", force=True)


@pytest.mark.parametrize(
    ("text", "rule", "module"),
    [
        ("rmmod: ERROR: Module btrfs is in use by: foo bar", "in-use", "btrfs"),
        ("rmmod: ERROR: Module nothing is not currently loaded", "not-loaded", "nothing"),
        ("modprobe: ERROR: could not insert 'loop': File exists", "already-loaded", "loop"),
        ("insmod: ERROR: could not insert module a-b.ko: Operation not permitted", "lockdown", "a_b"),
        ("insmod: ERROR: could not insert module /x/foo.ko.xz: No such device", "no-device", "foo"),
        ("<3>[    1.000000] failed to validate module [foo] BTF: -22", "btf", "foo"),
        ("[   99.0] insmod: vmap allocation for size 8392704 failed: use vmalloc=<size>", "memory", ""),
        ("Nov 22 10:00:01 host kernel: [ 9.1] Loading of unsigned module is rejected", "unsigned", ""),
        ("Nov 22 10:00:01 host kernel: Module foo is blacklisted", "blacklisted", "foo"),
    ],
)
def test_what_cannot_be_had_in_a_box_and_other_tools_words(text: str, rule: str, module: str) -> None:
    assert [(cause.rule, cause.module) for cause in causes_in("usb 1-1: new device\n" + text)] == [(rule, module)]


def kobox(*arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [KOBOX, "explain", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


def test_the_command(debian_kernel: KernelImage, modules: BuiltTestModules, tmp_path: Path) -> None:
    done = kobox("-k", debian_kernel.name, modules("kuser"))
    assert done.returncode == 1, done.stderr
    assert "FAIL  kbase_fn is exported by nothing in this kernel  [unknown-symbol]" in done.stdout
    assert done.stdout.splitlines()[-1] == "it does not load: No such file or directory (ENOENT)"
    done = kobox("-k", debian_kernel.name, "--no-try", "--json", "--with", modules("kbase"), modules("kuser"))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["loads"], report["answer"], report["module"]) == (True, None, "kuser")
    log = "[    5.0] good: version magic '5.0 SMP ' should be '6.1 SMP '\n"
    done = kobox("--log", "-", given=log)
    assert done.returncode == 1
    assert done.stdout.startswith("FAIL  good: the module was built for another kernel")
    (tmp_path / "log").write_text("nothing of interest\n")
    unknown = kobox("--log", tmp_path / "log")
    assert unknown.returncode == 1
    assert unknown.stdout.startswith("no cause found: no line of this log is a known message about a module\n")
    assert json.loads(kobox("--json", "--log", "-", given=log).stdout)[0]["rule"] == "vermagic"
    assert kobox().returncode == 2
    gone = kobox("-k", debian_kernel.name, tmp_path / "gone.ko")
    assert (gone.returncode, "Traceback" in gone.stderr) == (1, False)


def test_a_kernel_without_headers_is_explained_as_far_as_it_goes(debian_kernel: KernelImage, good: bytes) -> None:
    bare = debian_kernel._replace(headers=None)
    facts = explain(good, bare).facts
    assert "not checked" in next(fact.text for fact in facts if fact.rule == "symbols")
    assert explain(good, bare._replace(modules=None)).errno == ""
    with pytest.raises(KoboxError):
        explain(good, bare._replace(modules=None, release="1.2.3"))


@pytest.mark.parametrize("suite", ["debian_kernel", "trixie_kernel", "sid_kernel"])
def test_a_boot_without_failures_has_no_causes(suite: str, request: pytest.FixtureRequest) -> None:
    with boot(request.getfixturevalue(suite)) as box:
        assert causes_in("\n".join(record.text for record in box.log)) == []


def test_a_reader_of_the_output_that_goes_away(debian_kernel: KernelImage, modules: BuiltTestModules) -> None:
    command = [KOBOX, "explain", "-k", debian_kernel.name, "--no-try", "--json", str(modules("good"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
