"""Counts what modules execute in a box while a `with` block lasts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

from kobox.box.profile.accounts import KeptCall, LockAccount, LogAccount, MemoryAccount, book, site_of
from kobox.box.profile.costs import CallChain, FunctionName, LineCost, ProfileCosts
from kobox.box.profile.load_times import LoadTimes
from kobox.box.profile.noted_functions import NotedFunction, noted_functions
from kobox.box.profile.resources import InterruptsOff, ResourceCosts, SyscallCost
from kobox.errors import KoboxError
from kobox.ko.demangle import demangle
from kobox.ko.modulefile import ModuleFile
from kobox.ko.name import SUFFIXES, canonical
from kobox.machine.profiler import CallProfiler, ChainNode, FunctionStart, Noted, NotedCall, packed

if TYPE_CHECKING:
    from kobox.box.inspect.inspector import Inspector
    from kobox.box.inspect.symbols import KernelSymbol
    from kobox.machine.pc import Machine
    from kobox.machine.subscribers import Subscribers

_CODE = "tTwW"
# The compiler's names for a part of a function that it has moved away, and what stands before one.
_MOVED = ".cold"
_PADDING = ("__pfx_", "__cfi_")
_DATA = "bBdD"
_MOST_CACHES = 40 * 16

_Function = tuple[str, str, int]
"""A function of a module: its name, the module's, its size."""


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
        self._blocks: dict[_Function, dict[tuple[int, int], int]] = {}
        self._noted = noted_functions(inspect)
        self._sites: list[tuple[_Function, int] | None] = []  # of each note, (function, offset)
        self._variables: dict[int, str] = {}  # of a note, the lock's name
        self._known_lines: dict[tuple[_Function, int], str] = {}
        self._segments: list[int] = []  # how many notes there were when the box went back in time
        self._load_times = LoadTimes(machine, inspect, self._is_profiled)
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
        self._undo.append(self._restored.subscribe(lambda checkpoint: self._went_back()))
        self._undo.append(self._load_times.start())
        with suppress(KoboxError):
            offset = self._inspect.symbols.btf.offset
            profiler.set_cache_layout(offset("kmem_cache", "object_size"), offset("kmem_cache", "size"))
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._keep_blocks()
            self._keep_sites()
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

    def _is_profiled(self, module: str) -> bool:
        return not self._names or module in self._names

    def _went_back(self) -> None:
        """The box has gone back in time: other calls are under way."""
        assert self._profiler is not None
        self._keep_sites()
        self._segments.append(len(self._sites))
        self._profiler.restored()

    def _number(self, name: str, module: str) -> int:
        return self._numbers.setdefault((name.split(_MOVED)[0], module), len(self._numbers))

    def _functions_of_the_kernel(self) -> list[FunctionStart]:
        ways_in = self._inspect.arch.interrupt_entries
        found = []
        for address, letter_and_name in self._inspect.symbols.of_the_kernel():
            if chr(letter_and_name[0]) in _CODE:
                name = letter_and_name[1:].decode(errors="replace")
                if not name.startswith(_PADDING):
                    note = self._noted.get(name)
                    syscall = Noted.SYSCALL if name.startswith(self._inspect.arch.syscalls.prefix) else 0
                    found.append(
                        FunctionStart(
                            address,
                            self._number(name, ""),
                            of_interrupt=name.startswith(ways_in),
                            noted=note.noted if note is not None else syscall | _part(name),
                            argument=note.argument if note is not None else 0,
                        )
                    )
        return found

    def _look_at_modules(self) -> None:
        """A module has come or goes: which functions are where from now on."""
        assert self._profiler is not None
        self._keep_blocks()
        self._keep_sites()
        self._places, starts = [], list[FunctionStart]()
        symbols = self._inspect.symbols
        for module in symbols.modules():
            watched = self._is_profiled(module.name)
            known: set[int] = set()  # of several names of one place the first is the local one: not "init_module"
            for symbol in symbols.symbols_of(module.name):
                if symbol.kind in _CODE and not symbol.name.startswith(_PADDING) and symbol.address not in known:
                    known.add(symbol.address)
                    number = self._number(symbol.name, module.name)
                    starts.append(FunctionStart(symbol.address, number, of_module=watched, noted=_part(symbol.name)))
                    if watched:
                        self._places.append((symbol.address, symbol.address + symbol.size, symbol))
        self._places.sort(key=lambda place: place[0])
        self._profiler.set_functions(self._kernel, packed(starts))

    def _place(self, address: int) -> tuple[_Function, int] | None:
        """The function of a module at an address, and the offset in it: these stay when the module goes."""
        from bisect import bisect_right

        at = bisect_right(self._places, address, key=lambda place: place[0]) - 1
        if at < 0 or address >= self._places[at][1]:
            return None
        start, _, symbol = self._places[at]
        return (symbol.module, symbol.name, symbol.size), address - start

    def _keep_blocks(self) -> None:
        """Add the blocks of modules to those that are kept: by function and offset."""
        assert self._profiler is not None
        for block in self._profiler.blocks() if self._places else ():
            if (place := self._place(block.address)) is not None:
                kept = self._blocks.setdefault(place[0], {})
                key = place[1], block.size
                kept[key] = kept.get(key, 0) + block.times

    def _keep_sites(self) -> None:
        """Find out where the calls were made that were noted since last time, while modules are where they are now."""
        assert self._profiler is not None
        names = list(self._numbers)
        for note in self._profiler.notes(len(self._sites)):
            self._sites.append(self._place(note.site - 1) if note.site else None)
            function = self._noted.get(names[note.function][0])
            if function is not None and function.kind and function.noted == Noted.DIRECT:
                symbol = self._inspect.symbols.lookup(note.first)
                if symbol is not None and symbol.kind in _DATA and note.first < symbol.address + max(symbol.size, 1):
                    self._variables[len(self._sites) - 1] = symbol.name

    def _made(self) -> ProfileCosts:
        assert self._profiler is not None
        names = list(self._numbers)
        nodes = self._profiler.nodes()
        stacks: list[tuple[FunctionName, ...]] = [()]
        chains = []
        for node in nodes[1:]:
            name, module = names[node.function]
            stacks.append((*stacks[node.parent], FunctionName(demangle(name), module)))
            chains.append(CallChain(stacks[-1], node.calls, node.blocks, node.instructions, node.stack))
        resources = self._resources(nodes, stacks, names)
        return ProfileCosts(
            self._release, tuple(chains), tuple(self._lines()), self._profiler.is_whole, resources=resources
        )

    # -- what is not instructions -----------------------------------------------------------------------------------

    def _resources(
        self, nodes: Sequence[ChainNode], stacks: Sequence[tuple[FunctionName, ...]], names: Sequence[tuple[str, str]]
    ) -> ResourceCosts:
        assert self._profiler is not None
        notes = self._profiler.notes()
        kept = [self._kept(n, note, self._noted[names[note.function][0]], stacks) for n, note in enumerate(notes)]
        memory, locks, log = MemoryAccount(self._slots()), LockAccount(), LogAccount()
        ends = [*self._segments, len(kept)]
        book([kept[first:end] for first, end in pairwise([0, *ends])], memory, locks, log)
        prefix = len(self._inspect.arch.syscalls.prefix)
        syscalls = [
            SyscallCost(names[one.function][0][prefix:], one.calls, one.instructions, one.most)
            for one in self._profiler.syscalls()
        ]
        loads, probes = self._load_times.rows()
        return ResourceCosts(
            memory.rows(),
            log.rows(),
            locks.rows(),
            self._interrupts_off(nodes, stacks),
            tuple(sorted(syscalls, key=lambda one: (-one.instructions, one.name))),
            loads,
            probes,
            memory.peak,
            memory.peak_used,
        )

    def _kept(
        self, number: int, note: NotedCall, function: NotedFunction, stacks: Sequence[tuple[FunctionName, ...]]
    ) -> KeptCall:
        place = self._line_of(self._sites[number]) if number < len(self._sites) else ""
        return KeptCall(note, function, stacks[note.node], place, self._variables.get(number, ""))

    def _interrupts_off(
        self, nodes: Sequence[ChainNode], stacks: Sequence[tuple[FunctionName, ...]]
    ) -> tuple[InterruptsOff, ...]:
        found: dict[tuple[str, str, str, bool], tuple[int, int, int]] = {}
        for node, chain in zip(nodes, stacks, strict=True):
            if node.off_times:
                site = site_of(chain)
                key = site.module, site.function, site.callee, bool(node.off_inside)
                times, ns, longest = found.get(key, (0, 0, 0))
                found[key] = times + node.off_times, ns + node.off_ns, max(longest, node.off_longest)
        rows = [
            InterruptsOff(module, function, "", callee, *numbers, by_kernel)
            for (module, function, callee, by_kernel), numbers in found.items()
        ]
        return tuple(sorted(rows, key=lambda row: (-row.longest_ns, row.module, row.function, row.callee)))

    def _slots(self) -> list[int]:
        """The sizes of kmalloc's caches."""
        objects, sizes = self._inspect.objects, set[int]()
        with suppress(KoboxError, ValueError):
            table = objects.address("kmalloc_caches")
            for n in range(_MOST_CACHES):
                cache = objects.pointer(table + objects.word * n)
                if cache and not objects.text(cache, "kmem_cache.name").startswith("kmalloc-"):
                    break  # past the table's end
                if cache:
                    sizes.add(objects.number(cache, "kmem_cache.object_size"))
        return sorted(sizes) or [8 << n for n in range(11)]

    def _line_of(self, place: tuple[_Function, int] | None) -> str:
        """A place in a function as "file.c:12"."""
        if place is None:
            return ""
        if place not in self._known_lines:
            (module, name, size), offset = place
            file = self._files.get(module)
            found = _in_file(file, name, size) if file is not None else None
            self._known_lines[place] = ""
            with suppress(KoboxError):
                if file is not None and found and (lines := file.debug.lines(found[0], found[1] + offset)):
                    self._known_lines[place] = f"{lines[-1].file}:{lines[-1].line}"
        return self._known_lines[place]

    # -- lines --------------------------------------------------------------------------------------------------------

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


def _part(name: str) -> int:
    return Noted.PART if _MOVED in name else 0


def _in_file(file: ModuleFile, name: str, size: int) -> tuple[int, int, int] | None:
    """(section, offset, size) of a function in its file; None where two have this name and size."""
    found = [one for one in file.debug.functions if one.name == name and one.size == size]
    return (found[0].section, found[0].offset, found[0].size) if len(found) == 1 else None
