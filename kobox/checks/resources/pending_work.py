"""What will still call a module's code: timers, work, tasklets, RCU callbacks, threads, tasks that are in it, and files
that are open.

Nothing of this is counted: what the kernel itself keeps is looked at, when the module's exit has returned (or its init
failed) and its memory is still there. What is found then runs into memory that is gone.

    timers      timer_bases.vectors[]            include/linux/timer.h, kernel/time/timer.c
    hrtimers    hrtimer_bases.clock_base[]       kernel/time/hrtimer.c
    tasklets    tasklet_vec, tasklet_hi_vec      kernel/softirq.c
    RCU         rcu_data.cblist                  kernel/rcu/tree.c
    threads     init_task.tasks                  kernel/kthread.c
    files       task_struct.files, file.f_op     fs/file.c
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from kobox.arch.unwind import StackFrame
from kobox.box.box import Box
from kobox.box.inspect.objects import Objects
from kobox.box.inspect.symbols import LoadedAt
from kobox.errors import KoboxError

_PF_EXITING, _PF_KTHREAD = 0x4, 0x200000  # include/linux/sched.h
_WORK_PENDING = 1
_AWAITED = ("param_attr_show+", "param_attr_store+")  # mod_sysfs_teardown() waits for who is in a parameter's function

Mine = Callable[[int], bool]
"""Whether an address lies in the module."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One thing that will call `function` of the module: `kind` is timer, hrtimer, tasklet, rcu, work, kthread, task or
    file; `address` is the object's; `name` a thread's or a file's; `frames` where a task is. Of an open file `function`
    are its operations."""

    kind: str
    address: int
    function: int
    name: str = ""
    frames: tuple[StackFrame, ...] = ()


class PendingWork:
    """Looks for what waits in one box."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._objects: Objects = box.inspect.objects
        self._read = box.machine.read
        self._addresses = box.machine.arch.addresses

    def find(
        self, module: LoadedAt, works: tuple[int, ...] = (), stack_pointer: int = 0
    ) -> tuple[list[Waiting], list[str]]:
        """All that waits to call the module; and what could not be looked at, in words. `works` are work items that
        were queued; the task with this stack pointer is the one that runs now, and not looked at."""
        mine = _mine(module)
        found, unknown = self.soon(module, works)
        more, others = self._looked(
            ("threads", lambda: self._tasks(module, mine, self._addresses.stack_of(stack_pointer))),
            ("open files", lambda: self._files(mine)),
        )
        return found + more, unknown + others

    def soon(self, module: LoadedAt, works: tuple[int, ...]) -> tuple[list[Waiting], list[str]]:
        """What calls the module after some time, and nobody waits for: timers, tasklets, work items."""
        mine = _mine(module)
        return self._looked(
            ("timers", lambda: self._timers(mine)),
            ("high-resolution timers", lambda: self._hrtimers(mine)),
            ("tasklets", lambda: self._tasklets(mine)),
            ("work items", lambda: self._works(mine, works)),
        )

    @staticmethod
    def _looked(*looks: tuple[str, Callable[[], Iterator[Waiting]]]) -> tuple[list[Waiting], list[str]]:
        """What each look finds; and what could not be looked at, in words."""
        found: list[Waiting] = []
        unknown: list[str] = []
        for what, look in looks:
            try:
                found += look()
            except (KoboxError, ValueError) as error:
                unknown.append(f"{what}: {error}")
        return found, unknown

    def interrupted(self, module: LoadedAt, stack_pointer: int) -> list[Waiting]:
        """Tasks that are in the module's code, but for those in an RCU read-side section: the kernel waits for them."""
        try:
            return [
                one
                for one in self._tasks(module, _mine(module), self._addresses.stack_of(stack_pointer))
                if one.kind == "task" and not self._reads(one.address)
            ]
        except (KoboxError, ValueError):
            return []

    def _reads(self, task: int) -> bool:
        member = "task_struct.rcu_read_lock_nesting"
        return self._objects.has(member) and self._objects.number(task, member) != 0

    def asleep_in(self, module: LoadedAt, stack_pointer: int) -> tuple[StackFrame, ...]:
        """The calls of a task that sleeps in the module's code, or of another's that it called; () when none does. The
        task with this stack pointer is the one that runs now."""
        with suppress(KoboxError, ValueError):
            for found in self._tasks(module, lambda _: False, self._addresses.stack_of(stack_pointer)):
                return found.frames
        return ()

    def callbacks(self, module: LoadedAt) -> list[Waiting]:
        """RCU callbacks of the module that have not run."""
        try:
            return list(self._callbacks(_mine(module)))
        except (KoboxError, ValueError):
            return []

    # -- timers ------------------------------------------------------------------------------------------------

    def _timers(self, mine: Mine) -> Iterator[Waiting]:
        objects, btf = self._objects, self._box.inspect.symbols.btf
        size = btf.size("timer_base")
        function, buckets = objects.offset("timer_list.function"), btf.array_length("timer_base", "vectors")
        delayed = objects.address("delayed_work_timer_fn")
        each = range(self._box.inspect.symbols.extent("timer_bases") // size)
        for base in (first + n * size for first in objects.percpu_all("timer_bases") for n in each):
            vectors = objects.member(base, "timer_base.vectors")
            for first in filter(None, struct.unpack(f"<{buckets}Q", self._read(vectors, 8 * buckets))):
                for timer in objects.chain(first):
                    target = objects.u64(timer + function)
                    if mine(target):
                        yield Waiting("timer", timer, target)
                    elif target == delayed:
                        work = objects.container(timer, "delayed_work.timer")
                        with suppress(ValueError):
                            target = objects.number(work, "work_struct.func")
                            if mine(target):
                                yield Waiting("delayed work", work, target)

    def _hrtimers(self, mine: Mine) -> Iterator[Waiting]:
        objects, btf = self._objects, self._box.inspect.symbols.btf
        each = [objects.member(one, "hrtimer_cpu_base.clock_base") for one in objects.percpu_all("hrtimer_bases")]
        size, active = btf.size("hrtimer_clock_base"), objects.offset("hrtimer_clock_base.active")
        clocks = range(btf.array_length("hrtimer_cpu_base", "clock_base"))
        for base in (first + n * size for first in each for n in clocks):
            for node in objects.tree(base + active):
                timer = objects.container(node, "hrtimer.node")
                target = objects.number(timer, "hrtimer.function")
                if mine(target):
                    yield Waiting("hrtimer", timer, target)

    # -- what is called soon -----------------------------------------------------------------------------------

    def _tasklets(self, mine: Mine) -> Iterator[Waiting]:
        objects = self._objects
        member = "tasklet_struct.func"
        for vector in (one for name in ("tasklet_vec", "tasklet_hi_vec") for one in objects.percpu_all(name)):
            for tasklet in objects.chain(objects.number(vector, "tasklet_head.head")):
                target = objects.number(tasklet, member)
                if mine(target):
                    yield Waiting("tasklet", tasklet, target)

    def _callbacks(self, mine: Mine) -> Iterator[Waiting]:
        objects = self._objects
        heads = (objects.number(one, "rcu_data.cblist.head") for one in objects.percpu_all("rcu_data"))
        for callback in (one for head in heads for one in objects.chain(head)):
            target = objects.number(callback, "callback_head.func")
            if mine(target):
                yield Waiting("rcu", callback, target)

    def _works(self, mine: Mine, works: tuple[int, ...]) -> Iterator[Waiting]:
        objects = self._objects
        for work in works:
            with suppress(ValueError):
                target = objects.number(work, "work_struct.func")
                entry = objects.member(work, "work_struct.entry")
                queued = objects.u64(entry) not in (0, entry)  # else its timer has not expired, or it was cancelled
                if mine(target) and queued and objects.number(work, "work_struct.data") & _WORK_PENDING:
                    yield Waiting("work", work, target)

    # -- tasks -------------------------------------------------------------------------------------------------

    def _all_tasks(self) -> Iterator[int]:
        first = self._objects.address("init_task")
        return self._objects.list(self._objects.member(first, "task_struct.tasks"), "task_struct.tasks")

    def _tasks(self, module: LoadedAt, mine: Mine, running: int) -> Iterator[Waiting]:
        number = self._objects.number
        for task in self._all_tasks():
            flags = number(task, "task_struct.flags")
            if flags & _PF_EXITING or number(task, "task_struct.exit_state"):
                continue
            if flags & _PF_KTHREAD and (kthread := self._kthread(task)):
                target = number(kthread, "kthread.threadfn")
                if mine(target):
                    yield Waiting("kthread", task, target, self._objects.text(task, "task_struct.comm"))
                    continue
            stack = number(task, "task_struct.stack")
            if stack != running and (frames := self._inside(task, stack, module)):
                place = next(frame for frame in frames if frame.address in module)
                yield Waiting("task", task, place.address, self._objects.text(task, "task_struct.comm"), frames)

    def _files(self, mine: Mine) -> Iterator[Waiting]:
        """Files that are open, and whose operations lie in the module."""
        objects, number = self._objects, self._objects.number
        tables = {number(task, "task_struct.files") for task in self._all_tasks()} - {0}
        operations = objects.offset("file.f_op")
        for table in sorted(number(files, "files_struct.fdt") for files in tables):
            count, array = number(table, "fdtable.max_fds"), number(table, "fdtable.fd")
            for file in filter(None, struct.unpack(f"<{count}Q", self._read(array, 8 * count))):
                if mine(target := objects.u64(file + operations)):
                    entry = number(file, "file.f_path.dentry")
                    yield Waiting("file", file, target, objects.text(entry, "dentry.d_name.name"))

    def _kthread(self, task: int) -> int:
        """struct kthread of a kernel thread: `worker_private` since 5.17, `set_child_tid` before."""
        member = "worker_private" if self._objects.has("task_struct.worker_private") else "set_child_tid"
        return self._objects.number(task, f"task_struct.{member}")

    def _inside(self, task: int, stack: int, module: LoadedAt) -> tuple[StackFrame, ...]:
        """The calls of a task that sleeps in the module's code; () for all others."""
        at = self._box.inspect.unwinder.asleep_sp(task)
        if not stack <= at < stack + self._addresses.thread_size:
            return ()
        low, high = _span(module)
        words = self._read(at, stack + self._addresses.thread_size - at)
        if low >> 24 == high >> 24 and (low >> 24).to_bytes(5, "little") not in words:
            return ()
        if not any(low <= word < high for word in struct.unpack_from(f"<{len(words) // 8}Q", words)):
            return ()
        frames = self._box.inspect.unwinder.asleep(task)
        if any(self._box.inspect.symbols.describe(frame.inside).startswith(_AWAITED) for frame in frames):
            return ()
        return frames if any(frame.address in module for frame in frames) else ()


def _span(module: LoadedAt) -> tuple[int, int]:
    """From the first byte of a module to behind its last; others may lie between."""
    parts = [part for part in module.parts if part[1]]
    return min(start for start, _ in parts), max(start + size for start, size in parts)


def _mine(module: LoadedAt) -> Mine:
    low, high = _span(module)
    return lambda address: low <= address < high and address in module
