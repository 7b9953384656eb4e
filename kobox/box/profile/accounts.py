"""Accounts of single calls: allocations with their frees, locks with their releases, log lines by the second."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from kobox.box.profile.costs import FunctionName
from kobox.box.profile.noted_functions import NotedFunction, NoteRole
from kobox.box.profile.resources import AllocationSite, CallPlace, LockSite, LogSite
from kobox.machine.profiler import NotedCall

_PAGE = 4096
_DIRECT_RECLAIM = 0x400  # ___GFP_DIRECT_RECLAIM, include/linux/gfp_types.h
_ERRORS = (1 << 64) - 4095  # the least of ERR_PTR(), here and where pointers have 32 bits
_ERRORS_32 = range((1 << 32) - 4095, 1 << 32)
_SECOND = 10**9
_RATELIMIT_INTERVAL, _RATELIMIT_BURST = 5 * _SECOND, 10  # include/linux/ratelimit_types.h
_INT = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class KeptCall:
    """A call that was noted: what it is, the chain of functions that led to it (() outside of modules), the place in
    the module's code, and the name of the variable that it is about ("" if none)."""

    call: NotedCall
    function: NotedFunction
    chain: tuple[FunctionName, ...]
    place: str
    variable: str = ""

    @property
    def site(self) -> CallPlace:
        """The innermost function of a module, and what it called."""
        return site_of(self.chain, self.place)

    @property
    def arguments(self) -> tuple[int, int, int]:
        """The first three."""
        return self.call.first, self.call.second, self.call.third


def site_of(chain: Sequence[FunctionName], place: str = "") -> CallPlace:
    """Where a chain leaves the module's code for the last time."""
    at = max((n for n, one in enumerate(chain) if one.module), default=-1)
    if at < 0:
        return CallPlace("", "", place, "")
    behind = [one.name for one in chain[at + 1 :] if not one.name.startswith("__x86_indirect")]
    return CallPlace(chain[at].module, chain[at].name, place, behind[0] if behind else "")


# -- memory ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Object:
    """What was allocated and is there."""

    account: _Allocations
    since: int
    size: int
    used: int


@dataclass(slots=True)
class _Allocations:
    """Of one site."""

    count: int = 0
    size: int = 0
    bytes: int = 0
    used: int = 0
    there: int = 0
    bytes_there: int = 0
    most: int = 0
    peak: int = 0
    freed: int = 0
    lifetimes: int = 0
    instructions: int = 0
    atomic: int = 0
    failed: int = 0


