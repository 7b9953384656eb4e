"""Compilers' messages, of gcc 10 to 16 and clang, read as data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kobox.kbuild.hints.diagnostics import Diagnostic, parse

SOURCE = """\
static int f(struct platform_device *p) { return 0; }
static struct platform_driver drv = { .remove = f };
static int set(struct gendisk *disk, struct net_device *dev) { disk->fops = 0; dev->dev_addr[0] = 1; return 0; }
"""


@pytest.mark.parametrize(
    ("message", "kind", "key"),
    [
        ("error: implicit declaration of function 'del_timer'; did you mean 'x'? [-W]", "function", "del_timer"),
        ("error: implicit declaration of function 'del_timer' [-W]", "function", "del_timer"),
        ("error: call to undeclared function 'del_timer'; ISO C99 does not support", "function", "del_timer"),
        ("error: call to undeclared library function 'printf' with type 'int'", "function", "printf"),
        ("fatal error: linux/genhd.h: No such file or directory", "header", "linux/genhd.h"),
        ("fatal error: 'linux/genhd.h' file not found", "header", "linux/genhd.h"),
        ("error: too many arguments to function 'class_create'", "arguments", "class_create"),
        ("error: too many arguments to function 'gup'; expected 4, have 5", "arguments", "gup"),
        ("error: too many arguments to function 's->ops->accept'; expected 3, have 4", "callback", "accept"),
        ("error: too few arguments to function 'class_create'", "arguments", "class_create"),
        ('error: macro "access_ok" passed 3 arguments, but takes just 2', "arguments", "access_ok"),
        ("error: macro 'access_ok' passed 3 arguments, but takes just 2", "arguments", "access_ok"),
        ('error: macro "class_create" requires 2 arguments, but only 1 given', "arguments", "class_create"),
        ("error: passing argument 4 of 'proc_create' from incompatible pointer type [-W]", "argument", "proc_create"),
        ("error: incompatible type for argument 1 of 'wait_event'", "argument", "wait_event"),
        ("error: 'struct inode' has no member named 'i_ctime'; did you mean '__i_c'?", "member", "inode.i_ctime"),
        ("error: 'const struct inode' has no member named 'i_ctime'", "member", "inode.i_ctime"),
        ("error: 'skb_frag_t' {aka 'struct bio_vec'} has no member named 'size'", "member", "bio_vec.size"),
        ("error: no member named 'i_ctime' in 'struct inode'", "member", "inode.i_ctime"),
        (
            "error: field designator 'iterate' does not refer to any field in type 'struct fops'",
            "member",
            "fops.iterate",
        ),
        ("error: unknown type name 'mm_segment_t'", "type", "mm_segment_t"),
        ("error: invalid use of undefined type 'struct pagevec'", "type", "pagevec"),
        ("error: 'KERNEL_DS' undeclared (first use in this function)", "name", "KERNEL_DS"),
        ("error: use of undeclared identifier 'KERNEL_DS'", "name", "KERNEL_DS"),
        ("error: expected '=', ',', ';', 'asm' or '__attribute__' before '__devinit'", "syntax", "__devinit"),
        ("error: static declaration of 'timer_delete' follows non-static declaration", "name", "timer_delete"),
        ("error: conflicting types for 'strscpy'; have 'int(void)'", "name", "strscpy"),
        ("error: assignment of read-only member 'vm_flags'", "read-only", "vm_flags"),
    ],
)
@pytest.mark.parametrize("quotes", ["''", "\u2018\u2019"], ids=["ascii", "utf-8"])
def test_each_kind_of_message(quotes: str, message: str, kind: str, key: str) -> None:
    message = re.sub("'([^']*)'", rf"{quotes[0]}\1{quotes[1]}", message)
    (one,) = parse(f"thing.c:7:29: {message}\n    7 | some code\n      | ^~~\n")
    assert (one.kind, one.key, one.file, one.line, one.code) == (kind, key, "thing.c", 7, "some code")


@pytest.mark.parametrize(
    ("message", "key"),
    [
        (
            "2:49: error: initialization of 'void (*)(struct platform_device *)' from incompatible pointer type 'int "
            "(*)(struct platform_device *)' [-W]\n    2 | code\n"
            "{file}:2:49: note: (near initialization for 'drv.remove')",
            "platform_driver.remove",
        ),
        (
            "3:70: error: assignment to 'A *' from incompatible pointer type 'B *' [-W]\n    3 |  disk->fops = 0;",
            "gendisk.fops",
        ),
        ("3:90: error: assignment of read-only location '*dev->dev_addr'", "net_device.dev_addr"),
    ],
)
def test_a_member_s_structure_is_read_off_the_source(message: str, key: str, tmp_path: Path) -> None:
    file = tmp_path / "thing.c"
    file.write_text(SOURCE)
    (one,) = parse(f"{file}:{message.format(file=file)}\n")
    assert one.key == key


def test_a_discarded_or_missing_result_names_the_functions_of_the_line() -> None:
    told = parse("thing.c:1:9: error: void value not ignored as it ought to be\n    1 | d = make_it(x);\n")
    assert [one.key for one in told] == ["make_it"]


def test_what_is_said_twice_counts_once_and_other_words_do_not() -> None:
    line = "a.c:1:1: error: implicit declaration of function 'x1'\n"
    assert [one.name for one in parse(line + line + "make: *** Error 1\nnote: 3:1: nothing\n")] == ["x1"]
    assert parse("a.c:1:1: error: expected ';' at end of input") == []
    assert isinstance(parse(line)[0], Diagnostic)
