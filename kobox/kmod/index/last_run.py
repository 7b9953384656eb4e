"""Whether anything changed since the last quick run of depmod: `depmod -A` ends at once when nothing did.

A fingerprint of all that the indexes are made from, and of the files that were written, is kept beside the facts that
are remembered of a tree:

    the configuration and options; each module's path and stamp; stamps of modules.order, modules.builtin and
    modules.builtin.modinfo; stamps of the indexes

A stamp is a file's size, both of its times in ns, inode and device. A run with warnings or errors leaves none, so that
the next one has them again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from kobox.atomic_file import write_file
from kobox.kmod.config.depmod_d import SearchConfig
from kobox.kmod.index.facts_cache import cache_file
from kobox.kmod.index.module_files import Candidate

INPUTS = ("modules.order", "modules.builtin", "modules.builtin.modinfo")
_FORMAT = "kobox depmod fingerprint 1"


def fingerprint(directory: str, search: SearchConfig, modules: Iterable[Candidate], options: Iterable[str]) -> bytes:
    """The fingerprint of what the indexes of a tree are made from."""
    from hashlib import blake2b

    state = blake2b(digest_size=32)
    lists = (search.search, sorted(search.overrides), search.externals, sorted(search.excludes))
    state.update(repr((_FORMAT, directory, lists, *options, _stamps(directory, INPUTS))).encode())
    for module in modules:
        state.update(f"{module.path}\0".encode("utf-8", "surrogateescape") + module.stamp)
    return state.digest()


class LastRun:
    """The last quick run on a tree that wrote its indexes to `output`."""

    def __init__(self, directory: str, output: str, names: Iterable[str]) -> None:
        self._path = cache_file(directory, "last")
        self._output = output
        self._names = tuple(names)

    def matches(self, made_from: bytes) -> bool:
        """Whether it made its indexes from the same, and they are still there."""
        try:
            with open(self._path, "rb", buffering=0) as file:
                return os.fstat(file.fileno()).st_uid == os.geteuid() and file.readall() == self._whole(made_from)
        except OSError:
            return False

    def indexes(self) -> dict[str, bytes]:
        """The indexes that it wrote. Raises `OSError`."""
        found = {}
        for name in self._names:
            with open(os.path.join(self._output, name), "rb", buffering=0) as file:
                found[name] = file.readall()
        return found

    def remember(self, made_from: bytes) -> None:
        """Keep the fingerprint of a run that has just written its indexes. That it can't be kept is no error."""
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self._path), exist_ok=True, mode=0o700)
            write_file(self._path, self._whole(made_from), mode=0o600, follow=False, flush=False)

    def _whole(self, made_from: bytes) -> bytes:
        return made_from + repr((self._output, _stamps(self._output, self._names))).encode()


def _stamps(directory: str, names: Iterable[str]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for name in names:
        try:
            status = os.stat(os.path.join(directory, name))
        except OSError:
            found.append(())
        else:
            times = status.st_mtime_ns, status.st_ctime_ns
            found.append((status.st_size, *times, status.st_ino, status.st_dev))
    return found
