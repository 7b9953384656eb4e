"""How many drivers of a kernel get through their probe function with a phantom device: `make sweep-phantom`.

$ python bench/phantom.py --kernel 6.1.0-56-amd64 --bus USB --sample 40 --attempts 300 --jobs 2 --out rows.jsonl

With `--out` each driver's row is written as soon as it is there, and a second run leaves out the drivers that have one.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import time
from collections import Counter
from pathlib import Path

import kobox
from kobox.checks.phantom.attempt import waits_for_device
from kobox.checks.phantom.buses import bus_of
from kobox.checks.phantom.search import PhantomSearch
from kobox.devices.phantom_kinds import title_of
from kobox.errors import KoboxError
from kobox.images.store import Store
from kobox.ko.modulefile import ModuleFile


def search_one(task: tuple[str, str, int]) -> dict[str, object]:
    kernel, path, most = task
    file, started = ModuleFile(path), time.process_time()
    row: dict[str, object] = {"driver": file.name}
    try:
        with kobox.boot(kernel) as box:
            start = box.checkpoint()
            load = None
            try:
                box.modprobe(file.name)
                waits = waits_for_device(box, file)
            except KoboxError:
                waits = False
            if not waits:  # it looks for its device while it is loaded
                start.restore()

                def load() -> None:
                    box.modprobe(file.name)

            found = PhantomSearch(box, file, load).run(most)
        best = found.best
        row |= {"result": str(best.result), "errno": best.errno, "executed": best.executed, "attempts": found.attempts}
        row |= {"layout": str(best.policy.layout), "rest": str(best.policy.rest), "known": len(best.policy.known)}
        row |= {"probed": round(found.probed, 2), "loads": load is None}
        row["identity"] = title_of(best.identity)
    except KoboxError as error:
        row |= {"result": "not loaded", "why": error.message.splitlines()[0]}
    row["seconds"] = round(time.process_time() - started, 2)
    return row


def _rows_of(file: Path | None, drivers: set[str]) -> list[dict[str, object]]:
    """The rows that an earlier run has written for these drivers."""
    if file is None or not file.exists():
        return []
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [row for row in rows if row["driver"] in drivers]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", help="a kernel of the cache (default: the default one)")
    parser.add_argument("--bus", default="PCI", help="PCI, USB, HID, I2C, SPI, virtio or platform (default: PCI)")
    parser.add_argument("--sample", type=int, help="so many drivers, chosen at random (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--attempts", type=int, default=300, help="at most so many a driver")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="append a line of JSON for each driver; leave out those that have one")
    parser.add_argument("drivers", nargs="*")
    arguments = parser.parse_args()
    kernel = Store().get(arguments.kernel) if arguments.kernel else Store().default()
    assert kernel.modules is not None
    paths = sorted((kernel.modules / "kernel").rglob("*.ko*"))
    drivers = [path for path in paths if (bus := bus_of(ModuleFile(path))) is not None and bus.title == arguments.bus]
    if arguments.drivers:
        drivers = [path for path in drivers if ModuleFile(path).name in arguments.drivers]
    if arguments.sample:
        drivers = sorted(random.Random(arguments.seed).sample(drivers, min(arguments.sample, len(drivers))))
    rows = _rows_of(arguments.out, {ModuleFile(path).name for path in drivers})
    known = {row["driver"] for row in rows}
    tasks = [(kernel.name, str(path), arguments.attempts) for path in drivers if ModuleFile(path).name not in known]
    with multiprocessing.get_context("spawn").Pool(arguments.jobs, maxtasksperchild=8) as pool:
        for row in pool.imap_unordered(search_one, tasks):
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
            if arguments.out:
                with arguments.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    counts = Counter(str(row["result"]) for row in rows)
    half = sum(row.get("probed", 0) > 0.5 for row in rows)  # type: ignore[operator]
    slow = sum(row["seconds"] > 20 for row in rows)  # type: ignore[operator]
    print(f"{half} executed more than half of their probe function; {slow} took longer than 20 s")
    print(
        f"{len(rows)} {arguments.bus} drivers of {kernel.name}:",
        ", ".join(f"{n} {name}" for name, n in counts.most_common()),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
