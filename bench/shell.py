"""How fast programs of a box are: the table of docs/speed.md, second part.

    python bench/shell.py [--repeat N] [--json FILE]

Every figure is the median of N runs; wall time, and in brackets this process's own CPU time, which is what the
figure would be on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kobox.apps.rootfs import shell_box
from kobox.box.box import Box

HERE = Path(__file__).parent


def used() -> float:
    """CPU seconds of this process and of the children it has waited for."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def median(repeat: int, action: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU) seconds of an action."""
    walls, cpus = [], []
    for _ in range(repeat):
        began, before = time.perf_counter(), used()
        action()
        walls.append(time.perf_counter() - began)
        cpus.append(used() - before)
    return statistics.median(walls), statistics.median(cpus)


def each(pair: tuple[float, float], less: tuple[float, float], times: int) -> tuple[float, float]:
    """What one of `times` takes, without what a program that does nothing takes."""
    return max(pair[0] - less[0], 0) / times, max(pair[1] - less[1], 0) / times


def figures(box: Box, costs: Path, repeat: int) -> dict[str, tuple[float, float]]:
    """What programs pay in a box that has run some."""

    def run(*words: str) -> None:
        box.run([costs, *words], check=True)

    for words in (("nothing",), ("calls", "10"), ("faults", "10")):
        run(*words)
    box.files.copy_in(costs, "/costs")
    pipe = "/costs writer | /costs reader"
    box.run(["/bin/sh", "-c", pipe], check=True)
    nothing = median(repeat * 3, lambda: run("nothing"))
    return {
        "fork + exec + exit of a static program, warm": nothing,
        "a page fault of a program": each(median(repeat, lambda: run("faults", "5000")), nothing, 5000),
        "a system call of a program": each(median(repeat, lambda: run("calls", "20000")), nothing, 20000),
        "1 MB through a pipe between two programs": median(
            repeat, lambda: box.run(["/bin/sh", "-c", pipe], check=True)
        ),
        "sleep 3600": median(repeat, lambda: box.run(["/bin/sleep", "3600"], check=True)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [str(Path(sys.executable).with_name("kobox")), "shell", "-c", "true"]
    with tempfile.TemporaryDirectory() as name, shell_box() as box:
        costs = Path(name) / "costs"
        subprocess.run(["gcc", "-O1", "-static", "-o", costs, HERE / "programs/costs.c"], check=True)
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        rows = {
            "kobox shell -c true, fresh process": median(
                arguments.repeat, lambda: subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
            )
        }
        rows |= figures(box, costs, arguments.repeat)
    for what, (wall, cpu) in rows.items():
        print(f"{what:48} {wall * 1000:9.3f} ms  ({cpu * 1000:.3f})")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
