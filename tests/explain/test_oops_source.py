"""Oopses in the module's own words: every kind of bad pointer, on real kernels, and reports of other machines."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.errors import BoxError
from kobox.explain.oops_source import DecodedOops, oopses_in, pointer_text
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules

KINDS = [
    # kind, why, what the line of source is marked with, the inlined function, the innermost first
    (0, "whole (struct whole *) is NULL; follow_null() wrote to whole->own.inner.deeper", "null", ["follow_null"]),
    (1, "part (struct part *) is ERR_PTR(-ENODEV); use_error() read part->inner.deep", "error", ["use_error"]),
    (2, "inlined (struct part *) is NULL; touch() read inlined->first", "inlined", ["touch", "use_inlined"]),
    (
        3,
        "next (struct list_head *) is an entry that was deleted from its list (LIST_POISON1); "
        "delete_twice() used next->prev",
        "poison",
        ["delete_twice"],
    ),
    (
        4,
        "gone (struct part *) is memory that was freed (slab poison 0x6b); use_freed() used gone->first",
        "freed",
        ["use_freed"],
    ),
    (5, "strlen() of the kernel was called by measure()", "kernel", ["__fortify_strlen", "measure"]),
    (
        6,
        "from_user (struct part *) is an address of user space; follow_user() read from_user->inner.deep",
        "user",
        ["follow_user"],
    ),
]


@pytest.fixture(scope="module")
def oopses(debian_kernel: KernelImage) -> Path:
    return BuiltTestModules(debian_kernel, "debug")("oopses")


def decoded(box: Box, module: Path, kind: int) -> DecodedOops:
    with suppress(BoxError):
        box.insmod(module, kind=kind)
    found = oopses_in(box.log.text(), [ModuleFile(module)])
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(("kind", "why", "mark", "functions"), KINDS, ids=[row[2] for row in KINDS])
def test_each_kind_of_bad_pointer(box: Box, oopses: Path, kind: int, why: str, mark: str, functions: list[str]) -> None:
    oops = decoded(box, oopses, kind)
    assert oops.why == why
    frame = oops.frames[0]
    assert [place.function for place in frame.places] == functions
    assert [place.inlined for place in frame.places][-1] is False
    here = next(line for line in frame.context if line.is_here)
    assert here.text.endswith(f"/* {mark} */")
    assert len(frame.context) == 7
    outer = oops.frames[-1]
    assert outer.places[-1].function == "oopses_init"
    text = "\n".join(oops.lines())
    assert why in text
    assert f"> {here.number:5}  {here.text}" in text


def test_registers_have_the_names_of_variables(box: Box, oopses: Path) -> None:
    oops = decoded(box, oopses, 0)
    assert [(one.name, one.value, one.variables) for one in oops.registers] == [("rdi", 0, ("whole",))]
    assert ("whole", "struct whole *", "NULL") in oops.variables
    assert "BUG: kernel NULL pointer dereference" in oops.message


def test_a_log_from_elsewhere_in_every_form(box: Box, oopses: Path) -> None:
    with suppress(BoxError):
        box.insmod(oopses, kind=2)
    plain, module = box.log.text(), ModuleFile(oopses)
    syslog = re.sub(r"^\[ *([\d.]+)\]", r"Sep 12 11:46:19 host kernel: [\1]", plain, flags=re.M)
    raw = re.sub(r"^", "<4>", plain, flags=re.M)
    bare = re.sub(r"^\[ *[\d.]+\] ", "", plain, flags=re.M)
    expected = oopses_in(plain, [module])[0]
    for log in (syslog, raw, bare):
        found = oopses_in(log, [module])
        assert [oops.why for oops in found] == [expected.why]
        assert found[0].frames == expected.frames


def test_other_modules_logs_without_an_oops_and_damaged_ones(box: Box, oopses: Path, modules: BuiltTestModules) -> None:
    with suppress(BoxError):
        box.insmod(oopses, kind=0)
    log, module = box.log.text(), ModuleFile(oopses)
    assert oopses_in(log, [ModuleFile(modules("hello"))]) == []
    assert oopses_in("", [module]) == []
    assert oopses_in(log, []) == []
    lines = log.splitlines()
    for cut in range(0, len(lines), 3):  # whatever is missing, nothing is raised
        oopses_in("\n".join(lines[cut:]), [module])
        oopses_in("\n".join(lines[:cut]), [module])
        oopses_in("\n".join(line[: cut + 5] for line in lines), [module])


def test_without_debugging_information_the_place_is_all(box: Box, oopses: Path, tmp_path: Path) -> None:
    import subprocess

    with suppress(BoxError):
        box.insmod(oopses, kind=0)
    stripped = tmp_path / "oopses.ko"
    subprocess.run(["strip", "--strip-debug", "-o", stripped, oopses], check=True)
    (oops,) = oopses_in(box.log.text(), [ModuleFile(stripped)])
    assert oops.frames[0].place.startswith("follow_null+0x")
    assert not oops.registers
    assert "the pointer in rdi is NULL" in oops.why


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "NULL"),
        (0xFFFFFFFFFFFFFFF4, "ERR_PTR(-ENOMEM)"),
        (0x10, "0x10 (NULL)"),
        (0x6B6B6B6B6B6B6B6B, "0x6b6b6b6b6b6b6b6b (memory that was freed (slab poison 0x6b))"),
        (0x1234567800000000, "0x1234567800000000 (no address at all)"),
    ],
)
def test_what_a_pointer_is(value: int, text: str) -> None:
    assert pointer_text(value) == text


def test_a_report_of_kasan_says_who_allocated_and_who_freed(debian_kernel: KernelImage) -> None:
    """The format of mm/kasan/report.c, with the functions of a module of here."""
    module = ModuleFile(BuiltTestModules(debian_kernel, "debug")("notes"))
    sizes = {one.name: one.size for one in module.debug.functions}

    def place(name: str, offset: int) -> str:
        return f"{name}+{offset:#x}/{sizes[name]:#x} [notes]"

    log = f"""
