"""Whether output is coloured: one rule for all commands.

`--color always` or `never` decides; else NO_COLOR, FORCE_COLOR (https://no-color.org, https://force-color.org; empty is
unset), TERM=dumb; else whether the stream is a terminal.
"""

from __future__ import annotations

import os
import sys


def coloured(*, error: bool = False) -> bool:
    """Whether standard output, or standard error, takes colours."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return os.environ.get("TERM") != "dumb" and (sys.stderr if error else sys.stdout).isatty()
