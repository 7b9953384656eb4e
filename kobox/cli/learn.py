"""`kobox learn`: lessons on kernel modules. Each has a text, a task, hints, and a check that runs your module in a box.

Exit status: 0 done; 1 not yet, and the text says what is missing; 2 wrong usage.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.cli.colour import coloured
from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser
from kobox.cli.progress import ProgressLine
from kobox.cli.terminal_output import paint
from kobox.errors import KoboxError
from kobox.images.store import KernelImage, Store
from kobox.lessons import progress
from kobox.lessons.lesson import Lesson, lesson, lessons
from kobox.printable import one_line

if TYPE_CHECKING:
    from kobox.lessons.classroom import LessonMark
    from kobox.lessons.exam import StepResult


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    arguments = _parser(prog).parse_args(argv)
    status: int = arguments.run(arguments)
    return status


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(prog=prog, description="Lessons on kernel modules; each task is checked in a box.")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    parser.set_defaults(run=_list)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    listing = commands.add_parser("list", help="list the lessons, and which are done (default)")
    listing.add_argument("--json", action="store_true", help="print the list as JSON")
    listing.set_defaults(run=_list)
    for name, what, run in (
        ("start", "write a lesson's text and first version into a directory", _start),
        ("show", "print a lesson's text and task", _show),
        ("hint", "print a hint; again, the next one", _hint),
        ("solution", "print the model solution", _solution),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument("lesson", metavar="LESSON", help="its name or its number")
        command.set_defaults(run=run)
        if name == "start":
            command.add_argument("-o", "--output", type=Path, metavar="DIR", help="write here (default: ./NN-LESSON)")
        elif name == "hint":
            command.add_argument("-n", "--number", type=int, default=1, metavar="N", help="which one (default: 1)")
    check = commands.add_parser("check", help="build what you have made, and live through the lesson's steps in a box")
    check.add_argument("directory", nargs="?", type=Path, default=Path(), help="the lesson's directory (default: here)")
    check.add_argument("--lesson", metavar="LESSON", help="which one (default: what the directory is called)")
    check.add_argument("-k", "--kernel", metavar="NAME", help="the kernel to boot (default: the default kernel)")
    check.add_argument("--json", action="store_true", help="print the steps as JSON")
    check.set_defaults(run=_check)
    export = commands.add_parser("export", help="write all lessons for a class")
    export.add_argument("directory", type=Path, metavar="DIR", help="a directory that is not there yet")
    export.set_defaults(run=_export)
    results = commands.add_parser("results", help="check what a class has handed in: DIR/STUDENT/01-hello/…")
    results.add_argument("directory", type=Path, metavar="DIR", help="the directory of the students' directories")
    results.add_argument("--lesson", action="append", default=[], metavar="LESSON", help="only this one; repeatable")
    results.add_argument("-k", "--kernel", metavar="NAME", help="the kernel to boot (default: the default kernel)")
    results.add_argument("--csv", type=Path, metavar="FILE", help="write the table as CSV, too")
    results.add_argument("--json", action="store_true", help="print every mark, with what is missing, as JSON")
    results.set_defaults(run=_results)
    return parser


def _list(arguments: argparse.Namespace) -> int:
    known, done = lessons(), progress.done()
    if arguments.json:
        rows = [{"number": o.number, "name": o.name, "title": o.title, "done": done.get(o.name)} for o in known]
        print(to_json("learn-list", rows))
        return 0
    width = max(len(one.name) for one in known)
    for one in known:
        print(f"{'*' if one.name in done else ' '} {one.number:>2}  {one.name:<{width}}  {one.title}")
    following = next((one for one in known if one.name not in done), None)
    print(f"\n{sum(one.name in done for one in known)} of {len(known)} done.", end=" ")
    print(f"Next: kobox learn start {following.name}" if following else "That was all of them.")
    return 0


def _start(arguments: argparse.Namespace) -> int:
    from kobox.lessons.classroom import hand_out

    one = lesson(arguments.lesson)
    target = arguments.output or Path(one.directory.name)
    hand_out(one, target)
    print(one.page())
    print(one_line(f"Now edit {target / one.sources[0]}; then: cd {target} && kobox learn check"))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    print(lesson(arguments.lesson).page(), end="")
    return 0


def _hint(arguments: argparse.Namespace) -> int:
    one = lesson(arguments.lesson)
    if not 1 <= arguments.number <= len(one.hints):
        raise KoboxError(f"{one.name}: there are {len(one.hints)} hints", hint=f"-n 1 to -n {len(one.hints)}.")
    print(one.hints[arguments.number - 1])
    if arguments.number < len(one.hints):
        print(f"(the next: kobox learn hint {one.name} -n {arguments.number + 1})")
    return 0


def _solution(arguments: argparse.Namespace) -> int:
    one = lesson(arguments.lesson)
    for path in one.files("solution"):
        print(f"// {path.name}\n{path.read_text()}")
    for command in one.commands:
        print(f"$ {command}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from kobox.lessons.exam import examine

    one = _lesson_of(arguments)
    store = Store()
    result = examine(
        one, arguments.directory, _kernel(one, store, arguments.kernel), store, None if arguments.json else _tell
    )
    if arguments.json:
        print(to_json("learn-check", {**asdict(result), "passed": result.passed}))
    if not result.passed:
        if not arguments.json:
            print(f"Not yet. `kobox learn hint {one.name}` helps.")
        return 1
    progress.remember(one.name)
    if not arguments.json:
        following = next((other for other in lessons() if other.name not in progress.done()), None)
        then = f" Next: kobox learn start {following.name}" if following else " That was the last one."
        print(paint("32;1", f"Done: {one.title}.") if coloured() else f"Done: {one.title}.", then, sep="")
    return 0


def _lesson_of(arguments: argparse.Namespace) -> Lesson:
    """The lesson that a directory is about: by --lesson, by the directory's name, or by the modules in it."""
    if arguments.lesson:
        return lesson(arguments.lesson)
    directory = arguments.directory.resolve()
    if not directory.is_dir():
        raise KoboxError(f"{arguments.directory}: no such directory")
    for one in lessons():
        if directory.name in (one.name, one.directory.name):
            return one
    for one in lessons():
        if all((directory / name).is_file() for name in one.sources):
            return one
    raise KoboxError(
        f"{directory}: no lesson's directory", hint="`kobox learn start LESSON` makes one; --lesson names the lesson."
    )


