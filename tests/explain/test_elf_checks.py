"""Damaged sections and relocations: what is said before, and what a real kernel says."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.explain.box_answer import try_in_box
from kobox.explain.elf_checks import relocation_damage
from kobox.explain.explanation import Explanation
from kobox.explain.load_rules import explain
from kobox.explain.log import causes_in
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.box.test_module_handle import replaced, section
from tests.building import BuiltTestModules

Change = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def good(modules: BuiltTestModules) -> bytes:
    return modules("good").read_bytes()


def patched(at: int, form: str, value: int) -> Change:
    return lambda module: module[:at] + struct.pack(form, value) + module[at + struct.calcsize(form) :]


def section_header(number: int, field: int, form: str, value: int) -> Change:
    """A field of the header of a section; a negative number counts from the last one."""

    def change(module: bytes) -> bytes:
        table, count = struct.unpack_from("<Q", module, 40)[0], struct.unpack_from("<H", module, 60)[0]
        return patched(table + 64 * (number % count) + field, form, value)(module)

    return change


def named(name: str, field: int, form: str, value: int) -> Change:
    return lambda module: section_header(ModuleFile(module).elf.find(name.encode()), field, form, value)(module)


def unterminated(module: bytes) -> bytes:
    return replaced(module, ".shstrtab", lambda names: names[:-1] + b"x")


def first_relocation(module: bytes, kind: int) -> tuple[int, int]:
    """Where in the file the first relocation of a type in .init.text lies, and where in .init.text it points to."""
    at, content = section(module, ".rela.init.text")
    for number, (offset, info, _) in enumerate(struct.iter_unpack("<QQq", content)):
        if info & 0xFFFFFFFF == kind:
            return at + 24 * number, offset
    raise AssertionError(f"no relocation of type {kind}")


def retyped(new: int, old: int = 11) -> Change:
    """The first relocation of one type made one of another."""

    def change(module: bytes) -> bytes:
        return patched(first_relocation(module, old)[0] + 8, "<I", new)(module)

    return change


def far(module: bytes) -> bytes:
    """An addend of 2 GiB."""
    return patched(first_relocation(module, 11)[0] + 16, "<q", 1 << 33)(module)


def written_over(module: bytes) -> bytes:
    text, _ = section(module, ".init.text")
    return patched(text + first_relocation(module, 11)[1], "<I", 1)(module)


def without_addends(module: bytes) -> bytes:
    return named(".rela.init.text", 4, "<I", 9)(module)


def common(module: bytes) -> bytes:
    """The first undefined symbol made a common one."""
    table, content = section(module, ".symtab")
    for number, row in enumerate(struct.iter_unpack("<IBBHQQ", content)):
        if number and row[3] == 0:
            return patched(table + 24 * number + 6, "<H", 0xFFF2)(module)
    raise AssertionError("no undefined symbol")


CASES: dict[str, tuple[Change, str]] = {
    "section headers of another size": (patched(58, "<H", 63), "sections"),
    "section headers beyond the end": (patched(40, "<Q", 1 << 40), "truncated"),
    "more sections than there are": (patched(60, "<H", 60000), "truncated"),
    "names in no section": (patched(62, "<H", 0), "sections"),
    "names in a section too many": (patched(62, "<H", 999), "sections"),
    "names beyond the end": (named(".shstrtab", 24, "<Q", 1 << 40), "truncated"),
    "names of no size": (named(".shstrtab", 32, "<Q", 0), "sections"),
    "names without an end": (unterminated, "sections"),
    "section 0 with a size": (section_header(0, 32, "<Q", 1), "sections"),
    "section 0 with an address": (section_header(0, 16, "<Q", 1), "sections"),
    "a section beyond the end": (named(".text", 24, "<Q", 1 << 40), "truncated"),
    "a section that wraps": (named(".text", 24, "<Q", (1 << 64) - 1), "truncated"),
    "a section's name that is none": (named(".text", 0, "<I", 1 << 20), "sections"),
    "symbols without names": (named(".symtab", 40, "<I", 0), "sections"),
    "symbols with names in no section": (named(".symtab", 40, "<I", 5000), "sections"),
    "a program": (patched(16, "<H", 2), "not-elf"),
    "a relocation for shared libraries": (retyped(9), "relocation"),
    "a relocation that does not exist": (retyped(77), "relocation"),
    "a relocation of user space's code": (retyped(10), "relocation"),
    "a relocation that is too far": (far, "relocation"),
    "a relocation where something is": (written_over, "relocation-target"),
    "relocations without addends": (without_addends, "relocation"),
    "a common symbol": (common, "common-symbol"),
}


def said_in_the_log(result: Explanation) -> list[str]:
    reason = os.strerror(getattr(errno, result.errno))
    text = "".join(f"[    1.0] {line}\n" for line in result.log)
    return [cause.rule for cause in causes_in(text + f"insmod: ERROR: could not insert module good.ko: {reason}\n")]


@pytest.mark.parametrize("case", CASES)
def test_the_rule_the_errno_and_the_words(case: str, box: Box, debian_kernel: KernelImage, good: bytes) -> None:
    change, rule = CASES[case]
    module = change(good)
    assert module != good
    result = try_in_box(module, explain(module, debian_kernel), box)
    assert result.decisive is not None
    assert (result.decisive.rule, result.errno, result.agrees) == (rule, "ENOEXEC", True), result
    assert [line for line in result.decisive.log if line not in result.log] == [], result.log
    assert rule in said_in_the_log(result), result.log


@pytest.mark.parametrize("kernel", ["trixie_kernel", "sid_kernel"])
def test_newer_kernels_refuse_the_same(
    kernel: str, machine_room: dict[str, Box], request: pytest.FixtureRequest
) -> None:
    image: KernelImage = request.getfixturevalue(kernel)
    module = BuiltTestModules(image)("good").read_bytes()
    from kobox.box.boot.boot import boot

    with boot(image) as box:
        for case, (change, rule) in CASES.items():
            result = try_in_box(change(module), explain(change(module), image), box)
            assert result.decisive is not None, case
            assert (result.decisive.rule, result.errno, result.agrees) == (rule, "ENOEXEC", True), (case, result)
            assert rule in said_in_the_log(result), (case, result.log)


def test_a_relocation_out_of_the_module_is_told_though_the_kernel_does_not_see_it(
    debian_kernel: KernelImage, good: bytes
) -> None:
    module = patched(first_relocation(good, 11)[0], "<Q", 1 << 30)(good)
    (fact,) = [fact for fact in explain(module, debian_kernel).facts if fact.rule == "relocation"]
    assert "points outside its section" in fact.text
    assert fact.errno == ""


def test_no_module_of_a_kernel_s_tree_has_any(debian_kernel: KernelImage, trixie_kernel: KernelImage) -> None:
    for kernel in (debian_kernel, trixie_kernel):
        assert kernel.modules is not None
        for path in sorted(kernel.modules.rglob("*.ko*"))[::25]:
            assert list(relocation_damage(ModuleFile(path).elf, Path(path).name)) == [], path
