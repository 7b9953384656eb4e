"""`kobox debug --dap`: debug a module from an editor, by the Debug Adapter Protocol on standard input and output.

The arguments of the editor's `launch` request say what is debugged:

    program     FILE.ko, FILE.c or a directory; or a list of words as `kobox gdb` takes them: ["a.ko", "x=1", "b.ko"]
    commands    lines for the box's shell, between load and unload
    exercise    a Python file to use the module by
    kernel, memory (MiB), gdb (a program)
    stopOnEntry whether to stop where the module's init begins (default: true)

`--vscode` writes the extension that has VS Code start it.
Exit status: 0; 1 when the extension cannot be written; 2 wrong usage.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.cli.parser import CommandParser

if TYPE_CHECKING:
    from collections.abc import Callable

    from kobox.box.box import Box
    from kobox.debug.dap import DapStream, Table
    from kobox.debug.gdb_session import GdbSession
    from kobox.debug.mi import MiGdb, MiRecord
    from kobox.images.store import KernelImage, Store


def main(argv: list[str], prog: str) -> int:
    """Entry point of the subcommand."""
    parser = CommandParser(
        prog=prog,
        description="Debug a module from an editor: loaded, used and unloaded in a box, forwards and backwards.",
    )
    ways = parser.add_mutually_exclusive_group(required=True)
    ways.add_argument(
        "--dap", action="store_true", help="speak the Debug Adapter Protocol on standard input and output"
    )
    ways.add_argument(
        "--vscode",
        nargs="?",
        const="",
        metavar="DIR",
        help="write the extension that has VS Code start kobox, into DIR or where VS Code looks for extensions",
    )
    arguments = parser.parse_args(argv)
    if arguments.vscode is not None:
        return _write_extension(arguments.vscode)
    from kobox.debug.dap import CAPABILITIES, DapStream

    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not come between messages
    stream = DapStream(sys.stdin.buffer, output)
    while (request := stream.read()) is not None:
        command, given = request.get("command"), request.get("arguments")
        if command == "initialize":
            stream.answer(request, dict(CAPABILITIES))
        elif command in ("launch", "attach"):
            _session(stream, request, given if isinstance(given, dict) else {})
            return 0
        elif command in ("disconnect", "terminate"):
            stream.answer(request)
            return 0
        else:
            stream.answer(request, error=f"{command}: nothing was launched yet")
    return 0


def _write_extension(directory: str) -> int:
    import shutil

    from kobox.debug.vscode import extensions_directory, write_extension

    command = shutil.which(sys.argv[0]) or shutil.which("kobox") or "kobox"
    place = write_extension(Path(directory) if directory else extensions_directory(), os.path.abspath(command))
    print(f'{place}: VS Code has the debugger "kobox" when it starts the next time')
    return 0


def _session(stream: DapStream, request: Table, arguments: Table) -> None:
    """Boot, live the life once, and debug it until the editor goes."""
    from kobox.errors import KoboxError

    try:
        with tempfile.TemporaryDirectory(prefix="kobox-dap-") as directory:
            _debug(stream, request, arguments, Path(directory))
    except (KoboxError, OSError) as error:
        stream.answer(request, error=str(error))
        stream.event("terminated")


def _debug(stream: DapStream, request: Table, arguments: Table, directory: Path) -> None:
    from kobox.apps import run_sources
    from kobox.apps.module_life import ModuleLife
    from kobox.box.symbol_file.kernel_symbol_file import kernel_symbol_file
    from kobox.checks.fuzz.exercise_file import exercises_of
    from kobox.debug.dap import DapServer
    from kobox.debug.gdb_program import gdb_words
    from kobox.debug.gdb_session import GdbSession
    from kobox.images.store import Store

    def say(text: str) -> None:
        stream.event("output", category="console", output=text)

    store, words = Store(), _words(arguments)
    image = store.ensure(str(arguments["kernel"]) if arguments.get("kernel") else None)
    gdb = gdb_words(store, str(arguments.get("gdb", "")), machine=image.architecture)
    sources = run_sources.split(words)
    paths = run_sources.module_paths(sources, image, lambda path: say(f"building {path} for {image.name}\n"))
    files, parameters = run_sources.module_files(sources, paths)
    commands = [str(line) for line in _list(arguments.get("commands"))]
    with _box(image, store, bool(commands), arguments) as box:
        uses = exercises_of(str(arguments["exercise"]), Path(files[-1].path)) if arguments.get("exercise") else []
        life = ModuleLife(box, files, parameters, uses=uses, commands=commands, said=say)
        session = GdbSession(box, life, files)
        symbols = kernel_symbol_file(box, store.root / "symbols")
        try:
            known = session.survey()
            if known.error is not None:
                say(f"this life ends with: {known.error.message.splitlines()[0]}\n")
            start = _Starter([*gdb, str(symbols)], directory / "box")
            server = DapServer(stream, start)
            _serve(stream, request, arguments, session, server, start)
        finally:
            session.close()


def _serve(
    stream: DapStream, request: Table, arguments: Table, session: GdbSession, server: object, start: _Starter
) -> None:
    """The editor's requests in a thread of their own; the box is this one's."""
    from kobox.debug.dap import DapServer
    from kobox.errors import KoboxError

    assert isinstance(server, DapServer)

    def requests() -> None:
        try:
            server.launch(arguments)
            stream.answer(request)
            server.serve()
        except KoboxError as error:
            stream.answer(request, error=str(error))
        finally:
            server.close()
            start.close()

    thread = threading.Thread(target=requests, daemon=True)
    thread.start()
    connection = start.accept()
    if connection is not None:
        session.serve(connection)
    thread.join(10)


class _Starter:
    """Starts gdb, and lets it connect to a socket of this process."""

    def __init__(self, words: list[str], path: Path) -> None:
        self._words, self._path = words, path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._closed = False

    def __call__(self, listener: Callable[[MiRecord], None]) -> MiGdb:
        from kobox.debug.mi import MiGdb

        gdb = MiGdb(self._words, listener)
        for command in ("-gdb-set sysroot /", "-gdb-set confirm off", f"-target-select remote {self._path}"):
            gdb.command(command)
        return gdb

    def accept(self) -> socket.socket | None:
        """gdb's connection; None when it has ended without one."""
        self._listener.settimeout(0.2)
        while not self._closed:
            try:
                connection = self._listener.accept()[0]
            except TimeoutError:
                continue
            except OSError:
                return None
            connection.settimeout(None)
            return connection
        return None

    def close(self) -> None:
        """Accept no more."""
        self._closed = True
        self._listener.close()


def _words(arguments: Table) -> list[str]:
    from kobox.errors import KoboxError

    program = arguments.get("program")
    words = [str(word) for word in program] if isinstance(program, list) else [str(program)] if program else []
    if not words:
        raise KoboxError("the launch request has no `program`", hint='It is a module: "program": "hello.ko".')
    return words


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else [value] if value else []


def _box(image: KernelImage, store: Store, shell: bool, arguments: Table) -> Box:
    import kobox
    from kobox.apps.rootfs import shell_box

    memory = arguments.get("memory")
    size = (memory if isinstance(memory, int) else 256) << 20
    return shell_box(image, memory=size, store=store) if shell else kobox.boot(image, memory=size)
