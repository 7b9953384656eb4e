"""`kobox inspect`: what a module does, seen in an isolated box.

Exit status: 0 nothing hostile or suspicious was seen; 1 it failed, or the module is hostile; 3 it is suspicious;
2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.cli.colour import coloured
from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser
from kobox.cli.terminal_output import paint
from kobox.cli.worker import raise_wall
from kobox.printable import one_line

if TYPE_CHECKING:
    from kobox.behaviour.report import BehaviourReport, Trait

_COLOURS = {"hostile": "31;1", "suspicious": "33", "note": "32;1"}
_STATUS = {"note": 0, "hostile": 1, "suspicious": 3}


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    arguments = _parser(prog).parse_intermixed_args(argv)
    import kobox
    from kobox.behaviour.examine import examine
    from kobox.cli.progress import ProgressLine
    from kobox.images.store import Store
    from kobox.ko.modulefile import ModuleFile

    progress = ProgressLine(quiet=arguments.json)
    try:
        image = Store().ensure(arguments.kernel, progress)
        box = kobox.boot(image, progress=progress)
    finally:
        progress.close()
    writer = _writer(arguments)
    with box:
        box.limits.cpu = arguments.cpu_limit
        box.inspect.layout.keep_before_a_wall()
        places = [arguments.module.resolve().parent, *filter(None, (image.modules, image.directory))]
        raise_wall(places, cpu_limit=arguments.cpu_limit)
        report = examine(box, ModuleFile(str(arguments.module)), " ".join(arguments.parameters))
    if arguments.html is not None:
        from kobox.behaviour.html import page

        writer(arguments.html, page(report).encode())
    if arguments.json:
        print(to_json("inspect", {**asdict(report), "level": report.level, "judgement": report.judgement}))
        return _STATUS[report.level]
    print("\n".join(map(one_line, _lines(report, verbose=arguments.verbose))))
    colour = coloured()
    verdict = one_line(f"{report.module}: {report.judgement}")
    print(paint(_COLOURS[report.level], verdict) if colour else verdict)
    return _STATUS[report.level]


def _writer(arguments: argparse.Namespace) -> Callable[[Path, bytes], None]:
    """What writes the page, also from behind the wall."""
    from kobox.atomic_file import write_file
    from kobox.isolation.file_writer import FileWriter
    from kobox.isolation.wall import in_worker

    if arguments.html is None or not in_worker():
        return write_file
    return FileWriter([arguments.html]).write


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(
        prog=prog,
        description="Load a module in an isolated box, let it live for an hour of the box's time, and report what it"
        " does: what it overwrites, hooks, hides, starts and opens, each with the evidence.",
    )
    parser.add_argument("module", type=Path, metavar="FILE.ko", help="the module, plain or compressed")
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="module parameters")
    parser.add_argument(
        "-k", "--kernel", metavar="NAME", help="the kernel to boot (default: `kobox kernel list` marks it)"
    )
    parser.add_argument(
        "--cpu-limit",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="CPU time of the box, for all that is done in it together (default: 60)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show notes as well: imports, strings, hooks")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as one page to look at")
    return parser


def _lines(report: BehaviourReport, *, verbose: bool) -> Iterator[str]:
    yield f"{report.path} on {report.release}"
    for trait in report.traits:
        if verbose or trait.level != "note":
            yield from _trait(trait)
    notes = sum(trait.level == "note" for trait in report.traits)
    if notes and not verbose:
        yield f"  {notes} note{'s' * (notes != 1)} on what it is made of: -v shows {'them' if notes != 1 else 'it'}"
    for sentence in report.unseen:
        yield f"  not seen: {sentence}"


def _trait(trait: Trait) -> Iterator[str]:
    at = f"[{trait.time:.6f}] " if trait.time is not None else ""
    yield f"  {trait.level:<10}  {trait.kind}: {trait.text}"
    if trait.where:
        yield f"              {at}{trait.where}"
    if trait.before or trait.after:
        yield f"              before: {trait.before}; now: {trait.after}"
