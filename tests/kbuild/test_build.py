"""Building real modules against a real kernel's headers."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.errors import BuildError
from kobox.images.store import KernelImage
from kobox.kbuild.build import BuildOptions, build, check_tools, clean, kbuild_for
from kobox.ko.modulefile import ModuleFile

HELLO = """\
#include <linux/module.h>
static int __init hello_init(void) { pr_info("hello\\n"); return 0; }
static void __exit hello_exit(void) { pr_info("bye\\n"); }
module_init(hello_init);
module_exit(hello_exit);
MODULE_LICENSE("GPL");
"""


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    source = tmp_path / "hello"
    source.mkdir()
    (source / "hello.c").write_text(HELLO)
    (source / "Kbuild").write_text("obj-m := hello.o\n")
    return source


@pytest.fixture
def builds(tmp_path: Path) -> Path:
    return tmp_path / "builds"


def vermagic(ko: Path) -> str:
    content = ko.read_bytes()
    start = content.index(b"vermagic=")
    return content[start : content.index(b"\0", start)].decode()


def test_a_directory_with_a_kbuild_gives_its_module_beside_the_source(
    hello: Path, debian_kernel: KernelImage, builds: Path
) -> None:
    built = build(hello, debian_kernel, builds=builds)
    assert list(built) == [hello / "hello.ko"]
    assert debian_kernel.release in vermagic(hello / "hello.ko")
    assert sorted(path.name for path in hello.iterdir()) == ["Kbuild", "hello.c", "hello.ko"]


def test_the_module_keeps_debug_information_that_names_the_user_s_source(
    hello: Path, debian_kernel: KernelImage, builds: Path
) -> None:
    (ko,) = build(hello, debian_kernel, builds=builds)
    content = ko.read_bytes()
    assert b".debug_info" in content
    assert f"{hello}/hello.c".encode() in content
    assert str(builds).encode() not in content


def test_bare_c_files_need_no_kbuild_and_get_none(tmp_path: Path, debian_kernel: KernelImage, builds: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/one.c").write_text(HELLO)
    (tmp_path / "src/two.c").write_text(HELLO)
    built = build(tmp_path / "src", debian_kernel, output=tmp_path / "out", builds=builds)
    assert sorted(built) == [tmp_path / "out/one.ko", tmp_path / "out/two.ko"]
    assert sorted(path.name for path in (tmp_path / "src").iterdir()) == ["one.c", "two.c"]


def test_one_file_of_a_directory_can_be_built_alone(hello: Path, debian_kernel: KernelImage, builds: Path) -> None:
    (hello / "Makefile").write_text("obj-m := other.o\n")
    (hello / "broken.c").write_text("this is no C\n")
    assert list(build(hello / "hello.c", debian_kernel, builds=builds)) == [hello / "hello.ko"]


def test_files_of_one_module_are_found_by_the_one_license(tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text(HELLO)
    (tmp_path / "other.c").write_text("int other(void) { return 1; }\n")
    (tmp_path / "user.c").write_text("int main(void) { return 0; }\n")
    name = tmp_path.name
    assert kbuild_for(tmp_path) == f"obj-m := {name}.o\n{name}-objs := main.o other.o\n"


def test_compiler_errors_arrive_with_the_user_s_file_and_line(
    hello: Path, debian_kernel: KernelImage, builds: Path
) -> None:
    (hello / "hello.c").write_text(HELLO.replace("return 0", "return nothing"))
    lines: list[str] = []
    with pytest.raises(BuildError) as caught:
        build(hello, debian_kernel, builds=builds, on_output=lines.append)
    assert f"{hello}/hello.c:2:" in caught.value.output
    assert re.search("error: .nothing. undeclared", caught.value.output)
    assert caught.value.output == "\n".join(lines)
    assert str(builds) not in caught.value.output
    assert not (hello / "hello.ko").exists()


@pytest.mark.parametrize("suite", ["trixie_kernel", "sid_kernel"])
def test_kernels_of_newer_suites_are_built_for_with_their_own_tools(
    hello: Path, builds: Path, suite: str, request: pytest.FixtureRequest
) -> None:
    kernel: KernelImage = request.getfixturevalue(suite)
    (ko,) = build(hello, kernel, builds=builds)
    assert kernel.release in vermagic(ko)
    assert b".BTF" in ko.read_bytes()
    (hello / "hello.c").write_text(HELLO.replace("return 0", "return nothing"))
    with pytest.raises(BuildError) as caught:
        build(hello, kernel, builds=builds)
    assert f"{hello}/hello.c:2:" in caught.value.output


def test_a_second_build_compiles_only_what_changed(hello: Path, debian_kernel: KernelImage, builds: Path) -> None:
    build(hello, debian_kernel, builds=builds)
    assert "CC [M]" not in build(hello, debian_kernel, builds=builds).output
    (hello / "hello.c").write_text(HELLO.replace("bye", "good bye"))
    assert "hello.o" in build(hello, debian_kernel, builds=builds).output
    assert b"good bye" in (hello / "hello.ko").read_bytes()


def test_files_around_the_directory_can_be_included(tmp_path: Path, debian_kernel: KernelImage, builds: Path) -> None:
    (tmp_path / "deep/er/mod").mkdir(parents=True)
    (tmp_path / "deep/shared.h").write_text('#define GREETING "shared"\n')
    (tmp_path / "deep/er/mod/near.c").write_text(
        '#include "../../shared.h"\n' + HELLO.replace('"hello\\n"', 'GREETING "\\n"')
    )
    (tmp_path / "deep/er/mod/Makefile").write_text("obj-m += near.o\n")
    assert list(build(tmp_path / "deep/er/mod", debian_kernel, builds=builds))


def test_a_directory_whose_name_make_cannot_stand_is_built_all_the_same(
    tmp_path: Path, debian_kernel: KernelImage, builds: Path
) -> None:
    source = tmp_path / "my module: it's #1"
    source.mkdir()
    (source / "spaced.c").write_text(HELLO)
    assert list(build(source, debian_kernel, builds=builds)) == [source / "spaced.ko"]


def test_left_overs_of_a_build_by_hand_are_no_sources(hello: Path, debian_kernel: KernelImage, builds: Path) -> None:
    (hello / "hello.o").write_bytes(b"stale")
    (hello / ".hello.o.cmd").write_text("nonsense")
    (hello / "hello.mod.c").write_text("nonsense")
    (hello / "Module.symvers").write_text("nonsense")
    assert list(build(hello, debian_kernel, builds=builds)) == [hello / "hello.ko"]


def test_a_makefile_without_modules_says_so(hello: Path, debian_kernel: KernelImage, builds: Path) -> None:
    (hello / "Kbuild").write_text("# nothing\n")
    with pytest.raises(BuildError, match=r"nothing was built[\s\S]*obj-m"):
        build(hello, debian_kernel, builds=builds)


def test_a_makefile_that_fails_gives_make_s_words(hello: Path, debian_kernel: KernelImage, builds: Path) -> None:
    (hello / "Kbuild").write_text("$(error no luck today)\n")
    with pytest.raises(BuildError) as caught:
        build(hello, debian_kernel, builds=builds)
    assert "no luck today" in caught.value.output


@pytest.mark.parametrize(("missing", "package"), [("gcc", "gcc"), ("make", "make")])
def test_a_missing_tool_is_one_line_with_the_package(
    hello: Path, debian_kernel: KernelImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, package: str
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in {"gcc", "make", "ld", "apt-get"} - {missing}:
        (tools / tool).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(BuildError) as caught:
        build(hello, debian_kernel, builds=tmp_path / "builds")
    assert str(caught.value) == f"{missing} is not installed, and building a module takes it: apt-get install {package}"


def test_a_kernel_without_headers_says_how_to_get_them(hello: Path, debian_kernel: KernelImage) -> None:
    with pytest.raises(BuildError, match=r"has no headers[\s\S]*kobox kernel add"):
        build(hello, debian_kernel._replace(headers=None))


def test_nothing_to_build_is_said(tmp_path: Path, debian_kernel: KernelImage) -> None:
    with pytest.raises(BuildError, match="no such file"):
        build(tmp_path / "absent", debian_kernel)
    with pytest.raises(BuildError, match="no Makefile, no Kbuild"):
        build(tmp_path, debian_kernel)


def test_a_make_around_it_does_not_steer_it(
    hello: Path, debian_kernel: KernelImage, builds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKEFLAGS", "n --jobserver-auth=8,9")
    monkeypatch.setenv("KBUILD_OUTPUT", "/nonexistent")
    monkeypatch.setenv("M", "/nonexistent")
    monkeypatch.setenv("ARCH", "arm64")
    assert list(build(hello, debian_kernel, builds=builds))


def test_reproducible_builds_agree_wherever_the_source_lies(
    tmp_path: Path, debian_kernel: KernelImage, builds: Path
) -> None:
    results = []
    for place in ("here", "there/deeper"):
        source = tmp_path / place / "hello"
        source.mkdir(parents=True)
        (source / "hello.c").write_text(HELLO)
        (ko,) = build(source, debian_kernel, builds=builds, options=BuildOptions(reproducible=True))
        results.append(ko.read_bytes())
    assert results[0] == results[1]
    assert str(tmp_path).encode() not in results[0]


@pytest.mark.parametrize("suite", ["debian_kernel", "sid_kernel"])
def test_a_module_built_beside_another_knows_its_exports(
    tmp_path: Path, builds: Path, suite: str, request: pytest.FixtureRequest
) -> None:
    kernel: KernelImage = request.getfixturevalue(suite)
    for name, code in (
        ("giver", "int given(void); int given(void) { return 1; }\nEXPORT_SYMBOL(given);\n"),
        ("taker", "int given(void); int taken(void); int taken(void) { return given(); }\n"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.c").write_text(HELLO.replace("hello_", f"{name}_") + code)
    with pytest.raises(BuildError) as caught:
        build(tmp_path / "taker", kernel, builds=builds)
    assert '"given"' in caught.value.output
    assert "undefined" in caught.value.output
    build(tmp_path / "giver", kernel, builds=builds)
    (ko,) = build(tmp_path / "taker", kernel, builds=builds)
    assert b"depends=giver\0" in ko.read_bytes()
    shutil.copytree(tmp_path / "giver", tmp_path / "copy")  # a copy exports the same, and is no neighbour of it
    assert list(build(tmp_path / "copy", kernel, builds=builds))


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes programs earlier in PATH that write down their arguments, and then do what is said (nothing, if empty)."""
    room = tmp_path / "bin"
    room.mkdir()
    monkeypatch.setenv("PATH", str(room), prepend=os.pathsep)

    def make(name: str, then: str = "") -> Path:
        calls = tmp_path / f"{name}.calls"
        program = room / name
        program.write_text(f'#!/bin/sh\necho "$*" >> {calls}\n{then}\n')
        program.chmod(0o755)
        return calls

    return make


