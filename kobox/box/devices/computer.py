"""The computer that a model is plugged into: a box, its time, and its timers.

While a timer of the model runs, the machine is stopped when it is due, between two instructions (`events.step`).
"""

from __future__ import annotations

from collections.abc import Callable

from kobox.box.booted import BootedKernel
from kobox.box.events import MachineStep
from kobox.devices.computer import Timer
from kobox.devices.errors import model_errors
from kobox.machine.devices import Attendant
from kobox.machine.native_core import FOREVER, Event

_TIMER_COST = 4  # in pieces of memory: what calling a model costs


class BoxComputer:
    """`kobox.devices.computer.Computer` of one model."""

    def __init__(self, box: BootedKernel) -> None:
        self._box = box
        self._timers: list[Timer] = []
        self._undo: Callable[[], None] | None = None

    @property
    def now(self) -> int:
        return self._box.machine.time

    def ring(self, who: Attendant) -> None:
        self._box.machine.devices.ring(who)

    def arm(self, timer: Timer) -> None:
        if timer not in self._timers:
            self._timers.append(timer)
        if self._undo is None:
            self._undo = self._box.guest.processes.events.step.subscribe(self._step)
        self.ring(self)  # the run that is under way may go on for longer than that

    def attend(self) -> None:
        """Nothing: the CPU has stopped, and runs no further than to the next timer."""

    def _step(self, run: MachineStep, until: int, blocks: int, stop_when_idle: bool) -> Event:
        due = self._next()
        event = run(min(until, due), blocks, stop_when_idle)
        if self._box.machine.time < due:
            return event
        self._fire()
        return Event.DEVICE if event is Event.DEADLINE and due < until else event

    def _next(self) -> int:
        self._timers = [timer for timer in self._timers if timer.due is not None and timer.owner.plugged]
        if not self._timers and self._undo is not None:
            self._undo()
            self._undo = None
        return min((timer.due for timer in self._timers if timer.due is not None), default=FOREVER)

    def _fire(self) -> None:
        now = self._box.machine.time
        for timer in sorted(self._timers, key=lambda timer: timer.due or 0):
            if timer.due is not None and timer.due <= now and timer.owner.plugged:
                timer.stop()
                work = self._box.machine.device_work
                work.begin()
                work.moved(0, _TIMER_COST)
                try:
                    with model_errors(timer.owner):
                        timer.call()
                finally:
                    self._box.machine.charge_work()
