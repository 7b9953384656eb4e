"""The configuration of depmod, depmod.d(5): where modules are searched, and which of several copies counts.

    search updates built-in extra      directories by precedence, the first wins; built-in is all the rest
    override NAME KERNEL DIRECTORY     this one copy wins over any other
    external KERNEL DIRECTORY...       absolute directories that are searched too
    exclude NAME...                    directories of this name are not entered

KERNEL is `*` or an extended regular expression for the release.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kobox.kmod.config.directories import config_files, default_directories, read_config
from kobox.kmod.config.lines import logical_lines

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

    def rank(self, path: str) -> tuple[int, int]:
        """The precedence of a module's path (relative to the tree, or absolute): more is better.

        Of external directories the one that is named first comes before the others.
        """
        best, rest = (-1, 0), (-1, 0)
        for place, name in enumerate(reversed(self.search)):
            if name == BUILT_IN:
                rest = (place, 0)
            elif name == EXTERNAL:
                for back, directory in enumerate(reversed(self.externals)):
                    if path.startswith(directory + "/"):
                        best = (place, back)
            elif path.startswith(name + "/"):
                best = (place, 0)
        return best if best[0] >= 0 else rest


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
