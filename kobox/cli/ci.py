"""`kobox ci init | run | summary`: a module's continuous integration.

Exit status of `run`: 0 every module builds, loads and is clean on every kernel; 1 otherwise; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kobox.apps import ci_files, ci_run
from kobox.cli.colour import coloured
from kobox.cli.parser import CommandParser
from kobox.cli.progress import ProgressLine
from kobox.cli.terminal_output import paint
from kobox.images.store import Store
from kobox.printable import one_line

_COLOURS = {ci_run.OK: "32", ci_run.FAILED: "31;1", ci_run.SKIPPED: "33"}


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    arguments = _parser(prog).parse_args(argv)
    status: int = arguments.run(arguments)
    return status


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(prog=prog, description="Build, load and check a module for every push.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    init = commands.add_parser("init", help="write a pipeline into this repository")
    init.add_argument("kind", choices=list(ci_files.PLACES), help="github, gitlab or plain, a shell script")
    init.add_argument(
        "-k", "--kernel", action="append", metavar="NAME", help="a source of `kobox kernel add`; repeatable"
    )
    init.add_argument("--source", default=".", metavar="DIR", help="where the module's source is (default: .)")
    init.add_argument("--baseline", metavar="FILE", help="only findings that are not in this file fail")
    init.add_argument("--force", action="store_true", help="replace a file that is there")
    init.add_argument("--stdout", action="store_true", help="print the file and write nothing")
    init.set_defaults(run=_init)
    run = commands.add_parser("run", help="do what the pipeline does: build, load, check, report")
    run.add_argument("source", nargs="?", type=Path, default=Path(), help="directory or .c file (default: here)")
    run.add_argument(
        "-k",
        "--kernel",
        action="append",
        metavar="NAME",
        help="a kernel, or a source of `kobox kernel add`; repeatable",
    )
    run.add_argument("-o", "--output", type=Path, default=Path("kobox-ci"), metavar="DIR", help="results (kobox-ci)")
    run.add_argument("--time", type=float, default=60.0, metavar="SECONDS", help="time for each check (default: 60)")
    run.add_argument("--fail-on", choices=("error", "warning", "note"), default="error", help="what fails a check")
    run.add_argument("--baseline", type=Path, metavar="FILE", help="findings in this file are known")
    run.add_argument("--no-check", dest="check", action="store_false", help="build and load only")
    run.set_defaults(run=_run)
    summary = commands.add_parser("summary", help="one table of several results, as Markdown")
    summary.add_argument("places", nargs="+", type=Path, metavar="DIR", help="what `run -o` has written, or above it")
    summary.set_defaults(run=_summary)
    return parser


def _init(arguments: argparse.Namespace) -> int:
    options = ["--baseline", arguments.baseline] if arguments.baseline else []
    text = ci_files.pipeline(arguments.kind, arguments.kernel or ci_files.KERNELS, arguments.source, options)
    if arguments.stdout:
        print(text, end="")
        return 0
    path = ci_files.write_pipeline(arguments.kind, Path(), text, replace=arguments.force)
    print(one_line(f"{path}: written; commit it. `kobox ci run` does the same here."))
    return 0


def _run(arguments: argparse.Namespace) -> int:
    store, progress = Store(), ProgressLine()
    try:
        if arguments.kernel:
            kernels = [ci_run.kernel_of(store, name, progress) for name in arguments.kernel]
        else:
            kernels = [store.ensure(None, progress)]
    finally:
        progress.close()
    options = ci_run.CiOptions(arguments.time, arguments.fail_on, arguments.check, arguments.baseline)
    steps = ci_run.run_ci(arguments.source, kernels, arguments.output, options, _tell)
    print(one_line(f"{arguments.output}: summary.md, junit.xml, and a directory for each kernel"))
    return int(any(step.outcome == ci_run.FAILED for step in steps))


def _tell(step: ci_run.CiStep) -> None:
    outcome = paint(_COLOURS[step.outcome], step.outcome) if coloured() else step.outcome
    print(f"{one_line(step.kernel)}  {one_line(step.module)}  {step.step}  {outcome}  {step.seconds:.1f} s", flush=True)
    if step.outcome == ci_run.FAILED:
        for line in step.text.strip().splitlines()[-8:]:
            print(f"    {one_line(line)}", file=sys.stderr)


def _summary(arguments: argparse.Namespace) -> int:
    print(ci_run.summary(ci_run.results_in(arguments.places)), end="")
    return 0
