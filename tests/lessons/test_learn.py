"""`kobox learn`, as a student and as a teacher use it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.errors import KoboxError
from kobox.images.store import KernelImage, Store
from kobox.lessons import progress
from kobox.lessons.classroom import LessonMark, as_csv, as_markdown, export
from kobox.lessons.exam import examine, kernel_for
from kobox.lessons.lesson import lesson, lessons

KOBOX = str(Path(sys.executable).with_name("kobox"))


def learn(here: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_STATE_HOME": str(here / "state"), "COLUMNS": "80"}
    return subprocess.run(
        [KOBOX, "learn", *words], cwd=here, capture_output=True, text=True, env=environment, check=False
    )


def test_a_student_s_way_through_a_lesson(tmp_path: Path, debian_kernel: KernelImage) -> None:
    assert "0 of " in learn(tmp_path).stdout
    begun = learn(tmp_path, "start", "hello")
    assert begun.returncode == 0
    assert "## Task" in begun.stdout
    assert (tmp_path / "01-hello/hello.c").exists()
    place = ("01-hello", "-k", debian_kernel.name)
    first = learn(tmp_path, "check", *place)
    assert first.returncode == 1
    assert 'hello_init() has to write "Hello, kernel" to the log.' in first.stdout
    assert "kobox learn hint hello" in first.stdout
    assert "pr_info" in learn(tmp_path, "hint", "hello", "-n", "2").stdout
    shutil.copy(lesson("hello").directory / "solution/hello.c", tmp_path / "01-hello")
    second = learn(tmp_path, "check", *place, "--json")
    assert (second.returncode, json.loads(second.stdout)["passed"]) == (0, True)
    listed = learn(tmp_path).stdout
    assert "* " in listed
    assert f"1 of {len(lessons())} done. Next: kobox learn start licence" in listed
    assert learn(tmp_path, "start", "hello").returncode == 1  # nothing is written over
    assert "Hello, kernel" in (tmp_path / "01-hello/hello.c").read_text()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("int nonsense", "It does not build."),
        (None, "has no hello.c"),
        ("#include <linux/module.h>\nstatic int __init h(void) { *(int *)8 = 1; return 0; }\nmodule_init(h);\n"
         'MODULE_LICENSE("GPL");\n', "hello_init() has to write"),
        ("#include <linux/module.h>\nstatic int __init h(void) { for (;;) cpu_relax(); return 0; }\nmodule_init(h);\n"
         'MODULE_LICENSE("GPL");\n', "hello_init() has to write"),
        ("#include <linux/module.h>\nstatic int __init h(void) { pr_info(\"Hello, kernel\\n\"); WARN_ON(1);\n"
         'return 0; }\nmodule_init(h);\nMODULE_LICENSE("GPL");\n', "The kernel reports"),
    ],
    ids=["nonsense", "nothing", "oops", "loop", "warning"],
)  # fmt: skip
def test_whatever_a_student_writes_is_answered(
    content: str | None, said: str, tmp_path: Path, debian_kernel: KernelImage
) -> None:
    if content is not None:
        (tmp_path / "hello.c").write_text(content)
    result = examine(lesson("hello"), tmp_path, debian_kernel, Store())
    assert not result.passed
    assert said in result.missing


def test_a_lesson_in_rust_says_what_its_kernel_wants(tmp_path: Path) -> None:
    with pytest.raises(KoboxError, match="wants a kernel with Rust support") as caught:
        kernel_for(lesson("rust"), Store(tmp_path), None)
    assert "kobox kernel add debian/sid --rust" in caught.value.hint


@pytest.mark.parametrize("made", ["", "file"])
def test_a_directory_that_is_none_is_named(made: str, tmp_path: Path, debian_kernel: KernelImage) -> None:
    place = tmp_path / "nowhere"
    if made:
        place.write_text("text")
    result = examine(lesson("hello"), place, debian_kernel, Store())
    assert result.missing == f"{place} has no hello.c"


def test_an_object_without_a_program_is_told(tmp_path: Path, debian_kernel: KernelImage) -> None:
    (tmp_path / "wall.bpf.c").write_text(
        '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\nint dropped;\nchar L[] SEC("license") = "GPL";\n'
    )
    result = examine(lesson("ebpf"), tmp_path, debian_kernel, Store())
    assert "The object has no program" in result.missing


def test_a_makefile_of_a_student_is_not_run(tmp_path: Path, debian_kernel: KernelImage) -> None:
    shutil.copy(lesson("hello").directory / "solution/hello.c", tmp_path)
    for name in ("Makefile", "Kbuild"):
        (tmp_path / name).write_text("$(shell touch run-by-make)\nobj-m := evil.o\n")
    assert examine(lesson("hello"), tmp_path, debian_kernel, Store()).passed
    assert not list(tmp_path.rglob("run-by-make"))


def test_the_lesson_on_signatures_is_done_by_its_commands(tmp_path: Path, debian_kernel: KernelImage) -> None:
    one = lesson("signatures")
    shutil.copy(one.directory / "solution/papers.c", tmp_path)
    environment = {**os.environ, "KOBOX_KERNEL": debian_kernel.name}
    for command in one.commands:
        words = command.split()[1:]
        subprocess.run([KOBOX, *words], cwd=tmp_path, check=True, env=environment, stdout=subprocess.DEVNULL)
    assert examine(one, tmp_path, debian_kernel, Store()).missing == ""
    (tmp_path / "papers.ko").write_bytes(
        (tmp_path / "papers.ko").read_bytes().replace(b"papers, please", b"papers, pleasE")
    )
    assert "papers.ko" in examine(one, tmp_path, debian_kernel, Store()).missing


def test_a_class_gets_directories_and_its_teacher_a_table(tmp_path: Path, debian_kernel: KernelImage) -> None:
    assert learn(tmp_path, "export", "class").returncode == 0
    assert len([path for path in (tmp_path / "class").iterdir() if path.is_dir()]) == len(lessons())
    assert "(01-hello/README.md)" in (tmp_path / "class/README.md").read_text()
    assert learn(tmp_path, "export", "class").returncode == 1
    for student, part in (("ann", "solution"), ("bob", "start")):
        place = tmp_path / "back" / student / "01-hello"
        place.mkdir(parents=True)
        shutil.copy(lesson("hello").directory / part / "hello.c", place)
    (tmp_path / "back/cleo").mkdir()
    done = learn(tmp_path, "results", "back", "--lesson", "hello", "--csv", "marks.csv", "-k", debian_kernel.name)
    assert done.returncode == 0, done.stderr
    assert "| ann | done | 1 |\n| bob | not done | 0 |\n| cleo | absent | 0 |" in done.stdout
    with (tmp_path / "marks.csv").open() as file:
        assert list(csv.reader(file))[1] == ["ann", "done", "1"]
    assert learn(tmp_path, "results", "class/01-hello").returncode == 1


@pytest.mark.parametrize("name", ["helo", "99", "", "../x"])
def test_a_lesson_that_is_none(name: str) -> None:
    with pytest.raises(KoboxError, match="no lesson is called"):
        lesson(name)


def test_a_lesson_by_name_or_number() -> None:
    assert lesson("1") == lesson("hello") == lesson("01-hello")


@pytest.mark.parametrize("content", ["", "[]", '{"format": 9, "done": {}}', '{"format": 1, "done": []}', "\xff"])
def test_progress_that_cannot_be_read_is_none(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    progress.state_file().parent.mkdir(parents=True)
    progress.state_file().write_text(content, encoding="latin-1")
    assert progress.done() == {}
    progress.remember("hello")
    assert list(progress.done()) == ["hello"]


def test_tables_hold_whatever_a_student_is_called(tmp_path: Path) -> None:
    found = [LessonMark('a|b, "c"', "hello", "done")]
    assert "| a\\|b" in as_markdown(found)
    assert next(csv.reader(as_csv(found).splitlines()[1:])) == ['a|b, "c"', "done", "1"]
    (tmp_path / "there").mkdir()
    (tmp_path / "there/file").write_text("")
    with pytest.raises(KoboxError, match="not empty"):
        export(lessons(), tmp_path / "there")