def _kernel(one: Lesson, store: Store, name: str | None) -> KernelImage:
    from kobox.lessons.exam import kernel_for

    line = ProgressLine()
    try:
        return kernel_for(one, store, name, line)
    finally:
        line.close()


def _tell(step: StepResult) -> None:
    mark = "no" if step.missing else "ok"
    shown = paint("31;1" if step.missing else "32", mark) if coloured() else mark
    print(shown, f" {one_line(step.what)}", sep="")
    for line in step.missing.splitlines():
        print(f"    {one_line(line)}")


def _export(arguments: argparse.Namespace) -> int:
    from kobox.lessons.classroom import export

    known = lessons()
    export(known, arguments.directory)
    print(one_line(f"{arguments.directory}: {len(known)} lessons; `kobox learn results DIR` checks what comes back"))
    return 0


def _results(arguments: argparse.Namespace) -> int:
    from kobox.atomic_file import write_file
    from kobox.lessons.classroom import as_csv, as_markdown, marks

    wanted = [lesson(name) for name in arguments.lesson] or lessons()
    store, line = Store(), ProgressLine(quiet=arguments.json)

    def tell(mark: LessonMark) -> None:
        line(f"{mark.student}: {mark.lesson}: {mark.outcome}", 0, 0)

    try:
        found = marks(arguments.directory, wanted, arguments.kernel, store, tell, line)
    finally:
        line.close()
    if arguments.csv:
        write_file(arguments.csv, as_csv(found).encode(), mode=0o644)
    print(to_json("learn-results", [asdict(mark) for mark in found]) if arguments.json else as_markdown(found).rstrip())
    return 0
