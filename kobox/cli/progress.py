"""Progress of long work on standard error: one line, rewritten, on a terminal; a line a stage elsewhere."""

from __future__ import annotations

import sys
import time

from kobox.cli.terminal_output import Painted
from kobox.printable import one_line


class ProgressLine:
    """A callback for the `progress` arguments of the library: (stage, bytes done, bytes in all)."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._tty = sys.stderr.isatty()
        self._quiet = quiet
        self._stage = ""
        self._shown_at = 0.0
        self._open = False

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._quiet or not self._tty:
            return
        now = time.monotonic()
        if stage == self._stage and done < total and now - self._shown_at < 0.1:
            return
        if stage != self._stage:
            self.close()
        self._stage, self._shown_at, self._open = stage, now, True
        figures = f"  {done / 1e6:.1f} of {total / 1e6:.1f} MB ({done * 100 // total}%)" if total else ""
        sys.stderr.write(Painted(f"\r\x1b[K{one_line(stage)}{figures}"))
        sys.stderr.flush()

    def close(self) -> None:
        """End the line that is open, if one is."""
        if self._open:
            sys.stderr.write("\n")
            sys.stderr.flush()
        self._open = False
