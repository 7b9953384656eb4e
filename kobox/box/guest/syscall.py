"""System calls with Python's arguments: what goes into the box's memory, what comes back, and errors as `OSError`.

int, bool, enum      the value                     str, path      a NUL-terminated copy
None                 0                             bytes          a copy; what the kernel writes there is lost
bytearray, writable memoryview, ctypes array       a copy, and copied back when the call has returned
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from kobox.box.guest.heap import Arena, ArenaFullError
from kobox.box.guest.process import Limits, Process, RawCall
from kobox.box.guest.scheduler import Processes

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class PathInBox:
    """A path of the box that is not only text: `str()` gives that."""

    __slots__ = ()


AnyPath: TypeAlias = "str | os.PathLike[str] | PathInBox"  # a path of the box, as its functions take one
# What a system call takes: see the table above.
Argument: TypeAlias = "int | str | bytes | os.PathLike[str] | PathInBox | ReadableBuffer | None"

_PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS = 3, 0x22
_MAP_LOCKED, _MAP_POPULATE = 0x2000, 0x8000


class _Block(NamedTuple):
    """An argument's memory in the box, and where to copy it back to."""

    address: int
    target: memoryview | None
    size: int


class PendingCall:
    """A system call under way in a process of the box: `done`, and `result()` that waits for it."""

    def __init__(self, calls: Calls, pending: RawCall, name: str, subject: str | None) -> None:
        self._calls = calls
        self._pending = pending
        self._name = name
        self._subject = subject

    @property
    def done(self) -> bool:
        """Whether it has returned (or its process has died)."""
        return self._pending.done

    def wait(self, timeout: float) -> bool:
        """Let virtual time pass until it has returned, `timeout` seconds at most; whether it has."""
        processes = self._calls.processes
        if not self._pending.done:
            until = processes.virtual_time + int(timeout * 1e9)
            processes.run_until(lambda: self._pending.done, until=until)
        return self._pending.done

    def result(self, timeout: float | None = None) -> int:
        """Let virtual time pass until it has returned, `timeout` seconds at most; its value.

        Raises `OSError` as the call did, `BoxTimeoutError`, `ProcessDiedError`.
        """
        limits = self._calls.processes.limits
        if timeout is not None:
            limits = Limits(timeout, limits.cpu)
        self._calls.processes.wait(self._pending, limits)
        assert self._pending.result is not None
        return _checked(self._name, self._pending.result, self._subject)


