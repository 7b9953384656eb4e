"""A private build directory that looks like the module's own.

Kbuild writes its objects beside the sources. So that every kernel has its own, and the user's directory stays as it
is, the sources are mirrored by symbolic links in a directory of the cache, and Kbuild runs there:

    BUILDS/KEY/                    KEY: source directory, kernel, kind of compiler
        source                     the path of the source directory, and a digest of what the build is for
        lock                       held while a build runs
        tree/proj/hello/hello.c -> /home/ann/proj/hello/hello.c
        tree/proj/hello/hello.o    Kbuild's own; kept, so that the next build has less to do
        tree/proj/shared.h      -> /home/ann/proj/shared.h      what "../shared.h" means
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# What Kbuild leaves behind; in the user's directory it is a left-over of a build by hand, and no source.
_MADE = re.compile(
    r".*\.(ko|mod|mod\.c|mod\.o|o\.d|symvers)$|\..*\.cmd$|\.tmp_.*|modules\.order$|compile_commands\.json$"
)
KBUILD_FILES = ("Kbuild", "Makefile", "makefile", "GNUmakefile")
_SOURCES = (".c", ".S", ".rs")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+,./-]+")


@dataclass(frozen=True, slots=True)
class Mirror:
    """A build directory: `tree` is where Kbuild runs, `source` the directory it mirrors, `alone` the file of it that is
    built ("": all)."""

    room: Path
    tree: Path
    source: Path
    purpose: str
    alone: str = ""

    @classmethod
    def of(cls, source: Path, key: str, builds: Path, alone: str = "") -> Mirror:
        """The build directory of a source directory for one purpose (`key`) under `builds`; nothing is made yet.

        With `alone`, that of just one of its files.
        """
        source = source.resolve()
        purpose = hashlib.sha256(key.encode()).hexdigest()[:24]
        name = hashlib.sha256(f"{source}\0{key}\0{alone}".encode()).hexdigest()[:24]
        parts = [_plain(part.name) for part in reversed(_surroundings(source))] + [_plain(source.name)]
        return cls(builds / name, (builds / name / "tree").joinpath(*parts), source, purpose, alone)

    def neighbours(self) -> list[Path]:
        """Module.symvers of modules beside this one or in its repository, built for the same purpose, that it may use.

        One that exports what this module exports itself is a copy of it, and modpost would refuse the two.
        """
        words, exports = _words_and_exports([self.source / self.alone] if self.alone else _sources_below(self.source))
        found: list[Path] = []
        for symvers in self._beside():
            names = {line.split("\t")[1] for line in symvers.read_text().splitlines() if line.count("\t") >= 2}
            if names & words and not names & exports:
                exports |= names
                found.append(symvers)
        return found

    def _beside(self) -> Iterator[Path]:
        around = repository(self.source) or self.source.parent
        for other in sorted(self.room.parent.glob("*/source")):
            source, purpose = (other.read_text().split("\n") + [""])[:2]
            if (
                purpose != self.purpose
                or Path(source) == self.source
                or not _is_near(Path(source), self.source, around)
            ):
                continue
            yield from other.parent.glob(f"tree/**/{_plain(Path(source).name)}/Module.symvers")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the build directory for ourselves; another build of the same waits."""
        self.room.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.room / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            (self.room / "source").write_text(f"{self.source}\n{self.purpose}\n")
            yield
        finally:
            os.close(handle)

    def refresh(self, written: Mapping[str, str]) -> None:
        """Bring the links up to date. `written` are files of our own (name to text) that stand for the user's."""
        self.tree.mkdir(parents=True, exist_ok=True)
        outer = self.tree
        for ancestor in _surroundings(self.source):
            inner, outer = outer.name, outer.parent
            self._link(ancestor, outer, leave=inner)
        self._descend(self.source, self.tree, frozenset(written))
        for name in KBUILD_FILES:
            if name not in written and not (self.tree / name).is_symlink():
                (self.tree / name).unlink(missing_ok=True)  # of an earlier build, when there was no Makefile yet
        for name, text in written.items():
            path = self.tree / name
            if path.is_symlink() or not path.exists() or path.read_text() != text:
                path.unlink(missing_ok=True)
                path.write_text(text)

    @property
    def _builds(self) -> Path:
        """Where all build directories lie; below a source (such as a home directory) it is no part of it."""
        return self.room.parent.resolve()

    def forget_objects(self) -> None:
        """Have all that was compiled here be compiled again, so that the compiler says all that it has to say."""
        for path in self.tree.rglob("*.o"):
            if not path.is_symlink():  # an object that belongs to the source is a link
                path.unlink()

    def remove(self) -> None:
        """Forget everything built here."""
        shutil.rmtree(self.room, ignore_errors=True)

    def _link(self, source: Path, tree: Path, leave: str) -> None:
        """Links in `tree` for what lies in `source`, except for the name `leave`."""
        wanted = {name: source / name for name in _listed(source) if _plain(name) != leave}
        _match_links(tree, wanted)

    def _descend(self, source: Path, tree: Path, ours: frozenset[str]) -> None:
        tree.mkdir(exist_ok=True)
        names = [name for name in _listed(source) if name not in ours]
        directories = [name for name in names if _is_own_directory(source / name) and source / name != self._builds]
        files = {
            name: source / name
            for name in names
            if name not in directories and source / name != self._builds and not is_made(source, name)
        }
        if self.alone:  # nothing is built in them: a link is enough, however large they are
            _match_links(tree, files | {name: source / name for name in directories})
            return
        _match_links(tree, files)
        for name in directories:
            if not name.startswith("."):
                if (tree / name).is_symlink():
                    (tree / name).unlink()
                self._descend(source / name, tree / name, frozenset())


