"""modules-load.d: the modules to load when a machine starts, whatever devices it has.

    # a comment, and so is a line with a ;
    MODULE or alias, one a line

Source: modules-load.d(5); on the kernel command line `modules_load=a,b`, systemd-modules-load.service(8).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kobox.kmod.config.directories import config_files, default_directories, read_config

COMMAND_LINE = "the kernel command line"


class Wanted(NamedTuple):
    """A module to load at start: its name or alias as written, and the file that asks for it."""

    module: str
    path: str


def load(paths: Sequence[str] = (), command_line: str = "", *, root: str = "") -> list[Wanted]:
    """What is to be loaded, in order, each once: first what the kernel's command line asks for.

    `paths` are files and directories; without any, the modules-load.d directories under `root`. Raises `OSError` for
    a file that is there and can't be read.
    """
    found: dict[str, Wanted] = {name: Wanted(name, COMMAND_LINE) for name in _of_command_line(command_line)}
    for path in config_files(paths or default_directories("modules-load.d", root)):
        for line in read_config(path).splitlines():
            name = line.strip()
            if name and name[0] not in "#;":
                found.setdefault(name, Wanted(name, path))
    return list(found.values())


def _of_command_line(text: str) -> Iterator[str]:
    for word in text.split():
        name, _, value = word.partition("=")
        if name.replace("-", "_") == "modules_load":
            yield from filter(None, value.split(","))
