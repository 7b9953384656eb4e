"""Two CPUs: what a switch between them costs, what a schedule, and how soon a race of two calls is found.

    PYTHONPATH=. python bench/cpus.py [--update docs/races.md]

Times are this process's own CPU time, so that they depend little on what else the machine does.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import kobox
from kobox.box.box import Box
from kobox.checks.races.data_races import CMDLINE, CPUS, DataRaceSearch
from kobox.checks.report.finding import Severity
from kobox.checks.runner.session import Examination
from kobox.images.store import Store
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules
from tests.checks.races.test_data_races import calls_on, lines_of_race

BEGIN, END = "<!-- two CPUs measured -->", "<!-- end of two CPUs measured -->"
_SIZE = 1 << 22  # bytes that a call copies
_SHORT, _LONG = 2, 2000  # blocks a turn
_ROUNDS = 12
_RACES = ("counter", "split", "torn", "once", "exclusive")


def a_switch(box: Box) -> float:
    """Seconds for a switch of CPUs: two of them read /dev/zero, in short turns and in long ones."""
    zero = box.syscall("open", "/dev/zero", 2, 0)
    times = dict[int, list[tuple[float, int]]]()
    with box.process(cpu=1) as other, box.checkpoint() as start:
        for blocks in (*(_SHORT, _LONG),) * _ROUNDS:
            start.restore()
            box.schedule.turns(blocks)
            before, began = box.machine.turns().switches, time.process_time()
            calls = ((other, "read", zero, bytearray(_SIZE), _SIZE), (None, "read", zero, bytearray(_SIZE), _SIZE))
            for call in box.schedule.together(*calls):
                call.result()
            taken = time.process_time() - began
            times.setdefault(blocks, []).append((taken, box.machine.turns().switches - before))
    short, long = (min(times[blocks]) for blocks in (_SHORT, _LONG))
    return (short[0] - long[0]) / (short[1] - long[1])


def a_schedule(box: Box) -> float:
    """Seconds for two calls on two CPUs, and back to the checkpoint."""
    zero, taken = box.syscall("open", "/dev/zero", 2, 0), list[float]()
    with box.process(cpu=1) as other, box.checkpoint() as start:
        for _ in range(300):
            began = time.process_time()
            start.restore()
            for call in box.schedule.together((other, "read", zero, bytearray(8), 8), (None, "getppid")):
                call.result()
            taken.append(time.process_time() - began)
    return statistics.median(taken)


def a_race(name: str, path: Path) -> tuple[int, float]:
    """How many schedules a race of the tests takes until the first error is told, and seconds, without the boot; the
    search goes on after it, and shortens what it has found: that is in the time."""
    with kobox.boot(cpus=CPUS, cmdline=CMDLINE) as box:
        began = time.process_time()
        examination, search = Examination(box, ModuleFile(str(path)), []), DataRaceSearch(calls_on(name))
        search.examination = examination
        examination.run(search)
        taken = time.process_time() - began
    found = {one.where.line for one in examination.findings if one.severity is Severity.ERROR and one.where}
    if not found & lines_of_race(name):
        raise SystemExit(f"{name}: not found")
    return search.schedules, taken


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", type=Path, help="write the table into this page")
    arguments = parser.parse_args()
    built = BuiltTestModules(Store().get(None), "races")
    with kobox.boot(cpus=CPUS) as box:
        switch, schedule = a_switch(box), a_schedule(box)
    races = {name: a_race(name, built(name)) for name in _RACES}
    worst = max(races.values(), key=lambda row: row[1])
    table = [
        "| CPU time | measured | goal |",
        "|---|---|---|",
        f"| a switch of CPUs | {switch * 1e6:.2f} µs | 0.3 µs |",
        f"| two calls on two CPUs, and back to the checkpoint | {schedule * 1e3:.2f} ms | 5 ms |",
        f"| all of {', '.join(races)}: the slowest | {worst[0]} schedules, {worst[1]:.2f} s | 100 schedules, 3 s |",
    ]
    print("\n".join(table))
    if arguments.update is not None:
        text = arguments.update.read_text()
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        arguments.update.write_text("\n".join([f"{before}{BEGIN}", "", *table, "", f"{END}{after}"]))


if __name__ == "__main__":
    main()
