"""A program under way in a box, as `subprocess.Popen` has it."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, AnyStr, Generic, NamedTuple, cast

from kobox.box.booted import BootedKernel
from kobox.box.guest.process import Child
from kobox.box.guest.scheduler import SECOND
from kobox.box.guest.streams import HIGH_WATER, Input, Output, PseudoTerminal
from kobox.box.inspect.printk import LogRecord
from kobox.errors import BoxError, BoxTimeoutError
from kobox.machine.native_core import FOREVER

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

MOST_OUTPUT = 64 << 20  # what `run` keeps of a program's output before it gives up on it
_KILLED_AFTER = 10  # virtual seconds that a killed program gets to be gone

_SEGFAULT = re.compile(r"\[(\d+)\]: segfault at ([0-9a-f]+) ip ([0-9a-f]+)")
_TRAP = re.compile(r"traps: .*\[(\d+)\] (?:trap )?(.+?) ip:([0-9a-f]+)")


class Death(NamedTuple):
    """How a program died of a signal. `address` is the address that it could not reach (SIGSEGV), `ip` where its code
    was, None where the kernel did not say; `report` is the kernel's line."""

    signal: signal.Signals
    address: int | None
    ip: int | None
    report: str


class ProgramStreams(NamedTuple):
    """What a program's descriptors are tied to on this side."""

    input: Input | None
    outputs: dict[str, Output]
    forwarded: tuple[Output, ...]
    terminal: PseudoTerminal | None
    text: bool


class Program(Generic[AnyStr]):
    """A program under way in a box, as `subprocess.Popen`: `pid`, `returncode`, `stdin`, `stdout`, `stderr`,
    `poll`, `wait`, `communicate`, `send_signal`, `terminate`, `kill`, a `with` block.

    `death` says more when a signal has killed it. Time is the box's: everything runs only while Python waits
    for something.
    """

    def __init__(
        self, box: BootedKernel, arguments: Sequence[str], child: Child, streams: ProgramStreams, log_from: int
    ) -> None:
        self._box = box
        self._child = child
        self._log_from = log_from  # before it was started: it may be dead by now
        self.args = list(arguments)
        self._input, self._outputs = streams.input, streams.outputs
        self.terminal = streams.terminal
        self.returncode: int | None = None
        self.stdin: IO[AnyStr] | None = None
        self.stdout: IO[AnyStr] | None = None
        self.stderr: IO[AnyStr] | None = None
        self._forwarded = streams.forwarded
        self._text = streams.text
        if self._input is not None:
            self.stdin = cast(IO[AnyStr], _wrapped(_Writing(self, self._input), streams.text))
        for name, output in self._outputs.items():
            setattr(self, name, _wrapped(_Reading(self, output), streams.text))

    def __repr__(self) -> str:
        state = "runs" if self.returncode is None else f"ended: {self.returncode}"
        return f"<Program {self.args[0]!r} pid {self.pid} {state}>"

    @property
    def pid(self) -> int:
        """Its process ID in the box."""
        return self._child.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended, as far as is known: nothing runs for this to be found out."""
        return self._child.status is not None

    @property
    def death(self) -> Death | None:
        """How it died, when it was killed by a signal."""
        if self.returncode is None or self.returncode >= 0:
            return None
        return death_of(self.pid, signal.Signals(-self.returncode), self._box.log.since(self._log_from))

    def poll(self) -> int | None:
        """Whether it has ended: its exit status, negative for a signal, or None. What can run now runs first."""
        if not self.ended and self._box.alive:
            self._box.guest.processes.run_until(lambda: self.ended, stop_when_idle=True)
        return self._settle()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end: its exit status, negative for a signal.

        Raises `subprocess.TimeoutExpired` after `timeout` virtual seconds, and when it sleeps for something
        that never comes; `KernelPanicError`, `BoxHungError`.
        """
        self._run(lambda: self.ended, timeout)
        status = self._settle()
        assert status is not None
        return status

    def _settle(self) -> int | None:
        if self.ended and self.returncode is None:
            status = self._child.status
            assert status is not None
            self.returncode = os.waitstatus_to_exitcode(status) if status >= 0 else -signal.SIGKILL
        return self.returncode

    def _run(self, done: Callable[[], bool], timeout: float | None) -> None:
        machine, processes = self._box.machine, self._box.guest.processes
        until = FOREVER if timeout is None else machine.time + int(timeout * SECOND)
        if timeout is None:
            # A program may take its time; but one that sleeps must be woken by something.
            until = FOREVER
        try:
            finished = processes.run_until(done, until=until)
        except BoxTimeoutError:
            finished = done()
            if not finished and timeout is None:
                raise
        if not finished:
            import subprocess

            raise subprocess.TimeoutExpired(self.args, timeout or 0)

    def communicate(self, input: AnyStr | None = None, timeout: float | None = None) -> tuple[AnyStr, AnyStr]:
        """Send `input`, read everything, wait for the end: (stdout, stderr), each None without a pipe.

        Raises `subprocess.TimeoutExpired` as `wait` does, with what was read in `.output` and `.stderr`: call
        it again to go on.
        """
        if self._input is not None:
            if input:
                self._input.put(input.encode() if isinstance(input, str) else bytes(input))
            self._input.finish()
        for output in self._outputs.values():
            output.limit = max(output.limit, MOST_OUTPUT)
            output._start()

        def done() -> bool:
            full = any(len(output.data) >= output.limit for output in self._outputs.values())
            return full or (self.ended and all(output.ended for output in self._all_outputs()))

        import subprocess

        try:
            self._run(done, timeout)
        except subprocess.TimeoutExpired as expired:
            expired.output, expired.stderr = (self._kept(name) for name in ("stdout", "stderr"))
            raise
        if not self.ended:
            self.kill()
            raise BoxError(
                f"{self.args[0]}: wrote more than {MOST_OUTPUT >> 20} MiB",
                box_lives=True,
                hint="Read its output as it comes, with `box.popen`, or send it to a file of the box.",
            )
        self._settle()
        return self._decoded("stdout"), self._decoded("stderr")

    def _all_outputs(self) -> Iterable[Output]:
        return (*self._outputs.values(), *self._forwarded)

    def _kept(self, name: str) -> bytes | None:
        """What was read so far of one output, which stays to be read."""
        output = self._outputs.get(name)
        return None if output is None else bytes(output.data)

    def _decoded(self, name: str) -> AnyStr:
        output = self._outputs.get(name)
        if output is None:
            return cast(AnyStr, None)  # as subprocess has it, and typeshed
        data = output.take()
        text = data.decode(errors="surrogateescape").replace("\r\n", "\n") if self._text else data
        return cast(AnyStr, text)

    def send_signal(self, number: int) -> None:
        """Send it a signal. Nothing happens when it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                self._box.syscall("kill", self.pid, int(number))

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to it and to all of its session that are still in its process group; waits until it is gone."""
        if self.ended or not self._box.alive:
            return
        for target in (-self.pid, self.pid):
            with suppress(ProcessLookupError):
                self._box.syscall("kill", target & FOREVER, int(signal.SIGKILL))
        until = self._box.machine.time + _KILLED_AFTER * SECOND
        self._box.guest.processes.run_until(lambda: self.ended, until=until)
        self._settle()

    def close(self) -> None:
        """End it, and free what it has."""
        if not self._box.alive:
            return
        self.kill()
        for stream in (self._input, self.terminal, *self._all_outputs()):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Program[AnyStr]:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and self._box.alive:
                if self._input is not None:
                    self._input.finish()
                self.wait()
        finally:
            self.close()


