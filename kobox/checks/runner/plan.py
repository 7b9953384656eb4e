"""What to check: a plan, and a unit of it, as small values that can be pickled. A worker needs them and a kernel's
snapshot, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from kobox.checks.faults.fault_injection import Faults, fault_id
from kobox.checks.fuzz.program import Program
from kobox.checks.races.own_races import OwnRace
from kobox.checks.races.race_calls import DataRace
from kobox.checks.races.races import Race
from kobox.devices.phantom_kinds import Identity, title_of
from kobox.devices.phantom_policy import Policy

HOSTILE_PARTS = 1  # more would find the same by other lies, as they happen to end first
BUS_PARTS = 4  # the same for lives whose bus fails

CHECKS = (
    "kobox.checks.memory.memory:MemoryCheck",
    "kobox.checks.resources.left_behind:LeftBehindCheck",
    "kobox.checks.resources.references:ReferenceCheck",
    "kobox.checks.resources.user_pages:UserPagesCheck",
    "kobox.checks.resources.counted:CountedCheck",
    "kobox.checks.resources.shown:ShownCheck",
    "kobox.checks.resources.id_tables:IdTableCheck",
    "kobox.checks.resources.handed_over:HandedOverCheck",
    "kobox.checks.resources.stack_objects:StackObjectCheck",
    "kobox.checks.context.context:ContextCheck",
    "kobox.checks.context.per_cpu:PerCpuCheck",
    "kobox.checks.arithmetic.shifts:ShiftCheck",
    "kobox.checks.arithmetic.divisions:DivisionCheck",
    "kobox.checks.returned:ReturnedCheck",
    "kobox.checks.lint:LintCheck",
)
"""The checks that watch every run, as module:class."""


class FoundPhantom(NamedTuple):
    """A phantom for the module: who it is, how it answers, how probe ended with it, after how many attempts."""

    identity: Identity
    policy: Policy
    result: str
    attempts: int

    def __str__(self) -> str:
        return (
            f"{title_of(self.identity)}: {self.result} after {self.attempts} attempt{'s' if self.attempts != 1 else ''}"
        )


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """What to check, and how. `module` is the path of a .ko file, `needs` those that are loaded before it; `kernel` a
    name in the cache; `exercise` is none, auto or the path of a Python file; `seconds` bounds the whole check in wall
    time. `elsewhere` are other kernels of the cache that are asked whether they would load it; with the `source` that
    it was built from, it is built for each. The programs of `corpus` are played
    before the exercise explores. That they refuse a file which was built for another is a finding only when
    they were named (`elsewhere_named`). With `phantom`, a driver gets a device that is made up for it
    (`device`, once it is found); with `hostile`, that also lies."""

    module: str
    kernel: str | None = None
    needs: tuple[str, ...] = ()
    parameters: str = ""
    exercise: str = "auto"
    loads: int = 3
    faults: bool = True
    depth: int = 1
    fault_tables: tuple[str, ...] = ()
    replay: Faults = ()
    preempt: int = 0
    race: Race | None = None
    races: bool = False
    data_race: DataRace | OwnRace | None = None
    seed: int = 0
    seconds: float = 60.0
    workers: int = 0
    checks: tuple[str, ...] = CHECKS
    memory: int = 256 << 20
    phantom: bool = True
    hostile: bool = False
    device: FoundPhantom | None = None
    corpus: tuple[Program, ...] = ()
    elsewhere: tuple[str, ...] = ()
    elsewhere_named: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class CheckUnit:
    """One run: a module's life, with what fails in it."""

    kind: str
    """life, fault, race; datarace: two CPUs; busy, firmware, fetch, slow: a life under other circumstances
    (`kobox.checks.variations`); unplug, bus, hostile: a life with a device that is taken out, whose
    bus fails, or that lies; phantom: such a
    device is looked for; elsewhere: no run; warm: nothing comes of it but a worker that is ready."""
    faults: Faults = ()
    programs: tuple[Program, ...] = ()
    part: int = 0  # of those of a kind that are done in HOSTILE_PARTS
    races: tuple[Race, ...] = ()  # one; at point 0: at all points that matter, POINTS of them at most

    def __str__(self) -> str:
        return fault_id(self.faults) or (self.races[0].words if self.races else self.kind)
