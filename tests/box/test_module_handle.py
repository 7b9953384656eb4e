"""What a kernel answers to modules of every kind, good and bad; and the handle on a loaded module.

The variants are one good module with its ELF sections edited.
"""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.box.module_handle import LoadedModule, parameter_text
from kobox.errors import ModuleLoadError, ModuleUnloadError, ProcessDiedError
from kobox.images.store import KernelImage
from kobox.kernel.interface import DeleteFlags, InitFlags
from kobox.ko.modulefile import ModuleFile
from kobox.signing import keys
from kobox.signing.sign import append, signature_of, signer_from
from tests.building import BuiltTestModules
from tests.conftest import clean_box

ENFORCE, LOCKDOWN, BLACKLIST = "module.sig_enforce=1", "lockdown=integrity", "module_blacklist=good"
Boxes = Callable[[str], Box]


@pytest.fixture
def boxes(machine_room: dict[str, Box], debian_kernel: KernelImage) -> Boxes:
    """A clean box by what is added to its command line."""
    return lambda cmdline: clean_box(machine_room, debian_kernel, cmdline)


@pytest.fixture(scope="session")
def good(modules: BuiltTestModules) -> bytes:
    return modules("good").read_bytes()


@pytest.fixture(scope="session")
def foreign(good: bytes) -> bytes:
    """The good module, signed with a key that no kernel knows."""
    key = keys.generate("rsa:2048")
    return append(good, signature_of(good, signer_from(key, keys.self_signed(key, "a stranger"))))


# -- editing a module ---------------------------------------------------------------------------------------------


def section(module: bytes, name: str) -> tuple[int, bytes]:
    """(offset in the file, content) of a section."""
    elf = ModuleFile(module).elf
    found = elf.section_at(elf.find(name.encode()))
    return found.offset, module[found.offset : found.offset + found.size]


