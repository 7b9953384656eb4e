"""The console blocks of the documentation, run as they are written: `make test-docs`. They take minutes, and network.

A page's blocks run in order in one directory, which has the files that the page speaks of (`PLACES`). Kernels of the
page stand for those of the same suite that are here.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pexpect
import pytest

from kobox.images.store import KernelImage, default_root
from tests.building import SOURCES, BuiltTestModules
from tests.console_blocks import PAGES, ROOT, Block, Command, blocks_in, missing

PROMPTS = {"shell": r"\S+:[~/\w]*# $", "gdb": r"\(gdb\) $", "drgn": r"(>>>|\.\.\.) $"}
ENDS = {"shell": "exit", "gdb": "quit", "drgn": "exit()"}


@dataclass(frozen=True)
class Place:
    """What a page's directory holds: modules of tests/modules (GROUP/NAME, or NAME=AS), files, what a command makes."""

    modules: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    before: str = ""
    own_cache: bool = False
    full: bool = False  # of Debian's full kernel, which has more drivers than the cloud kernel
    stays: bool = False  # in the directory that the block before has gone to


_OLD_TIMER = """// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>
#include <linux/timer.h>

static void ring(struct timer_list *t) { }
static DEFINE_TIMER(bell, ring);
static void old_exit(void) { del_timer_sync(&bell); }
module_exit(old_exit);
static int old_init(void) { return 0; }
module_init(old_init);
MODULE_LICENSE("GPL");
"""
_PORTED = """// SPDX-License-Identifier: GPL-2.0
#include <linux/device.h>
#include <linux/module.h>

static struct class *ported;

static int __init ported_init(void)
{
	ported = class_create(THIS_MODULE, "ported");
	return PTR_ERR_OR_ZERO(ported);
}
module_init(ported_init);

static void __exit ported_exit(void)
{
	class_destroy(ported);
}
module_exit(ported_exit);
MODULE_LICENSE("GPL");
"""
_PLURAL = """// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>

static int n;
module_param(n, int, 0);

static int __init start(void)
{
	WARN_ON(n == 3);
	return 0;
}
module_init(start);

static void __exit stop(void)
{
}
module_exit(stop);
MODULE_LICENSE("GPL");
"""
_CAMERA = """// SPDX-License-Identifier: GPL-2.0
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/timer.h>

static void ring(struct timer_list *t) { }
static DEFINE_TIMER(bell, ring);

int camera_map(struct vm_area_struct *vma);
int camera_map(struct vm_area_struct *vma)
{
	vma->vm_flags |= VM_IO;
	return del_timer_sync(&bell);
}
MODULE_LICENSE("GPL");
"""
_HELLO = """#include <linux/init.h>
#include <linux/module.h>
MODULE_LICENSE("GPL");
static int hello_init(void) { pr_alert("Hello, world!\\n"); return 0; }
static void hello_exit(void) { pr_alert("Goodbye\\n"); }
module_init(hello_init);
module_exit(hello_exit);
"""
_MAKEFILE = "obj-m := hello.o\nall:\n\tmake -C /lib/modules/$(shell uname -r)/build M=$(PWD) modules\n"
_DMESG = """#!/bin/sh
cat <<END
[    5.000000] thing: version magic '6.1.0-50-amd64 SMP ' should be '6.1.0-56-amd64 SMP preempt '
END
"""
_MAKE_LOG = """DKMS make.log for xone-0.3 for kernel 7.2.13+deb14-cloud-amd64 (x86_64)
make: Entering directory '/usr/src/linux-headers-7.2.13+deb14-cloud-amd64'
  CC [M]  driver/gamepad.o
driver/gamepad.c: In function 'gamepad_remove':
driver/gamepad.c:210:9: error: implicit declaration of function 'del_timer_sync' [-Wimplicit-function-declaration]
  210 |         del_timer_sync(&pad->timer);
make[2]: *** [scripts/Makefile.build:287: driver/gamepad.o] Error 1
"""
_TABLE = """// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>
#include <linux/slab.h>

static void *table;
static unsigned long size = 100;
module_param(size, ulong, 0);

static noinline int make_table(unsigned long size)
{
	table = kmalloc(size, GFP_KERNEL);
	return table ? 0 : -ENOMEM;
}

static int __init table_init(void)
{
	return make_table(size);
}
module_init(table_init);

static void __exit table_exit(void)
{
	kfree(table);
}
module_exit(table_exit);
MODULE_LICENSE("GPL");
"""
_COUNT = """// SPDX-License-Identifier: GPL-2.0
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} hash SEC(".maps");

SEC("xdp") int count(struct xdp_md *packet)
{
	__u32 key = 1;
	__u64 *value = bpf_map_lookup_elem(&hash, &key);

	return *value;
}

char LICENSE[] SEC("license") = "GPL";
"""
_MODEL = """from kobox.devices.pci import PciDevice


class MyCard(PciDevice):
    vendor, device = 0x1234, 0x11e9
"""

