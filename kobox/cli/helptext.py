"""How help is laid out: argparse's way, without what argparse imports to learn the terminal's width."""

from __future__ import annotations

import argparse
import os
import sys


def formatter(prog: str) -> argparse.HelpFormatter:
    """For `ArgumentParser(formatter_class=…)`. argparse makes a formatter for every option that is added, and each
    asks for the width by way of `shutil`, which imports four compressors: two milliseconds of a short command."""
    try:
        columns = int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError, AttributeError):
        columns = 80
    return argparse.HelpFormatter(prog, width=max(columns - 2, 20))
