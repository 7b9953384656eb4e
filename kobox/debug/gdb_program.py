"""Which gdb debugs: this machine's, or Debian's, unpacked into the cache and started there without root."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from kobox.errors import KoboxError

if TYPE_CHECKING:
    from kobox.images.store import Store

_PACKAGE = "gdb-minimal"
# Scripts that a module's file names (.debug_gdb_scripts), or that lie beside it, would run with the user's rights.
_SAFE = [word for kind in ("gdb", "python", "guile") for word in ("-iex", f"set auto-load {kind}-scripts off")]


def gdb_words(store: Store, wanted: str, progress: Callable[[str, int, int], None] | None = None) -> list[str]:
    """The words that start gdb, with scripts switched off. `wanted` is a program's name or path; "" takes gdb where
    there is one, else Debian's.

    Raises `KoboxError` for a program that is not there; `FetchError`.
    """
    if found := shutil.which(wanted or "gdb"):
        return [found, *_SAFE]
    if wanted:
        raise KoboxError(f"there is no program {wanted}", hint="Without --gdb, kobox fetches Debian's gdb.")
    return [*debian_gdb(store, progress), *_SAFE]


def debian_gdb(store: Store, progress: Callable[[str, int, int], None] | None = None) -> list[str]:
    """The words that start Debian's gdb. Raises `FetchError`, `KoboxError`."""
    from kobox.images.debian.program import debian_program

    return debian_program(store, [_PACKAGE], "usr/bin/gdb", progress)[0]
