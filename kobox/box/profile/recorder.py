"""Counts what modules execute in a box while a `with` block lasts."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from kobox.box.profile.costs import CallChain, FunctionName, LineCost, ProfileCosts
from kobox.errors import KoboxError
from kobox.ko.modulefile import ModuleFile
from kobox.ko.name import SUFFIXES, canonical
from kobox.machine.profiler import CallProfiler, FunctionStart, packed

if TYPE_CHECKING:
    from kobox.box.inspect.inspector import Inspector
    from kobox.box.inspect.symbols import KernelSymbol
    from kobox.machine.pc import Machine
    from kobox.machine.subscribers import Subscribers

_CODE = "tTwW"
# The compiler's names for a part of a function that it has moved away, and what stands before one.
_MOVED = ".cold"
_PADDING = ("__pfx_", "__cfi_")


class Profile:
    """Costs of modules, as a context manager. `costs` has them once the block is left.

    Chains of calls begin with a function of the modules; what interrupts do in between is not theirs. Counting changes
    neither the run nor its virtual time. Raises `MachineError` when the box is profiled already.
    """

    def __init__(
        self,
        machine: Machine,
        inspect: Inspector,
        restored: Subscribers[[int], None],
        modules: tuple[str | os.PathLike[str], ...],
        release: str,
    ) -> None:
        self._machine, self._inspect, self._restored = machine, inspect, restored
        self._release = release
        paths = [one for one in modules if os.fspath(one).endswith(SUFFIXES)]
        files = tuple(map(ModuleFile, paths))
        names = [*(file.name for file in files), *(canonical(os.fspath(one)) for one in modules if one not in paths)]
        self._files = {file.name: file for file in files}
        self._names = frozenset(names)
        self._numbers: dict[tuple[str, str], int] = {}  # (function, module)
        self._kernel = b""
        self._places: list[tuple[int, int, KernelSymbol]] = []  # of modules' functions that there are now
        self._blocks: dict[tuple[str, str, int], dict[tuple[int, int], int]] = {}
        self._undo: list[Callable[[], None]] = []
        self._profiler: CallProfiler | None = None
        self._costs: ProfileCosts | None = None

    def __enter__(self) -> Profile:
        self._profiler = profiler = CallProfiler(self._machine)
        self._undo.append(profiler.close)
        self._kernel = packed(self._functions_of_the_kernel())
        self._look_at_modules()
        probes = self._inspect.probes
        self._undo.append(probes.add("do_init_module", lambda hit: self._look_at_modules()).remove)
        self._undo.append(probes.add("free_module", lambda hit: self._look_at_modules()).remove)
        self._undo.append(self._restored.subscribe(lambda checkpoint: profiler.restored()))
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._keep_blocks()
            self._costs = self._made()
        finally:
            for undo in reversed(self._undo):
                undo()
            self._profiler = None

    @property
    def costs(self) -> ProfileCosts:
        """What was counted. Raises `KoboxError` inside the block."""
        if self._costs is None:
            raise KoboxError("a profile has its costs when its block is left")
        return self._costs

    def _number(self, name: str, module: str) -> int:
        return self._numbers.setdefault((name.split(_MOVED)[0], module), len(self._numbers))

    def _functions_of_the_kernel(self) -> list[FunctionStart]:
        ways_in = self._inspect.arch.interrupt_entries
        found = []
        for address, letter_and_name in self._inspect.symbols.of_the_kernel():
            if chr(letter_and_name[0]) in _CODE:
                name = letter_and_name[1:].decode(errors="replace")
                if not name.startswith(_PADDING):
                    found.append(FunctionStart(address, self._number(name, ""), of_interrupt=name.startswith(ways_in)))
        return found

    def _look_at_modules(self) -> None:
        """A module has come or goes: which functions are where from now on."""
        assert self._profiler is not None
        self._keep_blocks()
        self._places, starts = [], list[FunctionStart]()
        symbols = self._inspect.symbols
        for module in symbols.modules():
            watched = not self._names or module.name in self._names
            known: set[int] = set()  # of several names of one place the first is the local one: not "init_module"
            for symbol in symbols.symbols_of(module.name):
                if symbol.kind in _CODE and not symbol.name.startswith(_PADDING) and symbol.address not in known:
                    known.add(symbol.address)
                    number = self._number(symbol.name, module.name)
                    starts.append(FunctionStart(symbol.address, number, of_module=watched))
                    if watched:
                        self._places.append((symbol.address, symbol.address + symbol.size, symbol))
        self._places.sort(key=lambda place: place[0])
        self._profiler.set_functions(self._kernel, packed(starts))

    def _keep_blocks(self) -> None:
        """Add the blocks of modules to those that are kept: by function and offset, which stay when a module goes."""
        from bisect import bisect_right

        assert self._profiler is not None
        starts = [start for start, _, _ in self._places]
        for block in self._profiler.blocks() if starts else ():
            at = bisect_right(starts, block.address) - 1
            if at < 0 or block.address >= self._places[at][1]:
                continue
            start, _, symbol = self._places[at]
            kept = self._blocks.setdefault((symbol.module, symbol.name, symbol.size), {})
            key = block.address - start, block.size
            kept[key] = kept.get(key, 0) + block.times

    def _made(self) -> ProfileCosts:
        assert self._profiler is not None
        names = list(self._numbers)
        nodes = self._profiler.nodes()
        stacks: list[tuple[FunctionName, ...]] = [()]
        chains = []
        for node in nodes[1:]:
            stacks.append((*stacks[node.parent], FunctionName(*names[node.function])))
            chains.append(CallChain(stacks[-1], node.calls, node.blocks, node.instructions, node.stack))
        return ProfileCosts(self._release, tuple(chains), tuple(self._lines()), self._profiler.is_whole)

    def _lines(self) -> list[LineCost]:
        counts: dict[tuple[str, str, int], list[int]] = {}
        for (module, function, size), blocks in self._blocks.items():
            file = self._files.get(module)
            place = _in_file(file, function, size) if file is not None else None
            if file is None or place is None:
                continue
            with suppress(KoboxError):
                self._add_lines(file, place, blocks, counts)
        found = [LineCost(*key, max(times), sum(times)) for key, times in counts.items()]
        return sorted(found, key=lambda one: (-one.instructions, one.file, one.line))

    def _add_lines(
        self,
        file: ModuleFile,
        place: tuple[int, int, int],
        blocks: dict[tuple[int, int], int],
        counts: dict[tuple[str, str, int], list[int]],
    ) -> None:
        """Each instruction belongs to a line of the function's own source: where a function was inlined, to the line
        that calls it. Blocks overlap where code is jumped into."""
        section, offset, size = place
        code = file.elf.data(section)[offset : offset + size]
        times: dict[int, int] = {}
        for (start, length), count in blocks.items():
            for one in self._inspect.arch.code.instructions(code, start, min(start + length, len(code))):
                times[one.offset] = times.get(one.offset, 0) + count
        for at, count in times.items():
            if lines := file.debug.lines(section, offset + at):
                counts.setdefault((file.name, lines[-1].file, lines[-1].line), []).append(count)


def _in_file(file: ModuleFile, name: str, size: int) -> tuple[int, int, int] | None:
    """(section, offset, size) of a function in its file; None where two have this name and size."""
    found = [one for one in file.debug.functions if one.name == name and one.size == size]
    return (found[0].section, found[0].offset, found[0].size) if len(found) == 1 else None
