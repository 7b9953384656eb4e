"""Programs in a box: `box.run` and `box.popen`, as subprocess has them.

    Python                             the box
    box.popen(["cat"])
      main process: pipe2() x 3
      vfork() ------------------------> child: signals, setsid, dup2, chdir, execve ---> the program
      a worker per stream  <----------- read()/write() on the pipe's other end, a script that Python feeds
      PID 1 <-------------------------- SIGCHLD, wait4(): status

Nothing polls: a worker sleeps in the kernel until there is something, and when everything sleeps virtual time jumps to
the next timer. Timeouts are virtual seconds, as everything in a box: code that runs takes 8 ns a basic block.
"""

from __future__ import annotations

import io
import os
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Literal, Protocol, TypeAlias, TypedDict, Unpack, cast, overload

from kobox.arch.arch import Arch
from kobox.box.booted import BootedKernel
from kobox.box.guest import host_copy
from kobox.box.guest.process import Child
from kobox.box.guest.program import Program, ProgramStreams
from kobox.box.guest.streams import Input, Output, PseudoTerminal
from kobox.box.guest.syscall import Argument

if TYPE_CHECKING:
    import subprocess

PIPE, STDOUT, DEVNULL = -1, -2, -3  # subprocess's: that is imported only where one of its classes is needed
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh", "TERM": "linux"}

# What a program's stdin, stdout or stderr is: PIPE, STDOUT, DEVNULL, a descriptor or file of the box, or, for output, a
# file of this process that is written to.
Redirection: TypeAlias = "int | IO[bytes] | IO[str] | Writer | None"


class Writer(Protocol):
    """Something that takes bytes."""

    def write(self, data: bytes, /) -> object: ...


class PopenOptions(TypedDict, total=False):
    """Options of `popen`, besides `text`: see `Box.run`. `terminal` is (rows, columns) of a pseudo-terminal that the
    program gets instead of pipes, `sink` what its output is handed to."""

    stdin: Redirection
    stdout: Redirection
    stderr: Redirection
    env: Mapping[str, str] | None
    cwd: str | os.PathLike[str] | None
    executable: str | None
    terminal: tuple[int, int] | None
    sink: Callable[[bytes], object] | None
    user: int | None


class RunOptions(PopenOptions, total=False):
    """Options of `run`, besides `text` and `input`."""

    capture_output: bool
    timeout: float | None
    check: bool


Argv: TypeAlias = "Sequence[str | os.PathLike[str]] | str | os.PathLike[str]"


@overload
def popen(box: BootedKernel, argv: Argv, *, text: Literal[True], **options: Unpack[PopenOptions]) -> Program[str]: ...
@overload
def popen(
    box: BootedKernel, argv: Argv, *, text: Literal[False] = ..., **options: Unpack[PopenOptions]
) -> Program[bytes]: ...
@overload
def popen(
    box: BootedKernel, argv: Argv, *, text: bool, **options: Unpack[PopenOptions]
) -> Program[str] | Program[bytes]: ...
def popen(
    box: BootedKernel,
    argv: Argv,
    *,
    stdin: Redirection = None,
    stdout: Redirection = None,
    stderr: Redirection = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    text: bool = False,
    executable: str | None = None,
    terminal: tuple[int, int] | None = None,
    sink: Callable[[bytes], object] | None = None,
    user: int | None = None,
) -> Program[str] | Program[bytes]:
    """Start a program: see `Box.popen`."""
    arguments = [os.fspath(argv)] if isinstance(argv, (str, os.PathLike)) else [os.fspath(word) for word in argv]
    if not arguments:
        raise ValueError("no program: argv is empty")
    environment = dict(ENVIRONMENT if env is None else env)
    path = host_copy.locate(box, executable or arguments[0], environment.get("PATH", PATH), cwd)
    plumbing = _Plumbing(box)
    log_from = box.log.next_seq
    try:
        ends = plumbing.terminal(terminal) if terminal else plumbing.pipes(stdin, stdout, stderr)
        child = _start(box, path, arguments, environment, os.fspath(cwd) if cwd else None, ends, terminal, user)
        streams = plumbing.streams(sink, text)
    except BaseException:
        plumbing.undo()
        raise
    finally:
        plumbing.close_theirs()
    return Program(box, arguments, child, streams, log_from)


