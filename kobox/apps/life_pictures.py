"""What pictures of a module's life are drawn from: its calls in time, its memory while it is loaded, who calls whom.

Each lives the life once. What it ended with, if that was an error, is `ended_by` of the life.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

from kobox.apps.module_life import ModuleLife
from kobox.box.box import Box
from kobox.box.inspect.module_memory import memory_of
from kobox.box.profile.costs import FunctionName, ProfileCosts
from kobox.box.trace.call import Call, CallKind
from kobox.errors import BoxError, KernelError, KoboxError
from kobox.graph.call_graph import CalledFunction, CallEdge, CallGraph
from kobox.graph.memory_map import PAGE, MappedSection, MemoryMap, PageRun
from kobox.graph.timeline import LifeLine, LifeSpan, LifeTimeline
from kobox.ko.elf import SHF_ALLOC
from kobox.ko.modulefile import ModuleFile

_MOST_SPANS = 5_000
_DEEPEST = 3
_LOADS = ("init_module", "finit_module")


class LifeOfModules:
    """What is lived: modules with their parameters, and how they are used meanwhile. `ended_by`: the error that ended
    the life, if one did."""

    def __init__(
        self,
        box: Box,
        files: Sequence[ModuleFile],
        parameters: Sequence[str],
        uses: Sequence[Callable[[Box], Any]] = (),
        commands: Sequence[str] = (),
    ) -> None:
        self.box, self.files = box, tuple(files)
        self._parameters, self._uses, self._command_lines = tuple(parameters), tuple(uses), tuple(commands)
        self.ended_by: str | None = None

    @property
    def name(self) -> str:
        """The module that it is about: the last one."""
        return self.files[-1].name

    def live(self, then: Callable[[Box], None] | None = None) -> None:
        """Live it once, and call `then` before the modules are unloaded."""
        uses = [*self._uses, self._commands, *([then] if then is not None else [])]
        life = ModuleLife(self.box, self.files, self._parameters, uses=uses)
        try:
            with self.box.guest.processes.budget(self.box.limits.cpu):
                life()
        except (BoxError, KernelError) as error:
            self.ended_by = error.message

    def _commands(self, box: Box) -> None:
        for command in self._command_lines:
            box.run(["/bin/sh", "-c", command], capture_output=True)


# -- in time ---------------------------------------------------------------------------------------------------------


def life_timeline(life: LifeOfModules) -> LifeTimeline:
    """Its calls and log lines in virtual time. Raises `KoboxError` for a kernel without type information."""
    box, times = life.box, list[int]()
    position = box.log.position()
    with (
        box.probe("vprintk_emit", lambda hit: times.append(box.machine.time)),
        box.trace(*(file.path for file in life.files), kernel_depth=0) as trace,
    ):
        life.live()
    records = box.log.since_position(position)
    lines: list[LifeLine] = []
    if times and records:
        offset = times[0] - round(records[0].time * 1e9)  # of the kernel's clock
        lines = [LifeLine(max(round(one.time * 1e9) + offset, times[0]), one.text) for one in records]
    spans = sorted(
        (span for root in trace.roots for span in _spans(root, trace.ended)),
        key=lambda span: (span.start, span.depth),
    )
    whole = trace.is_whole and len(spans) <= _MOST_SPANS
    title = f"the life of {life.name} on {box.release}"
    return LifeTimeline(title, tuple(spans[:_MOST_SPANS]), tuple(lines), whole)


def _spans(root: Call, ended: int) -> Iterator[LifeSpan]:
    context, kind = root.context, "call"
    if context.startswith(("interrupt in ", "softirq in ")):
        kind = "interrupt" if context.startswith("interrupt") else "timer"
        context = context.partition(" ")[0]
    if root.kind is CallKind.SYSCALL:
        kind = "load" if root.name in _LOADS else "unload" if root.name == "delete_module" else kind
    yield from _nested(root, context or "kernel", kind, 0, ended)


def _nested(call: Call, lane: str, kind: str, depth: int, ended: int) -> Iterator[LifeSpan]:
    yield LifeSpan(
        lane, call.name, kind, call.start, call.end if call.end is not None else max(ended, call.start), depth
    )
    if depth < _DEEPEST:
        below = "init" if kind == "load" else kind
        for child in call.children:
            if child.kind is CallKind.MODULE:
                yield from _nested(child, lane, below, depth + 1, ended)


# -- in memory -------------------------------------------------------------------------------------------------------


def life_memory(life: LifeOfModules) -> MemoryMap:
    """Its memory before it is unloaded. Raises `KoboxError` when it was not loaded."""
    found: list[MemoryMap] = []
    life.live(lambda box: found.append(_map_of(box, life.files[-1])))
    if not found:
        raise KoboxError(
            f"{life.name} was not loaded: {life.ended_by}", hint="`kobox run` and `kobox explain` tell more."
        )
    return found[0]


def _map_of(box: Box, file: ModuleFile) -> MemoryMap:
    memory = memory_of(box.inspect.objects, file.name)
    parts = memory.parts if memory is not None else ()
    runs = [run for start, end in sorted(parts) for run in _runs(box, start, -(-end // PAGE) * PAGE)]
    sections = list[MappedSection]()
    elf = file.elf
    for number, section in enumerate(elf.sections):
        name = elf.section_name(number).decode(errors="replace")
        if section.flags & SHF_ALLOC and section.size and "/" not in name:
            with suppress(OSError, ValueError):
                text = box.path(f"/sys/module/{file.name}/sections/{name}").read_text()
                sections.append(MappedSection(name, int(text, 16), section.size))
    return MemoryMap(f"the memory of {file.name} on {box.release}", tuple(runs), tuple(sections))


def _runs(box: Box, start: int, end: int) -> Iterator[PageRun]:
    """Pages in a row of which the page tables allow the same."""
    first, rights = start, ""
    for page in range(start, end, PAGE):
        here = _rights(box, page)
        if rights and here != rights:
            yield PageRun(first, page, rights)
            first = page
        rights = here
    if rights:
        yield PageRun(first, end, rights)


def _rights(box: Box, page: int) -> str:
    machine = box.machine
    if machine.translate(page) is None:
        return "---"
    write = machine.translate(page, write=True) is not None
    return f"r{'w' if write else '-'}{'x' if machine.translate(page, execute=True) is not None else '-'}"


# -- as a graph ------------------------------------------------------------------------------------------------------


def life_calls(life: LifeOfModules, depth: int = 1) -> CallGraph:
    """Who calls whom, `depth` functions of the kernel deep under the module."""
    with life.box.profile(*(file.path for file in life.files)) as profile:
        life.live()
    return _graph_of(profile.costs, depth, f"the calls of {life.name} on {life.box.release}")


def _graph_of(costs: ProfileCosts, depth: int, title: str) -> CallGraph:
    totals = {one.function: one for one in costs.functions}
    entries = {one.function for one in costs.entries}
    numbers: dict[FunctionName, int] = {}
    calls: dict[tuple[int, int], int] = {}
    inside: dict[tuple[int, int], int] = {}
    for chain in costs.chains:
        shown = chain.functions[: _shown(chain.functions, depth)]
        known = [numbers.setdefault(one, len(numbers)) for one in shown]
        edges = list(pairwise(known))
        for edge in dict.fromkeys(edges):
            inside[edge] = inside.get(edge, 0) + chain.instructions
        if edges and len(shown) == len(chain.functions):
            calls[edges[-1]] = calls.get(edges[-1], 0) + chain.calls
    functions = tuple(
        CalledFunction(one.name, one.module, totals[one].calls, totals[one].total, one in entries) for one in numbers
    )
    found = (CallEdge(*edge, calls.get(edge, 0), instructions) for edge, instructions in inside.items())
    return CallGraph(
        title, functions, tuple(sorted(found, key=lambda edge: (-edge.instructions, edge.caller, edge.callee)))
    )


def _shown(functions: Sequence[FunctionName], depth: int) -> int:
    """How many functions of a chain are shown: up to `depth` of the kernel's in a row."""
    kernel = 0
    for n, one in enumerate(functions):
        kernel = 0 if one.module else kernel + 1
        if kernel > depth:
            return n
    return len(functions)
