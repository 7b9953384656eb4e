"""A class: the lessons as directories to hand out, and what the students' directories are worth, as a table.

DIR/README.md               the list of lessons
DIR/01-hello/README.md      text and task; beside it the first version

SUBMISSIONS/STUDENT/01-hello/hello.c     what comes back
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kobox.atomic_directory import atomic_directory
from kobox.atomic_file import errors_name, write_file
from kobox.errors import KoboxError
from kobox.images.kernel_image import Progress
from kobox.images.store import Store
from kobox.lessons.exam import examine, kernel_for
from kobox.lessons.lesson import Lesson


@dataclass(frozen=True, slots=True)
class LessonMark:
    """What one student has made of one lesson: `outcome` is done, not done or absent; `missing` says why not."""

    student: str
    lesson: str
    outcome: str
    missing: str = ""


def hand_out(lesson: Lesson, target: Path) -> list[Path]:
    """Write a lesson's text and first version into a directory; the files. What is there stays.

    Raises `KoboxError` where nothing had to be written.
    """
    target.mkdir(parents=True, exist_ok=True)
    written = []
    page = target / "README.md"
    if not page.exists():
        write_file(page, lesson.page().encode())
        written.append(page)
    for path in lesson.files("start"):
        if not (target / path.name).exists():
            write_file(target / path.name, path.read_bytes())
            written.append(target / path.name)
    if not written:
        raise KoboxError(f"{target}: has all of the lesson's files", hint="`kobox learn check` looks at them.")
    return written


def export(lessons: Sequence[Lesson], target: Path) -> None:
    """Write lessons for a class into a directory, which must not be there or be empty; it appears whole or not at all.

    Raises `KoboxError`, `OSError`.
    """
    if target.exists() and any(target.iterdir()):
        raise KoboxError(f"{target}: not empty", hint="Name a directory that is not there yet.")
    lines = [
        "# Lessons on kernel modules",
        "",
        "In the directory of a lesson, `kobox learn check` looks at your work.",
        "",
    ]
    lines += [f"{lesson.number}. [{lesson.title}]({lesson.directory.name}/README.md)" for lesson in lessons]
    with atomic_directory(target) as aside, errors_name(target):
        for lesson in lessons:
            hand_out(lesson, aside / lesson.directory.name)
        write_file(aside / "README.md", ("\n".join(lines) + "\n").encode())


def marks(
    submissions: Path,
    lessons: Sequence[Lesson],
    kernel: str | None,
    store: Store,
    told: Callable[[LessonMark], None],
    progress: Progress | None = None,
) -> list[LessonMark]:
    """Look at what every student has handed in, on the kernel of that name, or each lesson's own (None).

    Raises `KoboxError` where no student's directory is there, or no kernel for a lesson that somebody has handed in.
    """
    found = []
    students = [path for path in sorted(submissions.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    if not students:
        raise KoboxError(
            f"{submissions}: holds no directory of a student", hint="It is SUBMISSIONS/STUDENT/01-hello/…."
        )
    for student in students:
        for lesson in lessons:
            mark = _mark(student, lesson, kernel, store, progress)
            found.append(mark)
            told(mark)
    return found


def _mark(student: Path, lesson: Lesson, kernel: str | None, store: Store, progress: Progress | None) -> LessonMark:
    place = next((place for place in (student / lesson.directory.name, student / lesson.name) if place.is_dir()), None)
    if place is None:
        return LessonMark(student.name, lesson.name, "absent")
    result = examine(lesson, place, kernel_for(lesson, store, kernel, progress), store)
    return LessonMark(student.name, lesson.name, "done" if result.passed else "not done", result.missing)


def as_csv(found: Sequence[LessonMark]) -> str:
    """The marks as CSV: a row for each student, a column for each lesson, and how many are done."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerows(_table(found))
    return out.getvalue()


def as_markdown(found: Sequence[LessonMark]) -> str:
    """The same as a table in Markdown, with the lessons that somebody has handed in."""
    there = {mark.lesson for mark in found if mark.outcome != "absent"}
    kept = [mark for mark in found if mark.lesson in there or not there]
    head, *rows = [[cell.replace("|", "\\|") for cell in row] for row in _table(kept)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def _table(found: Sequence[LessonMark]) -> Iterator[list[str]]:
    lessons = list(dict.fromkeys(mark.lesson for mark in found))
    outcome = {(mark.student, mark.lesson): mark.outcome for mark in found}
    yield ["student", *lessons, "done"]
    for student in dict.fromkeys(mark.student for mark in found):
        mine = [outcome[student, lesson] for lesson in lessons]
        yield [student, *mine, str(mine.count("done"))]
