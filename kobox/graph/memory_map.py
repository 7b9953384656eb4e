"""A loaded module's memory: its sections, the pages that they lie in, and what the page tables allow there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kobox.graph.drawing import Drawing, Rectangle, Words, fitting

PAGE = 4096
_WIDTH, _LEFT, _RIGHT, _BAR = 1200.0, 250.0, 20.0, 30.0
_COLOURS = {"r-x": "code", "r--": "read", "rw-": "write", "rwx": "both", "---": "none"}
RIGHTS = {"r-x": "code", "r--": "read only", "rw-": "data", "rwx": "writable code", "---": "nothing mapped"}


@dataclass(frozen=True, slots=True)
class MappedSection:
    """A section of the module in memory: `size` is that in its file."""

    name: str
    address: int
    size: int


@dataclass(frozen=True, slots=True)
class PageRun:
    """Pages in a row of which the page tables allow the same: `rights` is "r-x", "r--", "rw-", "rwx" or "---"."""

    start: int
    end: int
    rights: str

    @property
    def pages(self) -> int:
        """How many."""
        return (self.end - self.start) // PAGE


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """The memory of a module that is loaded, after its init."""

    title: str
    runs: tuple[PageRun, ...]
    sections: tuple[MappedSection, ...]

    @property
    def size(self) -> int:
        """Bytes of all pages."""
        return sum(run.end - run.start for run in self.runs)

    def sections_of(self, run: PageRun) -> list[MappedSection]:
        """The sections that begin in these pages, by address."""
        found = [one for one in self.sections if run.start <= one.address < run.end]
        return sorted(found, key=lambda one: (one.address, one.size))

    def used(self, run: PageRun) -> int:
        """How many bytes of these pages sections take."""
        return min(sum(one.size for one in self.sections_of(run)), run.end - run.start)


def memory_map_rows(memory: MemoryMap) -> list[tuple[str, ...]]:
    """As a table: address, bytes, rights, what."""
    rows: list[tuple[str, ...]] = []
    for run in memory.runs:
        pages = f"{run.pages} page{'s' if run.pages > 1 else ''}, {RIGHTS[run.rights]}, {memory.used(run):,} bytes used"
        rows.append((f"{run.start:#018x}", f"{run.end - run.start:,}", run.rights, pages))
        rows += [(f"{one.address:#018x}", f"{one.size:,}", "", f"  {one.name}") for one in memory.sections_of(run)]
    return rows


def memory_map_text(memory: MemoryMap) -> str:
    """The same as text."""
    lines = [f"{address}  {size:>10}  {rights:<3}  {what}" for address, size, rights, what in memory_map_rows(memory)]
    whole = f"{memory.size:,} bytes in {memory.size // PAGE} pages"
    return "\n".join([f"{'address':<18}  {'bytes':>10}", *lines, whole])


def memory_map_drawing(memory: MemoryMap) -> Drawing:
    """The picture: a bar for each run of pages, as long as its bytes, with its sections."""
    shapes: list[Rectangle | Words] = [
        Words(16, 24, memory.title, size=14),
        Words(16, 44, f"{memory.size:,} bytes in {memory.size // PAGE} pages", soft=True),
        *_legend(memory),
    ]
    largest = max((run.end - run.start for run in memory.runs), default=PAGE)
    scale = (_WIDTH - _LEFT - _RIGHT) / largest
    y = 66.0
    for run in memory.runs:
        width = max((run.end - run.start) * scale, 3)
        shapes.append(Words(16, y + 13, f"{run.start:#018x}"))
        shapes.append(Words(16, y + 27, f"{run.rights}, {run.pages} page{'s' if run.pages > 1 else ''}", soft=True))
        shapes.append(Rectangle(_LEFT, y, width, _BAR, _COLOURS[run.rights], RIGHTS[run.rights]))
        shapes += _sections(memory, run, scale, y)
        y += _BAR + 34
    return Drawing(memory.title, _WIDTH, y + 6, tuple(shapes))


def _sections(memory: MemoryMap, run: PageRun, scale: float, y: float) -> Iterator[Rectangle | Words]:
    free = _LEFT
    for one in memory.sections_of(run):
        x = _LEFT + (one.address - run.start) * scale
        width = max(min(one.size, run.end - one.address) * scale, 1.0)
        yield Rectangle(
            x, y + _BAR + 3, max(width - 0.6, 0.8), 5, _COLOURS[run.rights], f"{one.name}: {one.size:,} bytes"
        )
        text = fitting(one.name, max(width, 90))
        if x >= free and text:
            yield Words(x, y + _BAR + 20, text, soft=True, size=10)
            free = x + 6.2 * len(text) + 8


def _legend(memory: MemoryMap) -> Iterator[Rectangle | Words]:
    x = 260.0
    for rights, name in RIGHTS.items():
        if any(run.rights == rights for run in memory.runs):
            yield Rectangle(x, 34, 11, 11, _COLOURS[rights])
            yield Words(x + 15, 44, f"{rights} {name}", soft=True)
            x += 60 + 7 * len(name)
