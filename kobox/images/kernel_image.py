"""A kernel as the cache keeps it: what belongs to it, where that lies, and the kernel.json that says so."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kobox.arch.arch import Arch


Progress = Callable[[str, int, int], None]
"""Called with what is being done, and the bytes done and in all (0 and 0 where they are not known)."""

_FORMAT = 1
MADE_TYPES = "types.btf"
_DEFAULT_ARCHITECTURE = "x86_64"  # of a kernel.json that names none


class KernelImage(NamedTuple):
    """A kernel that boxes can boot, with what belongs to it.

    `name` is what `kobox kernel list` shows, normally the release. `modules` is its …/lib/modules/RELEASE, `headers`
    the Kbuild output directory to hand to `make -C`; either may be None. `origin` says where it came from, `directory`
    is its place in the cache (snapshots lie in its `snapshots`), `digest` the sha256 of `vmlinuz` as hex.
    """

    name: str
    release: str
    vmlinuz: Path
    modules: Path | None
    headers: Path | None
    origin: str
    directory: Path
    digest: str
    architecture: str = _DEFAULT_ARCHITECTURE
    """Of its CPU, as `uname -m` says it."""

    @property
    def made_types(self) -> Path:
        """Where the kernel's types are, as BTF, if it was built without them and they were made from its headers."""
        return self.directory / MADE_TYPES

    @property
    def arch(self) -> Arch:
        """The architecture of its CPU. Raises `KoboxError` for one that boxes do not have."""
        from kobox.arch.registry import architecture

        return architecture(self.architecture)


def default_root() -> Path:
    """$XDG_CACHE_HOME/kobox, else ~/.cache/kobox (XDG Base Directory Specification: relative values are ignored)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "kobox"


def natural(text: str) -> tuple[tuple[int, str], ...]:
    """A sort key that takes runs of digits as numbers."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text))


def is_plain(name: str) -> bool:
    """Whether a kernel's name can be the name of a directory."""
    return bool(name) and "/" not in name and "\0" not in name and name not in (".", "..")


def facts_of(kernel: KernelImage) -> dict[str, str | int | None]:
    """What kernel.json holds."""

    def written(path: Path | None) -> str | None:
        if path is None:
            return None
        return str(path.relative_to(kernel.directory) if path.is_relative_to(kernel.directory) else path)

    return {
        "format": _FORMAT,
        "name": kernel.name,
        "release": kernel.release,
        "vmlinuz": written(kernel.vmlinuz),
        "modules": written(kernel.modules),
        "headers": written(kernel.headers),
        "origin": kernel.origin,
        "digest": kernel.digest,
        "architecture": kernel.architecture,
    }


def kernel_from(facts: Mapping[str, object], directory: Path) -> KernelImage:
    """The kernel that kernel.json of `directory` describes. Raises ValueError, KeyError, TypeError when it does not."""
    if facts["format"] != _FORMAT:
        raise ValueError(f"format {facts['format']}, this kobox reads {_FORMAT}")

    def text(key: str) -> str:
        value = facts[key]
        if not isinstance(value, str):
            raise TypeError(f"{key}: not a string")
        return value

    return KernelImage(
        name=text("name"),
        release=text("release"),
        vmlinuz=directory / text("vmlinuz"),
        modules=directory / text("modules") if facts["modules"] else None,
        headers=directory / text("headers") if facts["headers"] else None,
        origin=text("origin"),
        directory=directory,
        digest=text("digest"),
        architecture=str(facts.get("architecture", _DEFAULT_ARCHITECTURE)),
    )
