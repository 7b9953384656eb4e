"""`kobox matrix`: modules x kernels x parameters as one table: where each builds, loads, and is clean.

Exit status: 0 no cell failed; 1 some did; 2 wrong usage; 130 interrupted (what was done is kept and shown).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser, percentage

if TYPE_CHECKING:
    from kobox.matrix import CellState, CheckWords, Matrix, MatrixPlan, MatrixRun

_COLOURS = {"clean": "32", "warns": "33", "slower": "33", "not clean": "31;1", "no load": "31;1", "no build": "31;1"}
_SLOWER = 25.0  # per cent
_STAGES = {"build": "building", "load": "loading"}


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = _parser(prog)
    arguments = parser.parse_args(argv)
    if arguments.on == "vm" and (arguments.check or arguments.plug):
        parser.error("--check and --plug need boxes: leave --on vm out")
    if not arguments.check and (arguments.baseline or arguments.exercise != "auto"):
        parser.error("--baseline and --exercise are about checks: give --check, too")
    if not arguments.cost and (arguments.cost_exercise or arguments.slower != _SLOWER):
        parser.error("--cost-exercise and --slower are about costs: give --cost, too")
    if arguments.on == "vm" and arguments.cost:
        parser.error("--cost needs boxes: leave --on vm out")
    if arguments.parquet is not None:
        from kobox.matrix import parquet

        parquet.require()  # before minutes of work
    plan = _plan(arguments)
    if arguments.bisect:
        return _bisect(plan, arguments, prog)
    run, status = _run(plan, arguments)
    _report(run, arguments)
    matrix = run.matrix
    if status:
        print(f"{prog}: interrupted; what was done is kept: the same command goes on", file=sys.stderr)
    elif not matrix.complete:
        print(f"{prog}: some cells could not be run; --json says why", file=sys.stderr)
    return status or int(bool(matrix.red()) or not matrix.complete)


def _run(plan: MatrixPlan, arguments: argparse.Namespace) -> tuple[MatrixRun, int]:
    """The run over a plan, as far as it came, and 130 where it was interrupted."""
    from kobox.cli.progress import ProgressLine
    from kobox.matrix import MatrixRun

    workers = None
    if arguments.dask:
        from kobox.matrix.cluster import DaskWorkers

        workers = DaskWorkers(arguments.dask, plan.kernels)
    progress = ProgressLine(quiet=arguments.json, unit="cells")
    run = MatrixRun(
        plan,
        jobs=arguments.jobs,
        workers=workers,
        told=lambda stage, done, total: progress(_STAGES[stage], done, total) if total else None,
    )
    try:
        run.run()
    except KeyboardInterrupt:
        return run, 130
    finally:
        progress.close()
    return run, 0


def _bisect(plan: MatrixPlan, arguments: argparse.Namespace, prog: str) -> int:
    """Print, for each row, the first kernel on which it is red."""
    from kobox.matrix.bisect import bisect, bisect_facts

    def fill(part: MatrixPlan) -> Matrix:
        run, status = _run(part, arguments)
        if status:
            raise KeyboardInterrupt
        return run.matrix

    found = list(bisect(plan, fill))
    if arguments.json:
        print(to_json("matrix-bisect", [bisect_facts(one) for one in found]))
        return int(any(one.bad for one in found))
    for one in found:
        if one.bad is None:
            print(f"{one.row.title}: not red on any of the kernels that were tried, up to {one.good}")
            continue
        since = f"since {one.bad.kernel}; {one.good} is the last without" if one.good else "from the oldest kernel on"
        step = one.bad.deciding
        print(f"{one.row.title}: {one.bad.state.value} {since} ({len(one.tried)} kernels tried)")
        print(*(f"    {line}" for line in (step.finding, *step.remedy.splitlines()) if line), sep="\n")
    return int(any(one.bad for one in found))


def _plan(arguments: argparse.Namespace) -> MatrixPlan:
    from kobox.images.store import Store
    from kobox.kbuild.build import BuildOptions
    from kobox.matrix import CostWords, MatrixPlan, kernels_matching, sources_named

    store = Store()
    names = arguments.kernel or (["all"] if arguments.bisect else [store.ensure(None).name])
    return MatrixPlan(
        sources_named(arguments.source),
        kernels_matching(store, names),
        tuple(dict.fromkeys(arguments.parameters or [""])),
        _check_words(arguments),
        build=BuildOptions(warnings="1" if arguments.warnings else "", jobs=1),
        run_words=(
            *(word for plug in arguments.plug for word in ("--plug", plug)),
            *(("--on", "vm") if arguments.on == "vm" else ()),
        ),
        again=arguments.again,
        cost=CostWords(arguments.cost_exercise or "", arguments.slower) if arguments.cost else None,
    )


def _check_words(arguments: argparse.Namespace) -> CheckWords | None:
    from kobox.matrix import CheckWords

    if not arguments.check:
        return None
    return CheckWords(arguments.time, arguments.fail_on, arguments.baseline or "", arguments.exercise)


def _report(run: MatrixRun, arguments: argparse.Namespace) -> None:
    """Write the files that were asked for, and print the table."""
    from kobox.atomic_file import write_file
    from kobox.matrix import as_data, markdown
    from kobox.matrix.page import page
    from kobox.matrix.parquet import write_parquet

    matrix = run.matrix
    if arguments.html is not None:
        write_file(arguments.html, page(matrix).encode(errors="backslashreplace"))
    if arguments.markdown is not None and str(arguments.markdown) != "-":
        write_file(arguments.markdown, markdown(matrix).encode(errors="backslashreplace"))
    if arguments.parquet is not None:
        write_parquet(matrix, arguments.parquet)
    if arguments.json:
        print(to_json("matrix", as_data(matrix) | {"steps_run": run.steps_run}))
    elif str(arguments.markdown) == "-":
        print(markdown(matrix), end="")
    else:
        _print_table(matrix, run.steps_run)


def _print_table(matrix: Matrix, steps_run: int) -> None:
    from kobox.cli.colour import coloured
    from kobox.cli.terminal_output import Painted, paint
    from kobox.matrix import table
    from kobox.matrix.table import counted, notes
    from kobox.printable import printable

    colour = coloured()

    def painted(state: CellState, text: str) -> str:
        return paint(_COLOURS[state.value], text) if colour and state.value in _COLOURS else text

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line in table(matrix, width=width, paint=painted):
        print(Painted(line) if colour else printable(line))
    told = notes(matrix)
    print(*(["", *told] if told else []), f"{counted(matrix)}; {steps_run} steps run now", sep="\n")


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(
        prog=prog,
        description="Build, load and unload modules on many kernels, and show one table: where each builds, loads, "
        "and is clean.",
        epilog="Only what changed since the last run is run again: results are kept by the content of module, kernel, "
        "options and kobox.",
    )
    parser.add_argument(
        "source", nargs="+", type=Path, metavar="FILE.ko|FILE.c|DIR", help="modules, or source that is built first"
    )
    parser.add_argument(
        "-k",
        "--kernel",
        "--kernels",
        action="append",
        metavar="NAME",
        help="a kernel of the cache, a pattern ('6.*'), or all; repeatable (default: the default kernel)",
    )
    parser.add_argument(
        "-p",
        "--parameters",
        action="append",
        metavar="'NAME=VALUE ...'",
        help="load every module with these as well: each set is a row; '' is none",
    )
    parser.add_argument("--plug", action="append", default=[], metavar="MODEL", help="plug hardware in before the load")
    parser.add_argument(
        "--on", choices=("box", "vm"), default="box", help="load in boxes, or in virtual machines under QEMU"
    )
    parser.add_argument("-W", "--warnings", action="store_true", help="build with more warnings (W=1)")
    check = parser.add_argument_group("checks")
    check.add_argument("--check", action="store_true", help="a module is clean when `kobox check` finds nothing, too")
    check.add_argument("--time", type=float, default=60.0, metavar="SECONDS", help="time for each check (default: 60)")
    check.add_argument("--fail-on", choices=("error", "warning", "note"), default="error", help="what fails a check")
    check.add_argument("--baseline", type=_absolute, metavar="FILE", help="findings in this file are known")
    check.add_argument(
        "--exercise", type=_exercise, default="auto", metavar="none|auto|FILE.py", help="what to do with a module"
    )
    cost = parser.add_argument_group("costs")
    cost.add_argument("--cost", action="store_true", help="count the instructions of a life on each kernel, too")
    cost.add_argument("--cost-exercise", type=_absolute, metavar="FILE.py", help="use the module by this file")
    cost.add_argument(
        "--slower",
        type=percentage,
        default=_SLOWER,
        metavar="PERCENT",
        help="more instructions than on the first kernel of the row that make a cell slower (default: 25)",
    )
    parser.add_argument("-j", "--jobs", type=int, default=0, metavar="N", help="commands at once (default: one a CPU)")
    parser.add_argument("--again", action="store_true", help="run everything again")
    parser.add_argument("--dask", metavar="HOST:PORT", help="load and check on the workers of this Dask scheduler")
    parser.add_argument(
        "--bisect", action="store_true", help="find the first kernel on which a module fails, by halves (default: all)"
    )
    out = parser.add_argument_group("output")
    out.add_argument("--json", action="store_true", help="print the matrix as JSON")
    out.add_argument(
        "--markdown", nargs="?", const="-", type=Path, metavar="FILE", help="write it for a pull request (- prints it)"
    )
    out.add_argument("--html", type=Path, metavar="FILE", help="write a page: each cell leads to its log and remedy")
    out.add_argument("--parquet", type=Path, metavar="FILE", help="write a row a cell as Parquet (extra: parquet)")
    return parser


def _absolute(text: str) -> str:
    if not os.path.isfile(text):
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return os.path.abspath(text)


def _exercise(text: str) -> str:
    return text if text in ("none", "auto") else _absolute(text)
