"""A life in which time passes before each call that the module's exit function makes: timers and work that it has not
stopped yet run between any two of them.

    tasklet_kill(&dev->tasklet);
                                   <- the timer fires, and schedules the tasklet that was killed
    del_timer_sync(&dev->timer);

What is armed again after it was stopped, and not stopped once more before exit returns, may run when its memory is
gone.
"""

from __future__ import annotations

import re
from functools import partial

from kobox.box.inspect.cpu_state import CpuReader, CpuState
from kobox.box.inspect.probes import FROM_MODULE, Hit
from kobox.checks.report.finding import Resource, Severity
from kobox.checks.runner.session import Check, Examination, Stage, Trace

_MILLISECONDS = 50
_PAUSES = 200  # in one life
STOPS = {
    **dict.fromkeys(("tasklet_kill", "tasklet_unlock_spin_wait"), ("tasklet", "tasklet_kill()")),
    **dict.fromkeys(("cancel_work_sync", "cancel_work", "flush_work"), ("work item", "cancel_work_sync()")),
    **dict.fromkeys(
        ("cancel_delayed_work_sync", "cancel_delayed_work", "flush_delayed_work"),
        ("delayed work item", "cancel_delayed_work_sync()"),
    ),
    **dict.fromkeys(
        ("del_timer_sync", "timer_delete_sync", "del_timer", "timer_delete", "try_to_del_timer_sync"),
        ("timer", "timer_delete_sync()"),
    ),
    "hrtimer_cancel": ("high-resolution timer", "hrtimer_cancel()"),
}
# Before these time passes. Not before those that other checks count: allocators, locks.
_ENDS = re.compile(r"(?:^|_)(?:unregister|deregister|del|destroy|remove|stop|cancel|kill)(?:_|$)")
_ARMS = {
    **dict.fromkeys(("__tasklet_schedule", "__tasklet_hi_schedule", "mod_timer", "add_timer"), 0),
    **dict.fromkeys(("hrtimer_start_range_ns",), 0),
    **dict.fromkeys(("queue_work_on", "queue_delayed_work_on", "mod_delayed_work_on"), 2),
}


class SlowExit(Check):
    """Lets the exit function sleep before each of its calls."""

    name = "slow-exit"

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._cpu = CpuReader(examination.box)
        self._sleeping: dict[int, tuple[int, ...]] = {}  # by stack: the arguments of the call that waits
        self._left = _PAUSES
        self._stopped: dict[int, tuple[str, str, Trace]] = {}
        self._again: dict[int, tuple[str, str, Trace]] = {}
        symbols = examination.box.inspect.symbols
        self._msleep = symbols.address("msleep")
        for name in sorted({wanted.name for wanted in examination.file.imports}):
            address = symbols.of_kernel(name)
            if address is not None and (name in STOPS or _ENDS.search(name)) and not name.startswith("kmem_"):
                examination.probe(name, partial(self._called, name), when=FROM_MODULE)
        for name, number in _ARMS.items():
            if name in symbols:
                examination.probe(name, partial(self._arms, number), when=FROM_MODULE)

    def exited(self, examination: Examination) -> None:
        for address, (what, how, trace) in self._again.items():
            chain = examination.chain(trace)
            label = f"{what} {examination.symbol(address)}".rstrip()
            examination.report(
                "left-behind",
                Severity.ERROR,
                f"{label} is armed again after {how} has stopped it",
                chain=chain,
                object=Resource(label, address, made_at=chain),
                advice="Stop first what arms it, such as a timer or an interrupt.",
            )
        self._again.clear()
        self._stopped.clear()

    def _arms(self, number: int, hit: Hit) -> None:
        key = hit.args[number]
        if self._examination.stage is Stage.EXIT and key in self._stopped:
            self._again[key] = self._stopped[key]

    def _called(self, name: str, hit: Hit) -> None:
        if self._examination.stage is not Stage.EXIT:
            return
        machine, stack = self._examination.box.machine, hit.registers.sp
        if (arguments := self._sleeping.pop(stack, None)) is not None:
            for number, value in enumerate(arguments):
                hit.set_argument(number, value)
            self._stops(name, arguments[0], hit)
            return
        state: CpuState = self._cpu.state(hit.registers)
        # A call by a jump at the end of a function would not be told as the module's when the function is met again.
        by_jump = not self._examination.in_module(hit.caller)
        if by_jump or self._left <= 0 or not state.may_sleep or state.is_spoilt:
            self._stops(name, hit.args[0], hit)
            return
        self._left -= 1
        self._sleeping[stack] = hit.args
        assert hit.probe.address is not None
        hit.set_argument(0, _MILLISECONDS)
        machine.arch.calls.call(machine, self._msleep, stack, returns_to=hit.probe.address)

    def _stops(self, name: str, address: int, hit: Hit) -> None:
        if name in STOPS:
            self._again.pop(address, None)
            self._stopped[address] = (*STOPS[name], self._examination.trace(hit))