PLACES: dict[str, Place] = {
    "README.md": Place(
        ("pcipuzzle=driver", "inspect/rootkit=stranger"),
        files={"model.py": _MODEL},
        before="cp -r $ROOT/demo . && truncate -s 16M disk.img && kobox new hello hello && kobox build hello -o . "
        "&& rm -r hello",
    ),
    "docs/architectures.md": Place(sources=("hello.c",)),
    "docs/build.md": Place(
        files={"camera/camera.c": _CAMERA},
        before="kobox new chardev thing && kobox keys new mine && cp -r thing x && kobox build x -o .",
        own_cache=True,
    ),
    "docs/kmod-tools.md": Place(
        before="ln -s $XDG_CACHE_HOME/kobox/kernels/$KOBOX_KERNEL rootfs",
    ),
    "docs/check.md": Place(
        ("faults/errptr", "faults/racer", "faults/unowned", "faults/hasty", "faults/late/late"),
        files={"ported.c": _PORTED},
    ),
    "docs/ci.md": Place(("hello=driver",), sources=("hello.c",)),
    "docs/commands.md": Place(own_cache=True),
    "docs/debugging.md": Place(
        ("debug/journal", "debug/notes", "debug/oopses"),
        before="kobox shell -q oopses.ko -c 'insmod oopses.ko; dmesg' > oops.txt || true",
    ),
    "docs/devices.md": Place(("hello=mydriver",), before="truncate -s 64M disk.img", full=True),
    "docs/ebpf.md": Place(files={"count.bpf.c": _COUNT}, before="kobox build count.bpf.c", own_cache=True),
    "docs/disks.md": Place(before="truncate -s 64M changed.img && mkfs.ext4 -q changed.img"),
    "docs/drgn.md": Place(("debug/journal",)),
    "docs/explain.md": Place(("kbase", "kuser"), files={"bin/dmesg": _DMESG, "make.log": _MAKE_LOG}),
    "docs/graph.md": Place(("hello", "costs/ledger")),
    "docs/hardware.md": Place(
        ("pcipuzzle", "wires/i2cnak", "pcicareless"),
        before="for name in bmp280-i2c bmp280-spi powermate; do "
        "cp $(find $XDG_CACHE_HOME/kobox/kernels/$KOBOX_KERNEL/lib -name $name.ko) .; done",
        full=True,
    ),
    "docs/inspect.md": Place(("inspect/rootkit",)),
    "docs/json.md": Place(("hello",)),
    "docs/kernels.md": Place(("hello",), own_cache=True),
    "docs/learn.md": Place(
        before="mkdir -p back/ann back/bob && cp -r $ROOT/kobox/lessons/course/*hello/solution back/ann/01-hello"
        " && cp -r $ROOT/kobox/lessons/course/*hello/start back/bob/01-hello",
    ),
    "docs/tutorial.md": Place(stays=True),
    "docs/matrix.md": Place(files={"mt.c": _PLURAL, "old.c": _OLD_TIMER}),
    "docs/packaging.md": Place(before="kobox new hello thing && kobox keys new mine"),
    "docs/profile.md": Place(
        ("costs/tally", "costs/ledger"),
        sources=("costs/tally.c", "costs/ledger.c"),
        files={"use.py": "def exercise(box):\n    box.path('/dev/tally').write_text('hello there')\n"},
    ),
    "docs/races.md": Place(("races/counter",)),
    "docs/replay.md": Place(("debug/journal",)),
    "docs/security.md": Place(),
    "docs/shell.md": Place(("hello", "kbase", "kuser"), files={"hello.c": _HELLO, "Makefile": _MAKEFILE}),
    "docs/signing.md": Place(
        ("hello=thing",),
        before="cp $(find $XDG_CACHE_HOME/kobox/kernels/6.12*cloud-amd64 -name loop.ko.xz) .",
    ),
    "docs/trace.md": Place(("debug/journal",), files={"table.c": _TABLE}, before="kobox build table.c"),
}


@pytest.mark.parametrize("page", [page for page in PAGES if any(not block.reason for block in blocks_in(page))])
def test_the_console_blocks_of_a_page_print_what_they_show(
    page: str,
    debian_kernel: KernelImage,
    trixie_kernel: KernelImage,
    sid_kernel: KernelImage,
    full_kernel: KernelImage,
    tmp_path: Path,
) -> None:
    place = PLACES.get(page, Place())
    here = tmp_path / "here"
    here.mkdir()
    kernel = full_kernel if place.full else debian_kernel
    environment = environment_of(place, [kernel, trixie_kernel, sid_kernel], tmp_path)
    fill(here, place, kernel, environment)
    names = {
        r"6\.1\.0-\d+-cloud-amd64": debian_kernel.name,
        r"6\.12\.\d+\+deb13-cloud-amd64": trixie_kernel.name,
        r"6\.1\.0-\d+-amd64": full_kernel.name,
        r"7\.2\.\d+\+deb14-cloud-amd64": sid_kernel.name,
    }
    wrong: list[str] = []
    for block in blocks_in(page):
        left, lines = run_block(block, here, environment, names)
        here = left if place.stays else here
        wrong += [f"{page}:{block.line}: {line}" for line in lines]
    assert not wrong, "\n".join(wrong)


