"""What checking costs: a module's own loops, and the kernel's code that it calls, checked and not.

    python bench/watched.py [--repeat N] [--checks A,B] [--only WORK] [--json FILE]

The best of N runs of each, in turn, in one process: compare within a run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import kobox
from kobox.box.box import Box
from kobox.checks.runner.examiner import checks_of
from kobox.checks.runner.plan import CHECKS
from kobox.checks.runner.session import Examination
from kobox.images.store import Store
from kobox.kbuild.build import build
from kobox.ko.modulefile import ModuleFile

HERE = Path(__file__).parent
# (work, times in one write): about 10 ms each without checks.
OWN = (("adding", 80), ("table", 20), ("sieve", 20))
KERNELS = (("crc", 40), ("sorting", 2), ("copying", 400), ("printing", 300), ("searching", 500), ("locking", 3000))
ALLOCATIONS = (("allocating", 300),)


def seconds(box: Box, work: str, times: int, repeat: int) -> float:
    """The best wall time of one write."""
    best = float("inf")
    for _ in range(repeat):
        began = time.perf_counter()
        box.write_bytes("/proc/watched", f"{work} {times}".encode())
        best = min(best, time.perf_counter() - began)
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--checks", help="names of checks, with commas; all of them by default")
    parser.add_argument("--only", help="one work")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    kernel = Store().ensure()
    wanted = arguments.checks.split(",") if arguments.checks else []
    checks = tuple(name for name in CHECKS if not wanted or name.split(".")[-1].partition(":")[0] in wanted)
    works = [one for one in (*OWN, *KERNELS, *ALLOCATIONS) if arguments.only in (None, one[0])]
    plain: dict[str, float] = {}
    watched: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name, "watched")
        directory.mkdir()
        (directory / "watched.c").write_text((HERE / "watched" / "watched.c").read_text())
        file = ModuleFile(next(iter(build(directory, kernel))))
    with kobox.boot(kernel) as box:
        module = box.insmod(file.content)
        for work, times in works:
            plain[work] = seconds(box, work, times, arguments.repeat)
        module.unload()
        box.reset()

        def exercise(box: Box) -> None:
            for work, times in works:
                watched[work] = seconds(box, work, times, arguments.repeat)

        found = Examination(box, file, checks_of(checks)[0]).run(exercise)
        assert not found, found
    for kind, group in (("own", OWN), ("kernel's", KERNELS), ("kernel's", ALLOCATIONS)):
        for work, times in group:
            if work in plain:
                off, on = plain[work] / times * 1e6, watched[work] / times * 1e6
                print(f"{kind:9} {work:12} {off:9.1f} us {on:9.1f} us {on / off:6.1f} times")
    if arguments.json:
        arguments.json.write_text(json.dumps({"plain": plain, "watched": watched}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
