"""Every template, built without a warning and run in a box on three kernels, by the tests it brings along."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from kobox.errors import BuildError, KoboxError
from kobox.images.store import KernelImage
from kobox.kbuild.build import BuildOptions, build
from kobox.kbuild.new import NEEDS, TEMPLATES, is_bpf_template, new, render

KOBOX = str(Path(sys.executable).with_name("kobox"))
IN_BPF = [template for template in TEMPLATES if is_bpf_template(template)]
IN_C = [template for template in TEMPLATES if not template.startswith("rust") and template not in (*NEEDS, *IN_BPF)]


def passes_its_own_tests(
    room: Path, kernel: KernelImage, built: Path | None = None, templates: Sequence[str] = IN_C
) -> None:
    """Every C template in `room` passes, and none is left out. `built` is where their modules are already."""
    options = ["-q", "-rA", "--import-mode=importlib", "-p", "no:cacheprovider"]
    environment = {**os.environ, "KOBOX_KERNEL": kernel.name}
    if built is not None:
        options += ["--kobox-built", str(built)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "."],
        cwd=room,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    passed = set(re.findall(r"^PASSED my_(\w+)/test_my_\w+\.py", done.stdout, re.MULTILINE))
    assert passed == set(templates)
    assert "SKIPPED" not in done.stdout


def test_every_template_builds_and_passes_its_own_tests_as_it_stands(
    tmp_path: Path, debian_kernel: KernelImage
) -> None:
    for template in IN_C:
        new(template, f"my_{template}", tmp_path / f"my_{template}")
    passes_its_own_tests(tmp_path, debian_kernel)


def test_every_ebpf_template_passes_its_own_tests(tmp_path: Path, sid_kernel: KernelImage) -> None:
    """On the newest kernel."""
    for template in IN_BPF:
        name = f"my_{template.removeprefix('bpf-').replace('-', '_')}"
        new(template, name, tmp_path / name)
    bpf = [template.removeprefix("bpf-").replace("-", "_") for template in IN_BPF]
    passes_its_own_tests(tmp_path, sid_kernel, templates=bpf)


def test_those_that_a_cloud_kernel_cannot_build(tmp_path: Path, full_kernel: KernelImage) -> None:
    for template in NEEDS:
        new(template, f"my_{template}", tmp_path / f"my_{template}")
        assert f"CONFIG_{NEEDS[template][7:]}" in (tmp_path / f"my_{template}/README.md").read_text()
    passes_its_own_tests(tmp_path, full_kernel, templates=list(NEEDS))


@pytest.mark.parametrize(("suite", "warnings"), [("trixie_kernel", ""), ("sid_kernel", "1")])
def test_on_newer_kernels_too_without_a_warning(
    suite: str, warnings: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """All of them by one run of make; for the newest kernel, which has the strictest compiler, with W=1."""
    kernel: KernelImage = request.getfixturevalue(suite)
    room = tmp_path / "all"
    for template in IN_C:
        new(template, f"my_{template}", room / f"my_{template}")
    (room / "Kbuild").write_text("".join(f"obj-m += my_{template}/\n" for template in IN_C))
    options = BuildOptions(warnings=warnings)
    built = build(room, kernel, output=tmp_path / "built", builds=tmp_path / "builds", options=options)
    assert len(built) == len(IN_C) + 1  # export makes two
    assert "warning" not in built.output
    passes_its_own_tests(room, kernel, tmp_path / "built")


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_written_module_has_all_it_needs_and_only_its_own_name(template: str) -> None:
    texts = render(template, "my_thing")
    common = {"README.md", ".gitignore", ".clang-format", "test_my_thing.py"}
    assert common <= set(texts)
    assert {"Makefile", "dkms.conf"} <= set(texts) or template in IN_BPF
    assert {"my_thing.c", "my_thing.rs", "my_thing.bpf.c"} & set(texts)
    for file, text in texts.items():
        assert "skeleton" not in text.lower(), file
        assert "@" not in text.replace("$@", "").replace("@pytest", "").replace("@property", ""), file
        assert text.endswith("\n"), file
    for file in texts:
        if file.endswith((".c", ".h")):
            assert texts[file].splitlines()[0].startswith(("// SPDX-License-Identifier", "/* SPDX-License-Identifier"))
            assert [
                line for line in render(template, "sk")[file.replace("my_thing", "sk")].splitlines() if len(line) > 80
            ] == []


def test_rust_says_exactly_what_is_missing(tmp_path: Path, debian_kernel: KernelImage, sid_kernel: KernelImage) -> None:
    new("rust", "my_rust", tmp_path / "my_rust")
    with pytest.raises(BuildError, match=r"6\.1\.\S+ is built without Rust.*CONFIG_RUST"):
        build(tmp_path / "my_rust", debian_kernel, builds=tmp_path / "builds")
    bare = sid_kernel._replace(directory=tmp_path)  # as if nobody had made its Rust support
    with pytest.raises(BuildError, match=r"carry no Rust metadata.*rust/libkernel\.rmeta") as refused:
        build(tmp_path / "my_rust", bare, builds=tmp_path / "builds")
    assert f"kobox kernel add {sid_kernel.name} --rust" in refused.value.hint


@pytest.mark.parametrize("name", ["", "2fast", "my-module", "a b", "int", "module", "../x", "x" * 41, "naïve"])
def test_names_that_c_cannot_take_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(KoboxError, match="cannot name a module"):
        new("hello", name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_of_the_user_s_is_overwritten(tmp_path: Path) -> None:
    new("hello", "mine", tmp_path / "mine")
    (tmp_path / "mine/mine.c").write_text("precious")
    with pytest.raises(KoboxError, match="is there already"):
        new("hello", "mine", tmp_path / "mine")
    assert (tmp_path / "mine/mine.c").read_text() == "precious"
    (tmp_path / "empty").mkdir()
    assert new("hello", "mine", tmp_path / "empty")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_command_lists_and_writes(tmp_path: Path) -> None:
    def kobox(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([KOBOX, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    listed = kobox("new", "--list").stdout
    assert [line.split()[0] for line in listed.splitlines()] == list(TEMPLATES)
    assert json.loads(kobox("new", "--list", "--json").stdout) == TEMPLATES
    done = kobox("new", "chardev", "thing")
    assert done.returncode == 0
    assert "next: cd thing && kobox build && kobox run thing.ko" in done.stdout
    assert (tmp_path / "thing/thing.h").is_file()
    wrong = kobox("new", "chrdev", "thing2")
    assert (wrong.returncode, "Did you mean chardev?" in wrong.stderr) == (1, True)
    assert kobox("new", "hello").returncode == 2


def test_the_makefile_works_by_hand(tmp_path: Path, debian_kernel: KernelImage) -> None:
    new("export", "mine", tmp_path / "mine")
    command = ["make", "-s", "-C", str(tmp_path / "mine"), f"KDIR={debian_kernel.headers}"]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "mine/mine_user.ko").is_file()
    subprocess.run([*command, "clean"], check=True, capture_output=True)
    here = tmp_path / "mine"
    files = [str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()]
    assert sorted(files) == sorted(render("export", "mine"))
