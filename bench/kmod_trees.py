"""Whole module trees of Debian, of every architecture: kobox's depmod against the real kmod 34.2, byte for byte.

    make check-kmod-trees          all of them
    python bench/kmod_trees.py s390x

Each tree is done as it is packed, then with a random tenth of its modules gone and some of them in updates/.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from kobox.kmod.depmod import TreeLocation, run
from kobox.kmod.index.generate import FILES
from tests.debian import Kmod, Suite

TREES = (
    ("bookworm", "amd64", r"linux-image-6\.1\.0-\d+-cloud-amd64"),
    ("bookworm", "amd64", r"linux-image-6\.1\.0-\d+-amd64"),
    ("trixie", "amd64", r"linux-image-6\.12\.\d+\+deb13-cloud-amd64"),
    ("trixie", "amd64", r"linux-image-6\.12\.\d+\+deb13-amd64"),
    ("trixie", "arm64", r"linux-image-6\.12\.\d+\+deb13-cloud-arm64"),
    ("bookworm", "arm64", r"linux-image-6\.1\.0-\d+-cloud-arm64"),
    ("bookworm", "armhf", r"linux-image-6\.1\.0-\d+-armmp"),
    ("trixie", "riscv64", r"linux-image-6\.12\.\d+\+deb13-riscv64"),
    ("bookworm", "s390x", r"linux-image-6\.1\.0-\d+-s390x"),
    ("bookworm", "i386", r"linux-image-6\.1\.0-\d+-686"),
)


def tree_of(package: Path) -> Path:
    """The tree in an unpacked package, wherever the release of Debian puts it."""
    (found,) = [*package.glob("lib/modules/*"), *package.glob("usr/lib/modules/*")]
    return found


def link_tree(source: Path, root: Path) -> Path:
    """A copy of a tree whose files are symbolic links, so that it can be changed."""
    target = root / "lib" / "modules" / source.name
    for folder, _, names in os.walk(source):
        inner = target / Path(folder).relative_to(source)
        inner.mkdir(parents=True, exist_ok=True)
        for name in names:
            (inner / name).symlink_to(Path(folder, name))
    return target


def change(tree: Path, seed: int) -> None:
    """Take a tenth of the modules away and move a few into updates/, some of those as second copies."""
    chosen = random.Random(seed)
    modules = sorted(tree.rglob("*.ko*"))
    for module in chosen.sample(modules, len(modules) // 10):
        module.unlink()
    updates = tree / "updates"
    updates.mkdir()
    for module in chosen.sample([module for module in modules if module.is_symlink()], 20):
        (updates / module.name).symlink_to(module.resolve())
        if chosen.random() < 0.5:
            module.unlink()


def differences(kmod: Kmod, root: Path, release: str, scratch: Path) -> tuple[list[str], float, float]:
    """The files that differ between both tools, and the seconds that each took."""
    theirs, ours = scratch / "kmod", scratch / "kobox"
    start = time.perf_counter()
    done = kmod.run("depmod", "-b", root, "-o", theirs, release)
    middle = time.perf_counter()
    run(TreeLocation(release, str(root), outdir=str(ours)))
    end = time.perf_counter()
    assert done.returncode == 0, done.stderr
    below = Path("lib", "modules", release)
    wrong = [name for name in FILES if (theirs / below / name).read_bytes() != (ours / below / name).read_bytes()]
    return wrong, middle - start, end - middle


def main(wanted: list[str]) -> int:
    """Compare the trees whose package name holds one of the words, or all."""
    kmod = Kmod()
    failed = 0
    os.environ["XDG_CACHE_HOME"] = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    for suite, architecture, pattern in TREES:
        place = Suite(suite, architecture)
        name = place.newest(pattern)
        if wanted and not any(word in name for word in wanted):
            continue
        source = tree_of(place.package(name))
        for changed in (False, True):
            with tempfile.TemporaryDirectory() as scratch:
                root = Path(scratch, "root")
                tree = link_tree(source, root)
                if changed:
                    change(tree, len(name))
                wrong, theirs, ours = differences(kmod, root, source.name, Path(scratch))
                count = sum(1 for _ in tree.rglob("*.ko*"))
            kind = "changed" if changed else "whole"
            verdict = f"DIFFER: {' '.join(wrong)}" if wrong else "equal"
            print(
                f"{name:45} {kind:8} {count:5} modules  kmod {theirs:5.2f} s  kobox {ours:5.2f} s  {verdict}",
                flush=True,
            )
            failed += bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
