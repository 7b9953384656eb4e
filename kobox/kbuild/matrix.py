"""Which kernels refuse which interface of a module: builds for several kernels, side by side.

                   6.1.0-56-cloud-amd64  6.12.118+deb13-cloud-amd64  7.2.13+deb14-cloud-amd64
module             ok                    refused                     refused
del_timer_sync     ok                    ok                          refused
inode.i_ctime      ok                    refused                     refused
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from kobox.errors import BuildError
from kobox.images.kernel_image import KernelImage
from kobox.kbuild.build import BuiltModules
from kobox.kbuild.hints.diagnostics import parse

Cell = Literal["ok", "refused", "?"]
"""`?`: the compiler gave up at a missing header, before it came to this."""


def refused_interfaces(error: BuildError) -> list[str]:
    """The functions, macros, types, headers and `struct.member`s that a compiler refused, in their order."""
    return list(dict.fromkeys(one.key for one in parse(error.output)))


def matrix(results: Sequence[tuple[KernelImage, BuiltModules | BuildError]]) -> Mapping[str, Mapping[str, Cell]]:
    """For each interface that some kernel refuses: kernel name -> what that kernel said of it."""
    found = {kernel.name: parse(result.output) for kernel, result in results if isinstance(result, BuildError)}
    keys = dict.fromkeys(one.key for diagnostics in found.values() for one in diagnostics)
    stopped = {name for name, diagnostics in found.items() if any(one.kind == "header" for one in diagnostics)}
    refused = {name: {one.key for one in diagnostics} for name, diagnostics in found.items()}

    def cell(key: str, kernel: str) -> Cell:
        if key in refused.get(kernel, ()):
            return "refused"
        return "?" if kernel in stopped else "ok"

    return {key: {kernel.name: cell(key, kernel.name) for kernel, _ in results} for key in keys}
