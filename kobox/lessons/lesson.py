"""A lesson as data: `course/NN-NAME/lesson.toml`, with `start/` and `solution/` beside it.

    title, text, task     what the reader is told; `text` and `task` are Markdown
    hints                 from the first to the plainest
    modules               the modules that are built, in this order
    programs              eBPF programs that are compiled: NAME.bpf.c
    rust                  the modules are in Rust (NAME.rs), and want a kernel with Rust support
    commands              where the solution is more than source: what is typed to make it
    [[steps]]             what the check does, in order (`LessonStep`)

A lesson is done when every step is as it says, and the kernel has reported nothing.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from kobox.errors import KoboxError

COURSE = Path(os.path.dirname(__file__)) / "course"


@dataclass(frozen=True, slots=True)
class LessonStep:
    """One step of a check, and what must come of it. One of these is given:

    load        a module's name; with `with_` its parameters, with `fails` the errno that insmod must fail with
    unload      a module's name
    run         a command for the shell; `prints` is a pattern of its output, `status` its exit status
    ioctl       a device, and `calls` of ioctl(2) on it (`kobox.lessons.exam.device_call`)
    plug        a ready device
    examine     a module's name: it goes through every check of `kobox check`
    signed      a module's name: NAME.ko is signed by the key of NAME.crt
    verify      an eBPF program's name: the kernel's verifier takes it; the next steps are about it
    attach      its name: it is attached as its sections say; "" detaches it
    packet      one of `kobox.apps.bpf_exercise.PACKETS`: it is called with it, and has to answer `answer`
    variable    "NAME = NUMBER": what one of its variables has to be

    `log`: a pattern that the log must have since the step began; `silent`: one that it must not have. `because`
    says in a sentence what is missing where the step fails.
    """

    because: str
    load: str = ""
    with_: str = ""
    fails: str = ""
    unload: str = ""
    run: str = ""
    prints: str = ""
    status: int = 0
    ioctl: str = ""
    calls: tuple[str, ...] = ()
    plug: str = ""
    examine: str = ""
    signed: str = ""
    verify: str = ""
    attach: str | None = None
    packet: str = ""
    answer: str = ""
    variable: str = ""
    log: str = ""
    silent: str = ""

    @property
    def what(self) -> str:
        """The step in a few words."""
        if self.load:
            return f"load {' '.join(filter(None, (self.load, self.with_)))}"
        if self.attach is not None:
            return f"attach {self.attach}" if self.attach else "detach"
        for verb in ("unload", "run", "ioctl", "plug", "examine", "signed", "verify", "packet", "variable"):
            if value := getattr(self, verb):
                return f"{'is it signed:' if verb == 'signed' else verb} {value}"
        return "nothing"


@dataclass(frozen=True, slots=True)
class Lesson:
    """One lesson. `number` counts from 1; `directory` holds its files."""

    number: int
    name: str
    title: str
    text: str
    task: str
    hints: tuple[str, ...]
    modules: tuple[str, ...]
    programs: tuple[str, ...]
    rust: bool
    steps: tuple[LessonStep, ...]
    commands: tuple[str, ...]
    directory: Path

    def files(self, part: str) -> list[Path]:
        """The files of `start` or `solution`, by name."""
        return sorted(path for path in (self.directory / part).glob("*") if path.is_file())

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the files that the reader writes."""
        modules = (f"{name}.{'rs' if self.rust else 'c'}" for name in self.modules)
        return (*(f"{name}.bpf.c" for name in self.programs), *modules)

    def page(self) -> str:
        """What the reader is told, as Markdown."""
        return f"# {self.number}. {self.title}\n\n{self.text.strip()}\n\n## Task\n\n{self.task.strip()}\n"


def lessons() -> list[Lesson]:
    """All lessons, in order."""
    return [_read(place) for place in sorted(COURSE.iterdir()) if (place / "lesson.toml").is_file()]


def lesson(name: str) -> Lesson:
    """A lesson by its name or its number. Raises `KoboxError` where there is none."""
    known = lessons()
    for one in known:
        if name in (one.name, str(one.number), one.directory.name):
            return one
    import difflib

    near = difflib.get_close_matches(name, [one.name for one in known], 1)
    hint = f"Did you mean {near[0]}?" if near else "`kobox learn` lists them."
    raise KoboxError(f"no lesson is called {name!r}", hint=hint)


def _read(place: Path) -> Lesson:
    read = tomllib.loads((place / "lesson.toml").read_text(encoding="utf-8"))
    number, _, name = place.name.partition("-")
    names = {field.name for field in fields(LessonStep)}
    steps = tuple(_step(step, names) for step in read["steps"])
    return Lesson(
        number=int(number),
        name=name,
        title=read["title"],
        text=read["text"],
        task=read["task"],
        hints=tuple(read["hints"]),
        modules=tuple(read.get("modules", ())),
        programs=tuple(read.get("programs", ())),
        rust=read.get("rust", False),
        steps=steps,
        commands=tuple(read.get("commands", ())),
        directory=place,
    )


def _step(row: dict[str, Any], names: set[str]) -> LessonStep:
    given: dict[str, Any] = {_field(key, names): value for key, value in row.items()}
    return LessonStep(**{**given, "calls": tuple(given.get("calls", ()))})


def _field(key: str, names: set[str]) -> str:
    field = "with_" if key == "with" else key
    if field not in names or not re.fullmatch(r"\w+", field):
        raise KoboxError(f"{key}: no key of a lesson's step")
    return field
