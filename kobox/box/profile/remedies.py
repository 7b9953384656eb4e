"""What a reader of a profile would ask about, with what can be done: log floods, allocations in a hot path, waste,
locks that are held long, a load that waits for a probe."""

from __future__ import annotations

from collections.abc import Iterator

from kobox.box.inspect.alloc_table import ALLOCATORS, ON_BEHALF
from kobox.box.profile.costs import ProfileCosts
from kobox.box.profile.resource_text import duration
from kobox.box.profile.resources import AllocationSite, LogSite

_FEW_LINES, _LOG_SHARE = 10, 20
_FLOOD = 50  # lines in a second
_MANY_ALLOCATIONS = 100
_WASTE, _WASTE_SHARE = 1024, 25
_LONG_OFF = 100_000  # ns: as kobox check has it, far above what a handler needs
_LONG_PROBE = 10_000_000
_DEEP = 8 << 10


_ALLOCATORS = frozenset((*(row.name for row in ALLOCATORS), *ON_BEHALF))
# Where the module's own code has interrupts off, and these are called; others switch them off for themselves.
_WITH_THEM_OFF = ("_raw_", "__udelay", "__const_udelay", "__ndelay")


def remedies(costs: ProfileCosts) -> list[str]:
    """Sentences, the most notable first; one of each kind."""
    found: list[str] = []
    for kind in (_logs, _hot_path, _atomic, _waste, _locks, _interrupts, _probes, _stack):
        found += list(kind(costs))[:1]
    return found


def _logs(costs: ProfileCosts) -> Iterator[str]:
    inside = sum(
        chain.instructions
        for chain in costs.chains
        if any(one.name in ("_printk", "vprintk_emit", "_dev_printk") and not one.module for one in chain.functions)
    )
    share = 100 * inside / costs.instructions if costs.instructions else 0
    for one in costs.resources.logs:
        if one.module and ((one.lines >= _FEW_LINES and share >= _LOG_SHARE) or one.most_in_a_second >= _FLOOD):
            yield _log_remedy(one, share)


def _log_remedy(one: LogSite, share: float) -> str:
    limited = f"would write {one.lines - one.dropped} of them" if one.dropped else "write fewer when there are more"
    return (
        f"{one.function} [{one.module}] writes {one.lines} log lines{_at(one.place)}, {one.most_in_a_second} within "
        f"a second of virtual time; the log takes {share:.0f} % of all instructions. pr_*_ratelimited() and "
        f"dev_*_ratelimited() {limited}; pr_debug() and dev_dbg() write nothing until they are switched on."
    )


def _hot_path(costs: ProfileCosts) -> Iterator[str]:
    entries = {(one.function.module, one.function.name): one.calls for one in costs.entries}
    calls = {(one.function.module, one.function.name): one.calls for one in costs.functions}
    for one in sorted(costs.resources.allocations, key=lambda one: -one.count):
        key = one.module, one.function
        entered = max(entries.get(key, 0) or calls.get(key, 0), 1)
        if _is_own(one) and one.count >= max(_MANY_ALLOCATIONS, entered, 4 * one.most):
            share = 100 * one.instructions / costs.instructions if costs.instructions else 0
            yield (
                f"{one.function} [{one.module}] allocates {one.count} times in {entered} calls{_at(one.place)}, "
                f"{_at_a_time(one)}: allocating and freeing takes {share:.0f} % of all instructions, "
                f"{one.instructions // one.count} for each object. A buffer that is kept spares all of it. "
                f"A mempool does not: it allocates first, and keeps {one.most} ready for when there is no memory."
            )


def _atomic(costs: ProfileCosts) -> Iterator[str]:
    for one in costs.resources.allocations:
        if _is_own(one) and one.atomic >= _FEW_LINES:
            yield (
                f"{one.function} [{one.module}] allocates {one.atomic} times{_at(one.place)} where it cannot wait "
                f"(GFP_ATOMIC), {_at_a_time(one)}: this fails when memory is short. "
                f"mempool_create_kmalloc_pool({one.most}, {one.size}) keeps {one.most * one.size:,} bytes ready."
            )


def _waste(costs: ProfileCosts) -> Iterator[str]:
    for one in costs.resources.allocations:
        if not _is_own(one) or not one.count or one.size * one.count != one.bytes:
            continue
        slot = one.used // one.count
        saved = (slot - -(-one.size // 8) * 8) * one.most
        if one.module and one.kind == "kmalloc" and saved >= _WASTE and 100 * saved >= _WASTE_SHARE * slot * one.most:
            yield (
                f"{one.function} [{one.module}] allocates {one.size} bytes{_at(one.place)}, for which kmalloc takes "
                f"{slot:,}: a kmem_cache of {one.size} bytes saves about {saved:,} bytes at the peak of "
                f"{one.most} objects."
            )


def _locks(costs: ProfileCosts) -> Iterator[str]:
    for one in costs.resources.locks:
        if one.lock in ("spinlock", "rwlock", "rwlock for reading") and one.longest_ns >= _LONG_OFF:
            name = f" {one.name}" if one.name else ""
            yield (
                f"{one.function} [{one.module}] holds the {one.lock}{name} for {duration(one.longest_ns)}"
                f"{_at(one.place)}, {one.longest_instructions:,} instructions: who waits for it spins all that time. "
                "Do less under it, or take a mutex where sleeping is allowed."
            )


def _interrupts(costs: ProfileCosts) -> Iterator[str]:
    for one in costs.resources.interrupts_off:
        if one.longest_ns >= _LONG_OFF and (one.by_kernel or not one.callee or one.callee.startswith(_WITH_THEM_OFF)):
            what = "runs with interrupts off" if one.by_kernel else "has interrupts off"
            yield (
                f"{one.function} [{one.module}] {what} for {duration(one.longest_ns)}: no timer and no device is "
                "served meanwhile on this CPU. Leave the long part to a work item or a threaded handler."
            )


def _probes(costs: ProfileCosts) -> Iterator[str]:
    for one in costs.resources.probes:
        if one.waited and one.ns >= _LONG_PROBE:
            yield (
                f"the load waits {duration(one.ns)} until {one.driver} has probed {one.device}. "
                ".probe_type = PROBE_PREFER_ASYNCHRONOUS in struct device_driver lets the boot go on meanwhile; the "
                "parameter async_probe=1 shows what it gains (--compare async_probe=0,1)."
            )


def _stack(costs: ProfileCosts) -> Iterator[str]:
    deepest = max(costs.functions, key=lambda one: one.stack, default=None)
    if deepest is not None and deepest.stack > _DEEP:
        yield f"{deepest.stack} of the stack's 16,384 bytes are in use in {deepest.function}."


def _is_own(one: AllocationSite) -> bool:
    """Whether the module's own code asked an allocator: what other functions allocate is not the module's to change."""
    return bool(one.module) and one.callee.removesuffix("_noprof") in _ALLOCATORS


def _at(place: str) -> str:
    return f" ({place})" if place else ""


def _at_a_time(one: AllocationSite) -> str:
    return f"{one.most} object{'s' if one.most > 1 else ''} at a time"
