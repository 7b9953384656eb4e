"""`kobox man`: the man pages of the commands, shown, or written into a directory.

Exit status: that of man(1), or 0 when the pages were written.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from kobox.cli.parser import CommandParser
from kobox.errors import KoboxError


def main(argv: list[str], prog: str) -> int:
    """Entry point of the subcommand."""
    parser = CommandParser(
        prog=prog,
        description="Show the man page of a command, or of kobox itself.",
        epilog="`kobox kmod links DIR` installs the kmod tools with their own pages.",
    )
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="run, check, build ... (default: kobox itself)")
    parser.add_argument("--write", type=Path, metavar="DIR", help="write all pages into DIR/man1")
    arguments = parser.parse_args(argv)
    import kobox
    from kobox.atomic_file import write_file
    from kobox.cli.main import COMMANDS
    from kobox.cli.manpage import pages

    made = pages(COMMANDS, kobox.__version__)
    if arguments.write is not None:
        place = arguments.write / "man1"
        place.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            write_file(place / name, text.encode(), mode=0o644)
        print(f"{place}: {len(made)} pages; `man -M {arguments.write} kobox` shows the first")
        return 0
    name = "kobox.1" if arguments.command is None else f"kobox-{arguments.command}.1"
    if name not in made:
        raise KoboxError(f"no page {name}", hint="`kobox --help` lists the commands.")
    return _show(made[name])


def _show(page: str) -> int:
    man = shutil.which("man")
    if man is None:
        raise KoboxError("no program `man` here", hint="Debian: apt-get install man-db. --help says the same.")
    with tempfile.TemporaryDirectory(prefix="kobox-man-") as place:
        path = Path(place, "page.1")
        path.write_text(page)
        sys.stdout.flush()
        return subprocess.run([man, "-l", str(path)], check=False).returncode
