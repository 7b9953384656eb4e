"""How fast `kobox check` is: the chardev template, and a driver of 685 lines, on the default kernel.

    python bench/check.py [--repeat N] [--json FILE]

Wall time; the median of N runs where more than one is made. Compare within a run: machines are shared and noisy. The
seconds of CPU time that the whole command takes with the larger driver depend less on what else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kobox.checks.runner.check import check
from kobox.checks.runner.examiner import Examiner
from kobox.checks.runner.outcome import UnitOutcome
from kobox.checks.runner.plan import CheckPlan, CheckUnit
from kobox.checks.runner.worker_pool import Pool
from kobox.images.store import KernelImage, Store
from kobox.kbuild.build import build
from kobox.kbuild.new import new


def median_of(repeat: int, times: list[float]) -> float:
    """The median of the last `repeat` figures: the first ones warm up."""
    return statistics.median(times[-repeat:])


def in_one_process(plan: CheckPlan, repeat: int) -> dict[str, float]:
    """What a warm worker needs for its units."""
    examiner = Examiner(plan)
    life = examiner.examine(CheckUnit("life"))
    lives, faults = [], []
    for _ in range(repeat + 2):
        began = time.perf_counter()
        examiner.play(None)
        lives.append(time.perf_counter() - began)
        for fault, _ in life.reached:
            began = time.perf_counter()
            examiner.examine(CheckUnit("fault", (fault,), life.programs))
            faults.append(time.perf_counter() - began)
    examiner.box.close()
    return {
        "load and unload with all checks, warm": median_of(repeat, lives),
        "one injected fault, clean box to verdict": median_of(repeat * len(life.reached), faults),
    }


def whole_checks(plan: CheckPlan) -> dict[str, float]:
    """`kobox check` with its exercise and all single faults, by one process and by two."""
    from dataclasses import replace

    rows = {}
    for workers in (1, 2):
        began = time.perf_counter()
        report = check(replace(plan, workers=workers))
        rows[f"chardev: exercise and all {report.tried} single faults, {workers} process{'es' * (workers > 1)}"] = (
            time.perf_counter() - began
        )
        assert not report.findings, report.findings
    return rows


def many_faults(plan: CheckPlan, count: int) -> dict[str, float]:
    """The same faults again and again, by one warm process and by two: what a module with many of them needs."""
    examiner = Examiner(plan)
    life = examiner.examine(CheckUnit("life"))
    units = [CheckUnit("fault", (fault,), life.programs) for fault, _ in life.reached]
    examiner.box.close()
    rows = {}
    for workers in (1, 2):
        with Pool[CheckUnit, UnitOutcome](lambda: Examiner(plan).examine, workers) as pool:
            for unit in units * workers:  # each worker gets warm
                pool.submit(unit)
            list(pool.results())
            began = time.perf_counter()
            for n in range(count):
                pool.submit(units[n % len(units)])
            list(pool.results())
            rows[f"{count} faults, {workers} warm process{'es' * (workers > 1)}"] = time.perf_counter() - began
    return rows


def larger_driver(scratch: Path, kernel: KernelImage) -> dict[str, float]:
    """The command as a user types it, two jobs, for a driver with four devices, ioctl, mmap, a timer and a thread."""
    scratch.mkdir()
    shutil.copy(Path(__file__).parents[1] / "tests/modules/tapbox/tapbox.c", scratch)
    module = next(iter(build(scratch / "tapbox.c", kernel)))
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "kobox", "check", str(module), "-k", kernel.name, "-j", "2", "--no-elsewhere"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"a driver of 685 lines, by the command: CPU time": used, "the same, two processes: wall time": took}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    kernel = Store().ensure()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        new("chardev", "measured", scratch / "measured")
        module = next(iter(build(scratch / "measured", kernel)))
        plan = CheckPlan(str(module), kernel=kernel.name)
        rows = in_one_process(plan, arguments.repeat) | whole_checks(plan) | many_faults(plan, 72)
        rows |= larger_driver(scratch / "larger", kernel)
    print(f"{kernel.name}, load of this machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    for what, value in rows.items():
        print(f"{what:62} {value * 1000:8.1f} ms" if value < 1 else f"{what:62} {value:8.2f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
