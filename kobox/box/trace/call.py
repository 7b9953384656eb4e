"""One call of a trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from kobox.box.inspect.printk import LogRecord


class CallKind(StrEnum):
    """Who is called."""

    SYSCALL = "syscall"  # the kernel, by a program
    MODULE = "module"  # a function of a traced module
    KERNEL = "kernel"  # a function of the kernel, by the module or (deeper) by the kernel


class Call:
    """One call. It is filled in while it goes on; nothing changes once the trace has ended.

    `arguments` are (name, value as text); `result` is the number that was returned, None where there is none or the
    call has not returned; `said` is that as text. Times are virtual nanoseconds since power on.
    """

    __slots__ = (
        "allocated",
        "arguments",
        "caller",
        "children",
        "context",
        "cpu",
        "end",
        "errno",
        "kind",
        "log",
        "log_places",
        "module",
        "name",
        "order",
        "parent",
        "place",
        "result",
        "said",
        "start",
        "tail",
    )

    def __init__(
        self, kind: CallKind, name: str, module: str, start: int, parent: Call | None, caller: int, tail: bool = False
    ) -> None:
        self.kind = kind
        self.name = name
        self.module = module  # "" for the kernel itself
        self.start = start
        self.end: int | None = None
        self.parent = parent
        self.children: list[Call] = []
        self.caller = caller  # the return address
        self.place = ""  # the line of source that calls, as "hello.c:12", where it is known
        self.tail = tail  # the caller's code has ended with a jump there
        self.arguments: tuple[tuple[str, str], ...] = ()
        self.result: int | None = None
        self.said = ""
        self.errno = 0  # positive, 0 for none
        self.context = ""  # of a call that nothing traced has made: the task, as "sh[53]"
        self.cpu = 0
        self.allocated = 0  # bytes
        self.log: list[LogRecord] = []  # what the kernel said meanwhile
        self.log_places: list[int] = []  # for each record: how many of `children` had begun by then
        self.order = 0  # the how-manieth of the trace to return, from 1

    @property
    def returned(self) -> bool:
        """Whether the call has come back."""
        return self.end is not None

    @property
    def duration(self) -> int | None:
        """Virtual nanoseconds from entry to return."""
        return None if self.end is None else self.end - self.start

    @property
    def depth(self) -> int:
        """How many calls of the trace are around this one."""
        depth, above = 0, self.parent
        while above is not None:
            depth, above = depth + 1, above.parent
        return depth

    def add_log(self, records: list[LogRecord]) -> None:
        """The kernel has said something, after the last of the calls that are inside by now."""
        self.log.extend(records)
        self.log_places.extend([len(self.children)] * len(records))

    def inside(self) -> Iterator[Call | LogRecord]:
        """The calls right inside this one and what the kernel said meanwhile, in order."""
        said = list(zip(self.log_places, self.log, strict=True))
        for number, call in enumerate(self.children):
            while said and said[0][0] <= number:
                yield said.pop(0)[1]
            yield call
        yield from (record for _, record in said)

    def walk(self) -> Iterator[Call]:
        """This call and all inside it, in order of their start."""
        todo = [self]
        while todo:
            call = todo.pop()
            yield call
            todo.extend(reversed(call.children))

    def chain(self) -> list[Call]:
        """The calls that led here, the outermost first, and this one."""
        found, at = [self], self.parent
        while at is not None:
            found.append(at)
            at = at.parent
        return found[::-1]

    def __repr__(self) -> str:
        return f"<Call {self.name}{f' = {self.said}' if self.said else ''}>"


@dataclass(frozen=True, slots=True)
class Allocation:
    """Memory that the module got: by `call`, `size` bytes at `address`; `freed_by` is the call that gave it back."""

    call: Call
    address: int
    size: int
    freed_by: Call | None = None
