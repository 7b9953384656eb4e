"""The races of the tests on several kernels: found at their line, and their twins clean.

    PYTHONPATH=. python bench/race_kernels.py [--kernels NAME,...] [--only PATTERN] [--rows FILE] [--update PAGE]

Modules are built for each kernel. With --rows, what was done is kept in a file, a line of JSON for each race and
kernel, and not done again. The exit status is 1 when a race is not found, or an error is reported of a twin.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import kobox
from kobox.box.box import Box
from kobox.checks.fuzz.program import Program
from kobox.checks.races.data_races import CMDLINE, CPUS, DataRaceSearch
from kobox.checks.races.own_races import OwnRaceSearch
from kobox.checks.report.finding import Finding, Severity
from kobox.checks.runner.session import Examination
from kobox.images.store import KernelImage, Store
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules
from tests.checks.races import test_data_races, test_driver_races, test_own_races

KERNELS = ("6.1", "6.12", "7.2")
BEGIN, END = "<!-- races by kernel -->", "<!-- end of races by kernel -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One race on one kernel: in how many schedules it was found (0: it was not), its errors elsewhere, and those of
    its twin."""

    kernel: str
    race: str
    schedules: int
    elsewhere: list[str]
    twin: list[str]
    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class RaceCase:
    """A race of the tests: the directory below tests/modules and its name, the lines, and what looks for it."""

    group: str
    name: str
    lines: set[int]
    search: Callable[[Examination], int]

    @property
    def key(self) -> str:
        return f"{self.group}/{self.name}"


def cases(only: str) -> list[RaceCase]:
    """Those whose names match."""
    found = [
        RaceCase("races", name, test_data_races.lines_of_race(name), by_calls(test_data_races.calls_on(name)))
        for name in test_data_races.RACES
    ]
    for name, programs in sorted(test_driver_races.CALLS.items()):
        found.append(RaceCase("driver_races", name, test_driver_races.lines_of_race(name), by_calls(programs)))
    for name in test_own_races.RACES:
        found.append(RaceCase("own_races", name, test_own_races.lines_of_race(name), by_life))
    return [one for one in found if fnmatch.fnmatch(one.name, only)]


def by_calls(programs: Sequence[Program]) -> Callable[[Examination], int]:
    """Look for races between calls, and return in how many schedules."""

    def search(examination: Examination) -> int:
        one = DataRaceSearch(programs)
        one.examination = examination
        one.known_interfaces = frozenset(place.name for place in examination.box.path("/sys/class/net").iterdir())
        examination.run(one)
        return one.schedules

    return search


def by_life(examination: Examination) -> int:
    """Look for races of what a module does by itself."""
    search = OwnRaceSearch(examination)
    search.run()
    return search.schedules


def errors_of(box: Box, path: Path, case: RaceCase) -> tuple[list[Finding], int]:
    """What is found in a module, and in how many schedules."""
    examination = Examination(box, ModuleFile(str(path)), [])
    schedules = case.search(examination)
    if examination.error is not None:
        raise examination.error
    return [one for one in examination.findings if one.severity is Severity.ERROR], schedules


def tried(box: Box, built: BuiltTestModules, case: RaceCase) -> Row:
    """Look for one race, and in its twin."""
    began = time.perf_counter()
    kernel = built.kernel.name
    try:
        found, schedules = errors_of(box, built(case.name), case)
        twin, _ = errors_of(box, built(f"{case.name}_right"), case)
    except Exception as error:  # it is a row of the report and not the end of it
        return Row(kernel, case.key, 0, [], [], 0.0, f"{type(error).__name__}: {error}")
    at = [one for one in found if {frame.line for chain in (one.chain, one.other) for frame in chain} & case.lines]
    elsewhere = [] if at else [str(one) for one in found]
    seconds = round(time.perf_counter() - began, 2)
    return Row(kernel, case.key, schedules if at else 0, elsewhere, [str(one) for one in twin], seconds)


def table_of(rows: list[Row], kernels: list[KernelImage]) -> list[str]:
    """Races by kernel, as lines of Markdown."""
    table = [f"| kernel | {' | '.join(one.release for one in kernels)} |", f"|---|{'---|' * len(kernels)}"]
    by_kernel = [[row for row in rows if row.kernel == one.name] for one in kernels]
    counts = (
        ("races found at their line", lambda row: row.schedules),
        ("twins without an error", lambda row: not row.twin and not row.error),
    )
    for name, is_right in counts:
        sums = [f"{sum(bool(is_right(row)) for row in mine)} of {len(mine)}" for mine in by_kernel]
        table.append(f"| {name} | {' | '.join(sums)} |")
    medians = [sorted(row.schedules for row in mine)[len(mine) // 2] if mine else 0 for mine in by_kernel]
    table.append(f"| schedules that a race's module takes, median | {' | '.join(map(str, medians))} |")
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", default=",".join(KERNELS))
    parser.add_argument("--only", default="*")
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--update", type=Path)
    arguments = parser.parse_args()
    rows = []
    if arguments.rows is not None and arguments.rows.exists():
        rows = [Row(**json.loads(line)) for line in arguments.rows.read_text().splitlines()]
    done = {(row.kernel, row.race) for row in rows}
    kernels = [Store().ensure(name) for name in arguments.kernels.split(",")]
    for kernel in kernels:
        wanted = [case for case in cases(arguments.only) if (kernel.name, case.key) not in done]
        for group in dict.fromkeys(case.group for case in wanted):
            built = BuiltTestModules(kernel, group)
            for case in (one for one in wanted if one.group == group):
                with kobox.boot(kernel, cpus=CPUS, cmdline=CMDLINE) as box:
                    rows.append(tried(box, built, case))
                row = rows[-1]
                if arguments.rows is not None:
                    with arguments.rows.open("a") as file:
                        file.write(json.dumps(asdict(row)) + "\n")
                if not row.schedules or row.twin or row.error:
                    print(f"NOT {row.kernel} {row.race}: {row.error or row.twin or row.elsewhere}", flush=True)
    table = table_of(rows, kernels)
    print("\n".join(table))
    if arguments.update is not None:
        text = arguments.update.read_text()
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        arguments.update.write_text("\n".join([f"{before}{BEGIN}", "", *table, "", f"{END}{after}"]))
    return int(any(not row.schedules or row.twin or row.error for row in rows))


if __name__ == "__main__":
    sys.exit(main())
