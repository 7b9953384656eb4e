"""Boxes that know where their kernel's modules are: `box.modprobe`, and the answer when the kernel itself asks for one.

A kernel that misses something (a file system, a protocol, a cipher) runs /sbin/modprobe with the name or alias of the
module that would have it. In a box that program is kobox's own, and what it asks for comes from the kernel's tree.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kobox.errors import KoboxError
from kobox.images.store import KernelImage, Store
from kobox.kernel import box as boxes

if TYPE_CHECKING:
    from kobox.tree.moduletree import ModuleTree


def boot(
    kernel: str | KernelImage | None = None,
    *,
    memory: int = boxes.MEMORY,
    cmdline: str = "",
    store: Store | None = None,
    progress: boxes.Progress | None = None,
) -> boxes.Box:
    """Boot a kernel, or resume the snapshot that an earlier boot left: a `Box`.

    `kernel` is a name in the cache, a path to a kernel image, or a `KernelImage`; None is the default one, which is
    fetched when the cache is empty. `memory` is in bytes; `cmdline` is added to the kernel's command line.
    `progress(what, done, total)` is called while that takes time.

    Raises `KernelNotFoundError`, `KernelImageError`, `FetchError`; `KernelPanicError` or `BoxHungError` when the kernel
    does not boot; `KoboxError` when the snapshot cannot be kept.
    """
    image = kernel if isinstance(kernel, KernelImage) else (store or Store()).ensure(kernel, progress)
    box = boxes.boot(image, memory=memory, cmdline=cmdline, progress=progress)
    box.loader = _load
    return box


def tree_of(image: KernelImage) -> ModuleTree:
    """The module tree of a kernel in the cache; its indexes are made when it has none.

    Raises `KoboxError` when the kernel came without modules, or the indexes cannot be written.
    """
    from kobox.tree.moduletree import ModuleTree

    if image.modules is None:
        raise KoboxError(
            f"{image.name}: this kernel came without modules", hint="Add it again with --modules DIRECTORY."
        )
    if not (image.modules / "modules.dep.bin").exists():
        _make_indexes(image.modules, image.release)
    return ModuleTree(str(image.modules))


def _make_indexes(modules: Path, release: str) -> None:
    from kobox.tree.depmod import Request, depmod, write
    from kobox.tree.search import SearchConfig

    outcome = depmod(Request(os.fspath(modules), SearchConfig.load(release, ()), use_cache=False))
    write(outcome, os.fspath(modules))


def _load(box: boxes.Box, name: str, parameters: str) -> Any:
    from kobox.tools.modprobe import modprobe

    return modprobe(box, tree_of(box.image), name, parameters)
