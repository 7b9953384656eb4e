"""Programs in a box: `box.run` and `box.popen`, as subprocess has them.

    Python                             the box
    box.popen(["cat"])
      main process: pipe2() x 3
      vfork() ------------------------> child: signals, setsid, dup2, chdir, execve ---> the program
      helper process per stream  <----- read()/write() on the pipe's other end, a script that Python feeds
      PID 1 <-------------------------- SIGCHLD, wait4(): status

Nothing polls: a helper sleeps in the kernel until there is something, and when everything sleeps virtual time
jumps to the
next timer. Timeouts are virtual seconds, as everything in a box: code that runs takes 64 ns a basic block.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from kobox.arch.arch import Arch
from kobox.box.guest.scheduler import SECOND, Child, Process, Script
from kobox.errors import BoxError, BoxTimeoutError
from kobox.machine.native_core import FOREVER

if TYPE_CHECKING:
    import subprocess

    from kobox.box.box import Box

PIPE, STDOUT, DEVNULL = -1, -2, -3  # subprocess's: that is imported only where one of its classes is needed
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh", "TERM": "linux"}
MOST_OUTPUT = 64 << 20  # what `run` keeps of a program's output before it gives up on it

_CHUNK = 1 << 16  # a helper's buffer, and how much is read or written at once
_HIGH = (
    1 << 20
)  # a stream that holds so much unread is not read further: the program then waits, as for any slow reader
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


class Helper:
    """A process of kobox that serves one stream: it has a buffer of its own in the box."""

    def __init__(self, box: Box, process: Process, buffer: int) -> None:
        self.box = box
        self.process = process
        self.buffer = buffer

    @classmethod
    def make(cls, box: Box, size: int = _CHUNK) -> Helper:
        """A new one, with a buffer of `size` bytes."""
        process = box._processes.spawn()
        flags = 0x22 | 0x2000 | 0x8000  # MAP_PRIVATE MAP_ANONYMOUS MAP_LOCKED MAP_POPULATE
        buffer = box._calls.call(process, "mmap", (0, size, 3, flags, FOREVER, 0))
        # A reader that has gone is an error of write(2), and no reason to die.
        box._calls.call(process, "rt_sigprocmask", (0, struct.pack("<Q", 1 << signal.SIGPIPE - 1), None, 8))
        return cls(box, process, buffer)

    def put(self, data: bytes) -> None:
        """Fill its buffer."""
        self.box.machine.write(self.buffer, data, self.box._processes.space)

    def get(self, size: int) -> bytes:
        """What a call has left in its buffer."""
        return self.box.machine.read(self.buffer, size, self.box._processes.space)


class Helpers:
    """The helpers of a box: those that are free are used again."""

    def __init__(self, box: Box, saved: Iterable[Sequence[int]]) -> None:
        self._box = box
        by_number = box._processes.by_number
        self._free = [Helper(box, by_number[number], buffer) for number, buffer in saved if number in by_number]

    def save(self) -> list[list[int]]:
        """The free ones as plain data: [number, buffer] each."""
        return [[helper.process.number, helper.buffer] for helper in self._free]

    def begin(self, script: Callable[[Helper], Script]) -> Helper:
        """Have a helper follow a script; it is free again when that ends."""
        helper = self._free.pop() if self._free else Helper.make(self._box)

        def whole() -> Script:
            yield from script(helper)
            self._free.append(helper)

        self._box._processes.follow(helper.process, whole())
        return helper

    def go_on(self, helper: Helper, script: Callable[[Helper], Script]) -> None:
        """Have a helper follow a script whose first call is under way, in a box that was resumed."""

        def whole() -> Script:
            yield from script(helper)
            self._free.append(helper)

        begun = whole()
        next(begun)
        self._box._processes.resume_script(helper.process, begun)

    def stop(self, helper: Helper) -> None:
        """End a helper that is in the middle of a call."""
        helper.process.script = None
        self._box._processes.kill(helper.process)


class Output:
    """What a program writes to one descriptor: read by a helper, kept until somebody takes it, or handed to `sink`."""

    def __init__(
        self,
        box: Box,
        fd: int,
        sink: Callable[[bytes], object] | None = None,
        under_way: Helper | None = None,
    ) -> None:
        self._box = box
        self._fd = fd
        self._sink = sink
        self.data = bytearray()
        self.ended = False
        self.limit = _HIGH
        self._helper: Helper | None = None
        if under_way is None:
            self._start()
        else:
            self._helper = under_way
            self._box.helpers.go_on(under_way, self._read)

    def _start(self) -> None:
        if self._helper is None and not self.ended:
            self._helper = self._box.helpers.begin(self._read)

    def save(self) -> list[int]:
        """[descriptor, number and buffer of the helper that reads it]; it must be waiting for its program."""
        assert self._helper is not None
        return [self._fd, self._helper.process.number, self._helper.buffer]

    def _read(self, helper: Helper) -> Script:
        while len(self.data) < self.limit:
            count = yield "read", (self._fd, helper.buffer, _CHUNK)
            if count <= 0:  # the end; EIO when the last one has closed a terminal
                self.ended = True
                yield "close", (self._fd,)
                break
            data = helper.get(min(count, _CHUNK))
            if self._sink is not None:
                self._sink(data)
            else:
                self.data += data
        self._helper = None

    def take(self, size: int = -1) -> bytes:
        """Up to `size` bytes of what is there now."""
        size = len(self.data) if size < 0 else min(size, len(self.data))
        data = bytes(self.data[:size])
        del self.data[:size]
        if len(self.data) < self.limit:
            self._start()
        return data

    def close(self) -> None:
        """Read no more. A program that goes on writing gets SIGPIPE."""
        if self._helper is not None:
            self._box.helpers.stop(self._helper)
            self._helper = None
        if not self.ended:
            self.ended = True
            self._box.syscall("close", self._fd)


class Input:
    """What a program reads from one descriptor: written by a helper as fast as the program takes it."""

    def __init__(self, box: Box, fd: int) -> None:
        self._box = box
        self._fd = fd
        self.data = bytearray()
        self.closing = False
        self.closed = False
        self.broken = False  # nobody reads it any more
        self._helper: Helper | None = None

    def put(self, data: bytes) -> None:
        """Have it written; the call does not wait."""
        if not self.broken:
            self.data += data
            self._start()

    def finish(self) -> None:
        """Close it once everything is written."""
        self.closing = True
        if not self.closed:
            self._start()

    def _start(self) -> None:
        if self._helper is None and not self.closed:
            self._helper = self._box.helpers.begin(self._write)

    def _write(self, helper: Helper) -> Script:
        while self.data and not self.broken:
            chunk = bytes(self.data[:_CHUNK])
            helper.put(chunk)
            count = yield "write", (self._fd, helper.buffer, len(chunk))
            if count < 0:
                self.broken = True
                self.data.clear()
            del self.data[: max(count, 0)]
        if self.closing:
            self.closed = True
            yield "close", (self._fd,)
        self._helper = None

    def close(self) -> None:
        """Give up what is not written."""
        if self._helper is not None:
            self._box.helpers.stop(self._helper)
            self._helper = None
        if not self.closed:
            self.closed = self.closing = True
            self._box.syscall("close", self._fd)


class Program:
    """A program under way in a box, as `subprocess.Popen`: `pid`, `returncode`, `stdin`, `stdout`, `stderr`,
    `poll`, `wait`, `communicate`, `send_signal`, `terminate`, `kill`, a `with` block.

    `death` says more when a signal has killed it. Time is the box's: everything runs only while Python waits
    for something.
    """

    def __init__(self, box: Box, arguments: Sequence[str], child: Child, streams: _Streams) -> None:
        self._box = box
        self._child = child
        self._log_from = box.log.next_seq
        self.args = list(arguments)
        self._input, self._outputs = streams.input, streams.outputs
        self.terminal = streams.terminal
        self.returncode: int | None = None
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
        self._forwarded = streams.forwarded
        self._text = streams.text
        if self._input is not None:
            self.stdin = _wrapped(_Writing(self, self._input), streams.text)
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
            self._box._processes.run_until(lambda: self.ended, stop_when_idle=True)
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
        machine, processes = self._box.machine, self._box._processes
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

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
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
            expired.output, expired.stderr = (self._decoded(name, keep=True) for name in ("stdout", "stderr"))
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

    def _decoded(self, name: str, *, keep: bool = False) -> Any:
        output = self._outputs.get(name)
        if output is None:
            return None
        data = bytes(output.data) if keep else output.take()
        return data.decode(errors="surrogateescape").replace("\r\n", "\n") if self._text and not keep else data

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
        self._box._processes.run_until(lambda: self.ended, until=until)
        self._settle()

    def close(self) -> None:
        """End it, and free what it has."""
        if not self._box.alive:
            return
        self.kill()
        for stream in (self._input, self.terminal, *self._all_outputs()):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and self._box.alive:
                if self._input is not None:
                    self._input.finish()
                self.wait()
        finally:
            self.close()


class _Streams(NamedTuple):
    """What a program's descriptors are tied to on this side."""

    input: Input | None
    outputs: dict[str, Output]
    forwarded: tuple[Output, ...]
    terminal: Terminal | None
    text: bool