def _sources_below(directory: Path) -> list[Path]:
    return [path for end in _SOURCES for path in directory.rglob(f"*{end}") if path.is_file()]


def _words_and_exports(sources: Sequence[Path]) -> tuple[set[str], set[str]]:
    """The identifiers in some sources, and those that they export."""
    text = "\n".join(path.read_text(errors="replace") for path in sources)
    return set(re.findall(r"\w+", text)), set(re.findall(r"EXPORT_SYMBOL\w*\(\s*(\w+)", text))


def repository(source: Path) -> Path | None:
    """The directory of the git repository that a directory lies in, None for none."""
    return next((directory for directory in [source, *source.parents] if (directory / ".git").exists()), None)


def _is_near(other: Path, source: Path, around: Path) -> bool:
    return other.parent == source.parent or (around != source.parent and other.is_relative_to(around))


def _surroundings(source: Path) -> list[Path]:
    """The directories around `source` that its files may reach by "..", innermost first: its repository, or two."""
    parents = [parent for parent in source.parents if parent != Path("/")]
    for index, directory in enumerate([source, *parents]):
        if (directory / ".git").exists():
            return parents[:index]
    return parents[:2]


def _listed(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir())
    except OSError:  # a directory around the source that may not be listed
        return []


def _is_own_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def is_made(source: Path, name: str) -> bool:
    """Whether Kbuild made a file. An object is its work only if its source, or the record of it, lies beside it."""
    if name.endswith(".o"):
        stem = name[:-2]
        return (source / f".{name}.cmd").exists() or any((source / (stem + end)).exists() for end in _SOURCES)
    return _MADE.fullmatch(name) is not None


def _match_links(tree: Path, wanted: Mapping[str, Path]) -> None:
    """Make the links of a directory those wanted; what is no link is Kbuild's and stays, unless it is in the way."""
    for path in list(tree.iterdir()):
        if path.is_symlink() and (path.name not in wanted or path.readlink() != wanted[path.name]):
            path.unlink()
    for name, target in wanted.items():
        link = tree / name
        if link.is_symlink():
            continue
        if link.is_dir():
            shutil.rmtree(link)
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def _plain(name: str) -> str:
    """A directory name that make can stand: spaces and colons in a path break Kbuild."""
    return name if _PLAIN.fullmatch(name) else re.sub(r"[^A-Za-z0-9_@%+,.-]", "_", name)
