"""Results by their content: only what changed is run again.

    ROOT/results/KK/KEY.json     what came of a step; KEY is a SHA-256 of all that decides it
    ROOT/built/KEY/*.ko          what a build made

KEY covers the module's bytes (of a source: of all its files), the kernel, the parameters, the options, and the bytes of
kobox itself. ROOT is $XDG_CACHE_HOME/kobox/matrix; it can be removed at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import kobox
from kobox.atomic_directory import atomic_directory
from kobox.atomic_file import write_file
from kobox.errors import KoboxError
from kobox.images.kernel_image import KernelImage, default_root
from kobox.matrix.cell import CellStep, step_facts, step_from

_FORMAT = 1
_MADE = (".o", ".ko", ".mod", ".mod.c", ".cmd", ".order", ".symvers", ".d", ".a", ".pyc")  # what a build leaves
_MOST_FILES = 20_000
_CODE = (".py", ".so", ".toml")


class ResultCache:
    """The results of earlier runs, below one directory."""

    def __init__(self, root: Path | None = None) -> None:
        self._root = root if root is not None else default_root() / "matrix"

    def get(self, key: str) -> CellStep | None:
        """What came of a step; None where it was not run yet, or what is there is damaged."""
        try:
            return step_from(json.loads(self._place(key).read_bytes()), key=key, cached=True)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def put(self, step: CellStep) -> None:
        """Keep what came of a step. Raises `OSError`."""
        place = self._place(step.key)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_file(place, json.dumps(step_facts(step)).encode())

    def modules(self, key: str) -> list[Path]:
        """The modules that a build made."""
        return sorted((self._root / "built" / key).glob("*.ko"))

    @contextlib.contextmanager
    def building(self, key: str) -> Iterator[Path]:
        """A directory for a build's modules, which takes its place at the end of the block. Raises `OSError`."""
        place = self._root / "built" / key
        with atomic_directory(place) as aside:
            yield aside
            if place.exists():
                shutil.rmtree(place)

    def _place(self, key: str) -> Path:
        return self._root / "results" / key[:2] / f"{key}.json"


def step_key(step: str, kernel: KernelImage, content: str, *parts: str) -> str:
    """The key of a step: `content` is the digest of what is built or loaded, `parts` are parameters and options."""
    has = [str(bool(kernel.modules)), str(bool(kernel.headers))]
    words = [str(_FORMAT), step, code_digest(), kernel.name, kernel.digest, *has, content, *parts]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


@cache
def code_digest() -> str:
    """The digest of kobox itself: another version may judge in another way."""
    root = Path(kobox.__file__).parent
    found = hashlib.sha256(kobox.__version__.encode())
    for path in sorted(path for path in root.rglob("*") if path.suffix in _CODE and path.is_file()):
        found.update(f"{path.relative_to(root)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


@cache
def compiler() -> str:
    """The compiler of this machine, as it names itself; "" without one."""
    gcc = shutil.which("gcc")
    if gcc is None:
        return ""
    return subprocess.run([gcc, "-dumpfullversion"], capture_output=True, text=True, check=False).stdout


def files_digest(paths: Iterable[Path]) -> str:
    """The digest of some files, in their order, with their names. Raises `OSError`."""
    found = hashlib.sha256()
    for path in paths:
        found.update(f"{path.name}\0".encode(errors="surrogateescape") + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def source_digest(source: Path) -> str:
    """The digest of a module's source: of a directory all files but what a build leaves there and what is hidden; of a
    `.c` file itself and the directory's headers. Raises `OSError`, `KoboxError`."""
    directory = source if source.is_dir() else source.parent
    found = hashlib.sha256()
    for count, path in enumerate(_source_files(directory)):
        if count > _MOST_FILES:
            raise KoboxError(f"{source}: more than {_MOST_FILES} files", hint="Name the directory of one module.")
        if source.is_dir() or path == source or path.suffix == ".h":
            content = os.readlink(path).encode() if path.is_symlink() and not path.is_file() else path.read_bytes()
            name = str(path.relative_to(directory)).encode(errors="surrogateescape")
            found.update(name + b"\0" + hashlib.sha256(content).digest())
    return found.hexdigest()


def _source_files(directory: Path) -> Iterator[Path]:
    for room, rooms, names in os.walk(directory):
        rooms[:] = sorted(name for name in rooms if not name.startswith("."))
        for name in sorted(names):
            path = Path(room, name)
            if not name.startswith(".") and not name.endswith(_MADE) and (path.is_file() or path.is_symlink()):
                yield path
