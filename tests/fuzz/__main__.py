"""`make fuzz`: readers of hostile bytes, fed with mutations of a corpus, for a bounded time and from a seed.

    python -m tests.fuzz [--seconds 120] [--seed 1] [TARGET …]

What raises something else than its reader may is written to tests/fuzz/corpus/TARGET/ and shown; the status is 1 then.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
import traceback

from tests.fuzz.mutation import mutated
from tests.fuzz.targets import SEEDS, TARGETS, seeds


def main() -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    names = arguments.targets or list(TARGETS)
    faults = 0
    for name in names:
        tried, found = fuzz(name, arguments.seed, arguments.seconds / len(names))
        print(f"{name:<12} {tried:>8} inputs, {found} faults", flush=True)
        faults += found
    return 1 if faults else 0


def fuzz(name: str, seed: int, seconds: float) -> tuple[int, int]:
    """Feed one target for so long; (inputs, faults), of which each is kept once a place."""
    target, corpus, chance = TARGETS[name], seeds(name), random.Random(f"{name} {seed}")
    end, tried, places = time.monotonic() + seconds, 0, set()
    while time.monotonic() < end:
        data = mutated(chance.choice(corpus), chance.choice(corpus), chance)
        tried += 1
        try:
            target.read(data)
        except target.errors:
            continue
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            if (frame.filename, frame.lineno) in places:
                continue
            places.add((frame.filename, frame.lineno))
            kept = SEEDS / name / hashlib.sha256(data).hexdigest()[:16]
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(data)
            traceback.print_exc()
            print(f"{name}: kept as {kept}", file=sys.stderr)
    return tried, len(places)


if __name__ == "__main__":
    sys.exit(main())
