"""`make check-rust`: a Rust module with one error of each kind, found at its line, and without it nothing is said.

Not collected by itself: it makes the kernel's Rust support (some minutes, once) and checks eight lives of a module.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.box.boot.boot import boot
from kobox.images.store import KernelImage, Store
from kobox.kbuild.build import build
from kobox.kbuild.new import TEMPLATES, new
from kobox.kbuild.rust import add_rust
from kobox.lessons.exam import examine, kernel_for
from kobox.lessons.lesson import lesson
from tests.kbuild.test_new import passes_its_own_tests

KOBOX = str(Path(sys.executable).with_name("kobox"))
SOURCE = Path(__file__).with_name("rust_errors.rs")
RUN = {1: "panicked at", 2: "panicked at", 3: "NULL pointer", 8: "panicked at", 9: "EINVAL", 10: "left behind"}
CHECK = {4: "leak", 5: "out-of-bounds", 6: "use-after-free", 7: "use-after-free"}


@pytest.fixture(scope="session")
def module(sid_kernel: KernelImage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    add_rust(Store(), sid_kernel, lambda *_: None)
    (made,) = build(Path(shutil.copy(SOURCE, tmp_path_factory.mktemp("rust"))), sid_kernel)
    return made


def line_of(how: int) -> str:
    lines = SOURCE.read_text().splitlines()
    marks = [text.partition("// BUG ")[2].split(":")[0].strip() for text in lines]
    number = marks.index(str(how)) + 1
    return f"rust_errors.rs:{number}"


def kobox(command: str, module: Path, kernel: KernelImage, *words: str) -> subprocess.CompletedProcess[str]:
    line = [KOBOX, command, "-k", kernel.name, str(module), *words]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("how", RUN)
def test_run_tells_it(how: int, module: Path, sid_kernel: KernelImage) -> None:
    done = kobox("run", module, sid_kernel, f"how={how}")
    assert done.returncode == 1
    assert RUN[how] in done.stdout
    assert how > 8 or line_of(how) in done.stdout
    told = "\n".join(line for line in done.stdout.splitlines() if not line.startswith("["))
    assert "_RNv" not in told
    right = kobox("run", module, sid_kernel, f"how={how}", "right=1")
    assert right.returncode == 0, right.stdout


@pytest.mark.parametrize("how", CHECK)
def test_check_finds_it(how: int, module: Path, sid_kernel: KernelImage) -> None:
    done = kobox("check", module, sid_kernel, f"how={how}")
    assert done.returncode == (0 if how == 4 else 1)  # a leak is a warning
    assert CHECK[how] in done.stdout
    assert line_of(how) in done.stdout
    right = json.loads(kobox("check", module, sid_kernel, "--json", f"how={how}", "right=1").stdout)
    assert [one for report in right for one in report["findings"] if one["severity"] != "note"] == []


def test_every_template_passes_its_own_tests(tmp_path: Path, sid_kernel: KernelImage) -> None:
    add_rust(Store(), sid_kernel, lambda *_: None)
    templates = [template for template in TEMPLATES if template.startswith("rust")]
    for template in templates:
        name = f"my_{template.replace('-', '_')}"
        new(template, name, tmp_path / name)
    names = [template.replace("-", "_") for template in templates]
    passes_its_own_tests(tmp_path, sid_kernel, templates=names)


MIXED = {
    "Kbuild": "obj-m := mixed.o\nmixed-y := half_rust.o half_c.o\n",
    "half_c.c": """\
#include <linux/kernel.h>

int twice_in_c(int number);
int twice_in_c(int number)
{
\tpr_info("mixed: C was given %d\\n", number);
\treturn 2 * number;
}
""",
    "half_rust.rs": """\
use kernel::prelude::*;

module! {
    type: Mixed,
    name: "mixed",
    authors: ["kobox"],
    description: "Rust that calls C",
    license: "GPL",
}

extern "C" {
    fn twice_in_c(number: core::ffi::c_int) -> core::ffi::c_int;
}

struct Mixed;

impl kernel::Module for Mixed {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // SAFETY: It takes any number, and keeps nothing.
        pr_info!("Rust was given {}\\n", unsafe { twice_in_c(21) });
        Ok(Mixed)
    }
}
""",
}


def test_c_and_rust_in_one_module(tmp_path: Path, sid_kernel: KernelImage) -> None:
    add_rust(Store(), sid_kernel, lambda *_: None)
    for name, text in MIXED.items():
        (tmp_path / name).write_text(text)
    (made,) = build(tmp_path, sid_kernel)
    with boot(sid_kernel) as box:
        box.insmod(made).unload()
        assert "mixed: C was given 21" in box.log.text()
        assert "Rust was given 42" in box.log.text()


@pytest.mark.parametrize("part", ["start", "solution"])
def test_the_lesson_on_rust(part: str, sid_kernel: KernelImage) -> None:
    add_rust(Store(), sid_kernel, lambda *_: None)
    one = lesson("rust")
    result = examine(one, one.directory / part, kernel_for(one, Store(), None), Store())
    assert result.passed == (part == "solution"), result.missing
