"""Load every module of a kernel's tree, each in a clean box with its dependencies, and unload it again.

    python bench/sweep.py [--kernel NAME] [--cpus N] [--jobs N] [--only PATTERN] [--sample N] [--json FILE]
                          [--lines FILE]

A module is `loaded`; or `refused`, with errno and the kernel's words (no such hardware, say);
or `failed`: kobox itself went wrong, or the kernel complained. Exit status 1 when any failed.
`--lines` keeps each row as a line of JSON, and passes over what stands there: a sweep that was stopped goes on.
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
from contextlib import suppress
from pathlib import Path
from typing import Any

import kobox
from kobox.box.boot.boot import tree_of
from kobox.errors import KernelError, KoboxError
from kobox.images.store import Store
from kobox.kmod.modprobe import modprobe, remove
from kobox.ko.name import from_path

_box: Any = None
_tree: Any = None


def start(kernel: str, cpus: int) -> None:
    """Give this worker process its box."""
    global _box, _tree
    image = Store().get(kernel)
    _box, _tree = kobox.boot(image, cpus=cpus), tree_of(image)
    _box.limits.cpu = 2000  # ftrace looks up each function of amdgpu in a list of 60,000 symbols


def sweep_one(name: str) -> dict[str, Any]:
    """Load and unload one module in a clean box."""
    _box.reset()
    began = time.perf_counter()
    row: dict[str, Any] = {"module": name, "result": "loaded", "errno": None, "words": []}
    start_of_log = _box.log.next_seq
    try:
        modprobe(_box, _tree, name)
        remove(_box, _tree, name)
    except KernelError as error:
        row.update(result="refused", errno=error.errno, words=list(error.log), why=error.message.split("\n")[0])
    except KoboxError as error:
        row.update(result="failed", why=f"{type(error).__name__}: {error}")
    except Exception as error:  # whatever it is, it is a row of the report and not the end of the sweep
        row.update(result="failed", why=f"{type(error).__name__}: {error}")
    if _box.alive and _box.findings:
        row.update(result="failed", why="; ".join(map(str, _box.findings)))
    if row["result"] != "loaded":
        row["log"] = [record.text for record in _box.log.since(start_of_log)][-20:]
    row["seconds"] = round(time.perf_counter() - began, 4)
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel")
    parser.add_argument("--cpus", type=int, default=1, help="of each box (default: 1)")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--only", default="*", help="module names to take, a pattern")
    parser.add_argument("--json", type=Path, help="write every row there")
    parser.add_argument("--sample", type=int, help="so many modules of them, chosen at random (seed 1)")
    parser.add_argument("--lines", type=Path, help="a file of rows, which are not made again")
    arguments = parser.parse_args()
    image = Store().ensure(arguments.kernel)
    kobox.boot(image, cpus=arguments.cpus).close()  # the snapshot, and the indexes, are made once
    tree_of(image)
    assert image.modules is not None
    names = sorted({from_path(str(path)) for path in image.modules.rglob("*.ko*")})
    names = [name for name in names if fnmatch.fnmatchcase(name, arguments.only)]
    if arguments.sample and arguments.sample < len(names):
        names = sorted(random.Random(1).sample(names, arguments.sample))
    rows = rows_of(arguments.lines)
    done = {row["module"] for row in rows}
    names = [name for name in names if name not in done]
    began = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(arguments.jobs, start, (image.name, arguments.cpus)) as pool:
        for row in pool.imap_unordered(sweep_one, names, chunksize=4):
            rows.append(row)
            if arguments.lines:
                with arguments.lines.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{len(rows)} of {len(names) + len(done)}")
            if row["result"] == "failed":
                print(f"FAILED {row['module']}: {row['why']}", flush=True)
    rows.sort(key=lambda row: row["module"])
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    return report(image.name, rows, time.perf_counter() - began, arguments.jobs)


def rows_of(lines: Path | None) -> list[dict[str, Any]]:
    """The rows that an earlier run has left; one that was cut off is made again."""
    found = []
    if lines is not None and lines.exists():
        for line in lines.read_text().splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
    return found


def report(kernel: str, rows: list[dict[str, Any]], seconds: float, jobs: int) -> int:
    """Print what came of it."""
    results = Counter(row["result"] for row in rows)
    print(f"\n{kernel}: {len(rows)} modules in {seconds:.0f} s with {jobs} processes")
    for result in ("loaded", "refused", "failed"):
        print(f"  {result:8} {results[result]}")
    why = Counter(row["why"].rpartition(": ")[2] for row in rows if row["result"] == "refused")
    for reason, count in why.most_common():
        print(f"    {count:5}  {reason}")
    times = sorted(row["seconds"] for row in rows)
    print(
        f"  median {times[len(times) // 2]:.3f} s, slowest "
        + ", ".join(
            f"{row['module']} {row['seconds']:.1f} s" for row in sorted(rows, key=lambda row: -row["seconds"])[:5]
        )
    )
    return 1 if results["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
