"""Coverage: which instructions of a module were executed, and so which of its basic blocks, functions and lines.

The native watcher marks each instruction of the module that is executed; a block counts as reached when its first
instruction was. What no run reached is told by function, and error paths apart: a block that only a failed call leads
to.

    coverage = Coverage(file)          the map of the file: blocks, functions, lines
    coverage.add(executed)             what one run has executed, by section
    coverage.summary()                 lines for a person; `lcov()` for genhtml and editors
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kobox.arch.code import Flow, Instruction
from kobox.checks.module.callsites import CodeMap, LocatedCode, call_sites
from kobox.checks.runner.session import Check, Examination
from kobox.ko.elf import SHT_RELA
from kobox.ko.modulefile import ModuleFile
from kobox.machine.watch import Watch

Executed = Mapping[str, bytes]
"""By section: a byte for each of its bytes, 1 where an instruction starts that was executed."""

_INIT = frozenset((".init.text", ".exit.text"))

_NO_FUNCTIONS = ("__pfx_", "__cfi_", "__SCT__")  # padding, and trampolines of static calls
_NOT_THEIRS = frozenset(("__stack_chk_fail",))  # what compilers call on paths that nobody has written


@dataclass(frozen=True, slots=True)
class Block:
    """A basic block: `start` to `end` of a section, part of `function`."""

    section: str
    start: int
    end: int
    function: str


@dataclass(frozen=True, slots=True)
class FunctionCoverage:
    """What of a function was reached, in blocks."""

    section: str
    name: str
    start: int
    size: int
    blocks: tuple[Block, ...]
    reached: int

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.reached / len(self.blocks) if self.blocks else 1.0


class Coverage:
    """The coverage of one module file, over any number of runs."""

    def __init__(self, file: ModuleFile, code: CodeMap | None = None) -> None:
        self.file = file
        self.code = code or CodeMap(file.elf)
        self._sizes = {name: file.elf.sections[number].size for name, number in self.code.sections.items()}
        self.executed = {
            name: bytearray(size) for name, size in self._sizes.items() if not name.startswith(".altinstr")
        }
        self._blocks: tuple[Block, ...] | None = None

    def add(self, executed: Executed) -> int:
        """Add what a run has executed. Returns how many instructions are new."""
        new = 0
        for name, flags in executed.items():
            known = self.executed.get(name)
            if known is None or len(known) != len(flags):
                continue
            before = known.count(1)
            both = int.from_bytes(known, "little") | int.from_bytes(flags, "little")
            known[:] = both.to_bytes(len(known), "little")
            new += known.count(1) - before
        return new

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All basic blocks, in order."""
        if self._blocks is None:
            self._blocks = tuple(block for name in self.executed for block in _blocks_of(self.code, name))
        return self._blocks

    def reached(self, block: Block) -> bool:
        """Whether a block was executed."""
        return bool(self.executed[block.section][block.start])

    def functions(self) -> list[FunctionCoverage]:
        """Each function with its blocks, in the file's order; those that belong to the loader or the compiler are left
        out."""
        rows: dict[tuple[str, str], list[Block]] = {}
        for block in self.blocks:
            rows.setdefault((block.section, block.function), []).append(block)
        return [
            FunctionCoverage(
                section,
                name,
                blocks[0].start,
                blocks[-1].end - blocks[0].start,
                tuple(blocks),
                sum(map(self.reached, blocks)),
            )
            for (section, name), blocks in rows.items()
            if not name.startswith(_NO_FUNCTIONS)
        ]

    def missed_runs(self, function: FunctionCoverage) -> list[tuple[int, int]]:
        """The stretches of a function that were not reached: (start, end) offsets of its section."""
        runs: list[tuple[int, int]] = []
        for block in function.blocks:
            if self.reached(block):
                continue
            if runs and runs[-1][1] == block.start:
                runs[-1] = (runs[-1][0], block.end)
            else:
                runs.append((block.start, block.end))
        return runs

    # -- lines -------------------------------------------------------------------------------------------------

    def lines(self) -> dict[str, dict[int, bool]]:
        """By the path of each of the module's own source files, then by line: whether any of its code was executed.
        Empty without DWARF."""
        debug = self.file.debug
        if not debug.available:
            return {}
        names = {number: name for name, number in self.code.sections.items()}
        root, found = debug.root, dict[str, dict[int, bool]]()
        for row in debug.rows():
            flags = self.executed.get(names.get(row.section, ""))
            if flags is None or not row.line or not row.path.startswith(f"{root}/") or row.path.endswith(".mod.c"):
                continue
            lines = found.setdefault(row.path, {})
            lines[row.line] = lines.get(row.line, False) or any(flags[row.start : row.end])
        return found

    def missed_paths(self) -> list[str]:
        """The paths that no run took in functions that some run entered, mostly those of errors: "hello_init
        (hello.c:40-42)"."""
        found = []
        for function in self.functions():
            if not function.reached:
                continue
            for start, end in self.missed_runs(function):
                place = self._lines_of(function.section, start, end)
                found.append(f"{function.name} ({place})" if place else f"{function.name}+{start - function.start:#x}")
        return list(dict.fromkeys(found))

    def _lines_of(self, section: str, start: int, end: int) -> str:
        """The lines of the module's own source that a stretch of code comes from: "hello.c:40-42"."""
        number, lines, file = self.code.sections[section], set[int](), ""
        for instruction in self.code.arch.code.instructions(self.code.elf.data(number), start, end):
            places = [place for place in self.file.debug.lines(number, instruction.offset) if place.path in self._own]
            if places:
                file = places[0].file
                lines.add(places[0].line)
        if not lines:
            return ""
        low, high = min(lines), max(lines)
        return f"{file}:{low}" if low == high else f"{file}:{low}-{high}"

    @cached_property
    def _own(self) -> set[str]:
        """The paths of the module's own sources."""
        return set(self.lines())

    # -- telling -----------------------------------------------------------------------------------------------

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        functions = self.functions()
        blocks = sum(len(function.blocks) for function in functions)
        reached = sum(function.reached for function in functions)
        lines = [flag for rows in self.lines().values() for flag in rows.values()]
        return {
            "blocks": blocks,
            "blocks_reached": reached,
            "lines": len(lines),
            "lines_reached": sum(lines),
            "missed_paths": self.missed_paths(),
            "functions": [
                {
                    "name": function.name,
                    "section": function.section,
                    "blocks": len(function.blocks),
                    "reached": function.reached,
                }
                for function in functions
            ],
        }

    def summary(self) -> list[str]:
        """Some lines for a person."""
        plain = self.plain()
        text = _share(plain["blocks_reached"], plain["blocks"], "basic blocks")
        if plain["lines"]:
            text += f", {_share(plain['lines_reached'], plain['lines'], 'lines')}"
        out = [text]
        if missed := self.missed_paths():
            shown = ", ".join(missed[:6]) + (f" and {len(missed) - 6} more" if len(missed) > 6 else "")
            out.append(f"paths not taken: {shown}")
        return out

    def never_reached(self) -> list[str]:
        """The functions that no run reached."""
        return [function.name for function in self.functions() if not function.reached]

    def lcov(self) -> str:
        """As lcov's tracefile (geninfo(1))."""
        out = []
        for file, lines in sorted(self.lines().items()):
            out += ["TN:", f"SF:{file}"]
            out += [f"DA:{line},{int(ran)}" for line, ran in sorted(lines.items())]
            out += [f"LF:{len(lines)}", f"LH:{sum(lines.values())}", "end_of_record"]
        return "".join(f"{row}\n" for row in out)

    def __getstate__(self) -> dict[str, Any]:
        return {"executed": {name: bytes(flags) for name, flags in self.executed.items()}}