def test_sparse_looks_at_every_source_file(
    hello: Path, builds: Path, debian_kernel: KernelImage, tools: Callable[..., Path]
) -> None:
    calls = tools("sparse", "echo \"hello.c:3:1: warning: symbol 'x' was not declared. Should it be static?\" >&2")
    built = build(hello, debian_kernel, builds=builds, options=BuildOptions(sparse=True))
    (call,) = [line for line in calls.read_text().splitlines() if line.endswith("hello.c")]
    assert "-D__KERNEL__" in call
    assert f"{hello}/hello.c:3:1: warning: symbol 'x' was not declared" in built.output
    build(hello, debian_kernel, builds=builds)
    assert len(calls.read_text().splitlines()) == 1  # a plain build does without
    build(hello, debian_kernel, builds=builds, options=BuildOptions(sparse=True))
    assert len(calls.read_text().splitlines()) == 2  # C=2: also what is compiled already


def test_clang_compiles_and_lld_links(
    hello: Path, builds: Path, debian_kernel: KernelImage, tools: Callable[..., Path]
) -> None:
    """gcc and binutils do the work under these names; which options they get is Kbuild's matter."""
    clang = tools("clang", 'exec gcc "$@"')
    linker = tools("ld.lld", 'exec ld "$@"')
    for name in ("ar", "nm", "objcopy", "objdump", "readelf", "strip"):
        tools(f"llvm-{name}", f'exec {name} "$@"')
    built = build(hello, debian_kernel, builds=builds, options=BuildOptions(clang=True))
    assert [path.name for path in built] == ["hello.ko"]
    assert any(line.endswith("hello.c") and "-D__KERNEL__" in line for line in clang.read_text().splitlines())
    assert any("hello.ko" in line for line in linker.read_text().splitlines())
    assert (
        build(hello, debian_kernel, builds=builds).directory != built.directory
    )  # each compiler has objects of its own


