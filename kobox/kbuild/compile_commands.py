"""compile_commands.json (clang's JSON Compilation Database) for a built module, so that editors understand its files.

Kbuild leaves the command of each object in `.NAME.o.cmd`, a makefile:

    savedcmd_/path/hello.o := gcc -Wp,-MMD,… -c -o /path/hello.o /path/hello.c
    source_/path/hello.o := /path/hello.c
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from kobox.atomic_file import write_file
from kobox.kbuild.shadow_tree import Mirror

# Up to 6.2 the first variable was called cmd_.
_COMMAND = re.compile(r"^(?:saved)?cmd_\S+ := (.+?)(?: ;.*)?$", re.MULTILINE)
_SOURCE = re.compile(r"^source_\S+ := (.+)$", re.MULTILINE)


def write_compile_commands(mirror: Mirror, headers: Path, target: Path) -> Path:
    """Write `target`/compile_commands.json for what was built in a mirror, told by the user's paths."""
    entries = []
    for record in sorted(mirror.tree.rglob(".*.o.cmd")):
        text = record.read_text(errors="replace")
        command, source = _COMMAND.search(text), _SOURCE.search(text)
        if command is None or source is None or source.group(1).endswith(".mod.c"):
            continue
        # A relative name is relative to where Kbuild ran: the build directory since 6.13, the headers before.
        relative = not source.group(1).startswith("/")
        file = (mirror.tree / source.group(1)) if relative else Path(source.group(1))
        if not file.is_relative_to(mirror.tree):
            continue
        entries.append(
            {
                "directory": str(mirror.source if relative else headers),
                "command": command.group(1).replace(str(mirror.tree), str(mirror.source)),
                "file": str(mirror.source / file.relative_to(mirror.tree)),
            }
        )
    path = target / "compile_commands.json"
    write_file(path, json.dumps(entries, indent=2).encode() + b"\n")
    return path
