"""The whole of `kobox check`, as the command, over modules of a kernel's tree: errors there should be none, or be true.

    python bench/check_whole.py OUT.jsonl [--kernel NAME] [--sample N] [--under PART] [--time SECONDS] [--jobs N]

Exercise, faults, other circumstances, phantoms and races, which `check_sweep.py` leaves out. Each module's report is a
line of OUT; what stands there already is not done again. Exit status 1 when there was an error or a warning.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kobox.images.store import Store
from kobox.ko.name import from_path

LONGEST = 600  # seconds, of one module


def check_one(path: str, kernel: str, seconds: int) -> dict[str, object]:
    """What the command says of one module."""
    began = time.time()
    command = [sys.executable, "-m", "kobox", "check", path, "-k", kernel, "--json", "--no-elsewhere", "-j", "1"]
    row: dict[str, object] = {"module": from_path(path)}
    try:
        done = subprocess.run(
            [*command, "--time", str(seconds)], capture_output=True, text=True, timeout=LONGEST, check=False
        )
        row |= {"status": done.returncode, "said": done.stderr[-1500:]}
        row["reports"] = json.loads(done.stdout) if done.stdout else []
    except (subprocess.TimeoutExpired, ValueError) as error:
        row |= {"status": -1, "said": str(error)[:1500], "reports": []}
    return row | {"seconds": round(time.time() - began, 1)}


def told(row: dict[str, object]) -> Iterator[str]:
    """The errors and warnings of a row, a line each."""
    reports = row["reports"] if isinstance(row["reports"], list) else []
    for report in reports:
        for found in report["findings"]:
            if found["severity"] != "note":
                fault = f" ({found['fault']})" if found["fault"] else ""
                yield f"{row['module']}: {found['severity']}: {found['kind']}: {found['message']}{fault}"
    if row["status"] == -1:
        yield f"{row['module']}: not checked: {row['said']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT.jsonl")
    parser.add_argument("--kernel")
    parser.add_argument("--sample", type=int, default=50, help="so many modules, picked at random but always the same")
    parser.add_argument("--under", default="", help="only modules whose paths have this part")
    parser.add_argument("--time", type=int, default=20, help="seconds for each check")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--stop", type=float, default=1e9, help="begin no module after so many seconds")
    arguments = parser.parse_args()
    image = Store().ensure(arguments.kernel)
    if image.modules is None:
        parser.error(f"{image.name} came without modules")
    paths = sorted(str(path) for path in image.modules.rglob("*.ko*") if arguments.under in str(path))
    paths = random.Random(20).sample(paths, min(arguments.sample, len(paths)))
    lines = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    rows = [json.loads(line) for line in lines]
    have, began, bad = {row["module"] for row in rows}, time.time(), sum(bool(list(told(row))) for row in rows)

    def work(path: str) -> dict[str, object] | None:
        return check_one(path, image.name, arguments.time) if time.time() - began < arguments.stop else None

    with ThreadPoolExecutor(arguments.jobs) as pool, arguments.out.open("a") as out:
        for row in pool.map(work, (path for path in paths if from_path(path) not in have)):
            if row is not None:
                print(json.dumps(row), file=out, flush=True)
                for line in told(row):
                    print(line, flush=True)
                bad += bool(list(told(row)))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
