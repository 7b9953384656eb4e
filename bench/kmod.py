"""The kmod tools' speed, kobox beside kmod 34.2 on the same files: `make bench-kmod`.

Each pair is run in turns, so that whatever else the machine does meets both; the figures are medians, in brackets
the best, behind them the processor's time (user and system, of all processes). Python's bytecode is compiled before,
as it is in an installed package.

    python bench/kmod.py [plain] [xz] [small]
"""

from __future__ import annotations

import compileall
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.debian import Kmod, Suite  # noqa: E402 - the root is on the path only now

KOBOX = str(Path(sys.executable).parent / "kobox")
PLAIN = ("bookworm", r"linux-image-6\.1\.0-\d+-amd64")
PACKED = ("trixie", r"linux-image-6\.12\.\d+\+deb13-amd64")


class Timing(NamedTuple):
    """Seconds of wall and of processor time of several runs, and the most memory that one of them took, in MB."""

    seconds: list[float]
    cpu: list[float]
    peak: float

    def __str__(self) -> str:
        wall = f"{1000 * statistics.median(self.seconds):8.1f} ms [{1000 * min(self.seconds):.1f}]"
        return f"{wall} cpu {1000 * statistics.median(self.cpu):.0f}"

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def environment(cache: Path) -> dict[str, str]:
    """As a user has it: bytecode is kept, and depmod's cache is this benchmark's own."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "XDG_CACHE_HOME": str(cache)}


def once(words: list[str], env: dict[str, str]) -> tuple[float, float, float]:
    """(wall seconds, processor seconds, peak memory in MB, the children's in it) of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}")
    return elapsed, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def in_turns(
    pairs: dict[str, list[str]], runs: int, env: dict[str, str], prepare: Callable[[], None]
) -> dict[str, Timing]:
    """Run the commands in turns."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in pairs}
    for _ in range(runs):
        for name, words in pairs.items():
            prepare()
            found[name].append(once(words, env))
    return {
        name: Timing([each[0] for each in runs_], [each[1] for each in runs_], max(each[2] for each in runs_))
        for name, runs_ in found.items()
    }


def show(title: str, wanted: str, timings: dict[str, Timing]) -> None:
    """Print one row of the table."""
    kobox, kmod = timings.get("kobox"), timings.get("kmod")
    ratio = f"{kobox.median / kmod.median:5.2f} x" if kobox and kmod else ""
    print(f"{title:46} {wanted:24} kobox {kobox}   kmod {kmod or '-'}   {ratio}", flush=True)


def tree_of(place: tuple[str, str]) -> Path:
    """A package's tree, copied, so that it can be changed: (root, release)."""
    suite = Suite(place[0])
    package = suite.package(suite.newest(place[1]))
    (tree,) = [*package.glob("lib/modules/*"), *package.glob("usr/lib/modules/*")]
    return tree


def copy_tree(source: Path, scratch: Path) -> Path:
    """The root of a copy of a tree."""
    root = scratch / source.name
    shutil.copytree(source, root / "lib/modules" / source.name, ignore=shutil.ignore_patterns("build", "source"))
    return root


def depmod_rows(kind: str, place: tuple[str, str], runs: int, scratch: Path, env: dict[str, str]) -> None:
    """Full and incremental runs over one tree."""
    source = tree_of(place)
    root = copy_tree(source, scratch)
    count = sum(1 for _ in root.rglob("*.ko*"))
    full = {
        "kobox": [KOBOX, "depmod", "-b", str(root), source.name],
        "kmod": Kmod().command("depmod", "-b", str(root), source.name),
    }
    timings = in_turns(full, runs, env, lambda: None)
    wanted = "no more than kmod" if kind == "plain" else "half of kmod's"
    show(f"depmod, {count} {kind} modules", wanted, timings)
    peaks = {name: f"{timing.peak:8.1f} MB" for name, timing in timings.items()}
    print(f"{'  its peak memory':46} {'150 MB':24} kobox {peaks['kobox']}          kmod {peaks['kmod']}")
    quick = [KOBOX, "depmod", "-A", "-b", str(root), source.name]
    once(quick, env)
    victim = sorted(root.rglob("btrfs.ko*"))[0]
    aside = scratch / "aside"
    row = in_turns({"kobox": quick}, runs, env, lambda: None) | {"kmod": timings["kmod"]}
    show("  nothing changed, kobox depmod -A", "a tenth", row)
    changes: dict[str, Callable[[], None]] = {
        "touched": victim.touch,
        "rewritten": lambda: victim.write_bytes(victim.read_bytes()),
        "gone, then back": lambda: (victim.rename(aside) if victim.exists() else aside.rename(victim), None)[1],
    }
    for what, change in changes.items():
        row = in_turns({"kobox": quick}, 2 * (runs // 2 + 1), env, change)
        row["kmod"] = timings["kmod"]
        show(f"  one {what}, kobox depmod -A", "a tenth, and 200 ms", row)
    shutil.rmtree(root)


def small_rows(scratch: Path, env: dict[str, str]) -> None:
    """Short commands, and calls of the library."""
    source = tree_of(PLAIN)
    root = scratch / "small"
    target = root / "lib/modules" / source.name
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.name not in ("build", "source"):
            (target / path.name).symlink_to(path)
    kmod = Kmod()
    assert kmod.run("depmod", "-b", root, source.name).returncode == 0
    words = ["-d", str(root), "-S", source.name, "-D", "btrfs"]
    pair = {"kobox": [KOBOX, "modprobe", *words], "kmod": kmod.command("modprobe", *words)}
    show("modprobe -D btrfs", "5 times kmod", in_turns(pair, 25, env, lambda: None))
    small = next(source.rglob("loop.ko"))
    pair = {"kobox": [KOBOX, "modinfo", str(small)], "kmod": kmod.command("modinfo", str(small))}
    show("modinfo loop.ko", "5 times kmod", in_turns(pair, 25, env, lambda: None))
    pair = {"Python alone": [sys.executable, "-c", "pass"]}
    for name, timing in in_turns(pair, 25, env, lambda: None).items():
        print(f"  {name:44} {'':24} {timing}")
    big = max(tree_of(PACKED).rglob("*.ko.xz"), key=lambda path: path.stat().st_size)
    pair = {"kobox": [KOBOX, "modinfo", str(big)], "kmod": kmod.command("modinfo", str(big))}
    title = f"modinfo {big.name}, {big.stat().st_size / 1e6:.1f} MB"
    timings = in_turns(pair, 9, env, lambda: None)
    show(title, "no more than kmod", timings)
    library_rows(source, root)


def library_rows(source: Path, root: Path) -> None:
    """What a program calls, in this process."""
    from kobox.kmod.module_tree import ModuleTree
    from kobox.ko.modulefile import ModuleFile

    files = sorted(source.rglob("*.ko"), key=lambda path: abs(path.stat().st_size - 100_000))[:100]
    taken = []
    for _ in range(5):
        for path in files:
            start = time.perf_counter()
            module = ModuleFile(path)
            _ = module.modinfo, module.imports
            taken.append(time.perf_counter() - start)
    print(
        f"{'ModuleFile, modinfo and imports, 100 KB':46} {'0.2 ms':24} kobox {1000 * statistics.median(taken):8.3f} ms"
    )
    tree = ModuleTree.of(source.name, root=str(root))
    lines = (root / "lib/modules" / source.name / "modules.alias").read_text().splitlines()[1::13]
    aliases = [line.split()[1].replace("*", "0") for line in lines]
    for title, wanted in (
        ("tree.resolve(), 2,000 aliases, first time", "-"),
        ("tree.resolve(), the same, warm", "0.2 ms"),
    ):
        taken = []
        for alias in aliases:
            start = time.perf_counter()
            try:
                tree.resolve(alias)
            except LookupError:
                continue
            taken.append(time.perf_counter() - start)
        taken.sort()
        print(
            f"{title:46} {wanted:24} kobox {1000 * statistics.median(taken):8.3f} ms median, "
            f"{1000 * taken[len(taken) * 99 // 100]:.3f} ms for 99 of 100, {1000 * taken[-1]:.3f} ms worst"
        )


def main(wanted: list[str]) -> None:
    """Print the table, or the parts that are asked for."""
    compileall.compile_dir(str(ROOT / "kobox"), quiet=1)
    print(
        f"Python {platform.python_version()}, {len(os.sched_getaffinity(0))} processors, load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        env = environment(Path(scratch, "cache"))
        if not wanted or "small" in wanted:
            small_rows(Path(scratch), env)
        if not wanted or "plain" in wanted:
            depmod_rows("plain", PLAIN, 9, Path(scratch), env)
        if not wanted or "xz" in wanted:
            depmod_rows("xz", PACKED, 3, Path(scratch), env)


if __name__ == "__main__":
    main(sys.argv[1:])
