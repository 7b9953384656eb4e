"""A module's life as a timeline: who called it when, what it logged. Time without anything is drawn as a narrow gap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kobox.graph.drawing import Drawing, Rectangle, Words, fitting

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 1200.0, 190.0, 20.0, 20.0, 78.0
_NARROWEST, _GAP, _GAPS = 1.6, 30.0, 500.0
LIFE_KINDS = ("load", "init", "call", "timer", "interrupt", "unload")
_MOST_LOG_ROWS = 8


@dataclass(frozen=True, slots=True)
class LifeSpan:
    """Something that lasts, in virtual ns since power on. `lane`: on whose behalf ("sh[53]", "softirq"); `depth`: how
    many other spans it lies in; `kind`: "load", "init", "call", "timer", "interrupt" or "unload"."""

    lane: str
    name: str
    kind: str
    start: int
    end: int
    depth: int = 0

    @property
    def ns(self) -> int:
        """How long it lasts."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class LifeLine:
    """A line of the log."""

    time: int
    text: str


@dataclass(frozen=True, slots=True)
class LifeTimeline:
    """A life: spans in the order of their beginning, lines of the log. `whole`: nothing was left out."""

    title: str
    spans: tuple[LifeSpan, ...]
    lines: tuple[LifeLine, ...]
    whole: bool = True

    @property
    def start(self) -> int:
        """When it begins."""
        return min([*(span.start for span in self.spans), *(line.time for line in self.lines)], default=0)

    @property
    def end(self) -> int:
        """When it ends."""
        return max([*(span.end for span in self.spans), *(line.time for line in self.lines)], default=0)


def timeline_text(life: LifeTimeline) -> str:
    """A line for each span and each line of the log, in the order of time, from the beginning of the life."""
    rows: list[tuple[int, str]] = [
        (span.start, f"{span_text(span.ns):>10}  {'  ' * span.depth}{span.name}  ({span.lane})") for span in life.spans
    ]
    rows += [(line.time, f"{'log':>10}  {line.text}") for line in life.lines]
    lines = [f"{span_text(time - life.start):>10}  {text}" for time, text in sorted(rows, key=lambda row: row[0])]
    return "\n".join([f"{'at':>10}  {'lasts':>10}  what", *lines])


def timeline_rows(life: LifeTimeline) -> list[tuple[str, ...]]:
    """The same as a table: at, lasts, what, on whose behalf."""
    rows = [(span.start, (span_text(span.ns), span.name, span.lane)) for span in life.spans]
    rows += [(line.time, ("", line.text, "log")) for line in life.lines]
    return [(span_text(time - life.start), *row) for time, row in sorted(rows, key=lambda one: one[0])]


def span_text(ns: int) -> str:
    """A time: "12 ns", "3.4 us", "120 ms"."""
    for size, unit in ((10**9, "s"), (10**6, "ms"), (10**3, "us")):
        if ns >= size:
            return f"{ns / size:.3g} {unit}" if ns < 1000 * size else f"{ns // size} {unit}"
    return f"{ns} ns"


def timeline_drawing(life: LifeTimeline) -> Drawing:
    """The picture: a lane for each task and for what interrupts, the log below."""
    lanes: dict[str, int] = {}
    for span in life.spans:
        lanes[span.lane] = max(lanes.get(span.lane, 0), span.depth + 1)
    busy = _busy(life)
    at, gaps = _axis(busy)
    shapes: list[Rectangle | Words] = [Words(16, 24, life.title, size=14), *_legend(life)]
    tops, y = dict[str, float](), _TOP
    for lane, depth in lanes.items():
        tops[lane] = y
        shapes.append(Words(16, y + 14, fitting(lane, _LEFT - 26)))
        y += depth * _ROW + 8
    log = y
    y += _ROW * min(len(life.lines), _MOST_LOG_ROWS) + 10 if life.lines else 0
    for x, width, ns in gaps:
        shapes.append(Rectangle(x, _TOP - 4, width, y - _TOP + 4, "gap", f"{span_text(ns)} without anything"))
    shapes += _ticks(life, busy, at)
    for span in life.spans:
        x, width = at(span.start), max(at(span.end) - at(span.start), _NARROWEST)
        top = tops[span.lane] + span.depth * _ROW
        title = f"{span.name}: {span_text(span.ns)}, at {span_text(span.start - life.start)}"
        shapes.append(Rectangle(x, top, width, _ROW - 3, span.kind, title))
        if text := fitting(span.name, width - 6):
            shapes.append(Words(x + 3, top + 12, text))
    if life.lines:
        shapes.append(Words(16, log + 14, "log"))
        shapes += _log(life, at, log)
    return Drawing(life.title, _WIDTH, y + 16, tuple(shapes))