@overload
def run(
    box: BootedKernel, argv: Argv, *, text: Literal[True], input: str | None = ..., **options: Unpack[RunOptions]
) -> subprocess.CompletedProcess[str]: ...
@overload
def run(
    box: BootedKernel,
    argv: Argv,
    *,
    text: Literal[False] = ...,
    input: bytes | None = ...,
    **options: Unpack[RunOptions],
) -> subprocess.CompletedProcess[bytes]: ...
@overload
def run(
    box: BootedKernel, argv: Argv, *, text: bool, input: str | bytes | None = ..., **options: Unpack[RunOptions]
) -> subprocess.CompletedProcess[str] | subprocess.CompletedProcess[bytes]: ...
def run(
    box: BootedKernel,
    argv: Argv,
    *,
    input: str | bytes | None = None,
    text: bool = False,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Unpack[PopenOptions],
) -> subprocess.CompletedProcess[str] | subprocess.CompletedProcess[bytes]:
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
    program = cast(Program[str], popen(box, argv, text=text, **options))
    try:
        out, err = program.communicate(cast(str, input), timeout)
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

    def __init__(self, box: BootedKernel) -> None:
        self._box = box
        self._ours: dict[str, int] = {}
        self._forward: dict[str, Callable[[bytes], object]] = {}
        self._theirs: list[int] = []
        self._master = -1

    def pipes(self, stdin: Redirection, stdout: Redirection, stderr: Redirection) -> list[int]:
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

    def _input(self, what: Redirection) -> int:
        if what is None or (isinstance(what, int) and what == DEVNULL):
            return self._open("/dev/null", os.O_RDONLY)
        if isinstance(what, int) and what == PIPE:
            read, self._ours["stdin"] = self._pipe()
            self._theirs.append(read)
            return read
        return self._fd_of(what)

    def _output(self, name: str, what: Redirection, here: int) -> int:
        if isinstance(what, int) and what == DEVNULL:
            return self._open("/dev/null", os.O_WRONLY)
        if what is not None and not (isinstance(what, int) and what == PIPE) and self._is_of_box(what):
            return self._fd_of(what)
        self._ours[name], write = self._pipe()
        self._theirs.append(write)
        if what is None:  # as subprocess has it: this process's own
            self._forward[name] = _Forward(here)
        elif not isinstance(what, int):
            self._forward[name] = file_writer(what)
        return write

    def _open(self, path: str, flags: int) -> int:
        fd = self._box.syscall("open", path, flags | os.O_CLOEXEC, 0)
        self._theirs.append(fd)
        return fd

    def _is_of_box(self, what: Redirection) -> bool:
        return isinstance(what, int) or getattr(what, "_box", None) is self._box

    def _fd_of(self, what: Redirection) -> int:
        if not self._is_of_box(what):
            raise TypeError(
                "a program of the box reads files of the box: give it `input=`, or a file that `box.open` opened"
            )
        return what if isinstance(what, int) else cast(IO[bytes], what).fileno()

    def streams(self, sink: Callable[[bytes], object] | None, text: bool) -> ProgramStreams:
        """This side's ends, from now on read and written."""
        box, ours = self._box, self._ours
        if self._master >= 0:
            return ProgramStreams(None, {}, (), PseudoTerminal(box, self._master, sink), text)
        given = Input(box, ours["stdin"]) if "stdin" in ours else None
        kept = [name for name in ("stdout", "stderr") if name in ours and name not in self._forward]
        outputs = {str(name): Output(box, ours[name]) for name in kept}
        forwarded = tuple(Output(box, ours[name], forward) for name, forward in self._forward.items())
        return ProgramStreams(given, outputs, forwarded, None, text)

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


def file_writer(file: IO[bytes] | IO[str] | Writer) -> Callable[[bytes], object]:
    """What writes bytes to a file object, be it a text file."""
    if isinstance(file, io.TextIOBase):
        text = file
        return lambda data: text.write(data.decode(errors="replace"))
    binary = cast(Writer, file)
    return lambda data: binary.write(data)


def _start(
    box: BootedKernel,
    path: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    cwd: str | None,
    ends: Sequence[int],
    terminal: tuple[int, int] | None,
    user: int | None,
) -> Child:
    """vfork, settle the child, execve. Raises `OSError` (of chdir or execve), `ProgramError`."""
    processes, calls = box.guest.processes, box.guest.calls
    process, vfork = processes.vfork(box.guest.main())

    def call(name: str, *values: Argument) -> int:
        return calls.call(process, name, values)

    try:
        _settle_child(call, box.arch, box.machine.cpus, cwd, ends, terminal, user)
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
    space = box.arch.addresses
    address = calls.buffer(process, table + space.word * len(pointers))
    values = [address + pointer if pointer >= 0 else 0 for pointer in pointers]
    calls.arena.write(address, bytes(words).ljust(table, b"\0") + space.packed(*values))
    argv = address + table
    outcome = processes.execute(process, vfork, (address + at_path, argv, argv + space.word * (len(arguments) + 1)))
    calls.release(address)
    if isinstance(outcome, int):
        host_copy.explain_refusal(box, path, outcome)
    return outcome


def _settle_child(
    call: Callable[..., int],
    arch: Arch,
    cpus: int,
    cwd: str | None,
    ends: Sequence[int],
    terminal: tuple[int, int] | None,
    user: int | None,
) -> None:
    """What a child does between fork and exec."""
    call("rt_sigprocmask", 2, bytes(8), None, 8)  # SIG_SETMASK: kobox's own processes block some
    call("setsid")
    if cpus > 1:  # kobox's own processes are on CPU 0; programs run where the kernel wants them
        call("sched_setaffinity", 0, 8, ((1 << cpus) - 1).to_bytes(8, "little"))
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
