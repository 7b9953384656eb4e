"""An examination: one life of a module in a clean box, with checks that watch it.

    examination = Examination(box, ModuleFile("hello.ko"), [Memory(), LeftBehind()])
    for finding in examination.run(exercise):
        print(finding)

    reset -> attach -> insmod: linked -> init -> exercise -> rmmod: exit -> settle -> gone -> detach
                                  failed init ----------------------------^

What is watched is decided by the checks alone; the box, the kernel and the module are as they are anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any

from kobox.checks.finding import Chain, Finding, Severity, Thing
from kobox.errors import BoxError, KoboxError, ModuleLoadError, ModuleUnloadError
from kobox.kernel.box import Box
from kobox.kernel.symbols import LoadedAt
from kobox.ko.modulefile import ModuleFile

SETTLE = 2.0
"""Virtual seconds that a box is given after unload: RCU callbacks, delayed work and what timers free."""

Exercise = Callable[[Box], Any]


class Stage(StrEnum):
    """What goes on in an examination."""

    BEFORE = "before"
    INIT = "init"
    EXERCISE = "exercise"
    EXIT = "exit"
    FAILED = "failed"  # init has returned an error
    AFTER = "after"


class Check:
    """What watches a module for one kind of mistake. One object serves one examination after the other."""

    name = ""

    def attach(self, examination: Examination) -> None:
        """The box is clean and the module not there yet: set probes."""

    def linked(self, examination: Examination) -> None:
        """The module is in memory (`examination.module`), its init has not run."""

    def leaving(self, examination: Examination) -> None:
        """The module's exit has returned, or its init failed; its memory is still there."""

    def gone(self, examination: Examination) -> None:
        """The module is unloaded and the box has settled: report what is left."""

    def detach(self, examination: Examination) -> None:
        """The examination is over, whatever became of it: take everything away that `attach` has set."""


class Examination:
    """One load, exercise and unload of a module under the eyes of `checks`. See the module's docstring."""

    def __init__(
        self, box: Box, file: ModuleFile, checks: Sequence[Check], *, parameters: str = "", loads: int = 1
    ) -> None:
        self.box = box
        self.file = file
        self.checks = list(checks)
        self.parameters = parameters
        self.loads = loads
        self.stage = Stage.BEFORE
        self.module: LoadedAt | None = None
        self.findings: list[Finding] = []
        self.error: Exception | None = None  # what ended it early: init's error, a dead box
        self._keys: set[Any] = set()
        self._probes: list[Any] = []

    # -- for checks --------------------------------------------------------------------------------------------

    def report(
        self,
        kind: str,
        severity: Severity,
        message: str,
        *,
        chain: Chain = (),
        thing: Thing | None = None,
        advice: str = "",
        records: Any = (),
    ) -> None:
        """Add a finding, once for each mistake."""
        found = Finding(kind, severity, message, chain, thing, str(self.stage), "", advice, tuple(records))
        if found.key not in self._keys:
            self._keys.add(found.key)
            self.findings.append(found)

    def probe(self, where: str | int, on_entry: Any = None, on_return: Any = None) -> Any:
        """A probe for the length of the examination."""
        probe = self.box.probe(where, on_entry, on_return)
        self._probes.append(probe)
        return probe

    def in_module(self, address: int) -> bool:
        """Whether an address lies in the module, while it is loaded."""
        return self.module is not None and address in self.module

    # -- running -----------------------------------------------------------------------------------------------

    def run(self, exercise: Exercise | None = None) -> list[Finding]:
        """Do it, in a box reset before; the findings, in order. Raises what `exercise` raises, but for the box's own
        errors: those end the examination, and are findings or `error`."""
        self.box.reset()
        try:
            for check in self.checks:
                check.attach(self)
            self._watch_linking()
            for _ in range(self.loads):
                if not self._live(exercise):
                    break
        except BoxError as error:
            self.error = error
        finally:
            for check in self.checks:
                check.detach(self)
            for probe in self._probes:
                probe.remove()
            self._probes.clear()
            self._hear_the_kernel()
        return self.findings

    def _live(self, exercise: Exercise | None) -> bool:
        self.stage = Stage.INIT
        try:
            loaded = self.box.insmod(self.file.content, self.parameters)
        except ModuleLoadError as error:
            self.error = error
            self._over(Stage.FAILED)
            return False
        self.stage = Stage.EXERCISE
        if exercise is not None:
            exercise(self.box)
        self.stage = Stage.EXIT
        try:
            loaded.unload()
        except ModuleUnloadError as error:
            self.error = error
            return False
        self._over(Stage.AFTER)
        return True

    def _over(self, stage: Stage) -> None:
        self.stage = stage
        self.box.sleep(SETTLE)
        for check in self.checks:
            check.gone(self)
        self.module = None

    def _watch_linking(self) -> None:
        name = self.file.name

        def came(hit: Any) -> None:
            found = next((part for part in self.box.symbols.modules() if part.name == name), None)
            if found is not None and self.module is None:
                self.module = found
                for check in self.checks:
                    check.linked(self)

        def leaves(hit: Any) -> None:
            if self.module is not None and hit.registers.rdi == self.module.address:
                for check in self.checks:
                    check.leaving(self)

        self.probe("do_init_module", came)
        self.probe("free_module", leaves)

    def _hear_the_kernel(self) -> None:
        """What the kernel itself has said is wrong."""
        with suppress(KoboxError):
            for found in self.box.findings:
                self.report(found.kind, Severity(found.severity), found.message, records=found.records)
