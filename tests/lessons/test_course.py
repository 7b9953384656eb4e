"""Every lesson of the course: its model solution is done, its first version is not."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from kobox.images.store import KernelImage, Store
from kobox.kbuild.build import build
from kobox.lessons.exam import take_steps
from kobox.lessons.lesson import Lesson, lessons
from tests.building import builds, built_once

ALL = lessons()
# `make check-rust` walks through the others: Rust support takes a kernel some minutes.
COURSE = [lesson for lesson in ALL if not lesson.rust]


def built(part: str, kernel: KernelImage) -> Path:
    """The modules of all lessons, built by one make: kept until a source changes."""
    sources = [path for lesson in COURSE for path in lesson.files(part) if path.suffix in (".c", ".h")]
    digest = hashlib.sha256(f"lessons with types {part} {kernel.name} {kernel.digest}".encode())
    for path in sources:
        digest.update(path.name.encode() + path.read_bytes())

    def make(aside: Path) -> None:
        room = aside.with_name(f"{aside.name}-source")
        shutil.rmtree(room, ignore_errors=True)
        room.mkdir()
        for path in sources:
            shutil.copy(path, room)
        (room / "Kbuild").write_text("".join(f"obj-m += {m}.o\n" for lesson in COURSE for m in lesson.modules))
        build(room, kernel, output=aside, builds=builds())
        shutil.rmtree(room)

    return built_once(digest.hexdigest(), make)


def modules(lesson: Lesson, part: str, kernel: KernelImage) -> dict[str, Path]:
    place = built(part, kernel)
    programs = {name: place / f"{name}.bpf.o" for name in lesson.programs}
    return {**{name: place / f"{name}.ko" for name in lesson.modules}, **programs}


def test_there_are_twenty_lessons_and_more_with_all_that_a_lesson_has() -> None:
    assert len(ALL) >= 20
    assert [lesson.number for lesson in ALL] == list(range(1, len(ALL) + 1))
    names = [name for lesson in ALL for name in (*lesson.modules, *lesson.programs)]
    assert len(names) == len(set(names))
    for lesson in ALL:
        assert len(lesson.text) > 200, lesson.name
        assert lesson.task
        assert len(lesson.hints) >= 2, lesson.name
        assert lesson.steps, lesson.name
        assert lesson.sources
        for part in ("start", "solution"):
            assert set(lesson.sources) <= {path.name for path in lesson.files(part)}


@pytest.mark.parametrize("lesson", [one for one in COURSE if not one.commands], ids=lambda lesson: lesson.name)
def test_the_model_solution_is_done(lesson: Lesson, debian_kernel: KernelImage) -> None:
    found = modules(lesson, "solution", debian_kernel)
    result = take_steps(lesson, found, lesson.directory / "solution", debian_kernel, Store())
    assert result.missing == ""
    assert len(result.steps) == len(lesson.steps)


@pytest.mark.parametrize("lesson", COURSE, ids=lambda lesson: lesson.name)
def test_the_first_version_is_not_done(lesson: Lesson, debian_kernel: KernelImage) -> None:
    found = modules(lesson, "start", debian_kernel)
    result = take_steps(lesson, found, lesson.directory / "start", debian_kernel, Store())
    assert not result.passed
    assert result.missing
