"""Which gdb debugs: this machine's, or Debian's, unpacked into the cache and started there without root."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.errors import KoboxError

if TYPE_CHECKING:
    from kobox.images.store import Store

_PACKAGE = "gdb-minimal"


def gdb_words(store: Store, wanted: str, progress: Callable[[str, int, int], None] | None = None) -> list[str]:
    """The words that start gdb. `wanted` is a program's name or path; "" takes gdb where there is one, else Debian's.

    Raises `KoboxError` for a program that is not there; `FetchError`.
    """
    if found := shutil.which(wanted or "gdb"):
        return [found]
    if wanted:
        raise KoboxError(f"there is no program {wanted}", hint="Without --gdb, kobox fetches Debian's gdb.")
    return debian_gdb(store, progress)


def debian_gdb(store: Store, progress: Callable[[str, int, int], None] | None = None) -> list[str]:
    """The words that start Debian's gdb: its own loader, its own libraries. Raises `FetchError`, `KoboxError`."""
    from kobox.images.debian.packages import packages

    trees = packages(store, [_PACKAGE, "libc6"], progress)
    program = _find(trees, "usr/bin/gdb")
    loader = _find(trees, "lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2")
    libraries = [str(place) for tree in trees for place in _library_directories(tree)]
    return [str(loader), "--library-path", ":".join(libraries), "--argv0", "gdb", str(program)]


def _find(trees: list[Path], *names: str) -> Path:
    for tree in trees:
        for name in names:
            if (tree / name).exists():
                return tree / name
    raise KoboxError(f"Debian's package {_PACKAGE} has no {names[0]}", hint="Install gdb, or name one with --gdb.")


def _library_directories(tree: Path) -> list[Path]:
    return sorted({path.parent for path in tree.glob("**/*.so*") if path.is_file()})
