"""Memory, log lines, locks, interrupts, system calls and waiting, as tables of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from kobox.box.profile.resources import AllocationSite, InterruptsOff, LockSite, LogSite, ResourceCosts, SyscallCost

Row = TypeVar("Row")

_UNITS = ((10**9, "s"), (10**6, "ms"), (10**3, "us"))


def duration(ns: int) -> str:
    """A time in the unit that fits: "1.25 ms"."""
    for size, unit in _UNITS:
        if ns >= size:
            return f"{ns / size:.3g} {unit}" if ns < 1000 * size else f"{ns // size:,} {unit}"
    return f"{ns} ns"


def resources_text(costs: ResourceCosts, most: int) -> list[str]:
    """A table for each kind that there is, `most` rows of each."""
    lines: list[str] = []
    if costs.loads:
        loads = ", ".join(f"{load.module} {duration(load.ns)}" for load in costs.loads)
        lines += ["", f"loads, in virtual time: {loads}"]
        for probe in costs.probes[:most]:
            waits = "the load waits" if probe.waited else "the load does not wait"
            lines.append(f"  {probe.driver} probes {probe.device}: {duration(probe.ns)}, {waits}")
    if costs.allocations:
        rounded = f", {costs.peak_used:,} with what is rounded up" if costs.peak_used > costs.peak else ""
        head = f"{'times':>9} {'bytes':>12} {'taken':>12} {'peak':>10} {'left':>6} {'lifetime':>9}  size, where"
        lines += [
            "",
            f"memory: {costs.peak:,} bytes at the peak{rounded}",
            head,
            *_rows(costs.allocations, _memory, most),
        ]
    for title, head, table in (
        ("log lines", f"{'lines':>9} {'bytes':>12} {'in 1 s':>8} {'limited':>8}  where", _rows(costs.logs, _log, most)),
        (
            "locks",
            f"{'times':>9} {'longest':>9} {'in all':>9} {'waited':>9}  lock, where",
            _rows(costs.locks, _lock, most),
        ),
        (
            "interrupts off",
            f"{'times':>9} {'longest':>9} {'in all':>9}  from where",
            _rows(costs.interrupts_off, _interrupts, most),
        ),
        (
            "system calls that come to the module",
            f"{'calls':>9} {'each':>12} {'dearest':>12} {'in all':>14}  system call",
            _rows(costs.syscalls, _syscall, most),
        ),
    ):
        if rows := list(table):
            lines += ["", title, head, *rows]
    return lines


def _rows(table: Sequence[Row], row: Callable[[Row], str], most: int) -> Iterator[str]:
    yield from map(row, table[:most])
    if len(table) > most:
        yield f"{'':>9} and {len(table) - most} more"


def _through(callee: str) -> str:
    return f", in {callee}()" if callee else ""


def _memory(one: AllocationSite) -> str:
    kind = "" if one.kind == "kmalloc" else f" {one.kind}"
    lifetime = duration(one.lifetime_ns) if one.count > one.left else ""
    size = f"{one.size:,}" if one.size * one.count == one.bytes else f"up to {one.size:,}"
    return (
        f"{one.count:>9,} {one.bytes:>12,} {one.used:>12,} {one.peak:>10,} {one.left:>6,} {lifetime:>9}"
        f"  {size}{kind}, {one}{_through(one.callee)}"
    )


def _log(one: LogSite) -> str:
    return f"{one.lines:>9,} {one.bytes:>12,} {one.most_in_a_second:>8,} {one.lines - one.dropped:>8,}  {one}"


def _lock(one: LockSite) -> str:
    times = f"{duration(one.longest_ns):>9} {duration(one.held_ns):>9} {duration(one.longest_wait_ns):>9}"
    name = f" {one.name}" if one.name else ""
    return f"{one.taken:>9,} {times}  {one.lock}{name}, {one}{_through(one.callee)}"


def _interrupts(one: InterruptsOff) -> str:
    where = f"{one}, called by the kernel so" if one.by_kernel else f"{one}{_through(one.callee)}"
    return f"{one.times:>9,} {duration(one.longest_ns):>9} {duration(one.ns):>9}  {where}"


def _syscall(one: SyscallCost) -> str:
    each = one.instructions / one.calls
    return f"{one.calls:>9,} {each:>12,.0f} {one.most:>12,} {one.instructions:>14,}  {one.name}"
