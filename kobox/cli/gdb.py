"""`kobox gdb`: a module's life in a box under gdb, forwards and backwards.

The life is lived once to learn where everything will lie. Then gdb has it, at the first instruction of the module's
init.
Exit status: gdb's own; 1 when the module does not come to its init; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.cli.life import add_life_options, life_box
from kobox.cli.parser import CommandParser

if TYPE_CHECKING:
    from kobox.box.box import Box
    from kobox.debug.gdb_session import GdbSession
    from kobox.ko.modulefile import ModuleFile


def main(argv: list[str], prog: str) -> int:
    """Entry point of the subcommand."""
    own, given = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    arguments = _parser(prog).parse_args(own)
    from kobox.apps import run_sources
    from kobox.cli.progress import ProgressLine
    from kobox.debug.gdb_program import gdb_words
    from kobox.images.store import Store
    from kobox.machine import native_core as native

    native.preload()
    store, progress = Store(), ProgressLine()
    try:
        image = store.ensure(arguments.kernel, progress)
        gdb = [] if arguments.listen else gdb_words(store, arguments.gdb, progress, image.architecture)
        sources = run_sources.split([*arguments.source, *arguments.parameters])
        paths = run_sources.module_paths(
            sources, image, lambda path: print(f"building {path} for {image.name}", file=sys.stderr)
        )
        modules, parameters = run_sources.module_files(sources, paths)
        box = life_box(arguments, image, store, progress)
        progress("reading symbols and types of", 0, 0)
        from kobox.box.symbol_file.kernel_symbol_file import kernel_symbol_file

        symbols = kernel_symbol_file(box, store.root / "symbols")
    finally:
        progress.close()
    with box:
        return _debug(arguments, box, (modules, parameters), symbols, gdb, given)


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(
        prog=prog,
        description="Debug modules with gdb while they are loaded, used and unloaded in a box; backwards too.",
        epilog="What stands behind -- are gdb's own arguments. In gdb, `monitor help` lists what kobox adds.",
    )
    add_life_options(parser)
    parser.add_argument(
        "--gdb", default="", metavar="PROGRAM", help="the gdb to start (default: gdb; where there is none, Debian's)"
    )
    parser.add_argument(
        "--listen", type=_port, metavar="PORT", help="start no gdb: wait for a debugger on this port of loopback"
    )
    return parser


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r}: not a port")
    return int(text)


def _debug(
    arguments: argparse.Namespace,
    box: Box,
    modules: tuple[list[ModuleFile], list[str]],
    symbols: Path,
    gdb: list[str],
    given: list[str],
) -> int:
    from kobox.apps.module_life import ModuleLife
    from kobox.checks.fuzz.exercise_file import exercises_of
    from kobox.debug.gdb_session import GdbSession
    from kobox.debug.run_gdb import run_gdb

    files, parameters = modules
    uses = [use for file in arguments.exercise for use in exercises_of(file, Path(files[-1].path))]
    life = ModuleLife(
        box, files, parameters, uses=uses, commands=arguments.commands, said=lambda text: print(text, end="")
    )
    session = GdbSession(box, life, files)
    try:
        known = session.survey()
        if known.error is not None:
            print(f"this life ends with: {known.error}", file=sys.stderr)
        return run_gdb(session, gdb, given, symbols) if gdb else _listen(session, arguments.listen, symbols)
    finally:
        session.close()


def _listen(session: GdbSession, port: int, symbols: Path) -> int:
    with socket.create_server(("127.0.0.1", port)) as listener:
        print(f"waiting for a debugger: gdb {symbols} -ex 'target remote 127.0.0.1:{port}'", flush=True)
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session.serve(connection)
    return 0
