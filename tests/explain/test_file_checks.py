"""Files that are no module, or not as the kernel wants them: what is said, and what a real kernel answers."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable

import pytest

from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.explain.box_answer import cause_of_answer, try_in_box
from kobox.explain.compressed import kernel_objections, signature_is_outside, unpacked_by_the_kernel
from kobox.explain.explanation import Conditions, Explanation
from kobox.explain.file_kind import kind_of
from kobox.explain.load_rules import explain
from kobox.images.kernel_config import read_config
from kobox.images.store import KernelImage
from kobox.ko.compression import decompress
from kobox.ko.modulefile import ModuleFile
from tests.box.test_module_handle import with_vermagic
from tests.building import BuiltTestModules

XZ = lzma.FILTER_LZMA2


@pytest.fixture(scope="module")
def good(modules: BuiltTestModules) -> bytes:
    return modules("good").read_bytes()


def tar(content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("hello.ko")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def zipped(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("hello.ko", content)
    return out.getvalue()


def retyped(content: bytes, kind: int) -> bytes:
    return content[:16] + struct.pack("<H", kind) + content[18:]


KINDS: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "empty": (lambda _: b"", "empty: 0 bytes", "disk full"),
    "zeros": (lambda _: bytes(9000), "all zeros", "disk full"),
    "git-lfs": (lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS", "git lfs pull"),
    "html": (lambda _: b"<!DOCTYPE html>\n<html><body>Sign in</body></html>" + b" " * 99, "HTML page", "Download"),
    "html, with blanks": (lambda _: b"\n\n  <HTML>" + b" " * 99, "HTML page", "Download"),
    "404": (lambda _: b"404: Not Found" + b"\n" * 60, "no such file", "Download"),
    "json": (lambda _: b'{"message": "Not Found"}' + b"\n" * 60, "JSON", "Download"),
    "xml": (lambda _: b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML", "Download"),
    "tar": (tar, "tar archive", "Unpack"),
    "tar.gz": (lambda module: gzip.compress(tar(module)), "tar archive", "Unpack"),
    "zip": (zipped, "ZIP archive", "Unpack"),
    "deb": (
        lambda _: b"!<arch>\ndebian-binary   1700000000  0     0     100644  4         `\n2.0\n",
        "Debian",
        "dpkg -x",
    ),
    "rpm": (lambda _: b"\xed\xab\xee\xdb\x03" + bytes(90), "RPM", "rpm2cpio"),
    "a": (lambda _: b"!<arch>\n/               0           0     0     0       8         `\n", "library", ".ko"),
    "bzip2": (lambda module: bz2.compress(module), "bzip2", "bunzip2"),
    "lzma": (lambda module: lzma.compress(module, lzma.FORMAT_ALONE), ".lzma", "unlzma"),
    "twice": (lambda module: gzip.compress(gzip.compress(module)), "twice", "gunzip"),
    "cpio": (lambda _: b"070701" + b"0" * 104, "cpio", "Unpack"),
    "script": (lambda _: b"#!/bin/sh\nexit 0\n" + b"#" * 60, "script", ".ko"),
    "source": (lambda _: b"/* hello */\n#include <linux/module.h>\n" + b"\n" * 60, "C source", "kobox build"),
    "text": (lambda _: "Größe: 12 Bytes".encode() * 9, "a text", ".ko"),
    "program": (lambda module: retyped(module, 2), "a program for x86_64", ".ko"),
    "shared library": (lambda module: retyped(module, 3), "shared library for x86_64", ".ko"),
    "core dump": (lambda module: retyped(module, 4), "core dump", ".ko"),
    "exe": (lambda _: b"MZ" + bytes(90), "Windows", ".ko"),
    "bitcode": (lambda _: b"BC\xc0\xde" + bytes(90), "bitcode", "Kbuild"),
    "key": (lambda _: b"-----BEGIN PRIVATE KEY-----\n" * 9, "PEM", "module"),
}


@pytest.mark.parametrize("case", KINDS)
def test_what_is_no_module(case: str, box: Box, debian_kernel: KernelImage, good: bytes) -> None:
    change, text, advice = KINDS[case]
    data = change(good)
    result = try_in_box(data, explain(data, debian_kernel), box)
    decisive = result.decisive
    assert decisive is not None
    assert (decisive.rule, result.errno, result.agrees) == ("not-elf", "ENOEXEC", True)
    assert text in decisive.text
    assert advice in decisive.advice


def test_what_is_a_module_has_no_other_kind(good: bytes) -> None:
    assert kind_of(good) is None
    assert kind_of(b"\xde\xad\xbe\xef" * 100) is None
    assert kind_of(b"\x7fELF") is not None


# -- compression --------------------------------------------------------------------------------------------------


def xz(module: bytes, check: int = lzma.CHECK_CRC32, *filters: dict[str, int]) -> bytes:
    return lzma.compress(module, check=check, filters=[*filters, {"id": XZ, "preset": 6}])


PACKED: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "as Kbuild does": (xz, "", "kmod 31 and newer leave to this kernel"),
    "CRC64, as xz does without options": (lambda module: xz(module, lzma.CHECK_CRC64), "EINVAL", "CRC64"),
    "SHA-256": (lambda module: xz(module, lzma.CHECK_SHA256), "EINVAL", "SHA-256"),
    "no check": (lambda module: xz(module, lzma.CHECK_NONE), "", "leave to this kernel"),
    "delta filter": (
        lambda module: xz(module, lzma.CHECK_CRC32, {"id": lzma.FILTER_DELTA, "dist": 4}),
        "EINVAL",
        "filter delta",
    ),
    "x86 filter": (lambda module: xz(module, lzma.CHECK_CRC32, {"id": lzma.FILTER_X86}), "", "leave to this kernel"),
    "powerpc filter": (
        lambda module: xz(module, lzma.CHECK_CRC32, {"id": lzma.FILTER_POWERPC}),
        "EINVAL",
        "filter powerpc, for which the kernel has no code (CONFIG_XZ_DEC_POWERPC is off)",
    ),
    "cut": (lambda module: xz(module)[:3000], "EINVAL", "damaged xz data"),
    "gzip, which is unpacked before": (gzip.compress, "", "kmod unpack it"),
}


@pytest.fixture(scope="module")
def packing_box(trixie_kernel: KernelImage) -> Box:
    with boot(trixie_kernel) as box:
        yield box


@pytest.mark.parametrize("case", PACKED)
def test_a_kernel_that_unpacks_modules_itself(case: str, packing_box: Box, trixie_kernel: KernelImage) -> None:
    packing_box.reset()
    change, errno, text = PACKED[case]
    assert trixie_kernel.modules is not None
    (path,) = trixie_kernel.modules.glob("kernel/net/llc/llc.ko*")
    data = change(decompress(path.read_bytes()))
    result = try_in_box(data, explain(data, trixie_kernel), packing_box)
    assert (result.errno, result.agrees) == (errno, True), result
    fact = next(fact for fact in result.facts if fact.rule == "compression")
    assert text in fact.text
    assert result.packed == ("before" not in case)


def test_whether_the_kernel_unpacks(good: bytes) -> None:
    config = {"MODULE_DECOMPRESS": "y", "MODULE_COMPRESS_XZ": "y"}
    assert unpacked_by_the_kernel(xz(good), config)
    assert not unpacked_by_the_kernel(gzip.compress(good), config)
    assert not unpacked_by_the_kernel(good, config)
    assert not unpacked_by_the_kernel(xz(good), {"MODULE_COMPRESS_XZ": "y"})
    for size in range(40):
        list(kernel_objections(xz(good)[:size], config))  # damaged headers do not end in an error


def test_a_signature_behind_compressed_data(good: bytes, debian_kernel: KernelImage) -> None:
    outside = gzip.compress(good) + b"signature~Module signature appended~\n"
    assert signature_is_outside(outside)
    assert not signature_is_outside(good)
    rules = [fact.rule for fact in explain(outside, debian_kernel).facts]
    assert rules[0] == "signature-outside"


@pytest.mark.parametrize(("tail", "text"), [(b"\n", "1 byte follows"), (b"\0" * 9, "9 bytes follow"), (b"", "newline")])
def test_bytes_behind_the_marker(tail: bytes, text: str, box: Box, debian_kernel: KernelImage) -> None:
    assert debian_kernel.modules is not None
    own = (debian_kernel.modules / "kernel/net/llc/llc.ko").read_bytes()
    data = own + tail if tail else own[:-1]
    result = try_in_box(data, explain(data, debian_kernel), box)
    assert result.agrees
    fact = next(fact for fact in result.facts if fact.rule == "unsigned")
    assert text in fact.text
    assert any("module verification failed" in line for line in result.log)


# -- other kernels, missing options, init's own errors -----------------------------------------------------------------


def test_the_kernel_that_a_module_fits_is_named(
    debian_kernel: KernelImage, trixie_kernel: KernelImage, good: bytes
) -> None:
    foreign = with_vermagic(good, lambda magic: magic.replace(b"SMP", b"UP "))
    assert "It fits" not in str(explain(foreign, debian_kernel, others=[trixie_kernel]).facts)
    result = explain(good, trixie_kernel, others=[debian_kernel])
    advice = next(fact.advice for fact in result.facts if fact.rule == "module-layout")
    assert advice.startswith(f"It fits {debian_kernel.name}: `-k {debian_kernel.name}`.")


@pytest.mark.parametrize(
    ("machine", "bits", "order", "text", "advice"),
    [
        (183, 2, 1, "built for aarch64, and the kernel is for x86_64", "kobox kernel add debian:arm64"),
        (243, 2, 1, "built for riscv64, and the kernel is for x86_64", "kobox kernel add debian:riscv64"),
        (243, 1, 1, "built for riscv32, and", "No box has such a processor"),
        (40, 1, 1, "built for arm, and", "`kobox kernel add debian:armhf` fetches"),
        (183, 2, 2, "built for aarch64, big-endian, and", "No box has such a processor"),
        (62, 1, 1, "built for x86_64, 32-bit, and", "No box has such a processor"),
        (21, 2, 2, "built for ppc64, big-endian, and", "No box has such a processor"),
        (22, 2, 2, "built for s390x, and", "No box has such a processor"),
        (4711, 2, 1, "built for machine 4711, and", "No box has such a processor"),
    ],
)
def test_a_module_for_another_processor(
    debian_kernel: KernelImage, good: bytes, machine: int, bits: int, order: int, text: str, advice: str
) -> None:
    words = struct.pack(">HH" if order == 2 else "<HH", 1, machine)
    other = good[:4] + bytes((bits, order)) + good[6:16] + words + good[20:]
    (fact,) = (fact for fact in explain(other, debian_kernel).facts if fact.rule == "architecture")
    assert fact.text.startswith(text)
    assert advice in fact.advice


def test_another_processors_kernel_is_named(debian_kernel: KernelImage, arm64_kernel: KernelImage, good: bytes) -> None:
    other = good[:18] + struct.pack("<H", 183) + good[20:]
    (fact,) = (f for f in explain(other, debian_kernel, others=[arm64_kernel]).facts if f.rule == "architecture")
    assert fact.advice == f"It is for the processor of {arm64_kernel.name}: `-k {arm64_kernel.name}`."


def test_the_option_behind_a_missing_symbol(debian_kernel: KernelImage, good: bytes) -> None:
    config = read_config(debian_kernel)
    assert config["MODULE_SIG"] == "y"
    assert "KASAN" not in config
    assert "VIDEO_DEV" not in config
    data = renamed_symbol(good, b"_printk", b"media_x")
    fact = next(fact for fact in explain(data, debian_kernel).facts if fact.rule == "unknown-symbol")
    assert "this kernel was built without CONFIG_MEDIA_CONTROLLER" in fact.text
    assert "CONFIG_MEDIA_CONTROLLER" in fact.advice


def renamed_symbol(module: bytes, old: bytes, new: bytes) -> bytes:
    from tests.box.test_module_handle import replaced

    assert len(old) == len(new)
    assert b"\0" + old + b"\0" in module
    return replaced(module, ".strtab", lambda names: names.replace(b"\0" + old + b"\0", b"\0" + new + b"\0"))


@pytest.mark.parametrize("code", [1, 2, 8, 12, 17, 22, 74, 126, 129])
def test_init_s_own_errno_is_told_as_init_s(
    code: int, box: Box, debian_kernel: KernelImage, modules: BuiltTestModules
) -> None:
    """EPERM, ENOENT, ENOEXEC, ENOMEM, EEXIST, EINVAL, EBADMSG, ENOKEY, EKEYREJECTED: the loader answers them, too."""
    module = modules("good").read_bytes()
    conditions = Conditions(parameters=f"result=-{code}")
    result = refused_by_init(module, debian_kernel, box, conditions)
    assert result.answer is not None
    assert result.answer.reached_init
    cause = cause_of_answer(result.answer, "good")
    assert cause.rule == "init-failed"
    assert f"returned -{result.errno}" in cause.why


def refused_by_init(module: bytes, kernel: KernelImage, box: Box, conditions: Conditions) -> Explanation:
    result = explain(module, kernel, conditions)
    assert result.errno == ""
    return try_in_box(module, result, box, conditions)


def test_a_refusal_of_the_loader_s_does_not_reach_init(box: Box, debian_kernel: KernelImage, good: bytes) -> None:
    damaged = with_vermagic(good, lambda magic: magic.replace(b"SMP", b"UP "))
    result = try_in_box(damaged, explain(damaged, debian_kernel), box)
    assert result.answer is not None
    assert not result.answer.reached_init
    assert cause_of_answer(result.answer, "good").rule == "vermagic"


def test_an_oops_in_init_is_an_oops(box: Box, debian_kernel: KernelImage, modules: BuiltTestModules) -> None:
    module = modules("faulty").read_bytes()
    conditions = Conditions(parameters="what=null")
    result = try_in_box(module, explain(module, debian_kernel, conditions), box, conditions)
    assert result.answer is not None
    assert (result.errno, result.answer.reached_init) == ("DIED", True)
    cause = cause_of_answer(result.answer, "faulty")
    assert (cause.rule, cause.module) == ("oops-null", "faulty")


def test_modules_that_are_loaded_before_it_in_any_order(
    box: Box, debian_kernel: KernelImage, modules: BuiltTestModules, good: bytes
) -> None:
    before = tuple(ModuleFile(modules(name)) for name in ("kuser", "kbase"))
    conditions = Conditions(beside=before)
    result = try_in_box(good, explain(good, debian_kernel, conditions), box, conditions)
    assert (result.errno, result.answer and result.answer.note) == ("", "")
    box.reset()
    conditions = Conditions(beside=before[:1])
    result = try_in_box(good, explain(good, debian_kernel, conditions), box, conditions)
    assert result.answer is not None
    assert "kuser could not be loaded before it" in result.answer.note


def in_a_cycle(base: bytes, name: bytes, exported: bytes, imported: bytes) -> bytes:
    """A module of another name that exports one symbol and uses another."""
    module = base.replace(b"name=kbase\0", b"name=" + name + b"\0").replace(b"\0kbase\0", b"\0" + name + b"\0")
    module = module.replace(b"kbase_fn\0", exported[:8] + b"\0").replace(b"kbase_gpl_fn\0", exported + bytes(3))
    return renamed_symbol(module, b"__fentry__", imported)


def test_modules_that_need_each_other(box: Box, debian_kernel: KernelImage, modules: BuiltTestModules) -> None:
    base = modules("kbase").read_bytes()
    one = in_a_cycle(base, b"cycle", b"first_func", b"other_func")
    other = in_a_cycle(base, b"other", b"other_func", b"first_func")
    conditions = Conditions(beside=(ModuleFile(other),))
    result = try_in_box(one, explain(one, debian_kernel, conditions), box, conditions)
    assert result.decisive is not None
    assert (result.decisive.rule, result.errno, result.agrees) == ("cycle", "ENOENT", True), result
    assert "it uses other_func of other, and other uses first_func of it" in result.decisive.text
    assert "other could not be loaded before it" in result.answer.note if result.answer else ""


@pytest.mark.parametrize(("what", "call"), [("call", "register_kprobe() at verdict.c:"), ("own", "")])
def test_the_call_of_init_that_failed(what: str, call: str, box: Box, debian_kernel: KernelImage) -> None:
    module = BuiltTestModules(debian_kernel, "verdicts")("verdict").read_bytes()
    conditions = Conditions(parameters=f"what={what}")
    result = refused_by_init(module, debian_kernel, box, conditions)
    assert result.answer is not None
    assert result.answer.init_call.startswith(call)
    assert bool(result.answer.init_call) == bool(call)
    why = cause_of_answer(result.answer, "verdict").why
    assert f"returned -{result.errno} (" in why
    assert why.endswith(f", from {result.answer.init_call}" if call else ")")
