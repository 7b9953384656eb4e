"""Inspect every module of a kernel's tree: none of a distribution's modules should be called hostile.

    python bench/inspect_sweep.py [--kernel NAME] [--only PATTERN] [--sample N] [--seed N] [--rows FILE]

Each module is examined in a clean box. What is hostile or suspicious is printed, then a table. FILE gets one line of
JSON for each module as soon as it is examined; a sweep that was ended goes on where it was: modules that FILE has are
not examined again. Exit status 1 when one is called hostile.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import kobox
from kobox.behaviour.examine import examine
from kobox.box.box import Box
from kobox.errors import KoboxError
from kobox.images.store import Store
from kobox.ko.modulefile import ModuleFile
from kobox.ko.name import from_path


def inspect_one(box: Box, path: Path) -> dict[str, Any]:
    """One module: its level, what made it, and how long that took."""
    began = time.process_time()
    row: dict[str, Any] = {"module": from_path(str(path)), "level": "", "traits": [], "unseen": [], "failed": ""}
    try:
        report = examine(box, ModuleFile(str(path)))
        row["level"] = report.level
        row["unseen"] = report.unseen
        row["traits"] = [[trait.level, trait.kind, trait.text, trait.where] for trait in report.traits]
    except KoboxError as error:
        row["failed"] = f"{type(error).__name__}: {error}".split("\n")[0]
    except Exception as error:  # a row of the report, and not the end of the sweep
        row["failed"] = f"kobox failed: {type(error).__name__}: {error}"
    row["seconds"] = round(time.process_time() - began, 3)
    return row


def main() -> int:
    """Run the sweep and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names of modules")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="so many, picked at random")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=Path, metavar="FILE", help="one line of JSON for each module")
    arguments = parser.parse_args()
    image = Store().ensure(arguments.kernel)
    if image.modules is None:
        parser.error(f"{image.name} came without modules")
    found = image.modules.rglob("*.ko*")
    paths = sorted(path for path in found if fnmatch.fnmatch(from_path(str(path)), arguments.only))
    if arguments.sample:
        paths = random.Random(arguments.seed).sample(paths, min(arguments.sample, len(paths)))
    rows = _rows_of(arguments.rows)
    done = {row["module"] for row in rows}
    with kobox.boot(image) as box, open(arguments.rows or os.devnull, "a", encoding="utf-8") as kept:
        box.limits.cpu = 200
        for path in (path for path in paths if from_path(str(path)) not in done):
            box.reset()
            rows.append(row := inspect_one(box, path))
            kept.write(json.dumps(row) + "\n")
            kept.flush()
            _print_unusual(row)
    return _print_table(rows, image.name)


def _rows_of(path: Path | None) -> list[dict[str, Any]]:
    """What an earlier run has written; a last line that was cut off does not count."""
    if path is None or not path.exists():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    path.write_text(whole + "\n" * bool(whole), encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def _print_unusual(row: dict[str, Any]) -> None:
    if row["level"] in ("hostile", "suspicious") or row["failed"]:
        print(f"{row['level'] or 'failed':<10} {row['module']}: {row['failed']}", flush=True)
        for level, kind, text, where in row["traits"]:
            if level != "note":
                print(f"           {level} {kind}: {text} ({where})", flush=True)


def _print_table(rows: list[dict[str, Any]], kernel: str) -> int:
    levels = Counter(row["level"] or "failed" for row in rows)
    seconds = sorted(row["seconds"] for row in rows)
    loaded = sum(not any("it was not loaded" in sentence for sentence in row["unseen"]) for row in rows)
    print(f"{len(rows)} modules of {kernel}, {loaded} loaded: {dict(levels)}")
    print(f"CPU time each: median {seconds[len(seconds) // 2]:.2f} s, longest {seconds[-1]:.2f} s")
    kinds = Counter((level, kind) for row in rows for level, kind in {(t[0], t[1]) for t in row["traits"]})
    for (level, kind), count in sorted(kinds.items(), key=lambda each: (each[0][0], -each[1])):
        print(f"  {level:<10} {kind:<40} {count}")
    return 1 if levels["hostile"] else 0


if __name__ == "__main__":
    sys.exit(main())
