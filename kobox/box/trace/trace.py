"""A trace: what modules did while it went on, as a tree of calls.

with box.trace("hello.ko") as trace:
    box.insmod("hello.ko").unload()
print(trace)                               # the tree, as text
for call in trace.calls():                 # every call, in order
    print(call.name, call.arguments, call.said)
failed = trace.first_error()               # the innermost call that returned the error which the load failed with
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from kobox.box.booted import BootedKernel
from kobox.box.trace.call import Allocation, Call
from kobox.box.trace.recorder import Recorder, TraceOptions
from kobox.ko.modulefile import ModuleFile
from kobox.ko.name import from_path

_BACKGROUND = "the trace in the background"


class CallTrace:
    """The calls of modules in one box, from `__enter__` to `__exit__`; see `Box.trace`."""

    def __init__(
        self,
        box: BootedKernel,
        files: tuple[ModuleFile, ...],
        options: TraceOptions,
        subscribe: Callable[[Callable[[int], None]], Callable[[], None]],
    ) -> None:
        self._box = box
        self._files = files
        self._options = options
        self._subscribe = subscribe
        self._recorder: Recorder | None = None
        self._undo: Callable[[], None] = lambda: None
        self.started = 0
        """When it began: virtual nanoseconds since power on."""
        self.ended = 0
        """When it ended, likewise."""

    def __enter__(self) -> CallTrace:
        self.started = self._box.machine.time
        if (other := self._box.inspect.cache.pop(_BACKGROUND, None)) is not None:
            other.__exit__()
        recorder = self._recorder = Recorder(self._box, self._options)
        for file in self._files:
            recorder.add_file(file)
        self._undo = self._subscribe(lambda _before: recorder.restored())
        if self._options.background:
            self._box.inspect.cache[_BACKGROUND] = self
        return self

    def __exit__(self, *_: object) -> None:
        self._undo()
        if self._recorder is not None and self._box.alive:
            self.ended = self._box.machine.time
        if self._recorder is not None:
            self._recorder.close()

    # -- what was seen -----------------------------------------------------------------------------------------------

    @property
    def roots(self) -> list[Call]:
        """The outermost calls: system calls, and functions of the module that something else has called."""
        return self._recorder.roots if self._recorder is not None else []

    @property
    def modules(self) -> list[str]:
        """The modules that were seen."""
        return self._recorder.modules if self._recorder is not None else []

    @property
    def is_whole(self) -> bool:
        """Whether all calls are there; False when there were more than were asked for."""
        return self._recorder is None or not self._recorder.full

    @property
    def allocations(self) -> list[Allocation]:
        """What the modules have allocated by calls of their own, in order; `freed_by` is None for what is still
        there."""
        if self._recorder is None:
            return []
        found = [*self._recorder.freed, *self._recorder.live.values()]
        return sorted(found, key=lambda allocation: (allocation.call.start, allocation.call.order))

    def allocation_at(self, address: int) -> Allocation | None:
        """The last allocation that an address lies in, whether it was given back or not; None outside of all."""
        inside = [one for one in self.allocations if one.address <= address < one.address + one.size]
        return inside[-1] if inside else None

    def calls(self) -> Iterator[Call]:
        """Every call, in order of the tree."""
        for root in self.roots:
            yield from root.walk()

    # -- errors ------------------------------------------------------------------------------------------------------

    def errors(self) -> list[Call]:
        """The calls at which errors began, in the order in which they returned: those that returned an error which no
        call inside them had returned before."""
        found = [call for call in self.calls() if call.errno and not _same_inside(call)]
        return sorted(found, key=lambda call: call.order)

    def first_error(self, errno: int = 0) -> Call | None:
        """The call that first returned an error: -`errno`, or with 0 the one that the first failed root came back with;
        if no root has failed, any. None when there is none."""
        if not errno:
            errno = next((root.errno for root in self.roots if root.errno), 0)
        return next((call for call in self.errors() if not errno or call.errno == errno), None)

    # -- forms -------------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        from kobox.box.trace.text import tree_text

        return tree_text(self.roots)

    def plain(self) -> dict[str, object]:
        """The whole tree as plain data, for JSON."""
        from kobox.box.trace.plain import plain_trace

        return plain_trace(self.roots, self.modules, self.allocations, is_whole=self.is_whole)

    def perfetto(self) -> bytes:
        """The tree as a Chrome trace (JSON), which https://ui.perfetto.dev and chrome://tracing open."""
        from kobox.box.trace.perfetto import chrome_trace

        return chrome_trace(self.roots, ", ".join(self.modules) or "kernel", self.ended)

    def html(self) -> str:
        """The tree as one page to look at, without scripts and without a network."""
        from kobox.box.trace.page import page

        return page(self.roots, self.modules, self.allocations, self.errors())


def _same_inside(call: Call) -> bool:
    """Whether a call inside has come back with the same error."""
    return any(inner.errno == call.errno for inner in call.walk() if inner is not call)


def named(what: str | os.PathLike[str]) -> tuple[str, ModuleFile | None]:
    """(name of the module, its file if this is one's path)."""
    path = Path(what)
    if isinstance(what, str) and "/" not in what and not path.exists() and ".ko" not in path.name:
        return what.replace("-", "_"), None
    file = ModuleFile(path)
    return (file.name or from_path(str(path))).replace("-", "_"), file
