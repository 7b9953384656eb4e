"""The modules of tests/modules, built for a kernel once: kept in the cache under a digest of their sources.

    $XDG_CACHE_HOME/kobox/test-modules/DIGEST/NAME.ko

Parallel test processes wait for each other on a file lock; a second run of the same sources builds nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from kobox.images.store import KernelImage, default_root
from kobox.kbuild.build import build

SOURCES = Path(__file__).parent / "modules"


class BuiltTestModules:
    """`modules("good")` is the path of good.ko for one kernel. `group` is a directory of tests/modules."""

    def __init__(self, kernel: KernelImage, group: str = "") -> None:
        self.kernel = kernel
        self._directory = _built(kernel, SOURCES / group)

    def __call__(self, name: str) -> Path:
        path = self._directory / f"{name}.ko"
        assert path.exists(), f"no such test module: {name}"
        return path


def _built(kernel: KernelImage, sources: Path) -> Path:
    # Debugging information names the place of the sources.
    digest = hashlib.sha256(f"{kernel.name} {kernel.digest} {SOURCES}".encode())
    for source in sorted([*sources.glob("*.[ch]"), *sources.glob("Kbuild")]):
        digest.update(f"{source.name}\0".encode() + source.read_bytes())
    return built_once(digest.hexdigest(), lambda aside: build(sources, kernel, output=aside, builds=builds()))


def builds() -> Path:
    """Where Kbuild's own files are kept between builds."""
    return default_root() / "test-modules" / "builds"


def built_once(digest: str, make: Callable[[Path], object]) -> Path:
    """The directory of what `make(directory)` builds, made once for a digest of all that shapes it."""
    place = builds().parent / digest[:24]
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f".{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            aside = place.with_name(f".{place.name}")
            shutil.rmtree(aside, ignore_errors=True)
            make(aside)
            aside.rename(place)
    return place


def built_module(kernel: KernelImage, name: str) -> Path:
    """One module of tests/modules alone: others there are for x86-64 only."""
    source = SOURCES / f"{name}.c"
    digest = hashlib.sha256(f"{kernel.name} {kernel.digest} {source}".encode() + source.read_bytes()).hexdigest()
    directory = built_once(digest, lambda aside: build(source, kernel, output=aside, builds=builds()))
    return directory / f"{name}.ko"