def _share(part: int, whole: int, of: str) -> str:
    return f"{part} of {whole} {of} ({100 * part // whole if whole else 100}%)"


def _blocks_of(code: CodeMap, section: str) -> Iterable[Block]:
    data = code.elf.data(code.sections[section])
    starts = _targets_from_data(code, section)
    compilers = [
        site.offset for site in call_sites(code.elf) if site.section == section and site.function in _NOT_THEIRS
    ]
    for start, size, name in code.functions[section].rows:
        if not size or name.startswith(_NO_FUNCTIONS):
            continue
        for block in _split(section, name, list(code.arch.code.instructions(data, start, start + size)), starts):
            if not any(block.start <= offset < block.end for offset in compilers):
                yield block


def _split(section: str, name: str, rows: list[Instruction], targets: set[int]) -> Iterable[Block]:
    if not rows:
        return
    first, last = rows[0].offset, rows[-1].end
    leaders = {first} | {row.target for row in rows if row.target is not None and row.flow in (Flow.BRANCH, Flow.JUMP)}
    leaders |= {row.end for row in rows if row.flow not in (Flow.ON, Flow.CALL)} | targets
    begin = first
    for row in rows:
        if row.end in leaders or row.end == last:
            if not _is_padding(rows, begin, row.end):
                yield Block(section, begin, row.end, name)
            begin = row.end


def _is_padding(rows: list[Instruction], start: int, end: int) -> bool:
    """Whether a stretch holds nothing but one trap behind a return: what compilers put there against speculation."""
    return end - start == 1 and any(row.end == start and row.flow is not Flow.ON for row in rows)


def _targets_from_data(code: CodeMap, section: str) -> set[int]:
    """Offsets of a section that tables in other sections point to: those of switch statements."""
    number, elf = code.sections[section], code.elf
    symbols = list(elf.symbols())
    found = set()
    for n, header in enumerate(elf.sections):
        if header.type != SHT_RELA or not elf.section_name(n).startswith(b".rela.rodata"):
            continue
        for relocation in elf.relocations(n, symbols):
            if relocation.symbol is not None and relocation.symbol.section == number:
                found.add(relocation.symbol.value + relocation.addend)
    return found


class CoverageCheck(Check):
    """Notes which instructions of the module an examination executes: `executed`, by section."""

    name = "coverage"

    def __init__(self, code: CodeMap) -> None:
        self._code = code
        self.executed: dict[str, bytes] = {}
        self._located: LocatedCode | None = None
        self._watch: Watch | None = None

    def linked(self, examination: Examination) -> None:
        assert examination.placement is not None
        self._watch = examination.box.inspect.watch
        self._located = self._code.located(examination.placement)

    def count(self) -> int:
        """How many instructions of the module this load of it has executed."""
        if self._located is None or self._watch is None:
            return 0
        sizes = ((start, self._size(name)) for name, start in self._located.starts.items() if name not in _INIT)
        return sum(self._watch.executed(start, size).count(1) for start, size in sizes)

    def leaving(self, examination: Examination) -> None:
        self._collect()
        self._located = None

    def detach(self, examination: Examination) -> None:
        self._collect()
        self._located = None

    def _size(self, section: str) -> int:
        return self._code.elf.sections[self._code.sections[section]].size

    def _collect(self) -> None:
        if self._located is None or self._watch is None:
            return
        for name, start in self._located.starts.items():
            flags = self._watch.executed(start, self._size(name))
            before = self.executed.get(name)
            if before is not None:
                both = int.from_bytes(before, "little") | int.from_bytes(flags, "little")
                flags = both.to_bytes(len(flags), "little")
            self.executed[name] = flags
