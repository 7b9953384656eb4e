"""Objects on the stack that the kernel still knows when the system call is over: entries of wait queues.

DECLARE_WAITQUEUE(wait, current);
add_wait_queue(&queue, &wait);
if (file->f_flags & O_NONBLOCK)
        return -EAGAIN;              the queue still has &wait, and the next wake-up goes through it
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from kobox.box.inspect.objects import Objects
from kobox.box.inspect.probes import FROM_MODULE, Hit
from kobox.checks.report.finding import Resource, Severity
from kobox.checks.runner.session import Check, Examination, Trace
from kobox.errors import KoboxError

_ADDS = (
    *("add_wait_queue", "add_wait_queue_exclusive", "add_wait_queue_priority"),
    *("prepare_to_wait", "prepare_to_wait_exclusive", "prepare_to_wait_event"),
)
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
        if names:
            examination.probe(examination.box.arch.syscalls.entry, self._entered)

    def linked(self, examination: Examination) -> None:
        self._added.clear()

    def _adds(self, hit: Hit) -> None:
        stack_of = self._examination.box.arch.addresses.stack_of
        queue, entry = hit.args[:2]
        stack = stack_of(hit.registers.sp)
        if stack_of(entry) == stack:
            self._added.setdefault(stack, []).append((queue, entry, self._examination.trace(hit, limit=_LIMIT)))

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
