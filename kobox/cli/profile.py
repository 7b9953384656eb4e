"""`kobox profile`: what modules cost while they are loaded, used and unloaded in a box, counted exactly.

Exit status: 0; 1 when the modules' life ended with an error, or with --fail-on when something costs more than in the
baseline; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kobox.cli.json_output import to_json
from kobox.cli.life import add_cpu_limit, add_life_options, life_box
from kobox.cli.parser import CommandParser, percentage
from kobox.cli.worker import raise_wall
from kobox.json_text import parse_json

if TYPE_CHECKING:
    from kobox.box.box import Box
    from kobox.box.profile.costs import LineCost, ProfileCosts
    from kobox.ko.modulefile import ModuleFile


class _Variation(NamedTuple):
    """A name and the values that it is given, one life each."""

    name: str
    values: tuple[str, ...]


class _Subject(NamedTuple):
    """What is lived: modules with their parameters, and how they are used."""

    box: Box
    files: list[ModuleFile]
    parameters: list[str]
    uses: list[Callable[[Box], Any]]
    commands: list[str]

    def costs(self, name: str = "", value: str = "", label: str = "", said: bool = True) -> ProfileCosts:
        """Live it once in a clean box; `name` is a module parameter, or `{name}` in a command, that gets `value`."""
        from dataclasses import replace

        from kobox.apps.module_life import ModuleLife
        from kobox.errors import BoxError, KernelError

        parameters, commands = list(self.parameters), list(self.commands)
        if name and any(f"{{{name}}}" in command for command in commands):
            commands = [command.replace(f"{{{name}}}", value) for command in commands]
        elif name:
            parameters[-1] = f"{parameters[-1]} {name}={value}".strip()
        out = sys.stderr
        life = ModuleLife(
            self.box,
            self.files,
            parameters,
            uses=self.uses,
            commands=commands,
            said=(lambda text: print(text, end="", file=out)) if said else None,
        )
        self.box.reset()
        ended: str | None = None
        with self.box.profile(*(file.path for file in self.files)) as profile:
            try:
                with self.box.guest.processes.budget(self.box.limits.cpu):
                    life()
            except (BoxError, KernelError) as caught:
                ended = caught.message
        return replace(profile.costs, ended_by=ended, label=label)


def main(argv: list[str], prog: str) -> int:
    """Entry point of the subcommand."""
    parser = _parser(prog)
    arguments = parser.parse_intermixed_args(argv)
    if arguments.fail_on is not None and arguments.baseline is None:
        parser.error("--fail-on needs --baseline FILE")
    from kobox.apps import run_sources
    from kobox.cli.progress import ProgressLine
    from kobox.images.store import Store
    from kobox.machine import native_core as native

    native.preload()
    before = _baseline(arguments.baseline)
    store, progress = Store(), ProgressLine(quiet=arguments.json)
    try:
        named = arguments.kernel or store.fitting(Path(source) for source in arguments.source)
        image = store.ensure(named, progress)
        sources = run_sources.split([*arguments.source, *arguments.parameters])
        paths = run_sources.module_paths(
            sources, image, lambda path: print(f"building {path} for {image.name}", file=sys.stderr)
        )
        box = life_box(arguments, image, store, progress)
        box.set_reset_point()
    finally:
        progress.close()
    with box:
        from kobox.checks.fuzz.exercise_file import exercises_of

        uses = [use for file in arguments.exercise for use in exercises_of(file, paths[-1][-1])]
        box.inspect.layout.keep_before_a_wall()
        write = _writer(
            [path for path in (arguments.svg, arguments.folded, arguments.speedscope, arguments.save) if path]
        )
        places = [path.resolve().parent for files in paths for path in files]
        box.limits.cpu = arguments.cpu_limit
        raise_wall([*places, *filter(None, (image.modules, image.directory))], cpu_limit=box.limits.cpu)
        files, parameters = run_sources.module_files(sources, paths)
        subject = _Subject(box, files, parameters, uses, arguments.commands)
        if arguments.compare:
            return _compared(subject, arguments)
        if arguments.scale:
            return _scaled(subject, arguments)
        costs = subject.costs()
        _write_files(arguments, costs, write)
        return _report(arguments, costs, before)


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(
        prog=prog,
        description="Count what modules cost while they are loaded, used and unloaded in a box: instructions by "
        "function, line and chain of calls, the kernel's for them too; memory by place, log lines, locks, interrupts "
        "off, system calls, probes. The counts are exact, and the same in every run.",
    )
    add_life_options(parser)
    several = parser.add_mutually_exclusive_group()
    several.add_argument(
        "--compare",
        type=_values,
        metavar="NAME=A,B,…",
        help="one life for each value of a module parameter, or of {NAME} in a command, side by side",
    )
    several.add_argument(
        "--scale",
        type=_range,
        metavar="NAME=FIRST..LAST",
        help="the same for numbers between two; tells how costs grow",
    )
    parser.add_argument("--most", type=_most, default=15, metavar="N", help="rows of each table (default: 15)")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write a flame graph")
    parser.add_argument("--folded", type=Path, metavar="FILE", help="write folded stacks, as flamegraph.pl reads them")
    parser.add_argument("--speedscope", type=Path, metavar="FILE", help="write a profile for https://speedscope.app")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the profile, for --baseline")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="tell what costs more than in this profile")
    parser.add_argument(
        "--fail-on",
        type=percentage,
        metavar="PERCENT",
        help="exit with 1 when something costs that much more than there",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_cpu_limit(parser)
    return parser


def _values(text: str) -> _Variation:
    name, _, values = text.partition("=")
    found = tuple(value for value in values.split(",") if value)
    if not name or len(found) < 2:
        raise argparse.ArgumentTypeError(f"{text!r}: not NAME=A,B with two values at least")
    return _Variation(name, found)


def _range(text: str) -> _Variation:
    from kobox.box.profile.growth import steps

    name, _, values = text.partition("=")
    first, _, last = values.partition("..")
    if not name or not first.isdigit() or not last.isdigit() or not 0 < int(first) < int(last) < 1 << 40:
        raise argparse.ArgumentTypeError(f"{text!r}: not NAME=FIRST..LAST with numbers above 0")
    numbers = steps(int(first), int(last))
    if len(numbers) < 3:
        raise argparse.ArgumentTypeError(f"{text!r}: three different numbers at least lie between the two of a scale")
    return _Variation(name, tuple(map(str, numbers)))


def _most(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 10**6:
        raise argparse.ArgumentTypeError(f"{text!r}: not a number above 0")
    return int(text)


def _baseline(path: Path | None) -> ProfileCosts | None:
    if path is None:
        return None
    from kobox.box.profile.costs import ProfileCosts, ProfileFormatError

    try:
        return ProfileCosts.of_plain(parse_json(path.read_bytes()), "baseline")
    except ValueError:
        raise ProfileFormatError(f"{path}: no JSON", hint="`kobox profile … --save FILE` writes a profile.") from None
    except ProfileFormatError as error:
        raise ProfileFormatError(f"{path}: {error.message}", hint="`kobox profile … --save FILE` writes one.") from None


def _writer(files: list[Path]) -> Callable[[Path, bytes], None]:
    """What writes files, from behind the wall."""
    if not files:
        return lambda path, content: None
    from kobox.isolation.file_writer import FileWriter

    return FileWriter(files).write


def _write_files(arguments: argparse.Namespace, costs: ProfileCosts, write: Callable[[Path, bytes], None]) -> None:
    from kobox.box.profile import flame

    name = " ".join(arguments.source)
    makers: list[tuple[Path | None, Callable[[], str]]] = [
        (arguments.svg, lambda: flame.svg(costs, name)),
        (arguments.folded, lambda: flame.folded(costs)),
        (arguments.speedscope, lambda: flame.speedscope(costs, name)),
        (arguments.save, lambda: json.dumps(costs.plain())),
    ]
    for path, make in makers:
        if path is not None:
            write(path, make().encode())


def _report(arguments: argparse.Namespace, costs: ProfileCosts, before: ProfileCosts | None) -> int:
    from kobox.box.profile.remedies import remedies
    from kobox.box.profile.text import changed, costs_text
    from kobox.printable import printable

    grown = changed(before, costs, arguments.fail_on or 0) if before is not None else []
    if arguments.json:
        told: dict[str, object] = {**costs.plain(), "notes": remedies(costs)}
        print(to_json("profile", told | ({"grown": grown} if before is not None else {}), indent=None))
    else:
        print(printable(costs_text(costs, _source_text(), most=arguments.most)))
        if not arguments.commands and not arguments.exercise:
            print("\nit was loaded and unloaded; -c COMMAND and --exercise FILE.py use it meanwhile")
        if before is not None:
            print(printable("\n".join(["", *(grown or ["nothing costs more than in the baseline"])])))
    if costs.ended_by is not None:
        print(f"the module's life ended with an error: {printable(costs.ended_by)}", file=sys.stderr)
    return 1 if costs.ended_by is not None or (grown and arguments.fail_on is not None) else 0


def _source_text() -> Callable[[LineCost], str]:
    """The text of lines, where the source stands as it is named."""
    known: dict[str, list[str]] = {}

    def text(line: LineCost) -> str:
        if line.file not in known:
            try:
                known[line.file] = Path(line.file).read_text(errors="replace").splitlines()
            except OSError:
                known[line.file] = []
        lines = known[line.file]
        return lines[line.line - 1] if 0 < line.line <= len(lines) else ""

    return text


def _lives(subject: _Subject, variation: _Variation) -> list[ProfileCosts]:
    return [
        subject.costs(variation.name, value, f"{variation.name}={value}", said=value == variation.values[0])
        for value in variation.values
    ]


def _compared(subject: _Subject, arguments: argparse.Namespace) -> int:
    from kobox.box.profile.text import side_by_side
    from kobox.printable import printable

    profiles = _lives(subject, arguments.compare)
    if arguments.json:
        print(to_json("profile-compare", [{"label": costs.label, **costs.plain()} for costs in profiles], indent=None))
    else:
        print(printable(side_by_side(profiles, most=arguments.most)))
    return _ended(profiles)


def _scaled(subject: _Subject, arguments: argparse.Namespace) -> int:
    from kobox.box.profile.growth import growth
    from kobox.box.profile.text import MEASURES
    from kobox.printable import printable

    profiles = _lives(subject, arguments.scale)
    numbers = [int(value) for value in arguments.scale.values]
    tables = [{one.function: one.total for one in costs.functions} for costs in profiles]
    names = [one.function for one in profiles[-1].functions if one.function.module]
    rows = [("all", [costs.instructions for costs in profiles])]
    rows += [(str(name), [table.get(name, 0) for table in tables]) for name in names]
    grown = [(name, values, growth(list(zip(numbers, values, strict=True)))) for name, values in rows]
    counted = [(what, [value(costs) for costs in profiles]) for what, value in MEASURES]
    measured = [
        (what, values, growth(list(zip(numbers, values, strict=True)))) for what, values in counted if any(values)
    ]
    if arguments.json:
        from dataclasses import asdict

        print(
            to_json(
                "profile-scale",
                {"name": arguments.scale.name, "values": numbers}
                | {"functions": [{"name": name, "instructions": values, **asdict(fit)} for name, values, fit in grown]}
                | {"measures": [{"name": what, "values": values, **asdict(fit)} for what, values, fit in measured]},
                indent=None,
            )
        )
    else:
        width = max(10, *(len(f"{max(values):,}") + 1 for _, values, _ in (*grown, *measured)))
        print("".join(f"{number:>{width},}" for number in numbers) + f"  {arguments.scale.name}")
        for name, values, fit in (*grown[: arguments.most], *measured):
            print(printable("".join(f"{value:>{width},}" for value in values) + f"  {name}: {fit}"))
    return _ended(profiles)


def _ended(profiles: list[ProfileCosts]) -> int:
    from kobox.printable import printable

    for costs in profiles:
        if costs.ended_by is not None:
            print(f"{costs.label}: the module's life ended with an error: {printable(costs.ended_by)}", file=sys.stderr)
    return int(any(costs.ended_by is not None for costs in profiles))
