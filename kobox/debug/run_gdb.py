"""gdb on this terminal, with a life in a box for its program."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from kobox.debug.gdb_session import GdbSession


def run_gdb(session: GdbSession, gdb: list[str], given: list[str], symbols: Path) -> int:
    """Start gdb on this terminal, and serve it until it ends. Ctrl-C is gdb's."""
    with tempfile.TemporaryDirectory(prefix="kobox-gdb-") as directory, socket.socket(socket.AF_UNIX) as listener:
        path = os.path.join(directory, "box")
        listener.bind(path)
        listener.listen(1)
        words = [*gdb, "-q", "-iex", "set sysroot /", str(symbols), "-ex", f"target remote {path}", *given]
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            program = subprocess.Popen(words, preexec_fn=_restore_interrupt)
            listener.settimeout(0.2)
            connection = _accepted(listener, program)
            if connection is not None:
                connection.settimeout(None)
                session.serve(connection)
            return program.wait()
        finally:
            signal.signal(signal.SIGINT, before)


def _restore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _accepted(listener: socket.socket, program: subprocess.Popen[bytes]) -> socket.socket | None:
    """gdb's connection; None when gdb has ended without one."""
    while program.poll() is None:
        try:
            return listener.accept()[0]
        except TimeoutError:
            continue
    return None