def environment_of(place: Place, kernels: list[KernelImage], tmp_path: Path) -> dict[str, str]:
    """A home of the page's own; the cache is the tests', or one with links to three kernels of it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KOBOX_", "PYTEST", "LESS"))}
    cache = default_root()
    if place.own_cache:
        cache = tmp_path / "cache/kobox"
        cache.mkdir(parents=True)
        (cache / "kernels").mkdir()
        parts = ["programs", "packages", "toolchains", *(f"kernels/{kernel.name}" for kernel in kernels)]
        for part in parts:
            if (default_root() / part).exists():
                subprocess.run(
                    ["cp", "-al", default_root() / part, (cache / part).parent], check=False
                )  # others tidy it
    return {
        **kept,
        "PATH": f"{tmp_path}/here/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(cache.parent),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "KOBOX_KERNEL": kernels[0].name,
        "COLUMNS": "200",
        "TERM": "dumb",
    }


def fill(here: Path, place: Place, kernel: KernelImage, environment: dict[str, str]) -> None:
    for name in place.modules:
        group, _, module = name.partition("=")[0].rpartition("/")
        as_name = name.partition("=")[2] or module
        shutil.copy(BuiltTestModules(kernel, group)(module), here / f"{as_name}.ko")
    for name in place.sources:
        shutil.copy(SOURCES / name, here)
    for name, text in place.files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)
        if name.startswith("bin/"):
            (here / name).chmod(0o755)
    if place.before:
        text = place.before.replace("$ROOT", str(ROOT))
        subprocess.run(["bash", "-euc", text], cwd=here, env=environment, check=True)


def run_block(block: Block, here: Path, environment: dict[str, str], names: dict[str, str]) -> tuple[Path, list[str]]:
    """The directory that the block leaves the reader in, and what was not as it says."""
    wrong = []
    for command in () if block.reason else block.commands:
        text = command.text
        for pattern, name in names.items():
            text = re.sub(pattern, name, text)
        if text.startswith("export "):
            environment |= dict(word.split("=", 1) for word in shlex.split(text, comments=True)[1:])
            continue
        wrong += (conversation if command.typed else one)(text, command, here, environment)
        for moved in re.findall(r"(?:^|&& )cd (\S+)", text):
            here = here / moved
    return here, wrong


def one(text: str, command: Command, here: Path, environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        ["bash", "-c", text], cwd=here, env=environment, text=True, errors="replace", check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return judged(text, command.status, done.returncode, command.shown, done.stdout)


def judged(text: str, expected: int, status: int | None, shown: list[str], printed: str) -> list[str]:
    lost = missing(shown, printed)
    if status == expected and not lost:
        return []
    return [f"$ {text}: ended with {status}, not {expected}; not printed: {lost}; printed:\n{printed[-3000:]}"]


def until_prompt(child: pexpect.spawn, prompt: str) -> str:
    """What a program prints until it waits at its prompt, with the prompt."""
    said = ""
    while not re.search(prompt, said):
        child.expect(prompt)
        said += child.before + child.after
        if child.expect([r"[\s\S]+", pexpect.TIMEOUT], timeout=0.5) == 0:
            said += child.after
    return said


def conversation(text: str, command: Command, here: Path, environment: dict[str, str]) -> list[str]:
    """A command that asks with a prompt: each line is typed when it does."""
    kind = "gdb" if "gdb" in text else "drgn" if "drgn" in text else "shell"
    child = pexpect.spawn(
        "bash", ["-c", text], cwd=str(here), env=environment, encoding="utf-8", dimensions=(200, 200), timeout=300
    )
    child.setecho(False)
    wrong: list[str] = []
    try:
        wrong += judged(text, 0, 0, command.shown, until_prompt(child, PROMPTS[kind]))
        for typed, after in zip(command.typed, [*command.typed[1:], None], strict=True):
            child.sendline(typed.text)
            said = until_prompt(child, PROMPTS[kind])
            if said.endswith("... ") and (after is None or after.prompt != "... "):
                child.sendline("")  # the end of a block of Python
                said = until_prompt(child, PROMPTS[kind])
            wrong += judged(typed.text, 0, 0, typed.shown, said)
        child.sendline(ENDS[kind])
        if kind == "gdb" and child.expect([r"\(y or n\) ", pexpect.EOF]) == 0:
            child.sendline("y")
        child.expect(pexpect.EOF)
    except (pexpect.EOF, pexpect.TIMEOUT) as error:
        wrong.append(f"$ {text}: no prompt ({type(error).__name__}); printed:\n{child.before[-3000:]}")
    child.close(force=True)
    return wrong
