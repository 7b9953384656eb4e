"""Does the units of a plan that need two CPUs: the search for data races, and the replay of one."""

from __future__ import annotations

import time
from collections.abc import Callable

from kobox.box.box import Box
from kobox.checks.races.data_races import CMDLINE, CPUS, DataRaceSearch
from kobox.checks.races.own_races import OwnRaceSearch
from kobox.checks.races.race_calls import DataRace
from kobox.checks.report.finding import Finding, worst_first
from kobox.checks.runner.examiner import load_dependencies
from kobox.checks.runner.outcome import UnitOutcome
from kobox.checks.runner.plan import CheckPlan, CheckUnit
from kobox.checks.runner.session import Examination
from kobox.ko.modulefile import ModuleFile


class TwoCpuExaminer:
    """Looks for data races in a box of its own."""

    def __init__(self, plan: CheckPlan, booted: Callable[[], None] = lambda: None) -> None:
        """`booted()` is called when the box is there, before anything of a module is read or run."""
        from kobox.box.boot.boot import boot

        self._plan = plan
        self.box: Box = boot(plan.kernel, memory=plan.memory, cpus=CPUS, cmdline=CMDLINE)
        booted()
        self._file = ModuleFile(plan.module)
        for path in plan.needs:
            self.box.insmod(path)
        load_dependencies(self.box, self._file)
        self.box.set_reset_point()
        self._interfaces = frozenset(place.name for place in self.box.path("/sys/class/net").iterdir())

    def examine(self, unit: CheckUnit) -> UnitOutcome:
        """Do one unit."""
        begin = time.monotonic()
        replay, found, unchecked, schedules = self._plan.data_race, [], [], 0
        if replay is None or isinstance(replay, DataRace):
            search = DataRaceSearch(unit.programs, replay if isinstance(replay, DataRace) else None)
            examination = self._examination()
            search.examination = examination
            search.known_interfaces = self._interfaces
            examination.run(search)
            found, unchecked, schedules = examination.findings, examination.unchecked, search.schedules
        if not isinstance(replay, DataRace):
            examination = self._examination()
            own = OwnRaceSearch(examination, replay)
            own.run()
            found, unchecked = found + examination.findings, unchecked + examination.unchecked
            schedules += own.schedules
        return UnitOutcome(
            findings=tuple(_of_two_cpus(found)),
            release=self.box.release,
            lives=1,
            seconds=time.monotonic() - begin,
            unchecked=tuple(unchecked),
            schedules=schedules,
        )

    def _examination(self) -> Examination:
        return Examination(self.box, self._file, [], parameters=self._plan.parameters)


def _of_two_cpus(findings: list[Finding]) -> list[Finding]:
    """What a schedule has shown; what one CPU shows as well is another unit's to tell."""
    return [found for found in worst_first(findings) if found.fault]
