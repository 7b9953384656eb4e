"""`kobox trace`: what a module does while it is loaded, used and unloaded in a box, as a tree of calls.

Exit status: 0 when the whole life went well; 1 when it ended with an error, or the kernel reported a fault (the
trace up to there is shown); 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.cli.json_output import to_json
from kobox.cli.life import add_cpu_limit, add_life_options, life_box
from kobox.cli.parser import CommandParser
from kobox.cli.worker import raise_wall
from kobox.printable import one_line

if TYPE_CHECKING:
    from kobox.apps.life_record import LifeRecord
    from kobox.apps.run_sources import RunSource
    from kobox.box.box import Box
    from kobox.box.trace.call import Call
    from kobox.box.trace.trace import CallTrace
    from kobox.errors import KoboxError
    from kobox.explain.oops_source import NamedRegister
    from kobox.ko.modulefile import ModuleFile

_MOST_ERRORS = 20


def main(argv: list[str], prog: str) -> int:
    """Entry point of the subcommand."""
    parser = _parser(prog)
    arguments = parser.parse_intermixed_args(argv)
    if arguments.record is not None and arguments.exercise:
        parser.error("--record: a record holds no Python; use -c for what is to be recorded")
    from kobox.machine import native_core as native

    native.preload()
    from kobox.apps import run_sources
    from kobox.cli.progress import ProgressLine
    from kobox.images.store import Store

    store, progress = Store(), ProgressLine(quiet=arguments.json)
    try:
        named = arguments.kernel or store.fitting(Path(source) for source in arguments.source)
        image = store.ensure(named, progress)
        sources = run_sources.split([*arguments.source, *arguments.parameters])
        paths = run_sources.module_paths(
            sources, image, lambda path: print(f"building {path} for {image.name}", file=sys.stderr)
        )
        box = life_box(arguments, image, store, progress)
    finally:
        progress.close()
    with box:
        return _trace(arguments, box, sources, paths)


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(
        prog=prog,
        description="Show the calls of modules while they are loaded, used and unloaded in a box: arguments by type, "
        "results, virtual time, allocations, log lines, and the system calls above them.",
    )
    add_life_options(parser)
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--depth", type=_count, default=0, metavar="N", help="N levels of the tree (default: all)")
    shown.add_argument(
        "--kernel-depth",
        type=_count,
        default=1,
        metavar="N",
        help="follow the kernel N calls deep under the module: 0 not at all (default: 1)",
    )
    shown.add_argument(
        "--function",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only functions named so (* and ?); repeatable",
    )
    shown.add_argument("--errors", action="store_true", help="only the calls at which errors began, and what led there")
    shown.add_argument(
        "--syscalls", action="store_true", help="system calls that do not come to the module too, as strace shows them"
    )
    shown.add_argument("--lines", action="store_true", help="where the module's source makes each call")
    parser.add_argument(
        "--most", type=_count, default=100_000, metavar="N", help="stop after N calls (default: 100000)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--perfetto", type=Path, metavar="FILE", help="write a trace for https://ui.perfetto.dev or chrome://tracing"
    )
    parser.add_argument(
        "--record", type=Path, metavar="FILE.kbx", help="write what repeats this life exactly, for `kobox replay`"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page to look at")
    add_cpu_limit(parser)
    return parser


def _count(text: str) -> int:
    if not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r}: not a number of 0 or more")
    return int(text)


def _trace(arguments: argparse.Namespace, box: Box, sources: list[RunSource], paths: list[list[Path]]) -> int:
    from kobox.apps.module_life import ModuleLife
    from kobox.apps.recorded_life import Recording
    from kobox.apps.run_sources import module_files
    from kobox.checks.fuzz.exercise_file import exercises_of
    from kobox.errors import BoxError, KernelError

    uses = [use for file in arguments.exercise for use in exercises_of(file, paths[-1][-1])]
    box.inspect.layout.keep_before_a_wall()
    write = _writer([path for path in (arguments.perfetto, arguments.html, arguments.record) if path is not None])
    places = [path.resolve().parent for files in paths for path in files]
    box.limits.cpu = arguments.cpu_limit
    raise_wall([*places, *filter(None, (box.image.modules, box.image.directory))], cpu_limit=box.limits.cpu)
    files, parameters = module_files(sources, paths)
    said = sys.stderr if arguments.json else sys.stdout
    life = ModuleLife(
        box, files, parameters, uses=uses, commands=arguments.commands, said=lambda text: print(text, end="", file=said)
    )
    error: KoboxError | None = None
    recording = Recording(box)
    with box.trace(
        *(file.path for file in files),
        kernel_depth=arguments.kernel_depth,
        syscalls=arguments.syscalls,
        most=arguments.most,
    ) as trace:
        try:
            with box.guest.processes.budget(arguments.cpu_limit):
                life()
        except (BoxError, KernelError) as caught:
            error = caught
    _show(arguments, box, trace, error, files)
    if arguments.perfetto is not None:
        write(arguments.perfetto, trace.perfetto())
    if arguments.html is not None:
        write(arguments.html, trace.html().encode())
    if arguments.record is not None:
        record = _record(arguments, box, files, parameters)
        write(
            arguments.record,
            recording.finish(record, error.message.splitlines()[0] if error is not None else "").pack(),
        )
    return 0 if error is None and not box.findings else 1


def _record(arguments: argparse.Namespace, box: Box, files: list[ModuleFile], parameters: list[str]) -> LifeRecord:
    import kobox
    from kobox.apps.life_record import LifeRecord, RecordedBox
    from kobox.apps.recorded_life import recorded_kernel, recorded_modules

    return LifeRecord(
        kobox.__version__,
        "life",
        recorded_kernel(box.image),
        RecordedBox(arguments.memory << 20, shell=bool(arguments.commands)),
        recorded_modules(files, parameters),
        commands=tuple(arguments.commands),
    )


def _writer(files: list[Path]) -> Callable[[Path, bytes], None]:
    """What writes files, from behind the wall."""
    if not files:
        return lambda path, content: None
    from kobox.isolation.file_writer import FileWriter

    return FileWriter(files).write


def _show(
    arguments: argparse.Namespace, box: Box, trace: CallTrace, error: KoboxError | None, files: list[ModuleFile]
) -> None:
    if arguments.json:
        sys.setrecursionlimit(20_000)  # a kernel stack has room for a thousand calls inside each other
        ended = None if error is None else error.message
        print(to_json("trace", {"kernel": box.release, "ended_by": ended, **trace.plain()}, indent=None))
        return
    from kobox.box.trace.text import error_text, tree_text
    from kobox.explain.oops_source import oopses_in

    if arguments.errors:
        found = trace.errors()
        for call in found[:_MOST_ERRORS]:
            print(f"{call.name}() returned {call.said} first:")
            print(error_text(call))
        if len(found) > _MOST_ERRORS:
            print(f"and {len(found) - _MOST_ERRORS} more")
        elif not found:
            print("no call returned an error")
    else:
        print(
            tree_text(trace.roots, depth=arguments.depth, chosen=_chosen(arguments.function), lines=arguments.lines),
            end="",
        )
    print(_summary(trace))
    for report in box.findings:
        print(f"the kernel reported: {one_line(str(report))}")
    for oops in oopses_in(box.log.text(), files):
        print(*map(one_line, oops.lines()), sep="\n")
        for register in oops.registers:
            if (freed := _freed(trace, register)) is not None:
                print(f"  {freed}")
    if error is not None:
        print(f"the module's life ended with an error: {one_line(error.message.splitlines()[0])}")
        errno = getattr(error, "errno", 0) or 0
        cause = trace.first_error(errno) if errno else None
        if cause is not None and not arguments.errors:
            place = f" at {cause.place}" if cause.place else ""
            print(f"the first call that returned it: {cause.name}() = {cause.said}{place}")


def _freed(trace: CallTrace, register: NamedRegister) -> str | None:
    """What is known of memory that a register points to, if it was freed."""
    found = trace.allocation_at(register.value)
    if found is None or found.freed_by is None:
        return None
    by, freed = found.call, found.freed_by
    got, gone = by.place or "no known line", freed.place or "no known line"
    return (
        f"{', '.join(register.variables)}: {found.size} bytes that {by.name}() allocated at {got}"
        f" and {freed.name}() freed at {gone}"
    )


def _chosen(patterns: list[str]) -> Callable[[Call], bool]:
    if not patterns:
        return lambda call: True
    return lambda call: any(fnmatchcase(call.name, pattern) for pattern in patterns)


def _summary(trace: CallTrace) -> str:
    calls = sum(1 for _ in trace.calls())
    allocations = trace.allocations
    left = [one for one in allocations if one.freed_by is None]
    parts = [f"{calls} call{'s' * (calls != 1)}"]
    if allocations:
        size, many = sum(one.size for one in allocations), "s" * (len(allocations) != 1)
        parts.append(f"{size} bytes allocated in {len(allocations)} call{many}")
    if left:
        parts.append(f"{sum(one.size for one in left)} bytes not freed by the module")
    if not trace.is_whole:
        parts.append("recording ended there: --most takes more")
    return "; ".join(parts)
