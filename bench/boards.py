"""How fast boxes of other processors are beside x86-64's, in one run: the table of docs/architectures.md.

    python bench/boards.py [--repeat N] [KERNEL...]

Without names: the default kernel, and the newest of the cache for each other processor. Every figure is the median of
N; first boots are in CPU time of this process, the others in wall time, taken by turns.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from box import HERE, first_boot, warm_figures

from kobox.images.store import KernelImage, Store
from kobox.kbuild.build import build


def newest_of_each(store: Store) -> list[KernelImage]:
    """The default kernel, and the newest one for each other processor."""
    first = store.ensure()
    others = {kernel.architecture: kernel for kernel in store.list() if kernel.architecture != first.architecture}
    return [first, *(others[name] for name in sorted(others))]


def boot_cost(kernel: KernelImage, scratch: Path) -> float:
    """CPU seconds from power on to a snapshot on disk."""
    began = time.process_time()
    first_boot(kernel, scratch)
    return time.process_time() - began


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
                boots[at].append(boot_cost(kernel, scratch))
            began = time.perf_counter()
            subprocess.run(commands[at], check=True, capture_output=True)
            runs[at].append(time.perf_counter() - began)
    rows = {
        "first boot to a snapshot, CPU": [min(times) for times in boots],
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
    for what, values in rows.items():
        shown = (f"{value * 1000:10.2f} ms ({value / values[0]:5.2f} x)" for value in values)
        print(f"{what:42}" + "".join(f"{text:>28}" for text in shown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