class Calls:
    """Makes system calls with Python's arguments from any process of one box."""

    def __init__(self, processes: Processes, arena: Arena) -> None:
        self.processes = processes
        self.arena = arena
        self._sizes: dict[int, int] = {}  # of mappings in use
        self._regions: list[tuple[int, int]] = []  # mapped for a call that has returned; to be unmapped

    def call(self, process: Process, name: str, arguments: tuple[Argument, ...], limits: Limits | None = None) -> int:
        """Make a call and wait for it. Raises `OSError` with errno, and with the first path among the arguments."""
        values, finish = self._marshal(process, name, arguments)
        result = self.processes.call(process, name, values, limits)
        finish()  # not in `finally`: a call that was broken off is still under way, and its buffers in use
        return _checked(name, result, _subject(arguments))

    def start(self, process: Process, name: str, arguments: tuple[Argument, ...], *, wait: int = 0) -> PendingCall:
        """Make a call that may block: returns when it has returned or the box is idle. With `wait`, its CPU is held for
        so many blocks before it."""
        values, finish = self._marshal(process, name, arguments)
        pending = self.processes.start(process, name, values, wait=wait)
        if pending.done:
            finish()
        else:
            pending.finish = finish
        return PendingCall(self, pending, name, _subject(arguments))

    def start_together(
        self, calls: Sequence[tuple[Process, str, tuple[Argument, ...]]], lead: int = 0
    ) -> list[PendingCall]:
        """Make two calls on different CPUs at the same moment, or (`lead`) the second so many blocks later: returns
        when both have returned or the box is idle."""
        marshalled = [self._marshal(process, name, arguments) for process, name, arguments in calls]
        commands = [(calls[n][0], calls[n][1], values) for n, (values, _) in enumerate(marshalled)]
        found = []
        for pending, (_, finish), (_, name, arguments) in zip(
            self.processes.start_together(commands, lead), marshalled, calls, strict=True
        ):
            if pending.done:
                finish()
            else:
                pending.finish = finish
            found.append(PendingCall(self, pending, name, _subject(arguments)))
        return found

    def start_later(
        self, process: Process, seconds: float, name: str, arguments: tuple[Argument, ...]
    ) -> Callable[[], bool]:
        """Let a process sleep, and then make a call at once, without anything in between: comes back when it sleeps.
        What is returned tells whether the call has begun."""
        values, finish = self._marshal(process, name, arguments)
        spec = struct.pack("<qq", int(seconds), int(seconds % 1 * 1e9))
        (address, _), release = self._marshal(process, "nanosleep", (spec, None))
        sleeping = self.processes.start(process, "nanosleep", (address, 0))
        begun: list[RawCall] = []

        def woken() -> None:
            release()
            begun.append(self.processes.command(process, name, values))
            begun[0].finish = finish

        sleeping.finish = woken
        return lambda: bool(begun)

    def buffer(self, process: Process, size: int) -> int:
        """Memory in the box, present and locked: the heap's, or a mapping of its own. Give it back with `release`."""
        try:
            return self.arena.allocate(size)
        except ArenaFullError:
            pass
        flags = _MAP_PRIVATE_ANONYMOUS | _MAP_LOCKED | _MAP_POPULATE
        size = size + 4095 & -4096
        result = self.processes.call(process, "mmap", (0, size, _PROT_READ_WRITE, flags, -1 & 0xFFFFFFFFFFFFFFFF, 0))
        address = _checked("mmap", result, None)
        self._sizes[address] = size
        return address

    def release(self, address: int) -> None:
        """Give memory back. A mapping is undone before the next call that needs one."""
        size = self._sizes.pop(address, None)
        if size is None:
            self.arena.release(address)
        else:
            self._regions.append((address, size))

    def _marshal(
        self, process: Process, name: str, arguments: tuple[Argument, ...]
    ) -> tuple[tuple[int, ...], Callable[[], None]]:
        if name not in self.processes.arch.syscalls:
            raise ValueError(f"no system call {name!r} on {self.processes.arch.title}")
        if len(arguments) > 6:
            raise TypeError(f"{name}: {len(arguments)} arguments; a system call takes six")
        while self._regions:
            self.processes.call(process, "munmap", self._regions.pop())
        values: list[int] = []
        owned: list[_Block] = []
        try:
            for argument in arguments:
                values.append(self._value(process, argument, owned))
        except BaseException:
            for block in owned:
                self.release(block.address)
            raise

        def finish() -> None:
            for address, target, size in owned:
                if target is not None:
                    target[:size] = self.arena.read(address, size)
                self.release(address)

        return tuple(values), finish

    def _value(self, process: Process, argument: Argument, owned: list[_Block]) -> int:
        if argument is None:
            return 0
        if isinstance(argument, int):
            return int(argument) & 0xFFFFFFFFFFFFFFFF
        target: memoryview | None = None
        if isinstance(argument, (str, os.PathLike, PathInBox)):
            data = os.fsencode(path_text(argument))
            if 0 in data:
                raise ValueError("embedded null byte")
            data += b"\0"
        elif isinstance(argument, bytes):
            data = argument
        else:
            view = memoryview(argument) if isinstance(argument, bytearray) else memoryview(argument).cast("B")
            data = view.tobytes()
            target = None if view.readonly else view
        address = self.buffer(process, len(data))
        self.arena.write(address, data)
        owned.append(_Block(address, target, len(data)))
        return address


def _subject(arguments: tuple[Argument, ...]) -> str | None:
    return next((path_text(a) for a in arguments if isinstance(a, (str, os.PathLike, PathInBox))), None)


def path_text(path: AnyPath) -> str:
    """The text of a path, however it is given."""
    return str(path) if isinstance(path, PathInBox) else os.fspath(path)


def _checked(name: str, result: int, subject: str | None) -> int:
    if -4096 < result < 0:
        raise OSError(-result, f"{name}: {os.strerror(-result)}", subject)
    return result
