"""`kobox run` as a person calls it: output, JSON, exit status, building from source."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.cli import main as front
from kobox.images.store import KernelImage
from tests.building import SOURCES, BuiltTestModules


def kobox(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("kobox")), *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_good_module_exits_0_and_ends_in_a_verdict(modules: BuiltTestModules) -> None:
    done = kobox("run", "--kernel", modules.kernel.name, modules("params"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"kernel {modules.kernel.release}"
    assert lines[-1].startswith("ok: params loaded and unloaded")
    assert "\x1b[" not in done.stdout


def test_json_is_an_object_a_line_and_the_verdict_comes_last(modules: BuiltTestModules) -> None:
    done = kobox("run", "--json", "--kernel", modules.kernel.name, modules("good"))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[0]["kind"] == "load"
    assert rows[-1]["kind"] == "verdict"
    assert rows[-1]["ok"] is True
    times = [row["time"] for row in rows if row["kind"] == "log"]
    assert times
    assert times == sorted(times)


def test_a_refused_module_exits_1_with_the_kernels_words(modules: BuiltTestModules) -> None:
    done = kobox("run", "--kernel", modules.kernel.name, modules("params"), "number=abc")
    assert done.returncode == 1
    assert "EINVAL" in done.stdout
    assert "Traceback" not in done.stderr


def test_source_is_built_first(debian_kernel: KernelImage, tmp_path: Path) -> None:
    shutil.copy(SOURCES / "good.c", tmp_path)
    done = kobox("run", "--kernel", debian_kernel.name, tmp_path / "good.c")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "building" in done.stderr
    assert (tmp_path / "good.ko").exists()


def test_a_directory_with_two_modules_is_loaded_in_order(debian_kernel: KernelImage, tmp_path: Path) -> None:
    for name in ("kbase.c", "kuser.c"):
        shutil.copy(SOURCES / name, tmp_path)
    done = kobox("run", "--kernel", debian_kernel.name, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.index("=> load kbase") < done.stdout.index("=> load kuser")
    assert done.stdout.index("<= unload kuser") < done.stdout.index("<= unload kbase")


def test_a_directory_of_module_files_is_loaded_and_several_files_with_their_parameters(
    modules: BuiltTestModules, tmp_path: Path
) -> None:
    for name in ("kuser", "kbase"):
        shutil.copy(modules(name), tmp_path)
    done = kobox("run", "--kernel", modules.kernel.name, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "building" not in done.stderr
    assert done.stdout.index("=> load kbase") < done.stdout.index("=> load kuser")
    words = [modules("good"), "n=3", modules("kuser"), modules("kbase")]
    done = kobox("run", "--kernel", modules.kernel.name, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "=> load good n=3" in done.stdout
    assert done.stdout.index("=> load kbase") < done.stdout.index("=> load kuser")


def test_modules_that_need_each_other_end_in_a_sentence(debian_kernel: KernelImage, tmp_path: Path) -> None:
    for here, there in (("left", "right"), ("right", "left")):
        (tmp_path / f"{here}.c").write_text(
            "#include <linux/module.h>\n"
            f"int {here}_one(void); int {there}_one(void);\n"
            f"int {here}_one(void) {{ return 1; }} EXPORT_SYMBOL({here}_one);\n"
            f"static int __init i(void) {{ return {there}_one() & 0; }} static void __exit e(void) {{}}\n"
            'module_init(i); module_exit(e); MODULE_LICENSE("GPL"); MODULE_DESCRIPTION("half of a circle");\n'
        )
    (tmp_path / "Makefile").write_text("obj-m := left.o right.o\n")
    done = kobox("run", "--kernel", debian_kernel.name, tmp_path)
    assert done.returncode == 1
    assert "need each other" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_oops_is_shown_without_its_registers_unless_asked_for(modules: BuiltTestModules) -> None:
    done = kobox("run", "--kernel", modules.kernel.name, modules("faulty"), "what=null")
    assert done.returncode == 1
    assert " ! error while loading faulty: BUG: kernel NULL pointer dereference" in done.stdout
    assert "called by " in done.stdout
    assert not re.search(r"CR2: |Code: |<TASK>", done.stdout)
    done = kobox("run", "-v", "--kernel", modules.kernel.name, modules("faulty"), "what=null")
    assert re.search(r"CR2: ", done.stdout)
    assert re.search(r"<TASK>", done.stdout)


def test_a_dependency_in_the_kernels_tree_is_loaded_too(debian_kernel: KernelImage) -> None:
    assert debian_kernel.modules is not None
    module = next(debian_kernel.modules.rglob("btrfs.ko*"))
    done = kobox("run", "--kernel", debian_kernel.name, module)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "needs " in done.stdout


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "empty"), (b"junk" * 100, "ELF"), (b"\x7fELF" + bytes(20), "ko")],
)
def test_a_file_that_is_no_module_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    bad = tmp_path / "bad.ko"
    bad.write_bytes(content)
    done = kobox("run", bad)
    assert done.returncode == 1
    assert str(bad) in done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_file_and_a_wrong_option(tmp_path: Path) -> None:
    missing = kobox("run", tmp_path / "nothing.ko")
    assert missing.returncode == 1
    assert "no such file" in missing.stderr
    assert kobox("run", "--nonsense", "x.ko").returncode == 2


def test_an_unknown_command_suggests_a_near_one() -> None:
    done = kobox("rum")
    assert done.returncode == 2
    assert "kobox run" in done.stderr


def test_help_lists_every_command_and_each_has_help() -> None:
    text = kobox("--help").stdout
    for name in front.COMMANDS:
        assert f"  {name} " in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_ask_for_the_commands(shell: str) -> None:
    done = kobox("completion", shell)
    assert done.returncode == 0
    assert "completion words -- " in done.stdout
    assert set(front.COMMANDS) <= set(kobox("completion", "words", "--", "").stdout.split())
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=True)


def test_the_import_of_the_package_stays_light() -> None:
    code = "import sys, kobox; print(len([m for m in sys.modules if m.startswith('kobox')]), 'ctypes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]
