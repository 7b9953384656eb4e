"""The module files of a tree, and which of several of the same name counts.

Of two copies the one with the higher precedence (depmod.d(5)) wins. Of two copies with equal precedence the one whose
path sorts first wins, in whatever order the directories list them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kobox.kmod.config.depmod_d import SearchConfig
from kobox.kmod.index import native_core as native
from kobox.ko.name import SUFFIXES, canonical


class Candidate(NamedTuple):
    """A module file: its name, its path as modules.dep has it, where to open it, and its stamp if one was asked for."""

    name: str
    path: str
    file: str
    stamp: bytes = b""


class FoundModules(NamedTuple):
    """The module files that count, sorted by path. `unread` has a text for each directory that could not be listed,
    `missing` for each external directory that is not there."""

    modules: list[Candidate]
    unread: list[str]
    missing: list[str]


def find_modules(directory: str, config: SearchConfig, *, want_stamps: bool = False) -> FoundModules:
    """The module files that count in a tree and in the external directories.

    Raises `OSError` when the tree's own directory can't be listed.
    """
    found = FoundModules([], [], [])
    chosen: dict[str, Candidate] = {}
    _choose(chosen, _walk(directory, "", config, want_stamps, found.unread), config)
    for external in config.externals:
        try:
            _choose(chosen, _walk(external, external, config, want_stamps, found.unread), config)
        except FileNotFoundError as error:
            found.missing.append(f"could not open directory {external}: {error.strerror}")
        except OSError as error:
            found.unread.append(f"{external}: {error.strerror}")
    found.modules.extend(chosen.values())
    return found


def given_modules(directory: str, files: Iterable[str], config: SearchConfig) -> list[Candidate]:
    """The module files named one by one, by absolute paths. Raises `OSError` for one that can't be read."""
    chosen: dict[str, Candidate] = {}
    below = directory.rstrip("/") + "/"
    found = []
    for file in files:
        os.stat(file)
        path = file.removeprefix(below)
        stem = _stem(os.path.basename(file))
        if stem:
            found.append(Candidate(canonical(stem), path, file))
    _choose(chosen, found, config)
    return list(chosen.values())


def _choose(chosen: dict[str, Candidate], found: Sequence[Candidate], config: SearchConfig) -> None:
    if not chosen:
        by_name = {candidate.name: candidate for candidate in found}
        if len(by_name) == len(found):
            chosen.update(by_name)
            return
    for new in found:
        old = chosen.setdefault(new.name, new)
        if old is not new and _is_better(new, old, config):
            chosen[new.name] = new


def _is_better(new: Candidate, old: Candidate, config: SearchConfig) -> bool:
    if _without_suffix(new.path) in config.overrides:
        return True
    if _without_suffix(old.path) in config.overrides:
        return False
    return config.rank(new.path) > config.rank(old.path)


def _walk(directory: str, shown: str, config: SearchConfig, want_stamps: bool, unread: list[str]) -> list[Candidate]:
    """Every module file below, in the order of the paths; `shown` stands for `directory` in them."""
    walk = native.walk(directory, ["build", "source", *config.excludes], want_stamps)
    unread += [f"{directory}/{path}: {os.strerror(number)}" for path, number in walk.unread]
    files = [f"{directory}/{path}" for path in walk.paths]
    lead = f"{shown}/" if shown else ""
    stamps = walk.stamps
    each = [stamps[at : at + native.STAMP] for at in range(0, len(stamps), native.STAMP)] or [b""] * len(files)
    return list(map(Candidate, walk.names, [lead + path for path in walk.paths] if lead else walk.paths, files, each))


def _stem(name: str) -> str:
    """The file name without the module suffix, "" when it has none."""
    if name.endswith(".ko"):
        return name[:-3]
    stem, found, packed = name.rpartition(".ko.")
    return stem if found and ".ko." + packed in SUFFIXES else ""


def _without_suffix(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return folder + slash + _stem(name)
