"""Mistakes that people make, really made: the compiler's words stay, and one line of help comes with them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.errors import BuildError
from kobox.images.store import KernelImage
from kobox.kbuild.build import build, build_each
from kobox.kbuild.hints.advice import advice

KOBOX = str(Path(sys.executable).with_name("kobox"))
CODE = """\
#include <linux/module.h>
{above}
static int __init wrong_init(void) {{ {body} return 0; }}
module_init(wrong_init);
MODULE_DESCRIPTION("what goes wrong");
{licence}
"""


def helped(
    room: Path, kernel: KernelImage, above: str = "", body: str = "", licence: str = 'MODULE_LICENSE("GPL");'
) -> str:
    """The help for a module that cannot be built."""
    (room / "wrong.c").write_text(CODE.format(above=above, body=body, licence=licence))
    (room / "Kbuild").write_text("obj-m := wrong.o\n")
    with pytest.raises(BuildError) as caught:
        build(room, kernel, builds=room.parent / f"builds-{room.name}")
    assert caught.value.output
    return caught.value.hint


@pytest.mark.parametrize(
    ("source", "help_"),
    [
        ({"licence": ""}, "MODULE_LICENSE is missing in wrong"),
        (
            {
                "licence": 'MODULE_LICENSE("Proprietary");',
                "above": "#include <linux/kobject.h>",
                "body": 'kobject_create_and_add("x", NULL);',
            },
            "kobject_create_and_add is EXPORT_SYMBOL_GPL",
        ),
        ({"body": "msleep(1);"}, "msleep() exists in "),
        ({"body": "mslep(1);"}, "did you mean msleep()?"),
        ({"body": "PDE_DATA(NULL);"}, "use pde_data()"),
        ({"above": "int nowhere(void);", "body": "nowhere();"}, "nowhere is exported by nothing that wrong is built"),
        (
            {"above": "#include <linux/device.h>", "body": 'class_create("x");'},
            "class_create(): since 6.4 it takes only the name; before, THIS_MODULE and the name",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_known_mistakes_get_a_line_of_help(
    source: dict[str, str], help_: str, debian_kernel: KernelImage, tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    assert help_ in helped(tmp_path / "src", debian_kernel, **source)


def test_what_a_newer_kernel_changed(trixie_kernel: KernelImage, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    above = "#include <linux/device.h>\n#include <asm/unaligned.h>"
    told = helped(tmp_path / "src", trixie_kernel, above)
    assert "<asm/unaligned.h> is gone since 6.12: include <linux/unaligned.h>." in told
    above = "#include <linux/device.h>"
    told = helped(tmp_path / "src", trixie_kernel, above, 'class_create(THIS_MODULE, "x");')
    assert "class_create(): since 6.4 it takes only the name" in told
    assert "struct class *class_create(const char *name);" in told


def test_what_nobody_knows_gets_no_help(debian_kernel: KernelImage) -> None:
    assert advice("wrong.c:3:1: error: expected ';'", debian_kernel) == []


def test_several_kernels_at_once_and_one_that_fails(
    debian_kernel: KernelImage, trixie_kernel: KernelImage, tmp_path: Path
) -> None:
    source = tmp_path / "thing"
    source.mkdir()
    body = 'if (IS_ERR(class_create("x"))) return -1;'
    text = CODE.format(above="#include <linux/device.h>", body=body, licence='MODULE_LICENSE("GPL");')
    (source / "thing.c").write_text(text)
    command = [KOBOX, "build", str(source), "-o", str(tmp_path / "out"), "-k", debian_kernel.name]
    command += ["-k", trixie_kernel.name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    old, new, empty, heads, class_create = done.stdout.splitlines()
    assert old.split()[:2] == [debian_kernel.name, "FAILED"]
    assert "error:" in old
    assert new.split()[:2] == [trixie_kernel.name, "ok"]
    assert empty == ""
    assert heads.split() == [debian_kernel.name, trixie_kernel.name]
    assert class_create.split() == ["class_create", "refused", "ok"]
    assert new.endswith(f"{tmp_path}/out/{trixie_kernel.name}/thing.ko")
    assert "class_create(): since 6.4 it takes only the name; before, THIS_MODULE and the name" in done.stderr
    report = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=False).stdout)
    assert [row["built"] for row in report] == [False, True]
    assert report[0]["refused"] == ["class_create"]
    results = dict(build_each(source, [trixie_kernel], output=tmp_path / "again", builds=tmp_path / "builds"))
    assert not isinstance(results[trixie_kernel], BuildError)
