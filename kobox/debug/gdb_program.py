"""Which gdb debugs: this machine's, or Debian's, unpacked into the cache and started there without root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.arch.registry import architecture
from kobox.errors import KoboxError

if TYPE_CHECKING:
    from kobox.images.store import Store

_OWN, _ALL = ("gdb", "usr/bin/gdb"), ("gdb-multiarch", "usr/bin/gdb-multiarch")
# Scripts that a module's file names (.debug_gdb_scripts), or that lie beside it, would run with the user's rights.
_SAFE = ("-iex", "set auto-load no")
_FUNCTIONS = ("-iex", f"source {Path(__file__).with_name('lx_functions.gdb')}")


def gdb_words(
    store: Store, wanted: str, progress: Callable[[str, int, int], None] | None = None, machine: str = ""
) -> list[str]:
    """The words that start gdb, with scripts of modules switched off, and with `$lx_current()` and its like where it
    has Python. `wanted` is a program's name or path; "" takes a gdb of this machine that knows the processor of
    `machine` (as `uname -m` names it; "" is this machine's), else Debian's.

    Raises `KoboxError` for a program that is not there; `FetchError`.
    """
    if wanted:
        if (found := shutil.which(wanted)) is None:
            raise KoboxError(f"there is no program {wanted}", hint="Without --gdb, kobox fetches Debian's gdb.")
        return _started([found])
    foreign = machine not in ("", os.uname().machine)
    processor = architecture(machine).debugger.architecture if foreign else ""
    for name in ("gdb", "gdb-multiarch") if foreign else ("gdb",):
        if (found := shutil.which(name)) and (not foreign or _succeeds([found], f"set architecture {processor}")):
            return _started([found])
    return _started(debian_gdb(store, progress, every_processor=foreign))


def _started(words: list[str]) -> list[str]:
    return [*words, *_SAFE, *(_FUNCTIONS if _succeeds(words, "python 1") else ())]


def _succeeds(words: list[str], command: str) -> bool:
    """Whether this gdb takes a command: what is missing in it is an error."""
    words = [*words, "-nx", "-batch", "-ex", command]
    done = subprocess.run(words, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return not done.returncode and not done.stderr


def debian_gdb(
    store: Store, progress: Callable[[str, int, int], None] | None = None, *, every_processor: bool = False
) -> list[str]:
    """The words that start Debian's gdb; with `every_processor` the one that knows all of Debian's. Raises
    `FetchError`, `KoboxError`."""
    from kobox.images.debian.packages import merged
    from kobox.images.debian.program import debian_program

    package, path = _ALL if every_processor else _OWN
    words, trees = debian_program(store, [package], path, progress)
    # Its Python looks for its own modules where they are installed: this machine may have those of another version.
    return [shutil.which("env") or "/usr/bin/env", f"PYTHONHOME={merged(store, trees) / 'usr'}", *words]
