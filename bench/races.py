"""Races by how they are looked for: which method finds which of the tests' races, in how many schedules.

    PYTHONPATH=. python bench/races.py [--kernel NAME] [--only PATTERN] [--methods one,random,pct,hold,split]
                                       [--update docs/races.md]

one     one CPU, interrupted at 96 chosen instructions (`kobox check --preempt`)
random  two CPUs, turns of 1 to 40 blocks at random, 100 schedules for each pair of calls, 1,000 in all
pct     priorities that change twice (Burckhardt et al., 2010), as many
hold    a CPU is held before its accesses
split   as `hold`, and a read and write in one instruction is taken apart: what `kobox check` does

A race is found when an error has a line of it (random and pct: when any error is shown), with the number of schedules.
"""

from __future__ import annotations

import argparse
import fnmatch
from collections.abc import Callable, Sequence
from pathlib import Path

import kobox
from kobox.box.box import Box
from kobox.checks.fuzz.program import Program
from kobox.checks.races.conflicts import Conflict
from kobox.checks.races.data_races import CMDLINE, CPUS, DataRaceSearch
from kobox.checks.races.race_calls import TIME, RaceCalls
from kobox.checks.races.race_cost import cost_of
from kobox.checks.report.finding import Severity
from kobox.checks.runner.check import check
from kobox.checks.runner.plan import CheckPlan
from kobox.checks.runner.session import Examination, kernel_findings
from kobox.images.store import KernelImage, Store
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules
from tests.checks.races import test_data_races, test_driver_races

METHODS = {"one": "one CPU", "random": "random", "pct": "PCT", "hold": "hold", "split": "hold and split"}
EACH, ALL = 100, 1000  # schedules
BEGIN, END = "<!-- races by method -->", "<!-- end -->"


class BlindSearch(DataRaceSearch):
    """Makes the calls of each pair at the same moment, under schedules that know nothing of the module."""

    def __init__(self, programs: Sequence[Program], schedule: Callable[[Box, int], None]) -> None:
        super().__init__(programs)
        self._turns = schedule
        self.found = 0  # the schedule that has shown something

    def _try_all(self, place: object, pairs: Sequence[tuple[RaceCalls, Conflict]]) -> bool:
        first: dict[RaceCalls, Conflict] = {}
        for calls, conflict in pairs:
            first.setdefault(calls, conflict)
        for calls, conflict in first.items():
            if TIME in (calls.first, calls.second):
                continue
            schedule = self._schedule(place, calls, conflict.held)  # type: ignore[arg-type]
            if schedule is None:
                continue
            orders, later = self._all_orders(schedule)
            for seed in range(EACH):
                if self.found or self.schedules >= ALL:
                    return False
                self._restore(schedule.start)
                self.schedules += 1
                self._turns(self._box, seed)
                one, two = schedule.made(calls.first), schedule.made(calls.second)
                pending = self._box.schedule.together((schedule.process, one[0], *one[1]), (None, two[0], *two[1]))
                raced = self._outcome(schedule, self._answers(calls, pending), (one, two), wrote=False)
                shows = any(found.severity is Severity.ERROR for found in kernel_findings(self._box))
                if orders[0] is not None and orders[1] is not None and later is not None and not shows:
                    both = (orders[0], orders[1])
                    shows = bool(cost_of(raced, both, later, "", both_wrote=False, exposed=True).words)
                if shows:
                    self.found = self.schedules
        return not self.found


def found_by(method: str, box: Box, path: Path, programs: Sequence[Program], lines: set[int]) -> str:
    """How many schedules a method takes to find a race of a module; "-" when it does not."""
    if method == "one":
        plan = CheckPlan(str(path), kernel=box.image.name, faults=False, loads=1, workers=1, races=False, preempt=96)
        report = check(plan)
        wrong = [one for one in report.findings if one.severity is Severity.ERROR and one.fault.startswith("race:")]
        return str(report.raced) if any({frame.line for frame in one.chain} & lines for one in wrong) else "-"
    schedules = {
        "random": lambda box, seed: box.schedule.turns(20, seed=seed + 1),
        "pct": lambda box, seed: box.schedule.pct(seed + 1, 3, 2000),
    }
    blind = BlindSearch(programs, schedules[method]) if method in schedules else None
    search = blind or DataRaceSearch(programs, split=method == "split")
    examination = Examination(box, ModuleFile(str(path)), [])
    search.examination = examination
    search.known_interfaces = frozenset(place.name for place in box.path("/sys/class/net").iterdir())
    examination.run(search)
    if blind is not None:
        return str(blind.found) if blind.found else "-"
    wrong = [one for one in examination.findings if one.fault and one.severity is Severity.ERROR]
    return str(search.schedules) if any({frame.line for frame in one.chain} & lines for one in wrong) else "-"


def cases(image: KernelImage) -> list[tuple[str, Path, list[Program], set[int]]]:
    """The races of the tests: name, module, calls, lines."""
    found = []
    races, drivers = BuiltTestModules(image, "races"), BuiltTestModules(image, "driver_races")
    for name in test_data_races.RACES:
        lines = test_data_races.lines_of_race(name)
        found.append((name, races(name), test_data_races.calls_on(name), lines))
    for name, programs in sorted(test_driver_races.CALLS.items()):
        found.append((name, drivers(name), programs, test_driver_races.lines_of_race(name)))
    return found


def update(path: Path, table: list[str]) -> None:
    """Put the table between the marks of a page."""
    text = path.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text("\n".join([f"{before}{BEGIN}", "", *table, "", f"{END}{after}"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kernel")
    parser.add_argument("--only", default="*")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--update", type=Path)
    arguments = parser.parse_args()
    methods = arguments.methods.split(",")
    table = [f"| race | {' | '.join(METHODS[one] for one in methods)} |", f"|---|{'---|' * len(methods)}"]
    sums = dict.fromkeys(methods, 0)
    chosen = [case for case in cases(Store().get(arguments.kernel)) if fnmatch.fnmatch(case[0], arguments.only)]
    for name, path, programs, lines in chosen:
        row = []
        for method in methods:
            with kobox.boot(arguments.kernel, cpus=CPUS, cmdline=CMDLINE) as box:
                row.append(found_by(method, box, path, programs, lines))
            sums[method] += row[-1] != "-"
        table.append(f"| {name} | {' | '.join(row)} |")
        print(table[-1], flush=True)
    table.append(f"| **found, of {len(chosen)}** | {' | '.join(str(sums[one]) for one in methods)} |")
    print(table[-1])
    if arguments.update is not None:
        update(arguments.update, table)


if __name__ == "__main__":
    main()
