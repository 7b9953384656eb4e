"""Usual mistakes in Makefiles and sources, really made: what is said of each, and the layouts that have to build."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from kobox.errors import BuildError
from kobox.images.store import KernelImage
from kobox.kbuild.build import build

SOURCE = """\
#include <linux/module.h>
%s
static int __init thing_init(void) { %s return 0; }
module_init(thing_init);
MODULE_DESCRIPTION("thing");
MODULE_LICENSE("GPL");
"""
PLAIN = SOURCE % ("", "")


def write(room: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = room / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return room


@pytest.mark.parametrize(
    ("files", "help_"),
    [
        (
            {"Makefile": "obj-m := thing.o\nall:\n    make -C /x M=$(PWD) modules\n", "thing.c": PLAIN},
            "Makefile:3: this line begins with spaces: a command line of make begins with a TAB.",
        ),
        (
            {"Makefile": "obj-m := thing.o\n\u201call\u201d\n", "thing.c": PLAIN},
            "Makefile:2: typographic quotation marks",
        ),
        (
            {"Makefile": "obj-m := thing.o\nnonsense\n", "thing.c": PLAIN},
            "neither an assignment nor a rule: 'nonsense'",
        ),
        (
            {"Kbuild": "obj-m := thing.o\nthing-objs := thing.o other.o\n", "thing.c": PLAIN, "other.c": "int o;\n"},
            "thing.o is both the module and one of its objects",
        ),
        ({"Kbuild": "obj-m := thin.o\n", "thing.c": PLAIN}, "thin.o is asked for, and there is no thin.c"),
        (
            {"Kbuild": "obj-m := two.o\ntwo-objs := a.o b.o\n", "a.c": PLAIN, "b.c": PLAIN},
            "Two files of one module have a module_init()",
        ),
        (
            {
                "Kbuild": "obj-m := two.o\ntwo-objs := a.o b.o\n",
                "a.c": PLAIN + "int same = 2;\n",
                "b.c": "int same = 1;\n",
            },
            "same is defined in two files of the module",
        ),
        ({"thing.c": SOURCE % ("#include <stdio.h>", "")}, "<stdio.h> is a header of user space"),
        ({"thing.c": SOURCE % ("#include <stdlib.h>", "")}, "Use kmalloc() and kfree() of <linux/slab.h>"),
        (
            {"thing.c": SOURCE % ("", "pr_info(\u201chi\u201d);")},
            "\u201c (U+201C), \u201d (U+201D): C takes ASCII only.",
        ),
        ({"thing.c": PLAIN.replace("<linux/module.h>", "&lt;linux/module.h&gt;")}, "thing.c:1: &lt; is HTML, copied"),
        (
            {"thing.c": "".join(f"{n:3} {line}\n" for n, line in enumerate(PLAIN.splitlines(), 1))},
            "thing.c:1: this line begins with a line number, copied along with the code",
        ),
        (
            {"thing.c": SOURCE % ("static int n; module_param(n, int, 0666);", "")},
            "not world-writable (0666)",
        ),
        (
            {"thing.c": SOURCE % ("static double half(int a) { return a * 0.5; }", 'pr_info("%d", (int)half(3));')},
            "Floating point: kernel code is compiled without",
        ),
    ],
    ids=[
        "spaces",
        "quotes",
        "nonsense",
        "own-object",
        "no-source",
        "two-inits",
        "defined-twice",
        "stdio",
        "stdlib",
        "curly",
        "html",
        "line-numbers",
        "world-writable",
        "floating-point",
    ],
)
def test_a_mistake_is_named(files: Mapping[str, str], help_: str, debian_kernel: KernelImage, tmp_path: Path) -> None:
    check(files, help_, debian_kernel, tmp_path)


@pytest.mark.parametrize(
    ("files", "help_"),
    [
        (
            {
                "Kbuild": "obj-m := thing.o\nEXTRA_CFLAGS += -I$(src)/inc\n",
                "thing.c": SOURCE % ('#include "x.h"', ""),
                "inc/x.h": "",
            },
            "EXTRA_CFLAGS has no effect since 6.15: write ccflags-y += … in its place.",
        ),
        ({"thing.c": SOURCE % ("static int n; module_param(n, int, 0666);", "")}, "world-writable"),
    ],
    ids=["extra-cflags", "world-writable"],
)
def test_a_mistake_is_named_by_a_newer_kernel(
    files: Mapping[str, str], help_: str, sid_kernel: KernelImage, tmp_path: Path
) -> None:
    check(files, help_, sid_kernel, tmp_path)


def check(files: Mapping[str, str], help_: str, kernel: KernelImage, tmp_path: Path) -> None:
    source = write(tmp_path / "src", files)
    with pytest.raises(BuildError) as caught:
        build(source, kernel, builds=tmp_path / "builds")
    assert help_ in caught.value.hint
    assert caught.value.output.strip()
    assert caught.value.__notes__ == ["\n".join(caught.value.output.splitlines()[-40:])]


@pytest.mark.parametrize(
    "files",
    [
        {
            "Makefile": "ccflags-y := -I$(PWD)/inc\nobj-m := thing.o\n",
            "thing.c": SOURCE % ('#include "x.h"', ""),
            "inc/x.h": "",
        },
        {
            "Makefile": "ifneq ($(KERNELRELEASE),)\nobj-m := thing.o\nelse\n"
            "all: gen.h\n\t$(MAKE) -C $(KDIR) M=$(CURDIR)\n"
            'gen.h:\n\techo "#define G 1" > $@\nendif\n',
            "thing.c": SOURCE % ('#include "gen.h"', "return G - 1;"),
        },
        {
            "Makefile": "ifneq ($(KERNELRELEASE),)\nobj-m := thing.o\nelse\n"
            "KDIR ?= /lib/modules/$(shell uname -r)/build\n"
            "all:\n\t$(MAKE) -C $(KDIR) SUBDIRS=$(PWD) modules\nendif\n",
            "thing.c": PLAIN,
        },
        {"Makefile": "obj-m += src/\n", "src/Kbuild": "obj-m += thing.o\n", "src/thing.c": PLAIN},
    ],
    ids=["PWD", "generated-header", "SUBDIRS", "sub-directory"],
)
def test_a_usual_layout_builds(
    files: Mapping[str, str], debian_kernel: KernelImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another directory, as by `kobox build DIR`."""
    source = write(tmp_path / "src", files)
    monkeypatch.chdir("/")
    monkeypatch.setenv("PWD", "/")
    before = sorted(path.name for path in source.iterdir())
    assert [path.name for path in build(source, debian_kernel, builds=tmp_path / "builds")] == ["thing.ko"]
    assert sorted(path.name for path in source.iterdir()) == sorted([*before, "thing.ko"])


def test_build_directories_below_the_source_are_no_part_of_it(debian_kernel: KernelImage, tmp_path: Path) -> None:
    """As when one file of the home directory is built, and the cache lies below it."""
    write(tmp_path, {"thing.c": PLAIN})
    for _ in range(2):
        built = build(tmp_path / "thing.c", debian_kernel, builds=tmp_path / "builds")
        assert list(built) == [tmp_path / "thing.ko"]
    mirrored = [path.name for path in built.directory.iterdir()]
    assert "thing.c" in mirrored
    assert "builds" not in mirrored


def test_one_file_is_built_without_a_look_at_the_directories_beside_it(
    debian_kernel: KernelImage, tmp_path: Path
) -> None:
    """A file in a large directory, such as /tmp: what lies below is linked as a whole, and still found."""
    write(tmp_path, {"thing.c": SOURCE % ('#include "inc/x.h"', ""), "inc/x.h": "", "deep/er/other.c": "no C\n"})
    built = build(tmp_path / "thing.c", debian_kernel, builds=tmp_path / "builds")
    assert list(built) == [tmp_path / "thing.ko"]
    assert (built.directory / "deep").is_symlink()
