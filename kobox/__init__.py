"""kobox: the whole life of a Linux kernel module, with a real kernel booted inside your Python process.

The names below are imported when first used, so that `import kobox` costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's, which takes as long to import as Python to start
if TYPE_CHECKING:
    from kobox.apps.isolated import isolated
    from kobox.box.boot.boot import boot
    from kobox.box.box import Box
    from kobox.box.devices.link import join
    from kobox.box.guest.subprocess import DEVNULL, PIPE, STDOUT
    from kobox.errors import (
        BoxError,
        BoxHungError,
        BoxTimeoutError,
        BuildError,
        FetchError,
        KernelError,
        KernelImageError,
        KernelNotFoundError,
        KernelPanicError,
        KoboxError,
        ModuleFormatError,
        ModuleLoadError,
        ModuleUnloadError,
        ProcessDiedError,
        ProgramError,
        SigningError,
        SnapshotError,
    )
    from kobox.kbuild.build import build
    from kobox.kmod.module_tree import ModuleTree
    from kobox.ko.modulefile import ModuleFile

__version__ = "0.1.0"

_HOMES = {
    "DEVNULL": "kobox.box.guest.subprocess",
    "PIPE": "kobox.box.guest.subprocess",
    "STDOUT": "kobox.box.guest.subprocess",
    "Box": "kobox.box.box",
    "BoxError": "kobox.errors",
    "BoxHungError": "kobox.errors",
    "BoxTimeoutError": "kobox.errors",
    "BuildError": "kobox.errors",
    "FetchError": "kobox.errors",
    "KernelError": "kobox.errors",
    "KernelImageError": "kobox.errors",
    "KernelNotFoundError": "kobox.errors",
    "KernelPanicError": "kobox.errors",
    "KoboxError": "kobox.errors",
    "ModuleFile": "kobox.ko.modulefile",
    "ModuleFormatError": "kobox.errors",
    "ModuleLoadError": "kobox.errors",
    "ModuleTree": "kobox.kmod.module_tree",
    "ModuleUnloadError": "kobox.errors",
    "ProcessDiedError": "kobox.errors",
    "ProgramError": "kobox.errors",
    "SigningError": "kobox.errors",
    "SnapshotError": "kobox.errors",
    "boot": "kobox.box.boot.boot",
    "build": "kobox.kbuild.build",
    "isolated": "kobox.apps.isolated",
    "join": "kobox.box.devices.link",
}

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "Box",
    "BoxError",
    "BoxHungError",
    "BoxTimeoutError",
    "BuildError",
    "FetchError",
    "KernelError",
    "KernelImageError",
    "KernelNotFoundError",
    "KernelPanicError",
    "KoboxError",
    "ModuleFile",
    "ModuleFormatError",
    "ModuleLoadError",
    "ModuleTree",
    "ModuleUnloadError",
    "ProcessDiedError",
    "ProgramError",
    "SigningError",
    "SnapshotError",
    "boot",
    "build",
    "isolated",
    "join",
]


def __getattr__(name: str) -> object:
    import importlib

    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'kobox' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
