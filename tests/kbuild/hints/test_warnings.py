"""A build that succeeds with warnings: each that is known has a paragraph."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobox.images.kernel_image import KernelImage
from kobox.kbuild.build import build
from kobox.kbuild.hints.advice import warning_advice

SOURCE = """\
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/uaccess.h>
static struct net_device *device;
static char __user *buffer;
static int __init early(void) { return 1; }
static void late(void) { early(); }
static void (*keep)(void) __used = late;
static int __init start(void)
{
    char large[3000];
    memcpy(device->dev_addr, "abcdef", 6);
    copy_to_user(buffer, large, 3000);
    return 0;
}
module_init(start);
MODULE_LICENSE("GPL");
"""
WANTED = [
    "net_device.dev_addr: since 5.17 it is read-only: use eth_hw_addr_set()",
    "if (copy_to_user(…)) return -EFAULT;",
    "A function needs 30",
    "MODULE_DESCRIPTION is missing in warned",
]


def test_a_build_that_succeeds_says_what_its_warnings_mean(sid_kernel: KernelImage, tmp_path: Path) -> None:
    source = tmp_path / "warned.c"
    source.write_text(SOURCE)
    built = build(source, sid_kernel, builds=tmp_path / "builds")
    assert [path.name for path in built] == ["warned.ko"]
    said = "\n".join(built.hints)
    assert [text for text in WANTED if text not in said] == []


# (a warning, what is said of it)
WARNINGS = [
    (
        "WARNING: modpost: h: section mismatch in reference: late+0x5 (section: .text) -> early (section: .init.text)",
        "late stays in memory and uses early",
    ),
    (
        "WARNING: modpost: /x/h.o(.text+0x5): Section mismatch in reference from the function late() to the function "
        ".init.text:early()",
        "which is freed after init",
    ),
    ("x.c:3:5: warning: ignoring return value of 'kstrtoint' declared with attribute", "kstrtoint() may fail"),
    ("x.c:3:5: warning: ISO C90 forbids mixed declarations and code [-Wdeclaration]", "beginning of a block"),
    ("x.c:3:5: warning: ISO C90 forbids variable length array 'names' [-Wvla]", "names: the kernel's stack is small"),
    ("x.c:3:5: warning: no previous prototype for 'helper' [-Wmissing-prototypes]", "make it static"),
    ("x.c:3:5: warning: unused variable 'x' [-Wunused-variable]", ""),
]


@pytest.mark.parametrize(("line", "said"), WARNINGS, ids=[str(number) for number in range(len(WARNINGS))])
def test_a_warning(line: str, said: str, debian_kernel: KernelImage, tmp_path: Path) -> None:
    found = warning_advice(line, debian_kernel, tmp_path)
    assert said in "\n".join(found)
    assert bool(found) == bool(said)


def test_flags_that_kbuild_no_longer_reads(sid_kernel: KernelImage, debian_kernel: KernelImage, tmp_path: Path) -> None:
    """6.15 took EXTRA_CFLAGS out: the build succeeds, without the flags."""
    (tmp_path / "Makefile").write_text("obj-m := x.o\nEXTRA_CFLAGS += -DFOO\n")
    assert "EXTRA_CFLAGS has no effect since 6.15" in warning_advice("", sid_kernel, tmp_path)[0]
    assert warning_advice("", debian_kernel, tmp_path) == []
