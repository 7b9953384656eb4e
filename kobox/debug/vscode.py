"""kobox as a debugger of VS Code: an extension without code, which only says how the adapter is started.

    EXTENSIONS/kobox.kobox-debug-VERSION/package.json

VS Code starts a debug adapter only for an extension that names its type; a `launch.json` with `"type": "kobox"` then
works. Source: the manual of VS Code, "Contribution Points", contributes.debuggers.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeAlias

from kobox.atomic_directory import atomic_directory

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json]"

_VERSION = "1.0.0"  # of the extension: it changes when the manifest does
# What the launch request takes, as a JSON schema.
LAUNCH: dict[str, Json] = {
    "program": {
        "type": ["string", "array"],
        "items": {"type": "string"},
        "description": "A module (.ko), a source (.c) or a directory, built first; or a list of words with parameters, "
        "as `kobox gdb` takes them.",
        "default": "${workspaceFolder}",
    },
    "commands": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Commands of the box's shell, run between load and unload.",
        "default": [],
    },
    "exercise": {
        "type": "string",
        "description": "A Python file with tests or `def exercise(box)`, to use the module by.",
    },
    "kernel": {"type": "string", "description": "The kernel to boot, as `kobox kernel list` names it."},
    "memory": {"type": "integer", "description": "Memory of the box in MiB.", "default": 256},
    "gdb": {"type": "string", "description": "The gdb to start."},
    "stopOnEntry": {"type": "boolean", "description": "Stop where the module's init begins.", "default": True},
}


def manifest(command: str) -> dict[str, Json]:
    """The extension's package.json; `command` starts kobox."""
    launch: dict[str, Json] = {"type": "kobox", "request": "launch", "name": "module in a box"}
    return {
        "name": "kobox-debug",
        "displayName": "kobox",
        "description": "Debug Linux kernel modules in a box, forwards and backwards.",
        "publisher": "kobox",
        "version": _VERSION,
        "license": "GPL-2.0-or-later",
        "engines": {"vscode": "^1.60.0"},
        "categories": ["Debuggers"],
        "contributes": {
            "breakpoints": [{"language": "c"}, {"language": "cpp"}, {"language": "rust"}],
            "debuggers": [
                {
                    "type": "kobox",
                    "label": "kobox: kernel module in a box",
                    "languages": ["c", "rust"],
                    "runtime": command,
                    "args": ["debug", "--dap"],
                    "configurationAttributes": {"launch": {"required": ["program"], "properties": LAUNCH}},
                    "initialConfigurations": [{**launch, "program": "${workspaceFolder}"}],
                }
            ],
        },
    }


def write_extension(extensions: Path, command: str) -> Path:
    """Write the extension into a directory of extensions, in place of an earlier one, and return where it is.

    Raises `OSError`.
    """
    place = extensions / f"kobox.kobox-debug-{_VERSION}"
    extensions.mkdir(parents=True, exist_ok=True)
    text = json.dumps(manifest(command), indent=2) + "\n"
    if place.is_dir():
        from kobox.atomic_file import write_file

        write_file(place / "package.json", text.encode())
        return place
    with atomic_directory(place) as aside:
        (aside / "package.json").write_text(text)
    return place


def extensions_directory() -> Path:
    """Where VS Code looks for extensions: $VSCODE_EXTENSIONS, else ~/.vscode/extensions."""
    return Path(os.environ.get("VSCODE_EXTENSIONS") or Path.home() / ".vscode" / "extensions")
