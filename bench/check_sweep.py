"""Load and unload every module of a kernel's tree under the checks: what is found there should be nothing.

    python bench/check_sweep.py [--kernel NAME] [--jobs N] [--only PATTERN] [--sample N] [--checks A,B] [--json FILE]

Each module lives in a clean box with its dependencies loaded. Findings are printed with what made them. Exit status 1
when there was an error among them.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import multiprocessing
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import kobox
from kobox.checks.runner.examiner import checks_of
from kobox.checks.runner.plan import CHECKS
from kobox.checks.runner.session import Examination
from kobox.errors import KoboxError
from kobox.images.store import Store
from kobox.ko.modulefile import ModuleFile
from kobox.ko.name import from_path

_box: Any = None
_clean: Any = None
_checks: tuple[str, ...] = CHECKS


def start(kernel: str, checks: tuple[str, ...]) -> None:
    """Give this worker process its box."""
    global _box, _clean, _checks
    _box = kobox.boot(Store().get(kernel))
    _clean = _box.checkpoint()
    _box.limits.cpu = 2000
    _checks = checks


def check_one(path: str) -> dict[str, Any]:
    """One module's life under the checks."""
    began = time.perf_counter()
    row: dict[str, Any] = {"module": from_path(path), "result": "", "findings": []}
    try:
        _clean.restore()
        file = ModuleFile(path)
        for name in file.depends:
            _box.modprobe(name)
        _box.set_reset_point()
        examination = Examination(_box, file, checks_of(_checks)[0])
        findings = examination.run()
        row["result"] = str(examination.error or "unloaded").split("\n")[0]
        row["findings"] = [
            {
                "kind": finding.kind,
                "severity": str(finding.severity),
                "message": finding.message,
                "stage": finding.stage,
                "chain": [str(frame) for frame in finding.chain[:8]],
                "made": [str(frame) for frame in finding.object.made_at[:8]] if finding.object else [],
            }
            for finding in findings
        ]
    except KoboxError as error:
        row["result"] = f"{type(error).__name__}: {error}".split("\n")[0]
    except Exception as error:  # a row of the report, and not the end of the sweep
        row["result"] = f"failed: {type(error).__name__}: {error}"
    row["seconds"] = round(time.perf_counter() - began, 4)
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--only", default="*", help="module names to take, a pattern")
    parser.add_argument("--sample", type=int, help="so many, picked at random but always the same")
    parser.add_argument("--checks", help="names of checks, with commas; all of them by default")
    parser.add_argument("--json", type=Path, help="write every row there")
    arguments = parser.parse_args()
    image = Store().ensure(arguments.kernel)
    kobox.boot(image).close()
    assert image.modules is not None
    paths = sorted(str(path) for path in image.modules.rglob("*.ko*"))
    paths = [path for path in paths if fnmatch.fnmatchcase(from_path(path), arguments.only)]
    if arguments.sample:
        paths = random.Random(1).sample(paths, min(arguments.sample, len(paths)))
    wanted = arguments.checks.split(",") if arguments.checks else []
    checks = tuple(name for name in CHECKS if not wanted or name.split(".")[-1].partition(":")[0] in wanted)
    began, rows, kinds = time.perf_counter(), [], Counter[str]()
    with multiprocessing.get_context("spawn").Pool(arguments.jobs, start, (image.name, checks)) as pool:
        for row in pool.imap_unordered(check_one, paths, chunksize=4):
            rows.append(row)
            for finding in row["findings"]:
                kinds[f"{finding['severity']} {finding['kind']}"] += 1
                where = finding["chain"][:3] or finding["made"][:3]
                print(
                    f"{row['module']}: {finding['severity']}: {finding['kind']}: {finding['message']}",
                    *where,
                    sep="\n    ",
                )
            if row["result"].startswith("failed"):
                kinds["failed"] += 1
                print(f"{row['module']}: {row['result']}")
            if sys.stderr.isatty():
                print(f"\r{len(rows)}/{len(paths)}", end="", file=sys.stderr)
    seconds = time.perf_counter() - began
    print(f"{len(rows)} modules in {seconds:.0f} s; {dict(kinds)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    return 1 if any(kind.startswith(("error", "failed")) for kind in kinds) else 0


if __name__ == "__main__":
    sys.exit(main())