class Terminal:
    """The master side of a pseudo-terminal of the box: what a terminal emulator holds."""

    def __init__(self, box: Box, fd: int, sink: Callable[[bytes], object] | None) -> None:
        self._box = box
        self._fd = fd
        self.input = Input(box, fd)
        self.output = Output(box, box.syscall("fcntl", fd, 1030, 0), sink)  # F_DUPFD_CLOEXEC: each closes its own

    def resize(self, rows: int, columns: int) -> None:
        """Tell the program how large the window is: it gets SIGWINCH."""
        self._box.syscall(
            "ioctl", self._fd, self._box.arch.abi.terminal.tiocswinsz, struct.pack("<4H", rows, columns, 0, 0)
        )

    def foreground(self) -> int:
        """The process group that has the terminal."""
        group = bytearray(4)
        self._box.syscall("ioctl", self._fd, self._box.arch.abi.terminal.tiocgpgrp, group)
        return int(struct.unpack("<i", group)[0])

    def close(self) -> None:
        """Hang up: the session gets SIGHUP."""
        self.output.close()
        self.input.close()


def _wrapped(raw: Any, text: bool) -> IO[Any]:
    import io

    if raw.writable():
        return io.TextIOWrapper(raw, encoding="utf-8", write_through=True) if text else raw
    buffered = io.BufferedReader(raw)
    return io.TextIOWrapper(buffered, encoding="utf-8", errors="surrogateescape") if text else buffered


