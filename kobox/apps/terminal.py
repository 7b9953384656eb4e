"""The user's side of a program in a box: their terminal put through, or their pipes, until the program ends.

    keyboard --> Session.pump --> pty master of the box --> the program
    screen   <-- sink         <-- helper process        <--

Time: a box's time is virtual, and leaps over what nobody waits for. A person's terminal is different. While a program
sits reading it (a prompt, vi, top with its two seconds), the box's clock keeps pace with the clock on the wall; while
programs only sleep (`sleep 3600`, a module's msleep), it leaps as ever. Which it is, /proc/PID/syscall of the
foreground processes tells.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import termios
import time
import tty
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NoReturn

from kobox.box.guest.process import Limits
from kobox.box.guest.scheduler import SECOND
from kobox.errors import BoxTimeoutError
from kobox.machine.native_core import FOREVER

if TYPE_CHECKING:
    from kobox.apps.guest_requests import GuestRequests
    from kobox.box.box import Box
    from kobox.box.guest.program import Program

_CHUNK = 1 << 14
_SETTLING = 1_000_000  # ns
_PATIENCE = 86_400 * SECOND  # virtual ns in which no program makes a system call, before that is hopeless
# What waits for time and for nothing else.
_SLEEPS = ("nanosleep", "clock_nanosleep")
_WAITS = ("wait4", "waitid")
_POLLS = ("poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "pause")
_READS = ("read", "readv")


class SessionTimeoutError(BoxTimeoutError):
    """The program has not ended within its time."""


class Session:
    """One program and the descriptors of this process that it talks to.

    `notice()` is called whenever the box has run a while: to show its kernel's messages, say. After `timeout` virtual
    seconds the program has had its time. `requests`: what programs of the box may ask for.
    """

    def __init__(
        self,
        box: Box,
        program: Program[bytes],
        source: int,
        notice: Callable[[], object],
        timeout: float | None = None,
        requests: GuestRequests | None = None,
    ) -> None:
        self._box = box
        self._requests = requests
        self._timeout = timeout
        self._end = FOREVER if timeout is None else box.machine.time + int(timeout * SECOND)
        self._program = program
        self._source: int | None = source
        self._notice = notice
        self._wakeup = -1
        self._resized = False

    # -- the loop ------------------------------------------------------------------------------------------------

    def pump(self) -> int:
        """Let the program run to its end; its exit status, negative for a signal.

        Raises `SessionTimeoutError` when it has had its time, `BoxTimeoutError` when it waits for something that never
        comes: nobody can type anything, and no timer has woken it for a day of the box's time; `BoxSwitchedOffError`
        when a program has switched the box off.
        """
        program, processes = self._program, self._box.guest.processes
        limits = Limits(cpu=self._box.limits.cpu)
        undo = self._box.events.slice.subscribe(self._slice)
        try:
            while not program.ended:
                with contextlib.suppress(BoxTimeoutError):
                    processes.run_until(self._interrupted, until=self._end, limits=limits, stop_when_idle=True)
                self._notice()
                if program.ended:
                    break
                if self._requests is not None and self._requests.waiting:
                    self._requests.serve()
                    continue
                if self._box.machine.time >= self._end:
                    raise SessionTimeoutError(f"not ended after {self._timeout:g} s of the box's time", box_lives=True)
                if self._resized:
                    self._resize()
                if not self._take_input(0):
                    self._pass_time(limits)
            self._drain(limits)
        finally:
            undo()
            self._notice()
        return program.wait()

    def _drain(self, limits: Limits) -> None:
        """What was written last may still be in the pipe; a child that lives on and holds it is not waited for."""
        outputs = list(self._program._all_outputs())
        if self._program.terminal is not None:
            outputs.append(self._program.terminal.output)
        with contextlib.suppress(BoxTimeoutError):
            self._box.guest.processes.run_until(
                lambda: all(output.ended for output in outputs), limits=limits, stop_when_idle=True
            )

    def _slice(self) -> None:
        self._notice()

    def _interrupted(self) -> bool:
        asked = self._requests is not None and self._requests.waiting
        return asked or self._program.ended or self._resized or self._ready(0)

    def _ready(self, timeout: float | None) -> bool:
        watched = [fd for fd in (self._source, self._wakeup) if fd is not None and fd >= 0]
        ready, _, _ = select.select(watched, [], [], timeout)
        if self._wakeup in ready:
            os.read(self._wakeup, 4096)
            self._resized = True
        return self._source in ready

    def _take_input(self, timeout: float | None) -> bool:
        """Hand on what was typed; whether there was something."""
        if not self._ready(timeout):
            return self._resized
        assert self._source is not None
        terminal = self._program.terminal
        stream = terminal.input if terminal is not None else self._program._input
        try:
            data = os.read(self._source, _CHUNK)
        except OSError:
            data = b""
        if not data:
            self._source = None
            if terminal is not None:
                raise HangUp
            if stream is not None:
                stream.finish()
        elif stream is not None:
            stream.put(data)
        return True

    # -- time ----------------------------------------------------------------------------------------------------

    def _pass_time(self, limits: Limits) -> None:
        """Everything sleeps: leap to the next timer, or wait for the user, whichever the programs wait for."""
        machine, processes = self._box.machine, self._box.guest.processes
        leaps = self._waits_for_time()
        with contextlib.suppress(BoxTimeoutError):  # what was asked in the box has to come to rest first
            processes.run_until(self._interrupted, until=self._end, limits=limits, stop_when_idle=True)
        if self._interrupted() or machine.time >= self._end:
            return
        due = machine.next_timer
        if leaps:
            self._leap(limits)
            return
        began = time.monotonic()
        wait = None if due == FOREVER else max(0.0, (due - machine.time) / SECOND)
        self._ready(wait if wait is None else min(wait, 3600.0))
        spent = int((time.monotonic() - began) * SECOND)
        with contextlib.suppress(BoxTimeoutError):
            until = min(machine.time + max(spent, _SETTLING), self._end)
            processes.run_until(self._interrupted, until=until, limits=limits)

    def _leap(self, limits: Limits) -> None:
        """From timer to timer, until a program has made a call again. To ask what they wait for would itself
        keep the kernel busy, so that is not done again before."""
        machine = self._box.machine
        calls, patience = machine.system_calls, machine.time + _PATIENCE
        while machine.system_calls == calls and not self._interrupted() and machine.time < self._end:
            timer = machine.next_timer
            if (timer == FOREVER or machine.time > patience) and self._is_hopeless():
                if self._end < FOREVER:
                    timer = self._end
                else:
                    self._give_up()
            elif timer == FOREVER:
                self._ready(None)
                return
            elif machine.time > patience:
                return
            # A millisecond more: the kernel needs some for what the timer is about.
            until = min(max(timer, machine.time) + _SETTLING, self._end)
            self._box.guest.processes.run_until(self._interrupted, until=until, limits=limits)

    def _is_hopeless(self) -> bool:
        """Whether nothing from outside can wake the program: no input, and no connection of the user network."""
        network = self._box.network.nat
        outside = self._source is not None or (network is not None and network.flows > 0)
        return not outside and not self._is_asleep(self._program.pid, 0)

    def _is_asleep(self, pid: int, depth: int) -> bool:
        """Whether a process, or one that it has started, has asked to be woken at a time."""
        try:
            words = self._box.read_text(f"/proc/{pid}/syscall").split()
            if words[:1] and words[0].isdigit() and int(words[0]) in self._box.arch.syscalls.numbers_of(*_SLEEPS):
                return True
            children = self._box.read_text(f"/proc/{pid}/task/{pid}/children").split()
        except (OSError, ValueError):
            return False
        return depth < 16 and any(self._is_asleep(int(child), depth + 1) for child in children)

    def _give_up(self) -> NoReturn:
        lines = []
        with contextlib.suppress(OSError):
            stack = self._box.read_text(f"/proc/{self._program.pid}/stack").splitlines()
            lines = [f"it sleeps in {line.partition('] ')[2]}" for line in stack[:1]]
        raise BoxTimeoutError(
            f"{self._program.args[-1]}: waits for something that never comes", log=lines, box_lives=True
        )

    def _waits_for_time(self) -> bool:
        if self._source is None:
            return True
        terminal = self._program.terminal
        try:
            leader = terminal.foreground() if terminal is not None else self._program.pid
        except OSError:
            return False
        return self._sleeps(leader, 0)

    def _sleeps(self, pid: int, depth: int) -> bool:
        """Whether a process sleeps for time to pass, or waits for children that do."""
        try:
            words = self._box.read_text(f"/proc/{pid}/syscall").split()
            if not words or not words[0].isdigit():
                return True  # it runs, or sleeps in the kernel for a reason of its own
            number, numbers_of = int(words[0]), self._box.arch.syscalls.numbers_of
            if number in numbers_of(*_SLEEPS):
                return True
            if number in numbers_of(*_READS):  # of the terminal or the pipe that we hold the other end of?
                return not self._is_ours(pid, int(words[1], 16))
            if number in numbers_of(*_POLLS):
                return self._program.terminal is None
            if number in numbers_of(*_WAITS) and depth < 16:
                children = self._box.read_text(f"/proc/{pid}/task/{pid}/children").split()
                return all(self._sleeps(int(child), depth + 1) for child in children)
        except (OSError, ValueError):
            return False
        return True

    def _is_ours(self, pid: int, fd: int) -> bool:
        there = self._box.readlink(f"/proc/{pid}/fd/{fd}")
        if self._program.terminal is not None:
            return there.startswith(("/dev/pts/", "/dev/tty"))
        return there == self._box.readlink(f"/proc/{self._program.pid}/fd/0")

    # -- the window ----------------------------------------------------------------------------------------------

    def _resize(self) -> None:
        self._resized = False
        if self._program.terminal is not None:
            self._program.terminal.resize(*window_size())

    @contextlib.contextmanager
    def window_changes(self) -> Iterator[None]:
        """Follow SIGWINCH of this process's terminal."""
        self._wakeup, other = os.pipe()
        os.set_blocking(other, False)
        os.set_blocking(self._wakeup, False)

        def changed(*_: object) -> None:
            with contextlib.suppress(OSError):
                os.write(other, b"!")

        before = signal.signal(signal.SIGWINCH, changed)
        try:
            yield
        finally:
            signal.signal(signal.SIGWINCH, before)
            os.close(other)
            os.close(self._wakeup)
            self._wakeup = -1


class HangUp(Exception):  # noqa: N818
    """The user's terminal has gone."""


def window_size(fd: int = 0) -> tuple[int, int]:
    """(rows, columns) of a terminal of this process; 24 x 80 where it does not say."""
    import fcntl

    try:
        rows, columns, _, _ = struct.unpack("<4H", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    except OSError:
        return 24, 80
    return rows or 24, columns or 80


@contextlib.contextmanager
def raw(fd: int = 0) -> Iterator[None]:
    """A terminal of this process that hands every key on as it comes; made whole again whatever happens."""
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSANOW)
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
