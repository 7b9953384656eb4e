"""The modules of tests/modules, built for a kernel once: kept in the cache under a digest of their sources.

    $XDG_CACHE_HOME/kobox/test-modules/DIGEST/NAME.ko

Parallel test processes wait for each other on a file lock; a second run of the same sources builds nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from pathlib import Path

from kobox.author.build import build
from kobox.images.store import KernelImage, default_root

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
    root = default_root() / "test-modules"
    place = root / digest.hexdigest()[:24]
    root.mkdir(parents=True, exist_ok=True)
    with (root / f".{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            aside = root / f".{place.name}"
            shutil.rmtree(aside, ignore_errors=True)
            build(sources, kernel, output=aside, builds=root / "builds")
            aside.rename(place)
    return place
