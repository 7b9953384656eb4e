"""What modules cost beside instructions: memory, log lines, locks, interrupts that are off, system calls, waiting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TypeVar

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class CallPlace:
    """A place where a module's code calls the kernel: `place` is "file.c:12", or "" without debugging information;
    `callee` is the function of the kernel that is called there."""

    module: str
    function: str
    place: str
    callee: str

    def __str__(self) -> str:
        where = f" ({self.place})" if self.place else ""
        return f"{self.function} [{self.module}]{where}"


@dataclass(frozen=True, slots=True)
class AllocationSite(CallPlace):
    """What is allocated there, by `callee` or by what that calls.

    `kind`: "kmalloc", "kmem_cache", "vmalloc", "pages", "percpu". `size`: bytes of the largest object. `bytes` were
    asked for in all, `used` are taken for them (kmalloc rounds up to its caches' sizes, others to pages). `most`
    objects were there at a time, `peak` bytes of them; `left` were not freed until the end. `lifetime_ns`: mean of
    those that were freed. `instructions`: of allocating and freeing. `atomic`: how many allocations could not wait for
    memory (their flags lack __GFP_DIRECT_RECLAIM). `failed`: how many had no memory.
    """

    kind: str
    count: int
    size: int
    bytes: int
    used: int
    most: int
    peak: int
    left: int
    lifetime_ns: int
    instructions: int
    atomic: int
    failed: int


@dataclass(frozen=True, slots=True)
class LogSite(CallPlace):
    """Lines that are written to the kernel's log there. `most_in_a_second`: of virtual time. `dropped`: how many
    pr_*_ratelimited() would leave out (10 lines in 5 seconds, DEFAULT_RATELIMIT_BURST and _INTERVAL)."""

    lines: int
    bytes: int
    most_in_a_second: int
    dropped: int


@dataclass(frozen=True, slots=True)
class LockSite(CallPlace):
    """A lock that is taken there. `lock`: its kind; `name`: the variable, "" for one in an allocated object. Times are
    virtual ns: of waiting for it (the longest), of holding it (in all, the longest, and the instructions of that)."""

    lock: str
    name: str
    taken: int
    longest_wait_ns: int
    held_ns: int
    longest_ns: int
    longest_instructions: int


@dataclass(frozen=True, slots=True)
class InterruptsOff(CallPlace):
    """Interrupts are off from there on: how often, how long in all and at most (virtual ns). `by_kernel`: they were off
    when the kernel called the module, as for an interrupt handler."""

    times: int
    ns: int
    longest_ns: int
    by_kernel: bool


@dataclass(frozen=True, slots=True)
class SyscallCost:
    """A system call in which the module was executed: how many calls, instructions in all and of the dearest one."""

    name: str
    calls: int
    instructions: int
    most: int


@dataclass(frozen=True, slots=True)
class ProbeTime:
    """A driver's probe: virtual ns that it took. `waited`: the load of the module waited for it."""

    driver: str
    device: str
    ns: int
    waited: bool


@dataclass(frozen=True, slots=True)
class LoadTime:
    """How long a module's load took from linked to live, in virtual ns; init, and probes that it waited for."""

    module: str
    ns: int


@dataclass(frozen=True, slots=True)
class ResourceCosts:
    """All of these, the dearest first. `peak`: the most bytes that were allocated at a time; `peak_used`: with what
    slabs and pages round up."""

    allocations: tuple[AllocationSite, ...] = ()
    logs: tuple[LogSite, ...] = ()
    locks: tuple[LockSite, ...] = ()
    interrupts_off: tuple[InterruptsOff, ...] = ()
    syscalls: tuple[SyscallCost, ...] = ()
    loads: tuple[LoadTime, ...] = ()
    probes: tuple[ProbeTime, ...] = ()
    peak: int = 0
    peak_used: int = 0

    @property
    def lines(self) -> int:
        """How many log lines were written."""
        return sum(site.lines for site in self.logs)

    @property
    def load_ns(self) -> int:
        """How long the loads of all modules took."""
        return sum(load.ns for load in self.loads)

    def plain(self) -> dict[str, object]:
        """As JSON has it."""
        tables = {
            name: [{one.name: getattr(row, one.name) for one in fields(row)} for row in getattr(self, name)]
            for name in ROWS
        }
        return {**tables, "memory_peak": self.peak, "memory_peak_used": self.peak_used}

    @classmethod
    def of_plain(cls, data: Mapping[str, object]) -> ResourceCosts:
        """What `plain` wrote; what an older version did not write is empty. Raises `ValueError`, `TypeError`."""
        tables: dict[str, tuple[object, ...]] = {name: _rows(row, data.get(name, [])) for name, row in ROWS.items()}
        peaks = [_checked("int", data.get(name, 0)) for name in ("memory_peak", "memory_peak_used")]
        return cls(**tables, peak=peaks[0], peak_used=peaks[1])  # type: ignore[arg-type]


ROWS: dict[str, type] = {
    "allocations": AllocationSite,
    "logs": LogSite,
    "locks": LockSite,
    "interrupts_off": InterruptsOff,
    "syscalls": SyscallCost,
    "loads": LoadTime,
    "probes": ProbeTime,
}
"""The tables of `ResourceCosts` by name."""

_TYPES: dict[str, type] = {"int": int, "str": str, "bool": bool}


def _rows(row: type[Row], data: object) -> tuple[Row, ...]:
    if not isinstance(data, list):
        raise TypeError(f"{data!r} is no table")
    found = []
    for one in data:
        if not isinstance(one, dict):
            raise TypeError(f"{one!r} is no row")
        found.append(row(**{field.name: _checked(str(field.type), one.get(field.name)) for field in fields(row)}))  # type: ignore[arg-type]
    return tuple(found)


def _checked(kind: str, value: object) -> object:
    if type(value) is not _TYPES[kind] or (isinstance(value, int) and value < 0):
        raise ValueError(f"{value!r} is no {kind}")
    return value