def _raw_base() -> type:
    import io

    return io.RawIOBase


class _Reading(_raw_base()):  # type: ignore[misc]
    """A program's output as a file: reading lets the box run until there is some."""

    def __init__(self, program: Program, output: Output) -> None:
        self._program = program
        self._output = output

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        output = self._output
        if not output.data and not output.ended:
            self._program._run(lambda: bool(output.data) or output.ended, None)
        data = output.take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed and self._program._box.alive:
            self._output.close()
        super().close()


class _Writing(_raw_base()):  # type: ignore[misc]
    """A program's input as a file. Raises `BrokenPipeError` when nobody reads it any more."""

    def __init__(self, program: Program, stream: Input) -> None:
        self._program = program
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        content = bytes(memoryview(data).cast("B"))
        stream = self._stream
        stream.put(content)
        if len(stream.data) > _HIGH:
            self._program._run(lambda: len(stream.data) < _HIGH or stream.broken, None)
        if stream.broken:
            raise BrokenPipeError(32, "write: Broken pipe")
        return len(content)

    def close(self) -> None:
        if not self.closed and self._program._box.alive:
            self._stream.finish()
        super().close()


# -- waiting for work ------------------------------------------------------------------------------------------------

# A shell that waits for one line on its standard input, is that, and has the rest of the input as its own.
_SPARE = 'IFS= read -r c; eval "unset c; $c"'