def replaced(module: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """The module with a section's content changed, its size the same."""
    at, content = section(module, name)
    new = change(content)
    assert len(new) == len(content)
    return module[:at] + new + module[at + len(content) :]


def renamed_section(module: bytes, old: bytes, new: bytes) -> bytes:
    """The module without a section of that name: the kernel looks sections up by name."""
    assert len(old) == len(new)
    return replaced(module, ".shstrtab", lambda names: names.replace(old + b"\0", new + b"\0"))


def with_vermagic(module: bytes, change: Callable[[bytes], bytes]) -> bytes:
    return replaced(module, ".modinfo", lambda info: re.sub(rb"vermagic=[^\0]*", lambda m: change(m[0]), info))


def other_release(module: bytes) -> bytes:
    return with_vermagic(module, lambda magic: magic.replace(b"vermagic=6.", b"vermagic=5."))


def other_flags(module: bytes) -> bytes:
    return with_vermagic(module, lambda magic: magic.replace(b"mod_unload", b"mod_onload"))


def wrong_crc(module: bytes, symbol: bytes = b"module_layout") -> bytes:
    def change(versions: bytes) -> bytes:
        rows = [versions[n : n + 64] for n in range(0, len(versions), 64)]
        assert any(row[8:].startswith(symbol + b"\0") for row in rows)
        return b"".join(
            struct.pack("<Q", struct.unpack("<Q", row[:8])[0] ^ 1) + row[8:]
            if row[8:].startswith(symbol + b"\0")
            else row
            for row in rows
        )

    return replaced(module, "__versions", change)


def unversioned(module: bytes) -> bytes:
    return renamed_section(module, b"__versions", b"__verzions")


def truncated(module: bytes) -> bytes:
    return module[: len(module) - 100]


def other_machine(module: bytes) -> bytes:
    return module[:18] + struct.pack("<H", 183) + module[20:]


def corrupted(module: bytes) -> bytes:
    """A signed module with one byte of its text changed."""
    at, content = section(module, ".modinfo")
    return module[: at + len(content) - 1] + b"\1" + module[at + len(content) :]


def garbage_signature(module: bytes) -> bytes:
    return append(module, b"this is no PKCS #7 message at all")


# -- the table ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One case: what is loaded, where and how, and the kernel's answer (errno 0: it loads)."""

    case: str
    errno: int
    log: tuple[str, ...] = ()
    change: Callable[[bytes], bytes] = bytes
    cmdline: str = ""
    flags: InitFlags = InitFlags.NONE
    parameters: str = ""
    signed: bool = False
    silent: bool = False


TAINT = "good: loading out-of-tree module taints kernel."
UNVERIFIED = "good: module verification failed: signature and/or required key missing - tainting kernel"
ROWS = [
    Row("unsigned", 0, (TAINT, UNVERIFIED)),
    Row("unsigned, enforced", errno.EKEYREJECTED, ("Loading of unsigned module is rejected",), cmdline=ENFORCE),
    Row("foreign key", 0, (TAINT, UNVERIFIED), signed=True),
    Row(
        "foreign key, enforced",
        errno.EKEYREJECTED,
        ("Loading of module with unavailable key is rejected",),
        cmdline=ENFORCE,
        signed=True,
    ),
    Row("garbage PKCS#7", errno.EBADMSG, change=garbage_signature, silent=True),
    Row("garbage PKCS#7, enforced", errno.EBADMSG, change=garbage_signature, cmdline=ENFORCE, silent=True),
    Row(
        "lockdown, unsigned",
        errno.EPERM,
        ("Lockdown: kobox: unsigned module loading is restricted; see man kernel_lockdown.7",),
        cmdline=LOCKDOWN,
    ),
    Row("blacklisted", errno.EPERM, ("Module good is blacklisted",), cmdline=BLACKLIST),
    Row(
        "vermagic flags differ",
        errno.ENOEXEC,
        (r"good: version magic '6.* mod_onload .*' should be '6.* mod_unload .*'",),
        other_flags,
    ),
    Row("only the release differs", 0, (TAINT,), other_release),
    Row(
        "only the release differs, IGNORE_VERMAGIC",
        0,
        ("good: bad vermagic: kernel tainted.",),
        other_release,
        flags=InitFlags.IGNORE_VERMAGIC,
    ),
    Row(
        "vermagic flags differ, IGNORE_VERMAGIC",
        0,
        ("good: bad vermagic: kernel tainted.",),
        other_flags,
        flags=InitFlags.IGNORE_VERMAGIC,
    ),
    Row(
        "CRC of module_layout differs",
        errno.ENOEXEC,
        ("good: disagrees about version of symbol module_layout",),
        wrong_crc,
    ),
    Row(
        "CRC of a function differs",
        errno.EINVAL,
        ("good: disagrees about version of symbol _printk", r"good: Unknown symbol _printk \(err -22\)"),
        lambda module: wrong_crc(module, b"_printk"),
    ),
    Row("no __versions", 0, ("good: module_layout: kernel tainted.",), unversioned),
    Row(
        "IGNORE_MODVERSIONS",
        0,
        ("good: module_layout: kernel tainted.",),
        wrong_crc,
        flags=InitFlags.IGNORE_MODVERSIONS,
    ),
    Row("bad parameter", errno.EINVAL, ("good: `abc' invalid for parameter `n'",), parameters="n=abc"),
    Row("unknown parameter", 0, ("good: unknown parameter 'nosuch' ignored",), parameters="nosuch=1"),
    Row("truncated", errno.ENOEXEC, ("Invalid ELF section header overflow",), truncated),
    Row("not ELF", errno.ENOEXEC, (r"Invalid ELF header magic: != .ELF",), lambda module: b"x" * 5000),
    Row(
        "compressed, not unpacked", errno.ENOEXEC, (r"Invalid ELF header magic: != .ELF",), lambda m: b"\xfd7zXZ\0" + m
    ),
    Row("wrong architecture", errno.ENOEXEC, ("Invalid architecture in ELF header: 183",), other_machine),
    Row("empty", errno.ENOEXEC, change=lambda module: b"", silent=True),
    Row("empty, by descriptor", errno.EINVAL, change=lambda module: b"", flags=InitFlags.IGNORE_VERMAGIC, silent=True),
    Row("invalid flag", errno.EINVAL, flags=InitFlags(64), silent=True),
    Row("init returns an error", errno.ENODEV, parameters=f"result=-{errno.ENODEV}"),
    Row(
        "init returns a positive number",
        0,
        (r"do_init_module: 'good'->init suspiciously returned 5, it should follow 0/-E convention",),
        parameters="result=5",
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.case)
def test_loading(row: Row, boxes: Boxes, good: bytes, foreign: bytes) -> None:
    box = boxes(row.cmdline)
    image = row.change(foreign if row.signed else good)
    start = box.log.next_seq
    answer = 0
    try:
        box.init_module(image, row.parameters, row.flags)
    except OSError as error:
        answer = error.errno or -1
    said = [record.text for record in box.log.since(start)]
    assert errno.errorcode.get(answer, answer) == errno.errorcode.get(row.errno, row.errno), said
    for expected in row.log:
        assert any(re.fullmatch(expected, line) or expected in line for line in said), said
    if row.silent:
        assert not said
    loaded = "good " in box.read_text("/proc/modules")
    assert loaded == (row.errno == 0)


@pytest.mark.parametrize("cmdline", ["", ENFORCE])
def test_a_corrupted_signature_is_rejected_without_a_word(
    cmdline: str, boxes: Boxes, debian_kernel: KernelImage
) -> None:
    assert debian_kernel.modules is not None
    own = (debian_kernel.modules / "kernel/net/llc/llc.ko").read_bytes()
    box = boxes(cmdline)
    box.insmod(own).unload()
    assert "taint" not in "".join(record.text for record in box.log.of("llc"))
    start = box.log.next_seq
    with pytest.raises(OSError) as caught:
        box.init_module(corrupted(own))
    assert caught.value.errno == errno.EKEYREJECTED
    assert box.log.since(start) == []


def test_insmod_reports_what_the_kernel_said(box: Box, good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "good.ko"
    path.write_bytes(other_flags(good))
    with pytest.raises(ModuleLoadError) as caught:
        box.insmod(path)
    error = caught.value
    assert (error.errno, error.module) == (errno.ENOEXEC, "good")
    assert str(path) in str(error)
    assert "ENOEXEC" in str(error)
    assert any("version magic" in line for line in error.log)
    assert "version magic" in str(error)
    box.insmod(path, force=True).unload()


def test_another_kernel_s_module_is_refused(box: Box, trixie_kernel: KernelImage) -> None:
    with pytest.raises(ModuleLoadError) as caught:
        box.insmod(BuiltTestModules(trixie_kernel)("good"))
    assert caught.value.errno == errno.ENOEXEC
    assert any("disagrees about version of symbol module_layout" in line for line in caught.value.log)


def test_modules_disabled(box: Box, good: bytes) -> None:
    module = box.insmod(good)
    box.write_bytes("/proc/sys/kernel/modules_disabled", b"1")
    start = box.log.next_seq
    with pytest.raises(ModuleLoadError) as caught:
        box.insmod(good)
    assert caught.value.errno == errno.EPERM
    with pytest.raises(ModuleUnloadError) as refused:
        module.unload()
    assert refused.value.errno == errno.EPERM
    assert box.log.since(start) == []


def test_sig_enforce_and_lockdown_are_switched_at_run_time(box: Box, good: bytes) -> None:
    with box.checkpoint():
        box.write_bytes("/sys/module/module/parameters/sig_enforce", b"Y")
        with pytest.raises(ModuleLoadError) as caught:
            box.insmod(good)
        assert caught.value.errno == errno.EKEYREJECTED
        with pytest.raises(OSError):
            box.write_bytes("/sys/module/module/parameters/sig_enforce", b"N")
    box.write_bytes("/sys/kernel/security/lockdown", b"integrity")
    assert "[integrity]" in box.read_text("/sys/kernel/security/lockdown")
    with pytest.raises(ModuleLoadError) as caught:
        box.insmod(good)
    assert caught.value.errno == errno.EPERM
    assert any(line.startswith("Lockdown: kobox: unsigned module loading is restricted") for line in caught.value.log)


def test_already_loaded(box: Box, good: bytes) -> None:
    box.insmod(good)
    start = box.log.next_seq
    with pytest.raises(ModuleLoadError) as caught:
        box.insmod(good)
    assert caught.value.errno == errno.EEXIST
    assert box.log.since(start) == []


def test_a_symbol_exported_twice(box: Box, modules: BuiltTestModules) -> None:
    base = modules("kbase").read_bytes()
    box.insmod(base)
    with pytest.raises(ModuleLoadError) as caught:
        # The name stands in .modinfo and in struct module.
        box.insmod(base.replace(b"name=kbase\0", b"name=kdupe\0").replace(b"\0kbase\0", b"\0kdupe\0"))
    assert caught.value.errno == errno.ENOEXEC
    assert any(
        re.fullmatch(r"kdupe: exports duplicate symbol kbase\w*_fn \(owned by kbase\)", line)
        for line in caught.value.log
    )


def test_a_gpl_only_symbol_for_a_module_of_another_licence(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("kbase"))
    user = replaced(
        modules("kuser").read_bytes(), ".modinfo", lambda info: info.replace(b"license=GPL\0", b"license=BSD\0")
    )
    with pytest.raises(ModuleLoadError) as caught:
        box.insmod(user)
    assert caught.value.errno == errno.ENOENT
    assert "kuser: Unknown symbol kbase_gpl_fn (err -2)" in caught.value.log
    assert not any("kbase_fn " in line for line in caught.value.log)


# -- unloading ----------------------------------------------------------------------------------------------------


def test_a_reference_that_is_held(box: Box, good: bytes) -> None:
    module = box.insmod(good, hold=True)
    assert module.refcount == 1
    start = box.log.next_seq
    with pytest.raises(ModuleUnloadError) as caught:
        module.unload()
    assert caught.value.errno == errno.EAGAIN
    assert box.log.since(start) == []
    module.unload(force=True)
    assert not module.is_loaded
    assert "Disabling lock debugging due to kernel taint" in [record.text for record in box.log.since(start)]
    assert int(box.read_text("/proc/sys/kernel/tainted")) & 1 << 3  # TAINT_FORCED_RMMOD


def test_no_exit_function(box: Box, modules: BuiltTestModules) -> None:
    module = box.insmod(modules("noexit"))
    assert "[permanent]" in box.read_text("/proc/modules")
    with pytest.raises(ModuleUnloadError) as caught:
        module.unload()
    assert caught.value.errno == errno.EBUSY
    module.unload(force=True)
    assert not module.is_loaded


def test_not_loaded(box: Box) -> None:
    start = box.log.next_seq
    for flags in (DeleteFlags.NONE, DeleteFlags.NONBLOCK, DeleteFlags.FORCE):
        with pytest.raises(FileNotFoundError):
            box.delete_module("nowhere", flags)
    with pytest.raises(ModuleUnloadError) as caught:
        box.rmmod("nowhere")
    assert caught.value.errno == errno.ENOENT
    assert box.log.since(start) == []


def test_after_an_oops_the_module_cannot_go(box: Box, modules: BuiltTestModules) -> None:
    with pytest.raises(ProcessDiedError):
        box.insmod(modules("faulty"), what="null")
    with pytest.raises(ModuleUnloadError) as caught:
        box.rmmod("faulty", force=True)
    assert caught.value.errno == errno.EBUSY
    assert " Loading " in box.read_text("/proc/modules")


def test_names_with_dashes(box: Box, debian_kernel: KernelImage) -> None:
    assert debian_kernel.modules is not None
    path = next(debian_kernel.modules.rglob("crc7.ko"), None) or next(debian_kernel.modules.rglob("*-generic.ko"))
    module = box.insmod(path)
    box.rmmod(module.name.replace("_", "-"))
    assert not module.is_loaded


# -- parameters and the handle ------------------------------------------------------------------------------------


def said(module: LoadedModule) -> list[str]:
    return [record.text for record in module.log if record.text.startswith("params: ")][2:]


def test_parameters_by_keyword(box: Box, modules: BuiltTestModules) -> None:
    module = box.insmod(modules("params"), number=-5, greeting="two words", list=[4, 5], flag=True, even="0x10")
    assert said(module) == ["params: number=-5 greeting=two words flag=1 secret=7 even=16"] + [
        f"params: list[{n}]={v}" for n, v in enumerate([4, 5])
    ]
    assert dict(module.parameters) == {
        "even": "16",
        "flag": "Y",
        "greeting": "two words",
        "list": "4,5",
        "number": "-5",
    }


def test_parameters_as_text(box: Box, modules: BuiltTestModules) -> None:
    module = box.insmod(modules("params"), 'greeting="a b" number=7 secret=9 flag', list=(1,))
    assert said(module)[0] == "params: number=7 greeting=a b flag=1 secret=9 even=0"


def test_a_writable_parameter_is_changed_while_loaded(box: Box, modules: BuiltTestModules) -> None:
    module = box.insmod(modules("params"))
    module.parameters["number"] = 1000
    module.parameters["list"] = [9, 8, 7, 6]
    module.parameters["flag"] = True
    assert module.parameters["number"] == "1000"
    assert module.parameters["list"] == "9,8,7,6"
    assert module.parameters["flag"] == "Y"
    for name, value, expected in [
        ("even", 3, errno.ERANGE),
        ("even", "x", errno.EINVAL),
        ("number", "much", errno.EINVAL),
        ("list", [1, 2, 3, 4, 5], errno.EINVAL),
    ]:
        with pytest.raises(OSError) as caught:
            module.parameters[name] = value
        assert caught.value.errno == expected
    assert "params: 3 is odd" in [record.text for record in module.log]
    with pytest.raises(KeyError):
        module.parameters["nosuch"]
    assert "secret" not in module.parameters
    assert box.path("/sys/module/params/parameters/greeting").stat().st_mode & 0o777 == 0o444
    module.unload()
    assert box.log.records()[-1].text == "params: number is 1000 at the end"


def test_a_parameter_that_its_setter_refuses_at_load(box: Box, modules: BuiltTestModules) -> None:
    with pytest.raises(ModuleLoadError) as caught:
        box.insmod(modules("params"), even=7)
    assert caught.value.errno == errno.ERANGE
    assert "params: 7 is odd" in caught.value.log
    with pytest.raises(ModuleLoadError) as caught:
        box.insmod(modules("params"), list=[1, 2, 3, 4, 5])
    assert caught.value.errno == errno.EINVAL
    assert "params: can only take 4 arguments" in caught.value.log or any("list" in line for line in caught.value.log)


def test_what_cannot_be_written_as_a_parameter() -> None:
    assert parameter_text("a=1", {"b": [True, 2], "c": "x y"}) == 'a=1 b=Y,2 c="x y"'
    with pytest.raises(ValueError, match="quote"):
        parameter_text(values={"a": 'say "hi"'})


def test_the_handle_on_a_module(box: Box, modules: BuiltTestModules) -> None:
    module = box.insmod(modules("good"))
    assert repr(module) == "<LoadedModule 'good'>"
    assert module.is_loaded
    assert (module.refcount, module.holders) == (0, [])
    assert module.log[-1].text == "good: loaded with n=0"
    assert box.read_text("/sys/module/good/initstate") == "live\n"
    assert box.read_text("/sys/module/good/version") == "1.0\n"
    module.unload()
    with pytest.raises(ModuleUnloadError):
        module.unload()


# -- what modules do ----------------------------------------------------------------------------------------------


def test_memory_of_every_kind(box: Box, modules: BuiltTestModules) -> None:
    module = box.insmod(modules("memories"))
    lines = [record.text for record in module.log if record.text.split()[-1] in ("good", "bad")]
    ways = ["kmalloc", "krealloc", "kzalloc", "vmalloc", "kmem_cache", "mempool", "percpu"]
    assert lines == [f"memories: {way} good" for way in ways]
    module.unload()
    assert "memories" not in box.read_text("/proc/slabinfo")


def test_an_asynchronous_probe_runs_after_init_has_returned(box: Box, modules: BuiltTestModules) -> None:
    module = box.insmod(modules("asyncprobe"))
    box.sleep(1)
    said = [record.text.split(": ")[-1] for record in module.log if "prob" in record.text or "init" in record.text]
    assert said.index("init returns") < said.index("probe is done")
    assert box.path("/sys/bus/platform/drivers/asyncprobe/asyncprobe").is_symlink()
    module.unload()
    assert not box.path("/sys/bus/platform/drivers/asyncprobe").exists()


def test_notifiers_hear_of_modules_and_devices(box: Box, modules: BuiltTestModules) -> None:
    module = box.insmod(modules("notified"))
    box.insmod(modules("good")).unload()
    with box.network.socket(2, 2) as control:
        for flags in (0, 1):
            control.ioctl(0x8914, struct.pack("<16sH22x", b"lo", flags))
    module.unload()
    said = [record.text.removeprefix("notified: ") for record in box.log.of("notified")]
    assert "own chain: 77" in said
    for expected in ("module good: coming", "module good: live", "module good: going", "device lo: down"):
        assert expected in said
    assert said.index("device lo: down") < len(said) - 1 - said[::-1].index("device lo: up")


def test_a_kprobe_of_a_module_counts(box: Box, modules: BuiltTestModules) -> None:
    module = box.insmod(modules("kprobed"))
    before = int(module.parameters["calls"])
    for _ in range(5):
        with pytest.raises(FileNotFoundError):
            box.open("/nowhere")
    with pytest.raises(FileNotFoundError):
        box.open("/nowhere")
    assert int(module.parameters["calls"]) == before + 7
    with pytest.raises(FileNotFoundError):
        box.open("/nowhere")
    module.unload()
    assert not box.findings
