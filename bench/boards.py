"""How fast boxes of other processors are beside x86-64's, in one run: the table of docs/architectures.md.

    python bench/boards.py [--repeat N] [KERNEL...]

Without names: of each series of kernels (6.1, 6.12) the newest of the cache for each processor, where x86-64 has one
too. Each is compared with x86-64's of its own series: what a kernel does at a load differs more between two series than
between two processors. Every figure is CPU time, which other work on the machine disturbs least: the median of N, taken
by turns; of first boots the least of three.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from box import HERE, first_boot

import kobox
from kobox.images.store import KernelImage, Store
from kobox.kbuild.build import build


def series(kernel: KernelImage) -> str:
    """Its first two numbers: 6.12 of 6.12.118."""
    return ".".join(kernel.release.split("-")[0].split("+")[0].split(".")[:2])


def newest_of_each(store: Store) -> list[KernelImage]:
    """The default kernel's series first; in each, x86-64's kernel before those of other processors."""
    default = store.ensure()
    newest: dict[tuple[str, str], KernelImage] = {(series(default), default.architecture): default}
    for kernel in reversed(store.list()):
        newest.setdefault((series(kernel), kernel.architecture), kernel)
    both = {one for one, processor in newest if processor != "x86_64"} & {
        one for one, processor in newest if processor == "x86_64"
    }
    order = sorted(both, key=lambda one: (one != series(default), [int(part) for part in one.split(".")]))
    return [
        newest[one, processor]
        for one in order
        for processor in sorted({p for s, p in newest if s == one}, key=lambda name: (name != "x86_64", name))
    ]


def cpu_of(action: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    action()
    return time.process_time() - began


def run_cost(command: Sequence[str]) -> float:
    """CPU seconds of a command, with all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def warm_figures(kernel: KernelImage, module: Path, repeat: int) -> dict[str, float]:
    """What a box that has been used before needs."""
    image = module.read_bytes()
    with kobox.boot(kernel) as box:
        for _ in range(3):
            box.insmod(image).unload()
            box.reset()
        loads, resets = [], []
        for _ in range(repeat * 4):
            loads.append(cpu_of(lambda: box.insmod(image).unload()))
            resets.append(cpu_of(box.reset))
        calls = [cpu_of(lambda: [box.syscall("getpid") for _ in range(1000)]) / 1000 for _ in range(repeat)]
    return {
        "insmod + rmmod in a warm box": statistics.median(loads),
        "back to a clean state (reset)": statistics.median(resets),
        "one getpid() through the box, warm": statistics.median(calls),
    }


def figures(kernels: Sequence[KernelImage], repeat: int, scratch: Path) -> dict[str, list[float]]:
    """What is measured, for each kernel."""
    modules = [next(iter(build(HERE.parent / "demo", kernel, output=scratch / kernel.name))) for kernel in kernels]
    commands = [
        [str(Path(sys.executable).with_name("kobox")), "run", "-k", kernel.name, str(module)]
        for kernel, module in zip(kernels, modules, strict=True)
    ]
    boots: list[list[float]] = [[] for _ in kernels]
    runs: list[list[float]] = [[] for _ in kernels]
    for n in range(repeat):
        for at, kernel in enumerate(kernels):
            if n < 3:
                boots[at].append(cpu_of(lambda kernel=kernel: first_boot(kernel, scratch)))
            runs[at].append(run_cost(commands[at]))
    rows = {
        "first boot to a snapshot": [min(times) for times in boots],
        "kobox run, fresh process, snapshot there": [statistics.median(times[1:] or times) for times in runs],
    }
    for kernel, module in zip(kernels, modules, strict=True):
        for what, value in warm_figures(kernel, module, repeat).items():
            rows.setdefault(what, []).append(value)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("kernels", nargs="*", metavar="KERNEL")
    arguments = parser.parse_args()
    store = Store()
    kernels = [store.get(name) for name in arguments.kernels] or newest_of_each(store)
    with tempfile.TemporaryDirectory() as scratch:
        rows = figures(kernels, arguments.repeat, Path(scratch))
    print(f"{'':42}" + "".join(f"{kernel.name:>28}" for kernel in kernels))
    of_series = {series(kernel): at for at, kernel in reversed(list(enumerate(kernels)))}
    for what, values in rows.items():
        beside = [values[of_series[series(kernel)]] for kernel in kernels]
        shown = (
            f"{value * 1000:10.2f} ms ({value / first:5.2f} x)" for value, first in zip(values, beside, strict=True)
        )
        print(f"{what:42}" + "".join(f"{text:>28}" for text in shown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
