"""`kobox replay`: live a recorded life again, and say whether it is the same.

Exit status: 0 when it was the same; 1 when it was not, or the kernel is missing; with --gdb and --check theirs; 2 wrong
usage or a damaged file; 130 interrupted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.cli.parser import CommandParser
from kobox.cli.worker import raise_wall
from kobox.printable import one_line

if TYPE_CHECKING:
    from kobox.apps.life_record import LifeRecord, RecordedOutcome
    from kobox.apps.run_events import StoryEvent
    from kobox.box.box import Box
    from kobox.debug.moments import MomentSpec
    from kobox.debug.replay import Moment
    from kobox.images.store import Store
    from kobox.ko.modulefile import ModuleFile

_MOST_FILE = 512 << 20


def main(argv: list[str], prog: str) -> int:
    """Entry point of the subcommand."""
    own, given = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    parser = _parser(prog)
    arguments = parser.parse_args(own)
    from kobox.apps.life_record import LifeRecordError
    from kobox.debug.moments import MomentError, MomentSpec
    from kobox.images.store import Store

    try:
        record = _read(arguments.record)
        until = MomentSpec.parse(arguments.until) if arguments.until else None
    except (LifeRecordError, MomentError) as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 2
    if arguments.check:
        return _check(record, Store(), given)
    return _replay(arguments, record, until, given)


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(
        prog=prog,
        description="Live a recorded life of modules again (`kobox run --record`), and say whether it is the same.",
        epilog="What stands behind -- are arguments for gdb or for `kobox check`.",
    )
    parser.add_argument("record", type=Path, metavar="FILE.kbx", help="what --record has written")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--gdb", action="store_true", help="under gdb, forwards and backwards")
    how.add_argument("--check", action="store_true", help="with every check of `kobox check`")
    parser.add_argument(
        "--until",
        metavar="EVENT[-N]",
        help="go to oops, panic, warning, end, a function's first call or an instruction's number, N instructions"
        " before it; show where that is, or start gdb there",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="only say whether it is the same")
    return parser


def _read(path: Path) -> LifeRecord:
    from kobox.apps.life_record import LifeRecord, LifeRecordError

    try:
        with path.open("rb") as file:
            data = file.read(_MOST_FILE + 1)
    except OSError as error:
        raise LifeRecordError(f"{path}: {error.strerror or error}") from None
    if len(data) > _MOST_FILE:
        raise LifeRecordError(f"{path}: larger than any record of a life")
    return LifeRecord.unpack(data, str(path))


def _replay(arguments: argparse.Namespace, record: LifeRecord, until: MomentSpec | None, given: list[str]) -> int:
    from kobox.apps.recorded_life import box_of
    from kobox.cli.progress import ProgressLine
    from kobox.images.store import Store
    from kobox.machine import native_core as native

    native.preload()
    store, progress = Store(), ProgressLine()
    with ExitStack() as stack:
        try:
            box = stack.enter_context(box_of(record, store, progress))
            if arguments.gdb:
                return _gdb(box, record, until, store, given)
        finally:
            progress.close()
        box.inspect.layout.keep_before_a_wall()
        raise_wall([*filter(None, (box.image.modules, box.image.directory))], cpu_limit=box.limits.cpu)
        return _visit(box, record, until) if until is not None else _repeat(arguments, box, record)


def _repeat(arguments: argparse.Namespace, box: Box, record: LifeRecord) -> int:
    """Live it, and compare what comes out."""
    from kobox.apps.recorded_life import Recording, life_of, module_files
    from kobox.box.inspect.oops import is_detail
    from kobox.cli.run import story_line
    from kobox.errors import BoxError, KernelError

    def show(event: StoryEvent) -> None:
        if not arguments.quiet and (event.kind != "log" or not is_detail(event.text)):
            print(story_line(event, verbose=False, colour=False), flush=True)

    def said(text: str) -> None:
        if not arguments.quiet:
            print(text, end="")

    if record.finding:
        print(f"recorded: {one_line(record.finding)}")
    recording, ended_by = Recording(box), ""
    life = life_of(record, box, module_files(record), show=show, said=said)
    try:
        life()
    except (BoxError, KernelError) as error:
        ended_by = error.message.splitlines()[0]
        print(f"it ended with an error: {one_line(ended_by)}")
    return _compare(record, recording.outcome(ended_by))


def _compare(record: LifeRecord, now: RecordedOutcome) -> int:
    from kobox.apps.recorded_life import difference

    if record.outcome is None:
        print("the record does not say what came out: nothing was compared; --check looks for what is wrong")
        return 0
    how = difference(record.outcome, now)
    if not how:
        print(f"the same as recorded: {now.blocks} blocks, {now.time / 1e9:.6f} s, {now.log.count(chr(10))} log lines")
        return 0
    print(f"not as recorded: {one_line(how)}")
    import kobox

    if record.kobox != kobox.__version__:
        print(f"it was recorded by kobox {record.kobox}; this is {kobox.__version__}")
    return 1


def _visit(box: Box, record: LifeRecord, until: MomentSpec) -> int:
    """Show the moment."""
    from kobox.apps.recorded_life import life_of, module_files
    from kobox.debug.moments import find_moment, visit
    from kobox.debug.replay import Replay

    files = module_files(record)
    with Replay(box, life_of(record, box, files)) as replay:
        visit(replay, find_moment(replay, until), lambda moment: _show_moment(box, moment, files))
    return 0


def _show_moment(box: Box, moment: Moment, files: list[ModuleFile]) -> None:
    symbols, registers = box.inspect.symbols, box.machine.registers()
    print(f"instruction {moment.count}, at {box.time:.9f} s{', where the life has ended' if moment.ended else ''}")
    if registers.user_mode:
        print(f"in user space, at {registers.pc:#x}")
    else:
        for number, frame in enumerate(box.inspect.unwinder.walk()):
            place = symbols.describe(frame.address)
            print(f"#{number:<3}{place}{_line_of(place, files, returns_here=number > 0)}")
    named = registers._asdict()  # type: ignore[attr-defined]
    shown = [f"{name:>8} {value:#018x}" for name, value in named.items() if not name.startswith("cr")]
    for start in range(0, len(shown), 3):
        print("  ".join(shown[start : start + 3]))
    for record in list(box.log)[-3:]:
        print(f"log: {one_line(str(record))}")


def _line_of(place: str, files: list[ModuleFile], *, returns_here: bool) -> str:
    """The line of source of a place in a module, and its text."""
    from kobox.ko.source_place import source_place

    file = next((one for one in files if f"[{one.name.replace('-', '_')}]" in place), None)
    source = source_place(file, place, returns_here=returns_here) if file is not None else None
    return "" if source is None else f"  {source}{f'  {source.text}' if source.text else ''}"


def _gdb(box: Box, record: LifeRecord, until: MomentSpec | None, store: Store, given: list[str]) -> int:
    from kobox.apps.recorded_life import life_of, write_modules
    from kobox.box.symbol_file.kernel_symbol_file import kernel_symbol_file
    from kobox.debug.gdb_program import gdb_words
    from kobox.debug.gdb_session import GdbSession
    from kobox.debug.moments import find_moment
    from kobox.debug.run_gdb import run_gdb
    from kobox.ko.modulefile import ModuleFile

    words = gdb_words(store, "", machine=box.image.architecture)
    symbols = kernel_symbol_file(box, store.root / "symbols")
    with tempfile.TemporaryDirectory(prefix="kobox-replay-") as directory:
        files = [ModuleFile(path) for path in write_modules(record, Path(directory))]
        session = GdbSession(box, life_of(record, box, files), files)
        try:
            known = session.survey()
            if until is not None:
                known.start = find_moment(session.replay, until)
            return run_gdb(session, words, given, symbols)
        finally:
            session.close()


def _check(record: LifeRecord, store: Store, given: list[str]) -> int:
    """`kobox check` of the last module, on the same kernel, with the recorded programs for an exercise."""
    from kobox.apps.recorded_life import kernel_of, write_modules

    kernel = kernel_of(record, store).name
    with tempfile.TemporaryDirectory(prefix="kobox-replay-") as directory:
        path, module = write_modules(record, Path(directory))[-1], record.modules[-1]
        words = [str(path), *module.parameters.split(), "-k", kernel]
        if record.programs:
            exercise = Path(directory, "exercise.py")
            programs = "".join(f"    {[tuple(step) for step in program]!r},\n" for program in record.programs)
            exercise.write_text(f"from kobox.checks.fuzz.player import Steps\n\nexercise = Steps(\n{programs})\n")
            words += ["--exercise", str(exercise)]
        command = [sys.executable, "-m", "kobox", "check", *words, *given]
        return subprocess.run(command, check=False).returncode
