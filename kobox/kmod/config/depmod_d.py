"""Which module files a tree has, and which of several of the same name counts: depmod.d(5).

    search updates built-in extra      directories by precedence, the first wins; built-in is all the rest
    override NAME KERNEL DIRECTORY     this one copy wins over any other
    external KERNEL DIRECTORY...       absolute directories that are searched too
    exclude NAME...                    directories of this name are not entered

KERNEL is `*` or an extended regular expression for the release. Two copies of equal precedence: the one whose
path sorts first wins, whatever order the directories list them in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kobox.kmod.config.directories import config_files, default_directories, read_config
from kobox.kmod.config.lines import logical_lines
from kobox.kmod.index import native_core as native
from kobox.ko.name import SUFFIXES, canonical

BUILT_IN = "built-in"
EXTERNAL = "external"


class SearchConfig(NamedTuple):
    """depmod's configuration. `overrides` are paths without suffix, relative to the tree."""

    search: tuple[str, ...] = ("updates",)
    overrides: frozenset[str] = frozenset()
    externals: tuple[str, ...] = ()
    excludes: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()

    @classmethod
    def load(cls, release: str, paths: Sequence[str] = ()) -> SearchConfig:
        """Read the given files and directories, or else the machine's depmod.d directories."""
        parser = _Parser(release)
        for path in config_files(paths or default_directories("depmod.d")):
            try:
                parser.read(path)
            except OSError as error:
                parser.problems.append(f"{path}: {error.strerror}")
        return parser.config()

    def rank(self, path: str) -> int:
        """The precedence of a module's path (relative to the tree, or absolute): more is better."""
        best = rest = -1
        for place, name in enumerate(reversed(self.search)):
            if name == BUILT_IN:
                rest = place
            elif name == EXTERNAL:
                if any(path.startswith(directory + "/") for directory in self.externals):
                    best = place
            elif path.startswith(name + "/"):
                best = place
        return best if best >= 0 else rest


class _Parser:
    def __init__(self, release: str) -> None:
        self._release = release
        self._search: list[str] = []
        self._overrides: set[str] = set()
        self._externals: list[str] = []
        self._excludes: set[str] = set()
        self.problems: list[str] = []

    def read(self, path: str) -> None:
        for text, number in logical_lines(read_config(path)):
            directive, *words = text.split()
            if directive == "search":
                self._search += words
            elif directive == "override" and len(words) == 3:
                if self._for_this_kernel(words[1]):
                    self._overrides.add(f"{words[2]}/{words[0]}")
            elif directive == "external" and len(words) >= 2:
                if self._for_this_kernel(words[0]):
                    self._externals += [word.rstrip("/") for word in words[1:]]
            elif directive == "exclude" and words:
                self._excludes.update(words)
            elif directive not in ("include", "make_map_files"):
                self.problems.append(f"{path}:{number}: command '{directive}' unrecognized or incomplete")

    def _for_this_kernel(self, pattern: str) -> bool:
        import re

        if pattern == "*":
            return True
        try:
            return re.search(pattern, self._release) is not None
        except re.error:
            return False

    def config(self) -> SearchConfig:
        return SearchConfig(
            tuple(self._search) or ("updates",),
            frozenset(self._overrides),
            tuple(self._externals),
            frozenset(self._excludes),
            tuple(self.problems),
        )


class Candidate(NamedTuple):
    """A module file: its name, its path as modules.dep has it, where to open it, and its stamp if one was asked for."""

    name: str
    path: str
    file: str
    stamp: bytes = b""


def find_modules(directory: str, config: SearchConfig, *, want_stamps: bool = False) -> list[Candidate]:
    """The module files that count in a tree and in the external directories, sorted by path.

    Raises `OSError` when the tree's own directory can't be listed.
    """
    chosen: dict[str, Candidate] = {}
    for external in config.externals:
        if os.path.isdir(external):
            _choose(chosen, _walk(external, external, config, want_stamps), config)
    _choose(chosen, _walk(directory, "", config, want_stamps), config)
    return list(chosen.values())


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


def _walk(directory: str, shown: str, config: SearchConfig, want_stamps: bool) -> list[Candidate]:
    """Every module file below, in the order of the paths; `shown` stands for `directory` in them."""
    paths, names, stamps = native.walk(directory, ["build", "source", *config.excludes], want_stamps)
    files = [f"{directory}/{path}" for path in paths]
    lead = f"{shown}/" if shown else ""
    each = [stamps[at : at + native.STAMP] for at in range(0, len(stamps), native.STAMP)] or [b""] * len(paths)
    return list(map(Candidate, names, [lead + path for path in paths] if lead else paths, files, each))


def _stem(name: str) -> str:
    """The file name without the module suffix, "" when it has none."""
    if name.endswith(".ko"):
        return name[:-3]
    stem, found, packed = name.rpartition(".ko.")
    return stem if found and ".ko." + packed in SUFFIXES else ""


def _without_suffix(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return folder + slash + _stem(name)
