"""The commands that a matrix runs, each in a process of its own behind its own wall: one that dies harms no other.

kobox run --json -k KERNEL [NEEDED.ko…] FILE.ko …      loads, and clean
kobox check --json -k KERNEL FILE.ko …                 clean
kobox explain --json -k KERNEL FILE.ko                 why it was refused
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kobox.errors import KoboxError
from kobox.ko.modulefile import ModuleFile
from kobox.printable import printable

_DEEPEST = 64  # modules that need each other in a chain
_MOST_OUTPUT = 64 << 20  # characters of a command's output that are taken
_LAST_GRACE = 2.0  # seconds that a command has to end after it was told to


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """What a command left: its exit status (negative: a signal), its two streams, and the seconds it took."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float


class CommandRunner:
    """Runs commands of kobox, from several threads, until it is stopped."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self.stopped = False

    def run(self, *words: str, environment: dict[str, str] | None = None) -> CommandOutput:
        """Run one, and wait for it."""
        began = time.monotonic()
        process = self._start(words, environment or {})
        try:
            out, err = process.communicate()
        finally:
            with self._lock:
                self._running.discard(process)
        out, err = out[:_MOST_OUTPUT], err[:_MOST_OUTPUT]
        return CommandOutput(process.returncode, printable_lines(out), printable_lines(err), time.monotonic() - began)

    def _start(self, words: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        with self._lock:
            if self.stopped:
                raise KoboxError("interrupted")
            process = subprocess.Popen(
                [sys.executable, "-m", "kobox", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env={**os.environ, "NO_COLOR": "1", **environment},
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends them
            )
            self._running.add(process)
            return process

    @contextmanager
    def stopped_by_errors(self) -> Iterator[None]:
        """An exception in the block, Ctrl-C too, ends what runs."""
        try:
            yield
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End what runs, and start nothing more."""
        with self._lock:
            self.stopped = True
            running = list(self._running)
        for process in running:
            process.send_signal(signal.SIGINT)
        end = time.monotonic() + _LAST_GRACE
        for process in running:
            while process.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def printable_lines(text: str) -> str:
    """Text of several lines, without control characters: what a module printed goes into files that others show."""
    return "".join(f"{printable(line)}\n" for line in text.splitlines())


def needed_files(module: Path, modules: Sequence[Path]) -> list[Path]:
    """The other files of `modules` that one needs, in the order in which they are loaded."""
    known = {path.name.partition(".ko")[0].replace("-", "_"): path for path in modules}
    found: list[Path] = []

    def add(path: Path, depth: int) -> None:
        for name in _depends(path):
            other = known.get(name.replace("-", "_"))
            if other is not None and other not in found and other != module and depth < _DEEPEST:
                add(other, depth + 1)
                found.append(other)

    if len(modules) > 1:
        add(module, 0)
    return found


def _depends(path: Path) -> tuple[str, ...]:
    try:
        return ModuleFile(path).depends
    except (KoboxError, OSError):  # loading it will say what is wrong with it
        return ()
