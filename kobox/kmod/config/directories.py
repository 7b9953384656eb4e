"""Which configuration files count, and in which order.

A file name counts once: in the first directory that has it. Files of all directories are read in the order of
their names, whatever directory they are in (modprobe.d(5), depmod.d(5)).
"""

from __future__ import annotations

import os

from kobox.startup import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Where the trees of all releases are.
MODULE_DIRECTORY = "/lib/modules"
# In order of precedence; the same for modprobe.d, depmod.d and modules-load.d.
PLACES = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")


def config_files(paths: Sequence[str]) -> list[str]:
    """The files to read, for paths of directories and single files; those that don't exist are left out."""
    chosen: dict[str, str] = {}
    for path in paths:
        try:
            names = os.listdir(path)
        except NotADirectoryError:
            chosen.setdefault(os.path.basename(path), path)
            continue
        except OSError:
            continue
        for name in names:
            if name.endswith(".conf") and not name.startswith("."):
                chosen.setdefault(name, os.path.join(path, name))
    return [chosen[name] for name in sorted(chosen)]


def default_directories(kind: str, root: str = "") -> list[str]:
    """`/etc/KIND`, `/run/KIND`, ... under a root directory."""
    return [f"{root.rstrip('/')}{place}/{kind}" for place in PLACES]


def read_config(path: str) -> str:
    """A configuration file's text; bytes that are not UTF-8 are kept as surrogates."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return file.read()
