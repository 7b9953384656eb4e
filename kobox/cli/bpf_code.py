"""`kobox bpf list`, `cover` and `fuzz`: a program of eBPF as it runs, what of it ran and what that cost, inputs for it.

Exit status: 0 done; 1 refused, not attached, or the kernel logged a warning; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser
from kobox.cli.worker import raise_wall
from kobox.errors import KoboxError
from kobox.printable import one_line

if TYPE_CHECKING:
    from kobox.apps.bpf_fuzz import FuzzInput, FuzzReport
    from kobox.apps.bpf_listing import ListedLine, ProgramListing, RunCosts
    from kobox.box.box import Box
    from kobox.box.bpf.bpf_object import BpfObject

_MOST_INPUTS = 100_000
_MOST_BYTES = 64 << 20


def add_commands(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the three commands to `kobox bpf`."""
    listed = commands.add_parser("list", help="programs as the kernel runs them, by the lines of their source")
    covered = commands.add_parser("cover", help="what of a program ran: lines, sides of branches, instructions a run")
    fuzzed = commands.add_parser(
        "fuzz", help="packets and contexts made at random, kept where they reach something new"
    )
    for parser in (listed, covered, fuzzed):
        parser.add_argument("file", type=Path, metavar="FILE.bpf.o", help="an object, or its source (.bpf.c)")
        parser.add_argument(
            "variables", nargs="*", default=[], metavar="NAME=VALUE", help="variables that are set before the load"
        )
        parser.add_argument("-k", "--kernel", metavar="NAME", help="which kernel (default: the cache's default)")
        parser.add_argument("--program", action="append", default=[], metavar="NAME", help="repeatable (default: all)")
        parser.add_argument("--json", action="store_true", help="print JSON")
    for parser in (covered, fuzzed):
        parser.add_argument(
            "--inputs",
            type=Path,
            metavar="FILE",
            help="packets to begin with: a packet's bytes, or what `kobox bpf fuzz --json` printed",
        )
    covered.add_argument("--attach", default="", metavar="TARGET", help="an interface, a control group, a function")
    fuzzed.add_argument("--runs", type=int, default=1000, metavar="N", help="how often it is called (default: 1000)")
    fuzzed.add_argument("--seed", type=int, default=0, metavar="N", help="seed for random choices (default: 0)")
    listed.set_defaults(run=list_programs)
    covered.set_defaults(run=cover)
    fuzzed.set_defaults(run=fuzz_programs)


def list_programs(arguments: argparse.Namespace) -> int:
    """`kobox bpf list`."""
    from kobox.apps.bpf_listing import listing

    with _loaded(arguments) as (box, loaded, names):
        rows = [listing(box, loaded.programs[name]) for name in names]
    if arguments.json:
        print(to_json("bpf-list", [row.plain() for row in rows]))
    else:
        print("\n\n".join("\n".join(map(one_line, _listed(row))) for row in rows))
    return 0


def cover(arguments: argparse.Namespace) -> int:
    """`kobox bpf cover`."""
    from kobox.apps.bpf_coverage import cover as covered

    with _loaded(arguments) as (box, loaded, names):
        done = covered(box, loaded, names, target=arguments.attach, inputs=arguments.first)
    if arguments.json:
        print(to_json("bpf-cover", done.plain()))
    else:
        blocks = ["\n".join(map(one_line, [*_listed(row), *_summary(row)])) for row in done.programs]
        print("\n\n".join(blocks))
        for name, why in done.unattached:
            print(one_line(f"{name}: not attached: {why.removeprefix(f'{name}: ')}"))
        for problem in done.problems:
            print(one_line(f"the kernel logged: {problem}"))
    return 1 if done.problems or done.unattached else 0


def fuzz_programs(arguments: argparse.Namespace) -> int:
    """`kobox bpf fuzz`."""
    from kobox.apps.bpf_fuzz import can_be_fuzzed, fuzz

    if arguments.runs < 1:
        raise KoboxError(f"--runs {arguments.runs}: a number above 0 is wanted")
    with _loaded(arguments) as (box, loaded, names):
        chosen = names if arguments.program else [one for one in names if can_be_fuzzed(loaded.programs[one])]
        if not chosen:
            kinds = ", ".join(sorted({loaded.programs[name].section for name in names}))
            raise KoboxError(
                f"{arguments.file}: no program takes an input of one's own ({kinds})",
                hint="`kobox bpf cover` attaches programs, uses the box and tells what of them ran.",
            )
        reports: list[FuzzReport] = []
        for name in chosen:
            report = fuzz(box, loaded, name, runs=arguments.runs, seed=arguments.seed, inputs=arguments.first)
            reports.append(report)
            if not box.alive:
                break
    if arguments.json:
        print(to_json("bpf-fuzz", [report.plain() for report in reports]))
    else:
        print("\n\n".join("\n".join(map(one_line, _fuzzed(report))) for report in reports))
    return 1 if any(report.problems for report in reports) else 0


