"""How many PCI drivers of a kernel get through their probe function with a phantom device: `make sweep-phantom`.

$ python bench/phantom.py --kernel 6.1.0-56-amd64 --sample 40 --attempts 300 --jobs 2
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
from kobox.checks.phantom.search import PhantomSearch
from kobox.devices.phantom import identities_for
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
                waits = waits_for_device(box, file.name)
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
        row["identity"] = f"{best.identity.vendor:04x}:{best.identity.device:04x}"
    except KoboxError as error:
        row |= {"result": "not loaded", "why": error.message.splitlines()[0]}
    row["seconds"] = round(time.process_time() - started, 2)
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", help="a kernel of the cache (default: the default one)")
    parser.add_argument("--sample", type=int, help="so many drivers, chosen at random (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--attempts", type=int, default=300, help="at most so many a driver")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("drivers", nargs="*")
    arguments = parser.parse_args()
    kernel = Store().get(arguments.kernel) if arguments.kernel else Store().default()
    assert kernel.modules is not None
    paths = sorted((kernel.modules / "kernel").rglob("*.ko*"))
    drivers = [path for path in paths if identities_for(ModuleFile(path).aliases)]
    if arguments.drivers:
        drivers = [path for path in drivers if path.name.split(".")[0].replace("-", "_") in arguments.drivers]
    if arguments.sample:
        drivers = sorted(random.Random(arguments.seed).sample(drivers, min(arguments.sample, len(drivers))))
    tasks = [(kernel.name, str(path), arguments.attempts) for path in drivers]
    rows, counts = [], Counter[str]()
    with multiprocessing.get_context("spawn").Pool(arguments.jobs, maxtasksperchild=8) as pool:
        for row in pool.imap_unordered(search_one, tasks):
            rows.append(row)
            counts[str(row["result"])] += 1
            print(json.dumps(row), file=sys.stderr, flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    half = sum(row.get("probed", 0) > 0.5 for row in rows)  # type: ignore[operator]
    slow = sum(row["seconds"] > 20 for row in rows)  # type: ignore[operator]
    print(f"{half} executed more than half of their probe function; {slow} took longer than 20 s")
    print(f"{len(rows)} PCI drivers of {kernel.name}: {', '.join(f'{n} {name}' for name, n in counts.most_common())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