class Spare:
    """A shell that is started before anybody needs it, and kept in a snapshot: a fresh process then need not start one.

    It has the usual environment and three pipes, and stands in /root.
    """

    def __init__(self, row: list[Any]) -> None:
        self.row = row

    @classmethod
    def start(cls, box: Box) -> Spare:
        """Start one, and let it come to its read(2)."""
        program = popen(
            box, ["sh", "-c", _SPARE], executable="/bin/sh", cwd="/root", stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        box._processes.run_until(lambda: False, stop_when_idle=True)
        assert program._input is not None
        outputs = [output.save() for output in program._outputs.values()]
        return cls([program.pid, program._input._fd, outputs])

    def take(self, box: Box, command: str, stdout: Any, stderr: Any) -> Program:
        """Have it run a command of one line, with its output written to two file objects."""
        pid, fd, rows = self.row
        child = box._processes.children.setdefault(pid, Child(pid))
        given = Input(box, fd)
        by_number = box._processes.by_number
        outputs = tuple(
            Output(box, end, _file_writer(sink), Helper(box, by_number[number], buffer))
            for (end, number, buffer), sink in zip(rows, (stdout, stderr), strict=True)
        )
        program = Program(box, ["sh", "-c", command], child, _Streams(given, {}, outputs, None, False))
        given.put(os.fsencode(command) + b"\n")
        return program


# -- starting -------------------------------------------------------------------------------------------------------


def popen(
    box: Box,
    argv: Sequence[str | os.PathLike[str]] | str,
    *,
    stdin: Any = None,
    stdout: Any = None,
    stderr: Any = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    text: bool = False,
    executable: str | None = None,
    terminal: tuple[int, int] | None = None,
    sink: Callable[[bytes], object] | None = None,
    user: int | None = None,
) -> Program:
    """Start a program: see `Box.popen`."""
    arguments = [os.fspath(argv)] if isinstance(argv, (str, os.PathLike)) else [os.fspath(word) for word in argv]
    if not arguments:
        raise ValueError("no program: argv is empty")
    environment = dict(ENVIRONMENT if env is None else env)
    from kobox.box.guest import host_copy as bringing

    path = bringing.locate(box, executable or arguments[0], environment.get("PATH", PATH), cwd)
    plumbing = _Plumbing(box)
    try:
        ends = plumbing.terminal(terminal) if terminal else plumbing.pipes(stdin, stdout, stderr)
        child = _start(box, path, arguments, environment, os.fspath(cwd) if cwd else None, ends, terminal, user)
        streams = plumbing.streams(sink, text)
    except BaseException:
        plumbing.undo()
        raise
    finally:
        plumbing.close_theirs()
    return Program(box, arguments, child, streams)


def run(
    box: Box,
    argv: Sequence[str | os.PathLike[str]] | str,
    *,
    input: Any = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run a program to its end: see `Box.run`."""
    import subprocess

    if input is not None:
        if options.get("stdin") is not None:
            raise ValueError("stdin and input arguments may not both be used")
        options["stdin"] = PIPE
    if capture_output:
        if options.get("stdout") is not None or options.get("stderr") is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output")
        options["stdout"] = options["stderr"] = PIPE
    program = popen(box, argv, **options)
    try:
        out, err = program.communicate(input, timeout)
    finally:
        program.close()
    status = program.returncode
    assert status is not None
    if check and status:
        failed = subprocess.CalledProcessError(status, program.args, out, err)
        if (death := program.death) is not None and death.report:
            failed.add_note(death.report)
        raise failed
    return subprocess.CompletedProcess(program.args, status, out, err)


class _Plumbing:
    """The descriptors between a program and this side while it is being started: `theirs` and `ours`."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._ours: dict[str, int] = {}
        self._forward: dict[str, Callable[[bytes], object]] = {}
        self._theirs: list[int] = []
        self._master = -1

    def pipes(self, stdin: Any, stdout: Any, stderr: Any) -> list[int]:
        """The descriptors that become the program's 0, 1 and 2."""
        ends = [self._input(stdin), self._output("stdout", stdout, 1)]
        ends.append(ends[1] if stderr == STDOUT and isinstance(stderr, int) else self._output("stderr", stderr, 2))
        return ends

    def terminal(self, size: tuple[int, int]) -> list[int]:
        """A new pseudo-terminal, whose slave becomes all three."""
        box = self._box
        self._master = master = box.syscall("open", "/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, 0)
        box.syscall("ioctl", master, box.arch.abi.terminal.tiocsptlck, bytes(4))  # unlock
        number = bytearray(4)
        box.syscall("ioctl", master, box.arch.abi.terminal.tiocgptn, number)
        box.syscall("ioctl", master, box.arch.abi.terminal.tiocswinsz, struct.pack("<4H", *size, 0, 0))
        name = f"/dev/pts/{struct.unpack('<I', number)[0]}"
        slave = box.syscall("open", name, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, 0)
        self._theirs.append(slave)
        return [slave, slave, slave]

    def _pipe(self) -> tuple[int, int]:
        ends = bytearray(8)
        self._box.syscall("pipe2", ends, os.O_CLOEXEC)
        read, write = struct.unpack("<ii", ends)
        return read, write

    def _input(self, what: Any) -> int:
        if what is None or (isinstance(what, int) and what == DEVNULL):
            return self._open("/dev/null", os.O_RDONLY)
        if isinstance(what, int) and what == PIPE:
            read, self._ours["stdin"] = self._pipe()
            self._theirs.append(read)
            return read
        return self._fd_of(what)

    def _output(self, name: str, what: Any, here: int) -> int:
        if isinstance(what, int) and what == DEVNULL:
            return self._open("/dev/null", os.O_WRONLY)
        if what is not None and not (isinstance(what, int) and what == PIPE) and self._is_of_box(what):
            return self._fd_of(what)
        self._ours[name], write = self._pipe()
        self._theirs.append(write)
        if what is None:  # as subprocess has it: this process's own
            self._forward[name] = _Forward(here)
        elif not isinstance(what, int):
            self._forward[name] = _file_writer(what)
        return write

    def _open(self, path: str, flags: int) -> int:
        fd = self._box.syscall("open", path, flags | os.O_CLOEXEC, 0)
        self._theirs.append(fd)
        return fd

    def _is_of_box(self, what: Any) -> bool:
        return isinstance(what, int) or getattr(what, "_box", None) is self._box

    def _fd_of(self, what: Any) -> int:
        if not self._is_of_box(what):
            raise TypeError(
                "a program of the box reads files of the box: give it `input=`, or a file that `box.open` opened"
            )
        return what if isinstance(what, int) else int(what.fileno())

    def streams(self, sink: Callable[[bytes], object] | None, text: bool) -> _Streams:
        """This side's ends, from now on read and written."""
        box, ours = self._box, self._ours
        if self._master >= 0:
            return _Streams(None, {}, (), Terminal(box, self._master, sink), text)
        given = Input(box, ours["stdin"]) if "stdin" in ours else None
        kept = [name for name in ("stdout", "stderr") if name in ours and name not in self._forward]
        outputs = {str(name): Output(box, ours[name]) for name in kept}
        forwarded = tuple(Output(box, ours[name], forward) for name, forward in self._forward.items())
        return _Streams(given, outputs, forwarded, None, text)

    def close_theirs(self) -> None:
        """The program has its own copies now."""
        for fd in self._theirs:
            if self._box.alive:
                self._box.syscall("close", fd)

    def undo(self) -> None:
        """Nothing was started."""
        for fd in (*self._ours.values(), self._master):
            if fd >= 0 and self._box.alive:
                with suppress(OSError):
                    self._box.syscall("close", fd)


class _Forward:
    """What a program prints becomes this process's own output, as a child's does."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __call__(self, data: bytes) -> None:
        stream = sys.stdout if self._fd == 1 else sys.stderr
        with suppress(AttributeError, ValueError, OSError):
            stream.flush()
        while data:
            data = data[os.write(self._fd, data) :]


def _file_writer(file: Any) -> Callable[[bytes], object]:
    import io

    if isinstance(file, io.TextIOBase):
        return lambda data: file.write(data.decode(errors="replace"))
    return lambda data: file.write(data)


def _start(
    box: Box,
    path: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    cwd: str | None,
    ends: Sequence[int],
    terminal: tuple[int, int] | None,
    user: int | None,
) -> Child:
    """vfork, settle the child, execve. Raises `OSError` (of chdir or execve), `ProgramError`."""
    processes, calls = box._processes, box._calls
    process, vfork = processes.vfork(box._main_process())

    def call(name: str, *values: Any) -> int:
        return calls.call(process, name, values)

    try:
        _settle_child(call, box.arch, cwd, ends, terminal, user)
    except BaseException:
        if box.alive:
            processes.leave(process, 127)
            processes.wait(vfork)
        raise
    words, pointers = bytearray(), []
    for group in (arguments, [f"{name}={value}" for name, value in environment.items()]):
        for word in group:
            pointers.append(len(words))
            words += os.fsencode(word) + b"\0"
        pointers.append(-1)
    at_path = len(words)
    words += os.fsencode(path) + b"\0"
    table = len(words) + 7 & -8
    address = calls.buffer(process, table + 8 * len(pointers))
    values = [address + pointer if pointer >= 0 else 0 for pointer in pointers]
    calls.arena.write(address, bytes(words).ljust(table, b"\0") + struct.pack(f"<{len(values)}Q", *values))
    argv = address + table
    outcome = processes.execute(process, vfork, (address + at_path, argv, argv + 8 * (len(arguments) + 1)))
    calls.release(address)
    if isinstance(outcome, int):
        from kobox.box.guest.host_copy import explain_refusal

        explain_refusal(box, path, outcome)
    return outcome


def _settle_child(
    call: Callable[..., int],
    arch: Arch,
    cwd: str | None,
    ends: Sequence[int],
    terminal: tuple[int, int] | None,
    user: int | None,
) -> None:
    """What a child does between fork and exec."""
    call("rt_sigprocmask", 2, bytes(8), None, 8)  # SIG_SETMASK: kobox's own processes block some
    call("setsid")
    # kobox's own processes are never killed for want of memory; what they start may be. In a vfork()ed child this does
    # not reach the others of the same memory (__set_oom_adj in fs/proc/base.c).
    fd = call("open", "/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC, 0)
    call("write", fd, b"0", 1)
    spare = [call("fcntl", end, 1030, 3) for end in ends]  # F_DUPFD_CLOEXEC: none of them is 0, 1 or 2 now
    for number, end in enumerate(spare):
        call("dup2", end, number)
    if terminal:
        call("ioctl", 0, arch.abi.terminal.tiocsctty, 0)
    call("close_range", 3, 0xFFFFFFFF, 0)
    if cwd:
        call("chdir", cwd)
    if user is not None:
        call("setgroups", 0, None)
        call("setgid", user)
        call("setuid", user)


def death_of(pid: int, number: signal.Signals, records: Iterable[Any]) -> Death:
    """What the kernel's log says of the death of a process (show_signal_msg in arch/x86/mm/fault.c)."""
    for record in records:
        if (found := _SEGFAULT.search(record.text)) and int(found[1]) == pid:
            return Death(number, int(found[2], 16), int(found[3], 16), record.text)
        if (found := _TRAP.search(record.text)) and int(found[1]) == pid:
            return Death(number, None, int(found[3], 16), record.text)
    return Death(number, None, None, "")