class MemoryAccount:
    """Follows what is allocated; `slots` are the sizes of kmalloc's caches, in order."""

    def __init__(self, slots: Sequence[int]) -> None:
        self._slots = slots
        self._sites: dict[tuple[CallPlace, str], _Allocations] = {}
        self._live: dict[int, _Object] = {}
        self._bytes = self._used = 0
        self.peak = self.peak_used = 0

    def add(self, kept: KeptCall) -> None:
        """A call that allocates or frees."""
        if kept.function.role is NoteRole.FREE:
            self._free(kept.call.result, kept.call.start, kept.call.total_end - kept.call.total)
        elif kept.call.returned and kept.chain:
            self._allocate(kept)

    def restored(self) -> None:
        """The box has gone back in time: nothing of this is there."""
        for one in self._live.values():
            one.account.there -= 1
            one.account.bytes_there -= one.size
        self._live.clear()
        self._bytes = self._used = 0

    def rows(self) -> tuple[AllocationSite, ...]:
        """The sites, those with the most bytes first."""
        found = [
            AllocationSite(
                site.module,
                site.function,
                site.place,
                site.callee,
                kind,
                one.count,
                one.size,
                one.bytes,
                one.used,
                one.most,
                one.peak,
                one.there,
                one.lifetimes // one.freed if one.freed else 0,
                one.instructions,
                one.atomic,
                one.failed,
            )
            for (site, kind), one in self._sites.items()
        ]
        return tuple(sorted(found, key=lambda row: (-row.bytes, -row.count, str(row), row.callee, row.kind)))

    def _allocate(self, kept: KeptCall) -> None:
        call, function = kept.call, kept.function
        one = self._sites.setdefault((kept.site, function.kind), _Allocations())
        one.instructions += call.total_end - call.total
        if function.again:
            self._free(call.first, call.start, 0)
        if not _PAGE < call.result < _ERRORS or call.result in _ERRORS_32:
            one.failed += call.result == 0
            return
        size, used = self._sizes(kept)
        self._free(call.result, call.end, 0)  # somebody was not seen to free it
        self._live[call.result] = _Object(one, call.end, size, used)
        flags = kept.arguments[function.flags_at] if function.flags_at < 3 else _DIRECT_RECLAIM
        one.atomic += not flags & _DIRECT_RECLAIM
        one.count += 1
        one.size = max(one.size, size)
        one.bytes += size
        one.used += used
        one.there += 1
        one.bytes_there += size
        one.most, one.peak = max(one.most, one.there), max(one.peak, one.bytes_there)
        self._bytes += size
        self._used += used
        self.peak, self.peak_used = max(self.peak, self._bytes), max(self.peak_used, self._used)

    def _free(self, address: int, time: int, instructions: int) -> None:
        gone = self._live.pop(address, None)
        if gone is None:
            return
        one = gone.account
        one.there -= 1
        one.bytes_there -= gone.size
        one.freed += 1
        one.lifetimes += time - gone.since
        one.instructions += instructions
        self._bytes -= gone.size
        self._used -= gone.used

    def _sizes(self, kept: KeptCall) -> tuple[int, int]:
        """(bytes asked for, bytes that are taken)."""
        function, arguments = kept.function, kept.arguments
        if kept.call.cache_sizes:
            return kept.call.cache_sizes & _INT, kept.call.cache_sizes >> 32
        if function.order_at < 3:
            size = _PAGE << (arguments[function.order_at] & 31)
            return size, size
        size = arguments[function.size_at] if function.size_at < 3 else 0
        size *= arguments[function.count_at] if function.count_at < 3 else 1
        if function.kind == "percpu":
            return size, size
        if function.kind in ("vmalloc", "pages") or (kept.call.result % _PAGE == 0 and size > self._slots[-1]):
            return size, -(-size // _PAGE) * _PAGE
        return size, self._slot(size)

    def _slot(self, size: int) -> int:
        at = bisect_left(self._slots, size)
        if at < len(self._slots):
            return self._slots[at]
        return max(_PAGE, 1 << (size - 1).bit_length())


# -- locks -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Lock:
    """Of one site."""

    taken: int = 0
    longest_wait: int = 0
    held: int = 0
    longest: int = 0
    instructions: int = 0


class LockAccount:
    """Follows which locks are held."""

    def __init__(self) -> None:
        self._sites: dict[tuple[CallPlace, str, str], _Lock] = {}
        self._held: dict[tuple[str, int], list[tuple[_Lock, NotedCall]]] = {}

    def add(self, kept: KeptCall) -> None:
        """A call that takes or releases a lock."""
        call, function = kept.call, kept.function
        held = self._held.setdefault((function.kind, call.first), [])
        if function.role is NoteRole.RELEASE:
            own = [n for n, (_, taken) in enumerate(held) if taken.stack == call.stack] or list(range(len(held)))
            if own:
                one, taken = held.pop(own[-1])
                lasted = call.start - taken.end
                one.held += lasted
                if lasted >= one.longest:
                    one.longest, one.instructions = lasted, call.total - taken.total_end
            return
        if not call.returned or (function.ok is not None and call.result & _INT != function.ok):
            return
        one = self._sites.setdefault((kept.site, function.kind, kept.variable), _Lock())
        one.taken += 1
        one.longest_wait = max(one.longest_wait, call.end - call.start)
        held.append((one, call))

    def restored(self) -> None:
        """The box has gone back in time: none of these is held."""
        self._held.clear()

    def rows(self) -> tuple[LockSite, ...]:
        """The sites, those where a lock was held longest first."""
        found = [
            LockSite(
                site.module,
                site.function,
                site.place,
                site.callee,
                kind,
                name,
                one.taken,
                one.longest_wait,
                one.held,
                one.longest,
                one.instructions,
            )
            for (site, kind, name), one in self._sites.items()
        ]
        return tuple(sorted(found, key=lambda row: (-row.longest_ns, -row.taken, str(row), row.callee, row.name)))


# -- the log ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Log:
    """Of one site."""

    times: list[int] = field(default_factory=list)
    bytes: int = 0


class LogAccount:
    """Follows which lines are written to the log."""

    def __init__(self) -> None:
        self._sites: dict[CallPlace, _Log] = {}

    def add(self, kept: KeptCall) -> None:
        """A line."""
        one = self._sites.setdefault(kept.site, _Log())
        one.times.append(kept.call.start)
        one.bytes += kept.call.result & 0xFFFF

    def rows(self) -> tuple[LogSite, ...]:
        """The sites, those with the most lines first."""
        found = [
            LogSite(
                site.module,
                site.function,
                site.place,
                site.callee,
                len(one.times),
                one.bytes,
                _most_within(one.times, _SECOND),
                _dropped(one.times),
            )
            for site, one in self._sites.items()
        ]
        return tuple(sorted(found, key=lambda row: (-row.lines, str(row), row.callee)))


def _most_within(times: Sequence[int], span: int) -> int:
    """How many of these moments lie within a span of time, at most."""
    first = most = 0
    for n, time in enumerate(times):
        while times[first] + span <= time:
            first += 1
        most = max(most, n - first + 1)
    return most


def _dropped(times: Iterable[int]) -> int:
    """How many lines ___ratelimit() (lib/ratelimit.c) would leave out."""
    begin, printed, dropped = -1, 0, 0
    for time in times:
        if begin < 0 or time > begin + _RATELIMIT_INTERVAL:
            begin, printed = time, 0
        if printed < _RATELIMIT_BURST:
            printed += 1
        else:
            dropped += 1
    return dropped


def book(segments: Iterable[Sequence[KeptCall]], memory: MemoryAccount, locks: LockAccount, log: LogAccount) -> None:
    """Enter all calls in the order in which they took effect; between segments the box has gone back in time."""
    adders: dict[NoteRole, Callable[[KeptCall], None]] = {
        NoteRole.ALLOCATE: memory.add,
        NoteRole.FREE: memory.add,
        NoteRole.TAKE: locks.add,
        NoteRole.TRY: locks.add,
        NoteRole.RELEASE: locks.add,
        NoteRole.LOG: log.add,
    }
    at_end = (NoteRole.ALLOCATE, NoteRole.TAKE, NoteRole.TRY)
    for n, segment in enumerate(segments):
        if n:
            memory.restored()
            locks.restored()
        for kept in sorted(segment, key=lambda one: one.call.end if one.function.role in at_end else one.call.start):
            adders[kept.function.role](kept)
