"""A terminal for a program that draws on it itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def whole_terminal() -> Iterator[None]:
    """For a program that draws on the terminal itself: `sys.__stdout__` and `sys.__stderr__` write again, unescaped.
    `escape_standard_streams` has taken their buffers."""
    before = sys.__stdout__, sys.__stderr__
    sys.stdout.flush()
    sys.stderr.flush()
    with (
        open(1, "w", encoding="utf-8", errors="replace", closefd=False) as output,
        open(2, "w", encoding="utf-8", errors="replace", closefd=False) as errors,
    ):
        sys.__stdout__, sys.__stderr__ = output, errors  # type: ignore[misc]
        try:
            yield
        finally:
            sys.__stdout__, sys.__stderr__ = before  # type: ignore[misc]
