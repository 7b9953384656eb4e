"""Linux's own test cases for memory, as modules: KASAN's tests, lkdtm, and the sample for kmemleak.

Debian's kernels have none of them. The sources come from Debian's linux-source package into the cache, and are built
there, with a stand-in for KUnit and for KASAN's own header (tests/modules/linux):

    $XDG_CACHE_HOME/kobox/debian/linux-source-6.12/   the few files taken out of the package
    $XDG_CACHE_HOME/kobox/test-modules/DIGEST/        the built modules

Which package: a kernel of Debian's is built from linux-source-VERSION of its own suite.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kobox.images.store import KernelImage
from kobox.kbuild.build import build
from tests.building import SOURCES, builds, built_once
from tests.debian import Suite, cache_root

_SHIMS = SOURCES / "linux"
_WANTED = (
    "mm/kasan/kasan_test*.c",
    "samples/kmemleak/kmemleak-test.c",
    "drivers/misc/lkdtm",
)


@dataclass(frozen=True, slots=True)
class Cases:
    """The built modules, NAME.ko each, and the sources that they were built from, in one directory."""

    modules: Path
    sources: Path

    @property
    def kasan(self) -> Path:
        """The source of KASAN's tests, which has changed its name once."""
        (source,) = set(self.sources.glob("kasan_test*.c")) - {self.sources / "kasan_test_module.c"}
        return source


def linux_cases(kernel: KernelImage) -> Cases:
    """The test cases that came with a kernel, built for it once."""
    sources = _sources(kernel)
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


def kasan_cases(source: str) -> dict[str, list[set[int]]]:
    """The cases of KASAN's tests: the lines of each statement that KASAN must report, there or in helpers that it
    calls. Where a statement names a callback, the callback's lines are the statement's as well."""
    lines = source.splitlines()
    bodies: dict[str, range] = {}
    for number, line in enumerate(lines, 1):
        if match := re.match(r"static void (\w+)\(struct ", line):
            bodies[match[1]] = range(
                number, next(n for n, text in enumerate(lines[number:], number + 1) if text == "}")
            )
    text = {name: "\n".join(lines[body.start : body.stop - 1]) for name, body in bodies.items()}
    own = {name: list(_statements(lines, body, bodies)) for name, body in bodies.items()}
    found = {}
    for name in re.findall(r"KUNIT_CASE\((\w+)\)", source):
        called = [other for other in own if other != name and re.search(rf"\b{other}\(test", text[name])]
        found[name] = own[name] + [statement for other in called for statement in own[other]]
    return found


def _statements(lines: list[str], body: range, functions: dict[str, range]) -> Iterator[set[int]]:
    for number in body:
        if "KUNIT_EXPECT_KASAN_FAIL(" not in lines[number - 1] or lines[number - 2].strip() == "else":
            continue  # what else there is, is for KASAN that is not the generic one
        depth, last = 0, number - 1
        while depth or last < number:
            depth += lines[last].count("(") - lines[last].count(")")
            last += 1
        found = set(range(number, last + 1))
        for word in re.findall(r"\w+", " ".join(lines[number - 1 : last])):
            found |= set(functions.get(word, ()))
        yield found


def _sources(kernel: KernelImage) -> Path:
    """The wanted files of the package with the source of a kernel of Debian's, laid out as there."""
    version = re.match(r"\d+\.\d+", kernel.release)
    suite = re.match(r"debian/([a-z-]+)", kernel.origin)
    if version is None or suite is None:
        raise LookupError(
            f"{kernel.name}: not a kernel of Debian's (it is from {kernel.origin}): its source is not known"
        )
    name = f"linux-source-{version[0]}"
    place = cache_root() / name
    package = Suite(suite[1]).package(name)
    with (cache_root() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            aside = place.with_name(f".{name}")
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            archive = package / f"usr/src/{name}.tar.xz"
            members = [f"{name}/{wanted}" for wanted in _WANTED]
            options = ["--wildcards", "--no-wildcards-match-slash", "--strip-components=1"]
            subprocess.run(["tar", "-xJf", str(archive), "-C", str(aside), *options, *members], check=True)
            aside.rename(place)
    return place
