"""Progress of long work on standard error: one line, rewritten, on a terminal; nothing elsewhere.

downloading from Debian bookworm  12.3 of 27.1 MB (45%), 3.1 MB/s, 5 s left
"""

from __future__ import annotations

import os
import sys
import time

from kobox.cli.terminal_output import Painted
from kobox.printable import one_line

_SETTLED = 1.0  # seconds before a rate is told
_WIDEST = 79  # columns where the terminal does not say


class ProgressLine:
    """A callback for the `progress` arguments of the library: (stage, bytes done, bytes in all).

    With a `unit`, such as "cells", it counts those in place of bytes.
    """

    def __init__(self, *, quiet: bool = False, unit: str = "MB") -> None:
        self._unit = unit
        self._tty = sys.stderr.isatty()
        self._quiet = quiet
        self._rewrites = os.environ.get("TERM") != "dumb"
        self._stage = ""
        self._shown_at = 0.0
        self._began = 0.0
        self._first = 0  # bytes that were there when the stage began
        self._open = False

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._quiet or not self._tty:
            return
        now = time.monotonic()
        if stage == self._stage and (not self._rewrites or (done < total and now - self._shown_at < 0.1)):
            return
        if stage != self._stage:
            self.close()
            self._began, self._first = now, done
        self._stage, self._shown_at, self._open = stage, now, True
        if not self._rewrites:
            sys.stderr.write(f"{one_line(stage)}\n")
            self._open = False
        else:
            text = one_line(stage) + figures(done, total, done - self._first, now - self._began, self._unit)
            sys.stderr.write(Painted(f"\r\x1b[K{text[: _columns()]}"))
        sys.stderr.flush()

    def close(self) -> None:
        """End the line that is open, if one is."""
        if self._open:
            sys.stderr.write("\n")
            sys.stderr.flush()
        self._open = False


def figures(done: int, total: int, lately: int, seconds: float, unit: str = "MB") -> str:
    """How far it is, how fast (`lately` bytes in so many seconds), and when it ends; "" where `total` is 0.

    A `unit` other than MB is counted as it is.
    """
    if not total:
        return ""
    digits, size = (1, 1e6) if unit == "MB" else (0, 1.0)
    text = f"  {done / size:.{digits}f} of {total / size:.{digits}f} {unit} ({done * 100 // total}%)"
    if seconds < _SETTLED or lately <= 0 or done >= total:
        return text
    left = (total - done) * seconds / lately
    remaining = f"{left / 60:.0f} min" if left >= 120 else f"{left:.0f} s"
    return f"{text}, {lately / seconds / size:.1f} {unit}/s, {remaining} left"


def _columns() -> int:
    try:
        return max(os.get_terminal_size(sys.stderr.fileno()).columns - 1, 20)
    except (OSError, ValueError):
        return _WIDEST
