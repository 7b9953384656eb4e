"""Memory of a process with one box that lives long: loads, kprobes and oopses, each some thousand times.

    python bench/soak.py [--rounds N] [--only loads|kprobes|oopses]

Each soak runs in a process of its own. Its resident memory is printed at ten moments; exit status 1 when the last
tenth of the rounds is more than `GROWTH` above the rounds between the second and the third tenth.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import kobox
from kobox.box.box import Box
from kobox.errors import KoboxError
from kobox.images.store import KernelImage, Store
from kobox.kbuild.build import build

HERE = Path(__file__).parent
MODULES = HERE.parent / "tests" / "modules"
GROWTH = 16 << 20  # bytes


def resident() -> int:
    """This process's resident memory in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def loads(box: Box, module: Path) -> Callable[[], None]:
    """Load a module and unload it."""
    image = module.read_bytes()
    return lambda: box.insmod(image).unload()


def oopses(box: Box, module: Path) -> Callable[[], None]:
    """Let a process oops in a module that stays loaded."""
    box.insmod(module)

    def once() -> None:
        try:
            box.write_bytes("/proc/soak", b"x")
        except (KoboxError, OSError):
            return

    return once


SOAKS: dict[str, tuple[Callable[[Box, Path], Callable[[], None]], Path]] = {
    "loads": (loads, MODULES / "hello.c"),
    "kprobes": (loads, MODULES / "kprobed.c"),
    "oopses": (oopses, HERE / "soak.c"),
}


def soak(name: str, kernel: KernelImage, rounds: int) -> bool:
    """Run one; whether memory stayed flat."""
    prepare, source = SOAKS[name]
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, source.name)
        copy.write_bytes(source.read_bytes())
        module = Path(build(copy, kernel).modules[0])
        with kobox.boot(kernel) as box:
            once, seen, began = prepare(box, module), [], time.monotonic()
            for number in range(rounds):
                once()
                if (number + 1) % (rounds // 10) == 0:
                    seen.append(resident())
            spent = time.monotonic() - began
            flat = seen[-1] - max(seen[1:3]) < GROWTH
    figures = " ".join(f"{size >> 20}" for size in seen)
    print(f"{name:<8} {rounds} rounds in {spent:.0f} s, MiB at each tenth: {figures}", end="")
    print("" if flat else "  GROWS", flush=True)
    return flat


def main() -> int:
    """Run the soaks and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--only", choices=sorted(SOAKS))
    parser.add_argument("--kernel")
    arguments = parser.parse_args()
    kernel = Store().ensure(arguments.kernel)
    failed = 0
    for name in [arguments.only] if arguments.only else SOAKS:
        child = os.fork()
        if not child:
            os._exit(0 if soak(name, kernel, arguments.rounds) else 1)
        failed |= os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return failed


if __name__ == "__main__":
    sys.exit(main())
