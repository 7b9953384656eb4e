"""Objects on the stack that are used when the system call is over: entries of wait queues, completions.

DECLARE_WAITQUEUE(wait, current);
add_wait_queue(&queue, &wait);
if (file->f_flags & O_NONBLOCK)
        return -EAGAIN;              the queue still has &wait, and the next wake-up goes through it

DECLARE_COMPLETION_ONSTACK(done);
device->done = &done;
if (!wait_for_completion_timeout(&done, HZ))
        return -ETIMEDOUT;           the interrupt will complete what is no more
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from kobox.box.inspect.objects import Objects
from kobox.box.inspect.probes import FROM_MODULE, Hit
from kobox.box.inspect.syscall_exit import syscall_exit
from kobox.checks.report.finding import Resource, Severity
from kobox.checks.resources.pending_work import PendingWork
from kobox.checks.runner.session import Check, Examination, Trace
from kobox.errors import KoboxError

_ADDS = (
    *("add_wait_queue", "add_wait_queue_exclusive", "add_wait_queue_priority"),
    *("prepare_to_wait", "prepare_to_wait_exclusive", "prepare_to_wait_event"),
)
_READY = (
    *(
        "__init_swait_queue_head",
        "__init_waitqueue_head",
        "wait_for_completion_timeout",
        "wait_for_completion_killable",
    ),
    *("wait_for_completion_interruptible", "wait_for_completion_interruptible_timeout", "wait_for_completion"),
    *("wait_for_completion_killable_timeout", "wait_for_completion_io", "wait_for_completion_io_timeout"),
)
"""What makes a completion or wait queue ready that its first argument points to, or waits for it."""
_WAKES = (
    *("complete", "complete_all", "complete_on_current_cpu", "swake_up_one", "swake_up_all", "__wake_up"),
    *("__wake_up_sync", "__wake_up_locked", "wake_up_bit"),
)
"""What uses one."""
_MANY = 256  # of them
_LIMIT = 24  # frames of a chain


class StackObjectCheck(Check):
    """Watches what the module adds to wait queues."""

    name = "stack-objects"

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._objects: Objects = examination.box.inspect.objects
        self._added: dict[int, list[tuple[int, int, Trace]]] = {}  # by stack: queue, entry, calls
        imports = {found.name for found in examination.file.imports}
        names = [name for name in _ADDS if name in imports and name in examination.box.inspect.symbols]
        for name in names:
            examination.probe(name, partial(self._adds), when=FROM_MODULE)
        symbols = examination.box.inspect.symbols
        self._ready: dict[int, tuple[int, Trace]] = {}  # completions and queues on the stack: that, calls
        self._ended: dict[int, Trace] = {}  # those whose system call is over
        ready = [name for name in _READY if name in imports and name in symbols]
        over = syscall_exit(examination.box) if ready else None
        ready = ready if over is not None else []
        for name in ready:
            examination.probe(name, self._makes_ready, when=FROM_MODULE)
        for name in _WAKES if ready else ():
            if name in imports and name in symbols:
                examination.probe(name, self._wakes, when=FROM_MODULE)
        if names or ready:
            examination.probe(examination.box.arch.syscalls.entry, self._entered)
        if over is not None:
            examination.probe(over, self._over)

    def linked(self, examination: Examination) -> None:
        self._added.clear()
        self._ready.clear()
        self._ended.clear()

    def _makes_ready(self, hit: Hit) -> None:
        stack_of, address = self._examination.box.arch.addresses.stack_of, hit.args[0]
        self._ended.pop(address, None)
        if stack_of(address) == stack_of(hit.registers.sp) and len(self._ready) < _MANY:
            self._ready[address] = stack_of(address), self._examination.trace(hit, limit=_LIMIT)

    def _wakes(self, hit: Hit) -> None:
        """complete(done): the wait queue of a completion lies in it."""
        queue = self._objects.offset("completion.wait") if str(hit.probe.where).startswith("complete") else 0
        for address in (hit.args[0], hit.args[0] + queue):
            if (made := self._ended.get(address)) is not None and not self._may_be_new(address, hit):
                examination = self._examination
                chain = examination.chain(made)
                examination.report(
                    "use-after-return",
                    Severity.ERROR,
                    f"{hit.probe.where}() is given an object on the stack of a system call that is over",
                    chain=examination.chain(hit),
                    object=Resource("completion or wait queue on the stack", address, made_at=chain),
                    advice="Before the function returns, stop what will wake it: a timer, an interrupt.",
                )
                hit.skip()  # it would write to the stack of another function
                return

    def _may_be_new(self, address: int, hit: Hit) -> bool:
        """Whether a task is in the module's code that may have made another object in the same place: nobody sees that
        being made."""
        examination = self._examination
        if examination.module is None or PendingWork(examination.box).asleep_in(examination.module, hit.registers.sp):
            return True
        stack_of = examination.box.arch.addresses.stack_of
        frames = examination.trace(hit).frames
        return any(examination.in_module(one.address) and stack_of(one.cfa) == stack_of(address) for one in frames)

    def _adds(self, hit: Hit) -> None:
        stack_of = self._examination.box.arch.addresses.stack_of
        queue, entry = hit.args[:2]
        stack = stack_of(hit.registers.sp)
        if stack_of(entry) == stack:
            self._added.setdefault(stack, []).append((queue, entry, self._examination.trace(hit, limit=_LIMIT)))

    def _over(self, hit: Hit) -> None:
        """A system call returns to user space: what lies on this stack is no more."""
        if self._ready:
            here = self._examination.box.arch.addresses.stack_of(hit.registers.sp)
            for address in [one for one, (stack, _) in self._ready.items() if stack == here]:
                self._ended[address] = self._ready.pop(address)[1]

    def _entered(self, hit: Hit) -> None:
        """A system call begins: of the one before, nothing on the stack is left."""
        for queue, entry, trace in self._added.pop(self._examination.box.arch.addresses.stack_of(hit.registers.sp), ()):
            if self._is_queued(queue, entry):
                self._report(entry, trace)

    def _is_queued(self, queue: int, entry: int) -> bool:
        objects = self._objects
        with suppress(KoboxError, ValueError):
            head = objects.member(queue, "wait_queue_head.head")
            return any(one == entry for one in objects.list(head, "wait_queue_entry.entry"))
        return False

    def _report(self, entry: int, trace: Trace) -> None:
        chain = self._examination.chain(trace)
        self._examination.report(
            "use-after-return",
            Severity.ERROR,
            "an entry on the stack is still in a wait queue when the system call is over",
            chain=chain,
            object=Resource("wait queue entry", entry, made_at=chain),
            advice="Call remove_wait_queue() or finish_wait() on each way out of the function.",
        )
