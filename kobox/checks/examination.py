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

from kobox.checks.finding import Chain, Finding, Severity, Thing, chain_of, frame_of
from kobox.errors import (
    BoxError,
    BoxHungError,
    BoxTimeoutError,
    KoboxError,
    ModuleLoadError,
    ModuleUnloadError,
)
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
        self, box: Box, file: ModuleFile | None, checks: Sequence[Check], *, parameters: str = "", loads: int = 1
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
        self.lives = 0  # how often the module was loaded and unloaded again
        self.fault = ""  # the ID of what is made to fail
        self._gone = False  # the module has left, and the box has not settled yet
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
        found = Finding(kind, severity, message, chain, thing, str(self.stage), self.fault, advice, tuple(records))
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
        self.begin()
        try:
            for _ in range(self.loads):
                if not self._live(exercise):
                    break
        except BoxError as error:
            self.error = error
            self._give_up(error)
        finally:
            self.finish()
        return self.findings

    def begin(self) -> None:
        """Make the box clean and let the checks begin: for those who load and unload the module themselves, and call
        `finish` in the end."""
        self.box.reset()
        try:
            for check in self.checks:
                check.attach(self)
            self._watch_linking()
        except BaseException:
            self.finish()
            raise

    def finish(self) -> None:
        """Let the checks end, and hear what the kernel has to say."""
        try:
            if self._gone and self.box.alive:
                self._over(Stage.AFTER)
        finally:
            for check in self.checks:
                check.detach(self)
            for probe in self._probes:
                probe.remove()
            self._probes.clear()
            self._hear_the_kernel()

    def _live(self, exercise: Exercise | None) -> bool:
        assert self.file is not None
        self.stage = Stage.INIT
        try:
            loaded = self.box.insmod(self.file.content, self.parameters)
        except ModuleLoadError as error:
            self.error = error
            if self.lives:
                self.report(
                    "reload-failed",
                    Severity.ERROR,
                    f"load number {self.lives + 1} failed, the first worked: {error.strerror}",
                    advice="Its exit function, or its statics, leave something behind that the next init trips over.",
                )
            self._over(Stage.FAILED)
            return False
        self.stage = Stage.EXERCISE
        if exercise is not None:
            self._exercise(exercise)
        self.stage = Stage.EXIT
        try:
            loaded.unload()
        except ModuleUnloadError as error:
            self.error = error
            return False
        self._over(Stage.AFTER)
        self.lives += 1
        return True

    def _exercise(self, exercise: Exercise) -> None:
        """Run it, and close what it has left open: a file that is open keeps the module."""
        first_free = self.box.syscall("open", "/", 0)
        self.box.syscall("close", first_free)
        try:
            exercise(self.box)
        except BoxError:
            raise
        except Exception as error:
            if self.fault:  # a call that fails is what was asked for
                return
            self.report(
                "exercise-failed",
                Severity.ERROR,
                f"the exercise failed: {type(error).__name__}: {error}",
                advice="Either the module does not do what the exercise expects, or the exercise expects the wrong thing.",
            )
        finally:
            if self.box.alive:
                with suppress(OSError):
                    self.box.syscall("close_range", first_free, 0xFFFFFFFF, 0)

    def _over(self, stage: Stage) -> None:
        self.stage = stage
        self._gone = False
        self.box.sleep(SETTLE)
        for check in self.checks:
            check.gone(self)
        self.module = None

    def _watch_linking(self) -> None:
        if self.file is None:
            return
        name = self.file.name

        def came(hit: Any) -> None:
            found = next((part for part in self.box.symbols.modules() if part.name == name), None)
            if found is not None and (self.module is None or self._gone):
                self._gone = False
                self.module = found
                for check in self.checks:
                    check.linked(self)

        def leaves(hit: Any) -> None:
            if self.module is not None and hit.registers.rdi == self.module.address:
                self._gone = True
                for check in self.checks:
                    check.leaving(self)

        self.probe("do_init_module", came)
        self.probe("free_module", leaves)

    def _give_up(self, error: BoxError) -> None:
        """A call that did not come back is a finding; what has killed a process or the kernel stands in the kernel's
        log."""
        if isinstance(error, (BoxHungError, BoxTimeoutError)):
            how = "it spins" if isinstance(error, BoxHungError) else "it sleeps for something that does not happen"
            frame = frame_of(error.rip)
            self.report(
                "hang",
                Severity.ERROR,
                f"{self.stage!s} does not come back: {how}",
                chain=(frame,) if frame else (),
                advice="Look for a loop whose condition nobody changes, a lock taken twice, a wait without its wake-up.",
            )

    def _hear_the_kernel(self) -> None:
        """What the kernel itself has said is wrong."""
        with suppress(KoboxError):
            for found in self.box.findings:
                chain = chain_of([record.text for record in found.records])
                self.report(found.kind, Severity(found.severity), found.message, chain=chain, records=found.records)