def _legend(life: LifeTimeline) -> Iterator[Rectangle | Words]:
    x = 16.0
    there = {span.kind for span in life.spans} | ({"log"} if life.lines else set())
    for kind in (*LIFE_KINDS, "log"):
        if kind in there:
            yield Rectangle(x, 36, 11, 11, kind)
            yield Words(x + 15, 46, kind, soft=True)
            x += 30 + 7 * len(kind)
    yield Words(x + 10, 46, f"{span_text(life.end - life.start)} of virtual time", soft=True)


def _busy(life: LifeTimeline) -> list[tuple[int, int]]:
    """Where something happens; what lies close together is one piece."""
    points = sorted(
        [*((span.start, span.end) for span in life.spans if not span.depth), *((line.time,) * 2 for line in life.lines)]
    )
    if not points:
        return [(0, 1)]
    near = max(sum(end - start for start, end in points) // 40, 1000)
    found = [points[0]]
    for start, end in points[1:]:
        if start - found[-1][1] <= near:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def _axis(busy: list[tuple[int, int]]) -> tuple[Callable[[int], float], list[tuple[float, float, int]]]:
    """Where a time is drawn; and the gaps: (x, width, ns)."""
    gap = min(_GAP, _GAPS / max(len(busy), 1))
    room = _WIDTH - _LEFT - _RIGHT - gap * (len(busy) - 1)
    whole = sum(end - start for start, end in busy) or 1
    least = min(12.0, room / (2 * len(busy)))
    scale = (room - least * len(busy)) / whole
    pieces, gaps, x = [], [], _LEFT
    for n, (start, end) in enumerate(busy):
        width = least + (end - start) * scale
        pieces.append((start, end, x, width))
        x += width
        if n + 1 < len(busy):
            gaps.append((x, gap, busy[n + 1][0] - end))
            x += gap

    def at(time: int) -> float:
        for start, end, left, width in pieces:
            if time <= end:
                return left + (width * (max(time, start) - start) / (end - start) if end > start else 0)
        return pieces[-1][2] + pieces[-1][3]

    return at, gaps


def _ticks(life: LifeTimeline, busy: list[tuple[int, int]], at: Callable[[int], float]) -> Iterator[Words]:
    free = 0.0
    for start, _ in busy:
        text = span_text(start - life.start)
        if at(start) >= free:
            yield Words(at(start), _TOP - 10, text, soft=True, size=10)
            free = at(start) + 6.5 * len(text) + 8


def _log(life: LifeTimeline, at: Callable[[int], float], top: float) -> Iterator[Rectangle | Words]:
    rows = min(len(life.lines), _MOST_LOG_ROWS)
    free = [0.0] * rows
    for n, line in enumerate(life.lines):
        x, row = at(line.time), n % rows
        yield Rectangle(x, top + row * _ROW + 3, 3, _ROW - 6, "log", line.text)
        text = fitting(line.text, min(_WIDTH - x - 12, 420))
        if text and x >= free[row]:
            yield Words(x + 6, top + row * _ROW + 14, text, soft=True)
            free[row] = x + 6.5 * len(text) + 20
