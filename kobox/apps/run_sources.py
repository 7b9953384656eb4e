"""Which modules `kobox run` loads, in which order, with which parameters.

a.ko                    one file
a.ko x=1 b.ko y=2       several: in this order, but what another needs first; parameters follow their file
hello.c, hello.rs, DIR  source, which is built first
DIRECTORY of .ko files  all of them
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from kobox.errors import KoboxError
from kobox.images.kernel_image import KernelImage
from kobox.ko.modulefile import ModuleFile

_COMPRESSED = ("", ".xz", ".zst", ".gz")
_MODULES = tuple(f".ko{suffix}" for suffix in _COMPRESSED)
_SOURCE_FILES = (".c", ".rs")
_SOURCES = ("*.c", "Makefile", "makefile", "GNUmakefile", "Kbuild", "*.rs")


class RunSource(NamedTuple):
    """A file or directory of the command line, and the parameters that follow it."""

    path: Path
    parameters: tuple[str, ...] = ()


def split(words: Sequence[str]) -> list[RunSource]:
    """The words of a command line: what names a file or directory, and module parameters. The first word is always a
    file's."""
    found: list[RunSource] = []
    for word in words:
        is_file = word.endswith((*_MODULES, *_SOURCE_FILES)) or ("=" not in word and os.path.exists(word))
        if not found or is_file:
            found.append(RunSource(Path(word)))
        else:
            found[-1] = RunSource(found[-1].path, (*found[-1].parameters, word))
    return found


def module_paths(
    sources: Sequence[RunSource], image: KernelImage, building: Callable[[Path], None]
) -> list[list[Path]]:
    """The module files of each source; none is opened. `building(path)` is called before a build.

    Raises `KoboxError` for what is not there; `BuildError`.
    """
    return [_files(source.path, image, building) for source in sources]


def module_files(sources: Sequence[RunSource], paths: Sequence[Sequence[Path]]) -> tuple[list[ModuleFile], list[str]]:
    """The module files to load, in order, and the parameters of each; `paths` are those that `module_paths` found.

    Raises `KoboxError` for modules that need each other, `ModuleFormatError`, `OSError`.
    """
    modules: dict[str, ModuleFile] = {}
    parameters: dict[str, str] = {}
    for source, own in zip(sources, paths, strict=True):
        files = [ModuleFile(path) for path in own]
        modules |= {module.name: module for module in files}
        if source.parameters and files:
            parameters[_in_order(files)[-1].name] = " ".join(source.parameters)
    ordered = _in_order(list(modules.values()))
    return ordered, [parameters.get(module.name, "") for module in ordered]


def _files(source: Path, image: KernelImage, building: Callable[[Path], None]) -> list[Path]:
    if not source.exists():
        raise KoboxError(
            f"{source}: no such file or directory", hint="Give a .ko file, a .c file or a directory of source."
        )
    if source.is_dir() and not any(any(source.glob(pattern)) for pattern in _SOURCES):
        found = sorted(path for path in source.iterdir() if path.name.endswith(_MODULES))
        if found:
            return found
    if source.is_dir() or source.suffix in _SOURCE_FILES:
        from kobox.kbuild.build import build

        building(source)
        return list(build(source, image))
    return [source]


def _in_order(modules: Sequence[ModuleFile]) -> list[ModuleFile]:
    """The same, but each behind what it needs. Raises `KoboxError` for those that need each other."""
    if len(modules) < 2:
        return list(modules)
    from graphlib import CycleError, TopologicalSorter

    by_name = {module.name: module for module in modules}
    needs = {module.name: [name for name in _needs(module) if name in by_name] for module in modules}
    try:
        return [by_name[name] for name in TopologicalSorter(needs).static_order()]
    except CycleError as error:
        names = list(dict.fromkeys(error.args[1]))
        raise KoboxError(
            f"{' and '.join(names)} need each other: the kernel cannot load any of them, since each has to be there"
            " before the other",
            hint="Move what both use into a third module, or make one module of them.",
        ) from None


def _needs(module: ModuleFile) -> list[str]:
    return [name.replace("-", "_") for name in module.depends]
