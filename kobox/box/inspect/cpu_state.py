"""What the CPU may do at a moment: whether it may sleep, and why not.

preempt_count: bits 0-7 preemption off, 8-15 softirq (bit 8: serving, each 0x200: off), 16-19 hard interrupt, 20-23 NMI
(include/linux/preempt.h); with whether the CPU takes interrupts, and the task's depth of RCU read-side sections
(CONFIG_PREEMPT_RCU).
"""

from __future__ import annotations

from dataclasses import dataclass

from kobox.arch.registers import Registers
from kobox.box.booted import BootedKernel
from kobox.box.inspect.objects import Objects
from kobox.errors import KoboxError
from kobox.machine.watch_context import CpuPlaces

_PREEMPT, _SOFTIRQ, _HARDIRQ, _NMI = 0xFF, 0xFF00, 0xF0000, 0xF00000
_SERVING_SOFTIRQ = 0x100
_NO_SETAFFINITY = 0x04000000  # PF_NO_SETAFFINITY, include/linux/sched.h
_WORD = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class CpuState:
    """One moment. `count` is preempt_count without its flag, `interrupts` whether they are on, `rcu` how many read-side
    sections the task is in."""

    count: int
    interrupts: bool
    rcu: int

    @property
    def in_hardirq(self) -> bool:
        return bool(self.count & (_HARDIRQ | _NMI))

    @property
    def in_softirq(self) -> bool:
        """Whether a softirq is served: a timer, a tasklet, the network."""
        return bool(self.count & _SERVING_SOFTIRQ)

    @property
    def softirqs(self) -> bool:
        """Whether a softirq may interrupt."""
        return self.interrupts and not self.count & (_SOFTIRQ | _HARDIRQ | _NMI)

    @property
    def may_sleep(self) -> bool:
        return self.interrupts and not self.count and not self.rcu

    @property
    def is_spoilt(self) -> bool:
        """Whether the count has gone below zero, as after "scheduling while atomic": then it says nothing any more."""
        return self.count & _PREEMPT > 0x80

    def why_not(self) -> str:
        """Why it may not sleep, in words; the strongest reason."""
        if self.in_hardirq:
            return "a hard interrupt is served"
        if self.in_softirq:
            return "a softirq (a timer, a tasklet, the network) is served"
        if not self.interrupts:
            return "interrupts are off"
        if self.count & _PREEMPT:
            return "preemption is off"
        if self.count & _SOFTIRQ:
            return "softirqs are off"
        return "an RCU read-side section is open" if self.rcu else ""


class CpuReader:
    """Reads the state of a box's CPU. Raises `KoboxError` when this kernel does not count preemption."""

    def __init__(self, box: BootedKernel) -> None:
        objects: Objects = box.inspect.objects
        self._objects, self._machine = objects, box.machine
        symbols = box.inspect.symbols
        self._counts_preemption = "preempt_schedule" in symbols
        self._counts: list[int] = []  # where each CPU counts, if not each task
        self._currents: list[int] = []  # where each CPU's task stands, if no register holds it
        self._count_in_task = 0
        if "__preempt_count" in symbols:
            self._counts = objects.percpu_all("__preempt_count")
        elif objects.has("pcpu_hot.preempt_count"):  # 6.2 to 6.14
            self._counts = [objects.member(at, "pcpu_hot.preempt_count") for at in objects.percpu_all("pcpu_hot")]
        elif objects.has("task_struct.thread_info.preempt_count"):
            self._count_in_task = objects.offset("task_struct.thread_info.preempt_count")
        else:
            raise KoboxError("this kernel does not count preemption")
        if "current_task" in symbols:
            self._currents = objects.percpu_all("current_task")
        elif objects.has("pcpu_hot.current_task"):
            self._currents = [objects.member(at, "pcpu_hot.current_task") for at in objects.percpu_all("pcpu_hot")]
        self._rcu = objects.offset("task_struct.rcu_read_lock_nesting") if self.counts_rcu else 0

    @property
    def counts_preemption(self) -> bool:
        """Whether spin locks and preempt_disable() are counted (CONFIG_PREEMPT_COUNT, with CONFIG_PREEMPTION)."""
        return self._counts_preemption

    @property
    def places(self) -> CpuPlaces:
        """Where the state stands."""
        base = self._objects.percpu("__per_cpu_start") - self._objects.address("__per_cpu_start")
        return CpuPlaces(
            self._counts[0] - base & _WORD if self._counts else None,
            self._count_in_task,
            self._currents[0] - base & _WORD if self._currents else None,
            self._rcu,
        )

    @property
    def counts_rcu(self) -> bool:
        """Whether tasks count their RCU read-side sections (CONFIG_PREEMPT_RCU)."""
        return self._objects.has("task_struct.rcu_read_lock_nesting")

    @property
    def current(self) -> int:
        """The task that runs on the CPU that has its turn."""
        if not self._currents:
            return self._machine.registers().current
        return self._objects.pointer(self._currents[self._machine.cpu])

    def state(self, registers: Registers) -> CpuState:
        """What holds now."""
        at = self._counts[self._machine.cpu] if self._counts else self.current + self._count_in_task
        count = self._objects.u32(at) & 0xFFFFFF
        rcu = self._objects.u32(self.current + self._rcu) if self._rcu else 0
        return CpuState(count, registers.interrupts_enabled, rcu if rcu < 1 << 31 else 0)

    def faults_disabled(self) -> bool:
        """Whether the task has disabled page faults, so that copying from user space does not sleep."""
        return bool(self._objects.number(self.current, "task_struct.pagefault_disabled"))

    def stays(self) -> bool:
        """Whether the task that runs may not be moved to another CPU: it has migration disabled, or is a thread of the
        kernel that is bound. How many CPUs it may use does not tell: here there is one."""
        task, objects = self.current, self._objects
        disabled = "task_struct.migration_disabled"
        if objects.has(disabled) and objects.number(task, disabled):
            return True
        return bool(objects.number(task, "task_struct.flags") & _NO_SETAFFINITY)

    def stack_of(self, task: int) -> int:
        """Where a task's stack begins (its lowest address)."""
        return self._objects.number(task, "task_struct.stack")
