"""A program of Debian's, unpacked into the cache and started there without root: its own loader, its own libraries."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.errors import KoboxError
from kobox.images.debian.packages import packages

if TYPE_CHECKING:
    from kobox.images.store import Progress, Store

_LOADERS = ("lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2")


def debian_program(
    store: Store, names: Iterable[str], path: str, progress: Progress | None = None, *, name: str = ""
) -> tuple[list[str], list[Path]]:
    """The words that start `path` (`usr/bin/gdb`) of these packages, and the directories that they and all they need
    are unpacked in. `name` is what the program is told it is called, where that is not the file's name.

    Raises `FetchError`; `KoboxError` when the packages do not hold it.
    """
    trees = packages(store, [*names, "libc6"], progress)
    return program_words(trees, path, name), trees


def program_words(trees: Iterable[Path], path: str, name: str = "") -> list[str]:
    """The words that start `path` of unpacked packages through their own loader. Raises `KoboxError`."""
    trees = list(trees)
    program, loader = find_in(trees, path), find_in(trees, *_LOADERS)
    libraries = sorted({str(one.parent) for tree in trees for one in tree.glob("**/*.so*") if one.is_file()})
    return [str(loader), "--library-path", ":".join(libraries), "--argv0", name or program.name, str(program)]


def find_in(trees: Iterable[Path], *names: str) -> Path:
    """The first of some names that a package has. Raises `KoboxError`."""
    for tree in trees:
        for name in names:
            if (tree / name).exists():
                return tree / name
    raise KoboxError(f"Debian's packages have no {names[0]}", hint="`kobox doctor` shows what this machine lacks.")