def test_a_kernel_of_gcc_s_that_clang_cannot_build_for(
    hello: Path, builds: Path, debian_kernel: KernelImage, tools: Callable[..., Path]
) -> None:
    tools("clang", "echo \"clang: error: unknown argument: '-fconserve-stack'\" >&2; exit 1")
    for name in ("ld.lld", "llvm-objcopy", "llvm-nm", "llvm-ar"):
        tools(name)
    with pytest.raises(BuildError) as caught:
        build(hello, debian_kernel, builds=builds, options=BuildOptions(clang=True))
    assert f"{debian_kernel.name} was built with gcc" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "tool", "package"),
    [
        (BuildOptions(sparse=True), "sparse", "sparse"),
        (BuildOptions(clang=True), "clang", "clang"),
        (BuildOptions(clang=True), "ld.lld", "lld"),
        (BuildOptions(clang=True), "llvm-objcopy", "llvm"),
    ],
)
def test_a_checker_or_compiler_that_is_missing_is_named_with_its_package(
    options: BuildOptions, tool: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "bin"
    room.mkdir()
    for name in {"make", "gcc", "ld", "sparse", "clang", "ld.lld", "llvm-objcopy", "apt-get"} - {tool}:
        (room / name).write_text("")
        (room / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(room))
    with pytest.raises(BuildError) as caught:
        check_tools(options)
    assert str(caught.value) == f"{tool} is not installed, and building a module takes it: apt-get install {package}"


@pytest.mark.parametrize("suite", ["debian_kernel", "sid_kernel"])
def test_editors_get_commands_that_compile(
    hello: Path, builds: Path, suite: str, request: pytest.FixtureRequest
) -> None:
    kernel: KernelImage = request.getfixturevalue(suite)
    build(hello, kernel, builds=builds, options=BuildOptions(compile_commands=True))
    (entry,) = json.loads((hello / "compile_commands.json").read_text())
    assert entry["file"] == f"{hello}/hello.c"
    words = shlex.split(entry["command"])
    words = [word for word in words if not word.startswith("-Wp,-MMD")] + ["-fsyntax-only"]
    subprocess.run(words, cwd=entry["directory"], check=True)


def test_type_information_is_put_into_a_module_that_is_asked_for_it(
    hello: Path, debian_kernel: KernelImage, builds: Path, tmp_path: Path
) -> None:
    [without] = build(hello, debian_kernel, output=tmp_path / "without", builds=builds)
    assert not ModuleFile(without).elf.find(b".BTF")
    [typed] = build(hello, debian_kernel, output=tmp_path / "with", builds=builds, options=BuildOptions(btf=True))
    file = ModuleFile(typed)
    assert b"hello_init" in file.elf.section_data(b".BTF")  # its functions by name
    assert b"task_struct" not in file.elf.section_data(b".BTF")  # that is the kernel's


def test_types_of_another_processor_s_kernel(
    hello: Path, arm64_kernel: KernelImage, builds: Path, tmp_path: Path
) -> None:
    [typed] = build(hello, arm64_kernel, output=tmp_path / "arm64", builds=builds, options=BuildOptions(btf=True))
    assert b"hello_init" in ModuleFile(typed).elf.section_data(b".BTF")


def test_clean_forgets_what_was_built(hello: Path, debian_kernel: KernelImage, builds: Path) -> None:
    directory = build(hello, debian_kernel, builds=builds).directory
    assert clean(hello, builds) == 1
    assert not directory.exists()
    assert clean(hello, builds) == 0


def test_a_user_without_root_can_build(hello: Path, debian_kernel: KernelImage, tmp_path: Path) -> None:
    """The headers are only read: as nobody, the same make works in a directory of nobody's own."""
    if os.geteuid() != 0:
        build(hello, debian_kernel, builds=tmp_path / "builds")
        return
    assert debian_kernel.headers is not None
    before = {path: path.stat().st_mtime_ns for path in debian_kernel.headers.rglob("*")}
    build(hello, debian_kernel, builds=tmp_path / "builds")
    assert {path: path.stat().st_mtime_ns for path in debian_kernel.headers.rglob("*")} == before


def test_the_command_builds_and_reports(hello: Path, debian_kernel: KernelImage, tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("kobox")),
        "build",
        str(hello),
        "--kernel",
        debian_kernel.name,
        "-o",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path}/out/hello.ko: built for {debian_kernel.name} in ")
    (hello / "hello.c").write_text("#error stop here\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "#error stop here" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out/hello.ko").exists()