[   12.1] ==================================================================
[   12.1] BUG: KASAN: slab-use-after-free in {place("show_note", 0x10)}
[   12.1] Read of size 8 at addr ffff888101a2c100 by task sh/123
[   12.1] CPU: 1 PID: 123 Comm: sh Tainted: G           OE      6.6.0 #1
[   12.1] Call Trace:
[   12.1]  <TASK>
[   12.1]  dump_stack_lvl+0x34/0x44
[   12.1]  kasan_report+0xb8/0xf0
[   12.1]  {place("show_note", 0x10)}
[   12.1]  {place("notes_write", 0x60)}
[   12.1]  vfs_write+0x1b0/0x5b0
[   12.1]  </TASK>
[   12.1] Allocated by task 122:
[   12.1]  kasan_save_stack+0x20/0x40
[   12.1]  kmalloc_trace+0x25/0x90
[   12.1]  {place("make_note", 0x20)}
[   12.1]  {place("notes_write", 0x60)}
[   12.1] Freed by task 122:
[   12.1]  kasan_save_stack+0x20/0x40
[   12.1]  __kmem_cache_free+0x13d/0x290
[   12.1]  {place("notes_write", 0x70)}
[   12.1] The buggy address belongs to the object at ffff888101a2c000
[   12.1]  which belongs to the cache kmalloc-512 of size 512
[   12.1] ==================================================================
"""
    (report,) = oopses_in(log, [module])
    assert report.message.startswith("BUG: KASAN: slab-use-after-free in show_note")
    assert report.why.startswith("Read of size 8 at addr ffff888101a2c100")
    assert [frame.places[-1].function for frame in report.frames] == ["show_note", "notes_write"]
    assert [frame.places[-1].function for frame in report.allocated] == ["make_note", "notes_write"]
    assert [frame.places[-1].function for frame in report.freed] == ["notes_write"]
    text = "\n".join(report.lines())
    assert "  allocated at make_note+" in text
    assert "  freed at notes_write+" in text
    assert "  called from notes_write+" in text
