"""Costs as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kobox.box.profile.costs import FunctionCost, LineCost, ProfileCosts
from kobox.box.profile.remedies import remedies
from kobox.box.profile.resource_text import resources_text

_MOST = 15


def costs_text(costs: ProfileCosts, source: Callable[[LineCost], str] | None = None, *, most: int = _MOST) -> str:
    """Ways in, functions and lines, the dearest first; `source(line)` is the text of a line where it can be read."""
    if not costs.instructions:
        return "no function of the module was executed"
    lines = [
        f"{costs.instructions:,} instructions, of the module and of the kernel for it",
        "",
        "where the kernel comes in",
        f"{'calls':>9} {'each':>12} {'in all':>14} {'':>6}  {'stack':>6}",
        *(_entry(one, costs.instructions) for one in costs.entries[:most]),
        *_more(costs.entries, most),
    ]
    of_modules = [one for one in costs.functions if one.function.module]
    of_the_kernel = [one for one in costs.functions if not one.function.module]
    for title, table in (("functions of the module", of_modules), ("the kernel's, which it calls", of_the_kernel)):
        if table:
            lines += [
                "",
                title,
                f"{'calls':>9} {'itself':>12} {'with callees':>14} {'':>6}  {'stack':>6}",
                *(_function(one, costs.instructions) for one in table[:most]),
                *_more(table, most),
            ]
    if costs.lines:
        lines += [
            "",
            "lines of the module",
            f"{'times':>9} {'instructions':>12}",
            *(_line(one, source(one) if source is not None else "") for one in costs.lines[:most]),
            *_more(costs.lines, most),
        ]
    lines += resources_text(costs.resources, most)
    if found := remedies(costs):
        lines += ["", *(f"note: {one}" for one in found)]
    if not costs.is_whole:
        lines += ["", "there were too many chains of calls to count them all: this is not the whole of it"]
    return "\n".join(lines)


def side_by_side(profiles: Sequence[ProfileCosts], *, most: int = _MOST) -> str:
    """The same functions in several profiles, a column each; the ratio is that of the last to the first."""
    tables = [{one.function: one.total for one in costs.functions} for costs in profiles]
    names = dict.fromkeys(name for table in tables for name in table if name.module)
    ordered = sorted(names, key=lambda name: -max(table.get(name, 0) for table in tables))
    width = max(12, *(len(costs.label) + 2 for costs in profiles))
    head = "".join(f"{costs.label:>{width}}" for costs in profiles) + f"{'ratio':>8}  function, with all it calls"
    rows = [("all", [costs.instructions for costs in profiles])]
    rows += [(str(name), [table.get(name, 0) for table in tables]) for name in ordered[:most]]
    rows += [(what, [value(costs) for costs in profiles]) for what, value in MEASURES if any(map(value, profiles))]
    return "\n".join([head, *(_row(values, width) + f"  {name}" for name, values in rows)])


MEASURES: tuple[tuple[str, Callable[[ProfileCosts], int]], ...] = (
    ("bytes of memory at the peak", lambda costs: costs.resources.peak),
    ("allocations", lambda costs: sum(one.count for one in costs.resources.allocations)),
    ("log lines", lambda costs: costs.resources.lines),
    (
        "ns that a lock is held, the longest",
        lambda costs: max((o.longest_ns for o in costs.resources.locks), default=0),
    ),
    (
        "ns that interrupts are off, the longest",
        lambda costs: max((one.longest_ns for one in costs.resources.interrupts_off if not one.by_kernel), default=0),
    ),
    ("ns of virtual time that the load takes", lambda costs: costs.resources.load_ns),
)
"""What profiles are compared by beside instructions."""


def changed(before: ProfileCosts, after: ProfileCosts, percent: float) -> list[str]:
    """What grew by more than `percent`, as sentences: all together, a function of a module with what it calls, the
    memory at its peak, allocations, log lines. Times are left out: they change with each instruction before them."""
    old = {one.function: one.total for one in before.functions}
    found = []
    if after.instructions > before.instructions * (1 + percent / 100):
        found.append(_grown("all", before.instructions, after.instructions))
    for one in after.functions:
        earlier = old.get(one.function)
        if one.function.module and earlier and one.total > earlier * (1 + percent / 100):
            found.append(_grown(str(one.function), earlier, one.total))
    for what, value in MEASURES[:3]:
        if before.resources.allocations or before.resources.logs or before.resources.syscalls:
            old_value, new_value = value(before), value(after)
            if new_value > old_value * (1 + percent / 100):
                found.append(f"{what}: {old_value:,} -> {new_value:,}")
    return found


def _grown(what: str, before: int, after: int) -> str:
    return f"{what}: {before:,} -> {after:,} instructions ({100 * (after - before) / before:+.1f} %)"


def _entry(one: FunctionCost, whole: int) -> str:
    each = one.total / one.calls if one.calls else one.total
    return f"{one.calls:>9,} {each:>12,.0f} {_share(one, whole)}"


def _function(one: FunctionCost, whole: int) -> str:
    return f"{one.calls:>9,} {one.own:>12,} {_share(one, whole)}"


def _share(one: FunctionCost, whole: int) -> str:
    return f"{one.total:>14,} {100 * one.total / whole:>5.1f}%  {one.stack:>6,}  {one.function}"


def _line(one: LineCost, text: str) -> str:
    return f"{one.count:>9,} {one.instructions:>12,}  {one.file}:{one.line}{f'  {text.strip()}' if text else ''}"


def _more(table: Sequence[object], most: int) -> list[str]:
    return [f"{'':>9} and {len(table) - most} more"] if len(table) > most else []


def _row(values: Sequence[int], width: int) -> str:
    ratio = f"{values[-1] / values[0]:>8.2f}" if values[0] else f"{'new':>8}"
    return "".join(f"{value:>{width},}" for value in values) + ratio