@contextmanager
def _loaded(arguments: argparse.Namespace) -> Iterator[tuple[Box, BpfObject, Sequence[str]]]:
    """The object in a box behind the wall, and the names of the programs that are asked for; sets `arguments.first` to
    the packets that `--inputs` names."""
    from kobox.box.boot.boot import boot
    from kobox.cli.progress import ProgressLine
    from kobox.images.store import Store
    from kobox.kbuild.build import build

    file: Path = arguments.file
    if not file.is_file():
        raise KoboxError(f"{file}: no such file", hint="`kobox build prog.bpf.c` makes prog.bpf.o.")
    progress = ProgressLine(quiet=arguments.json)
    try:
        image = Store().ensure(arguments.kernel, progress)
        if file.name.endswith(".bpf.c"):
            (file,) = build(file, image).programs
        box = boot(image, progress=progress)
        box.bpf.run_idle()  # behind the wall the loader cannot be built
    finally:
        progress.close()
    with box:
        box.inspect.layout.keep()
        given = [arguments.inputs.resolve().parent] if getattr(arguments, "inputs", None) else []
        places = [place for place in (image.modules, image.directory) if place]
        raise_wall([file.resolve().parent, *given, *places], cpu_limit=600)
        arguments.first = read_inputs(arguments.inputs) if given else []
        opened = box.bpf.open(file.read_bytes(), name=file.name)
        for name in arguments.program:
            if name not in opened.programs:
                raise KoboxError(f"{file.name}: has no program {name}", hint=f"It has: {', '.join(opened.programs)}.")
        opened.set_variables(dict(_variable(word) for word in arguments.variables))
        with opened.load() as loaded:
            yield box, loaded, arguments.program or list(loaded.programs)


def _variable(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise KoboxError(f"{word}: NAME=VALUE is wanted", hint="One object is looked at at a time.")
    return name, value


def read_inputs(file: Path) -> list[FuzzInput]:
    """The packets of a file: one packet, or the inputs that `kobox bpf fuzz --json` has kept. Raises `KoboxError`,
    `OSError`."""
    from kobox.apps.bpf_fuzz import FuzzInput

    if file.stat().st_size > _MOST_BYTES:
        raise KoboxError(f"{file}: {file.stat().st_size} bytes, and 64 MiB are read at most")
    data = file.read_bytes()
    if not data.lstrip().startswith((b"{", b"[")):
        return [FuzzInput(data)]
    try:
        whole = json.loads(data)
        rows = [row for report in (whole if isinstance(whole, list) else [whole]) for row in report["kept"]]
        return [
            FuzzInput(bytes.fromhex(row["packet"]), bytes.fromhex(row.get("context", "")))
            for row in rows[:_MOST_INPUTS]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KoboxError(
            f"{file}: begins like JSON and is not what `kobox bpf fuzz --json` prints: {error}",
            hint="Give such a file, or one packet's bytes.",
        ) from None


# -- text --------------------------------------------------------------------------------------------------------


def _listed(row: ProgramListing) -> list[str]:
    count = sum(len(line.instructions) for line in row.lines)
    lines = [f"{row.program} ({row.section}): {count} instructions, {row.machine_bytes} bytes of machine code"]
    before = ""
    for line in row.lines:
        if line.function and line.function != row.program:
            lines.append(f"  function {line.function}:")
        lines += _line(line, repeated=f"{line.place} {line.source}" == before)
        before = f"{line.place} {line.source}"
    return lines


def _line(line: ListedLine, *, repeated: bool) -> Iterator[str]:
    times = "" if line.reached is None else f"{line.reached:>8}  "
    if not repeated and (line.place or line.source):
        yield f"  {times}{line.place:<20} {line.source}".rstrip()
    for one in line.instructions:
        sides = ""
        if one.taken is not None:
            sides = f"   taken {one.taken}, not taken {one.passed}"
        yield f"  {' ' * len(times)}  {one.index:>5}: {one.text}{sides}"


def _summary(row: ProgramListing) -> Iterator[str]:
    if row.costs is None:
        yield f"  {row.program} did not run"
        return
    yield f"  {row.sides} of {row.of_sides} sides of branches; {_costs(row.costs)}"
    for missed in row.missed():
        yield f"  not seen: {missed}"


def _costs(found: RunCosts) -> str:
    def span(three: tuple[int, int, int]) -> str:
        low, mean, high = three
        return f"{low}" if low == high else f"{low} to {high} (mean {mean})"

    runs = "1 run" if found.runs == 1 else f"{found.runs} runs"
    return (
        f"{runs}: {span(found.own)} machine instructions of its own, {span(found.all)} with what it calls,"
        f" {span(found.nanoseconds)} ns"
    )


def _fuzzed(report: FuzzReport) -> Iterator[str]:
    runs = "1 run" if report.runs == 1 else f"{report.runs} runs"
    yield f"{report.program}: {runs}, seed {report.seed}: {report.sides} of {report.of_sides} sides of branches"
    if report.results:
        yield "  results: " + ", ".join(f"{name} {count}" for name, count in report.results.items())
    if report.refused:
        yield f"  {report.refused} inputs were not taken by the kernel (too short, too long)"
    if report.costs:
        yield f"  {_costs(report.costs)}"
    if report.slowest:
        yield f"  longest: {report.slowest.own} instructions ({report.slowest.result}): {_shown(report.slowest.input)}"
    yield f"  {len(report.kept)} inputs reached something new (`--json` has them)"
    for missed in report.missed:
        yield f"  not seen: {missed}"
    for problem in report.problems:
        yield f"  the kernel logged: {problem}"


def _shown(given: FuzzInput) -> str:
    packet = given.packet[:64].hex() + ("…" if len(given.packet) > 64 else "")
    return " ".join(filter(None, (packet, f"context {given.context.hex()[:64]}" if given.context else "")))