def _wrapped(raw: io.RawIOBase, text: bool) -> object:
    if raw.writable():
        return io.TextIOWrapper(cast(IO[bytes], raw), encoding="utf-8", write_through=True) if text else raw
    buffered = io.BufferedReader(raw)
    return io.TextIOWrapper(buffered, encoding="utf-8", errors="surrogateescape") if text else buffered


class _Reading(io.RawIOBase):
    """A program's output as a file: reading lets the box run until there is some."""

    def __init__(self, program: Program[str] | Program[bytes], output: Output) -> None:
        self._program = program
        self._output = output

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        output = self._output
        if not output.data and not output.ended:
            self._program._run(lambda: bool(output.data) or output.ended, None)
        view = memoryview(buffer).cast("B")
        data = output.take(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed and self._program._box.alive:
            self._output.close()
        super().close()


class _Writing(io.RawIOBase):
    """A program's input as a file. Raises `BrokenPipeError` when nobody reads it any more."""

    def __init__(self, program: Program[str] | Program[bytes], stream: Input) -> None:
        self._program = program
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        content = bytes(memoryview(data).cast("B"))
        stream = self._stream
        stream.put(content)
        if len(stream.data) > HIGH_WATER:
            self._program._run(lambda: len(stream.data) < HIGH_WATER or stream.broken, None)
        if stream.broken:
            raise BrokenPipeError(32, "write: Broken pipe")
        return len(content)

    def close(self) -> None:
        if not self.closed and self._program._box.alive:
            self._stream.finish()


def death_of(pid: int, number: signal.Signals, records: Iterable[LogRecord]) -> Death:
    """What the kernel's log says of the death of a process (show_signal_msg in arch/x86/mm/fault.c)."""
    for record in records:
        if (found := _SEGFAULT.search(record.text)) and int(found[1]) == pid:
            return Death(number, int(found[2], 16), int(found[3], 16), record.text)
        if (found := _TRAP.search(record.text)) and int(found[1]) == pid:
            return Death(number, None, int(found[3], 16), record.text)
    return Death(number, None, None, "")
