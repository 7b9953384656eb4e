"""What a matrix goes over: sources, kernels, sets of parameters."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kobox.errors import KernelNotFoundError, KoboxError
from kobox.images.kernel_image import KernelImage, natural
from kobox.images.store import Store
from kobox.kbuild.build import BuildOptions
from kobox.matrix.steps import CheckWords, CostWords

_MODULES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")


@dataclass(frozen=True, slots=True)
class MatrixPlan:
    """What is done, for whom.

    `sources` are `.ko` files, `.c` files and directories of source; `parameters` the sets that each module is loaded
    with; `check`: `kobox check` judges as well; `cost`: what a life costs is counted; `build` says how to build,
    `run_words` are further options of `kobox run`; `again`: what earlier runs found is not used.
    """

    sources: tuple[Path, ...]
    kernels: tuple[KernelImage, ...]
    parameters: tuple[str, ...] = ("",)
    check: CheckWords | None = None
    build: BuildOptions = field(default_factory=lambda: BuildOptions(jobs=1))
    run_words: tuple[str, ...] = ()
    again: bool = False
    cost: CostWords | None = None


def is_module_file(path: Path) -> bool:
    """Whether a source is a module that is built already, by its name."""
    return path.name.endswith(_MODULES)


def sources_named(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The sources of a command line; a directory that holds nothing but module files stands for them.

    Raises `KoboxError` for what is not there, or is no source.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise KoboxError(
                f"{path}: no such file or directory", hint="Give .ko files, .c files or directories of source."
            )
        if path.is_dir():
            inside = sorted(one for one in path.iterdir() if is_module_file(one))
            found += inside if inside and not _has_source(path) else [path]
        elif is_module_file(path) or path.suffix == ".c":
            found.append(path)
        else:
            raise KoboxError(
                f"{path}: no module and no source of one", hint="Give .ko files, .c files or directories of source."
            )
    return tuple(dict.fromkeys(found))


def _has_source(directory: Path) -> bool:
    names = ("Makefile", "makefile", "GNUmakefile", "Kbuild")
    return any((directory / name).is_file() for name in names) or any(directory.glob("*.[cr]*"))


def kernels_matching(store: Store, names: Sequence[str]) -> tuple[KernelImage, ...]:
    """The kernels of the cache that names mean, oldest release first: a name or a prefix, a pattern (`6.*`,
    `*-arm64`), or `all`. Raises `KernelNotFoundError`."""
    known = store.list()
    found: dict[str, KernelImage] = {}
    for name in names:
        if name == "all" or any(one in name for one in "*?["):
            matches = [one for one in known if name == "all" or fnmatch.fnmatchcase(one.name, name)]
            if not matches:
                raise KernelNotFoundError(
                    f"{name}: matches no kernel in {store.root}", hint="`kobox kernel list` shows what is there."
                )
            found |= {one.name: one for one in matches}
        else:
            one = store.get(name)
            found[one.name] = one
    return tuple(sorted(found.values(), key=lambda one: natural(one.release)))
