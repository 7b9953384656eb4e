"""Virtual time beside real time: what a program needs for the same work on this machine's CPU, and in a box.

    python bench/clock.py [--kernel NAME]

Prints nanoseconds an operation (the best of many rounds here, of two in the box), and the ratio; the last line is the
median of the ratios of what the kernel does. By it, and the same program in QEMU without KVM, NS_PER_BLOCK was chosen
(kobox/machine/native/machine.h). Needs gcc, and the static C library.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
from pathlib import Path

import kobox

PROGRAM = Path(__file__).parent / "programs/clock.c"
NOT_THE_KERNEL = ("sort-2000", "snprintf", "malloc", "list-1000")


def rows(text: str) -> dict[str, int]:
    """Nanoseconds by the name of the work."""
    return {name: int(number) for name, number in (line.split() for line in text.splitlines())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kernel")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, kobox.boot(arguments.kernel) as box:
        program = Path(directory, "clock")
        subprocess.run(["gcc", "-O2", "-static", "-o", str(program), str(PROGRAM)], check=True)
        here = rows(subprocess.run([program, "100"], check=True, capture_output=True, text=True).stdout)
        box.files.copy_in(program, "/tmp/clock")
        there = rows(box.run(["/tmp/clock", "2"], check=True, capture_output=True, text=True).stdout)
    ratios = {name: there[name] / max(here[name], 1) for name in here}
    for name, ratio in ratios.items():
        print(f"{name:12} {here[name]:10,} {there[name]:10,} ns  {ratio:6.1f}")
    kernel = [ratio for name, ratio in ratios.items() if name not in NOT_THE_KERNEL]
    print(f"{'the kernel':12} {statistics.median(kernel):.1f} (median)")


if __name__ == "__main__":
    main()
