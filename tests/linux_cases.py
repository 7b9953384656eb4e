"""Linux's own test cases for memory, as modules: KASAN's tests, lkdtm, and the sample for kmemleak.

Debian's kernels have none of them. The sources come from Debian's linux-source package into the cache, and are built
there, with a stand-in for KUnit and for KASAN's own header (tests/modules/linux):

    $XDG_CACHE_HOME/kobox/debian/linux-source-6.1/   the few files taken out of the package
    $XDG_CACHE_HOME/kobox/test-modules/DIGEST/       the built modules
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kobox.author.build import build
from kobox.images.store import KernelImage
from tests.building import SOURCES, builds, built_once
from tests.debian import Suite, cache_root

_SHIMS = SOURCES / "linux"
_WANTED = (
    "mm/kasan/kasan_test.c",
    "mm/kasan/kasan_test_module.c",
    "samples/kmemleak/kmemleak-test.c",
    "drivers/misc/lkdtm",
)


@dataclass(frozen=True, slots=True)
class Cases:
    """The built modules, NAME.ko each, and the sources that they were built from, in one directory."""

    modules: Path
    sources: Path


def linux_cases(kernel: KernelImage) -> Cases:
    """Linux 6.1's test cases, built for a kernel of 6.1 once."""
    sources = _sources()
    digest = hashlib.sha256(f"linux {kernel.name} {kernel.digest}".encode())
    files = sorted(path for path in (*sources.rglob("*"), *_SHIMS.rglob("*")) if path.is_file())
    for file in files:
        digest.update(f"{file.name}\0".encode() + file.read_bytes())

    def make(aside: Path) -> None:
        together = aside / "sources"
        shutil.copytree(_SHIMS, together)
        for file in sources.rglob("*.[chS]"):
            shutil.copy(file, together)
        shutil.copy(sources / "drivers/misc/lkdtm/Makefile", together / "lkdtm.mk")
        build(together, kernel, output=aside, builds=builds())

    place = built_once(digest.hexdigest(), make)
    return Cases(place, place / "sources")


def kasan_cases(source: str) -> dict[str, list[range]]:
    """The cases of kasan_test.c: the lines of each statement that KASAN must report, there or in helpers it calls."""
    lines = source.splitlines()
    bodies: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(lines, 1):
        if match := re.match(r"static void (\w+)\(struct kunit \*test", line):
            bodies[match[1]] = number, next(n for n, text in enumerate(lines[number:], number + 1) if text == "}")
    own: dict[str, list[range]] = {}
    for name, (start, end) in bodies.items():
        own[name] = []
        for number in range(start, end):
            if "KUNIT_EXPECT_KASAN_FAIL(" in lines[number - 1]:
                last = next(n for n in range(number, end) if lines[n - 1].rstrip().endswith(";"))
                own[name].append(range(number, last + 1))
    found = {}
    for name in re.findall(r"KUNIT_CASE\((\w+)\)", source):
        start, end = bodies[name]
        text = "\n".join(lines[start:end])
        called = [other for other in own if other != name and re.search(rf"\b{other}\(test", text)]
        found[name] = own[name] + [statement for other in called for statement in own[other]]
    return found


def _sources() -> Path:
    """The wanted files of Debian's linux-source-6.1, laid out as there."""
    place = cache_root() / "linux-source-6.1"
    package = Suite("bookworm").package("linux-source-6.1")
    with (cache_root() / ".linux-source-6.1.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            aside = place.with_name(".linux-source-6.1")
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            archive = package / "usr/src/linux-source-6.1.tar.xz"
            members = [f"linux-source-6.1/{name}" for name in _WANTED]
            command = ["tar", "-xJf", str(archive), "-C", str(aside), "--strip-components=1", *members]
            subprocess.run(command, check=True)
            aside.rename(place)
    return place
