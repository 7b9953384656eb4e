"""The processes of kobox in a box, and who of them has the CPU.

All processes of kobox are on CPU 0, unless they were put on another one. Python has the machine whenever a process has
made the hypercall: that one is *in hand*. The others are
*parked* (asleep on a futex of their own until they are wanted), *woken* from that, *leaving* (waking another, then
parked) or *busy* (in a system call that has not returned).

    in hand --call--> the kernel --ring--> in hand            a call that returns
    in hand --start-> the kernel, CPU idle: busy               a call that blocks; someone else is summoned
    in hand --wake J, park----> J rings: J in hand             a switch

A process may also follow a *script*: a Python generator that yields system calls and is sent their results. It goes on
whenever its call returns, whatever else runs, and that is how pipes and terminals are served while programs use them.

A *program* is a child that Python had call execve(2): from then on it runs by itself, until PID 1 hears of its end.

PID 1 never works for the user. It rests in poll() on two things: the second serial port, by which Python
wakes it when nobody is in hand (`_summon`), and a signalfd, by which the kernel tells it that a child has died.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from kobox.box.boot.init_program import ARENA, hypercall_address, nap_address, syscall_address
from kobox.box.events import BoxEvents
from kobox.box.guest.process import Child, Limits, Process, RawCall, Script, State
from kobox.box.inspect.oops import place_in
from kobox.errors import BoxError, BoxHungError, BoxTimeoutError, KernelPanicError, KoboxError, ProcessDiedError
from kobox.ko.binary import c_string
from kobox.machine.native_core import FOREVER, Event
from kobox.machine.pc import Machine

SECOND = 1_000_000_000
BLOCKS_A_SECOND = (
    SECOND // 64
)  # of a limit: half a second of a host's, and what a CPU that never rests does in a virtual second
SLICE = 2_000_000  # blocks between two chances for Ctrl-C: about 50 ms


_CLONE = 0x100 | 0x200 | 0x400 | 0x8000 | 0x80000 | 17  # VM FS FILES PARENT SETTLS, SIGCHLD when it ends
_CLONE_PROGRAM = 0x100 | 0x4000 | 0x80000 | 17  # VM VFORK SETTLS: files and directory of its own
_CLONE_PARENT = 0x8000
_FUTEX_WAIT, _FUTEX_WAKE = 128, 129  # private
_WORDS = ARENA  # one futex word a process, always 0
_POLL = ARENA + 3072  # PID 1's struct pollfd[2]
_MOST_CHILDREN = 4096  # that PID 1 reaps at once; more are a lie of a module
_SCRATCH = ARENA + 3200  # PID 1's buffer, 512 bytes
MAX_PROCESSES = 256
_SPIN, _SPIN_AT_MOST = 2000, 20_000  # blocks of other CPUs


class Processes:
    """Makes system calls from processes of the box.

    `explain()` is asked for the kernel's words when the box has died: it returns log lines and where the CPU is.
    """

    def __init__(self, machine: Machine, explain: Callable[[], tuple[list[str], str]]) -> None:
        self._machine = machine
        self.arch = machine.arch
        self._explain = explain
        self.events = BoxEvents(self._run_machine)
        self.by_number: dict[int, Process] = {0: Process(0, 1, State.BUSY)}
        self.in_hand: Process | None = None
        self.dead: str = ""
        self.limits = Limits()
        self._budget, self._budget_end = 0.0, FOREVER  # of all calls together: seconds, and how much work that is
        self.space = 0
        self._woken = self.by_number[0]  # whom somebody is waking
        self.children: dict[int, Child] = {}
        self._spinner: Process | None = None  # makes one hypercall after the other, until it is wanted
        self._spinner_wanted = False
        self._serving: list[Process] = []  # programs of the kernel's, the one served last at the end

    # -- the life of the box ---------------------------------------------------------------------------------

    def wait_for_init(self, *, blocks: int, most: int, progress: Callable[[], bool]) -> None:
        """Run the kernel from power on until PID 1 rings. `progress` says whether anything has moved on since the last
        call: without that it has `blocks`, and `most` in all.

        Raises `BoxHungError` when it takes longer, `KernelPanicError` when the kernel stops.
        """
        began = self._machine.work
        end = began + blocks
        while (event := self._machine.run(blocks=SLICE)) is not Event.HYPERCALL or self.arguments()[0] != "/init":
            if event is Event.HYPERCALL:  # a driver asks for a module before there is anybody to answer
                self._set(self.by_number[0], "exit_group", (1,))
            elif event is not Event.SLICE:
                break
            elif progress():
                end = min(self._machine.work + blocks, began + most)
            if self._machine.work > end:
                self._die("the kernel did not reach its first process", BoxHungError)
        if event is not Event.HYPERCALL:
            self._die("the kernel did not reach its first process")
        self.in_hand = self.by_number[0]
        self.in_hand.state = State.IN_HAND
        self.space = self._machine.address_space

    def arguments(self) -> list[str]:
        """The command line of the program that made the hypercall, which has just begun and keeps its first stack."""
        read, at = self._machine.read, self._machine.register(self.arch.init.first_stack)
        space = self.arch.addresses
        count = space.number(read(at, space.word))
        pointers = space.numbers(read(at + space.word, space.word * min(count, 64)))
        return [self._string(pointer) for pointer in pointers]

    def _string(self, address: int) -> str:
        out = b""
        while 0 not in out and len(out) < 65536:
            out += self._machine.read(address + len(out), 4096 - (address + len(out) & 4095))
        return os.fsdecode(c_string(out))

    def watch_children(self, serial: int, signals: int) -> None:
        """From now on PID 1, which is in hand, rests on these two descriptors: its serial line and its signalfd."""
        self._machine.write(_POLL, struct.pack("<ihhihh", serial, 1, 0, signals, 1, 0), self.space)

    def save(self) -> dict[str, object]:
        """The bookkeeping as plain data, for a snapshot."""
        return {
            "space": self.space,
            "processes": {str(p.number): [p.pid, p.state.value, p.cpu] for p in self.by_number.values()},
            "in_hand": self.in_hand.number if self.in_hand else None,
        }

    def load(self, saved: dict[str, object]) -> None:
        """Undo `save`. Calls that were under way are forgotten; their processes are parked when they return."""
        rows: dict[str, tuple[int, str, int]] = saved["processes"]  # type: ignore[assignment]
        for pending in [p.pending for p in self.by_number.values() if p.pending]:
            pending.status = pending.status if pending.done else 0
        before = self.by_number
        self.by_number = {}
        for key, (pid, state, cpu) in rows.items():
            process = before.get(int(key)) or Process(int(key), pid, State(state))
            process.pid, process.state, process.pending, process.cpu = pid, State(state), None, cpu
            self.by_number[process.number] = process
        self.space = saved["space"]  # type: ignore[assignment]
        number = saved["in_hand"]
        self.in_hand = None if number is None else self.by_number[number]  # type: ignore[index]
        self._spinner = None
        self._serving.clear()
        for process in self.by_number.values():
            process.script = None
        for child in self.children.values():  # programs of a time that is no more
            child.status = -1
        self.children.clear()
        self.dead = ""

    # -- calls -----------------------------------------------------------------------------------------------

    def call(self, process: Process, what: str, arguments: tuple[int, ...], limits: Limits | None = None) -> int:
        """Make one system call and wait for it: its raw result.

        Raises `ProcessDiedError` when the process is killed in it, `BoxTimeoutError`, `BoxHungError`,
        `KernelPanicError`.
        """
        pending = self.command(process, what, arguments)
        self.wait(pending, limits)
        assert pending.result is not None
        return pending.result

    def start(self, process: Process, what: str, arguments: tuple[int, ...], *, wait: int = 0) -> RawCall:
        """Make one system call and run until it has returned or the whole box is idle. With `wait`, its CPU is held for
        so many blocks before it, unless another one is held by then."""
        pending = self.command(process, what, arguments)
        if wait and self._machine.turns().held < 0:
            self._machine.hold(process.cpu, wait)
        self._guarded(pending, lambda: pending.done, self.limits, stop_when_idle=True)
        return pending

    def start_together(self, calls: Sequence[tuple[Process, str, tuple[int, ...]]], lead: int = 0) -> list[RawCall]:
        """Make two calls on two CPUs at the same moment, and run until both have returned or the whole box is idle.

        With `lead`, the second one stands still until the first has executed so many blocks, or waits. One process
        spins on its CPU, in user space, until the other stands before its call on another CPU. Raises `ValueError`
        when both processes are on one CPU.
        """
        later, sooner = sorted(calls, key=lambda row: row[0].cpu)
        one, other = sooner[0], later[0]
        if one.cpu == other.cpu:
            raise ValueError(f"both calls are on CPU {one.cpu}: make one of the processes with box.process(cpu=...)")
        begun = {}
        self._take(one)
        self._let_spin(one)
        try:
            begun[id(other)] = self.command(*later)
            self._machine.hold(self._machine.cpu, _SPIN_AT_MOST)
            self._spinner_wanted = True
            self._run(lambda: self.in_hand is one, FOREVER, self.limits)
        finally:
            self._spinner = None
        begun[id(one)] = self.command(*sooner)
        self._machine.hold(calls[1][0].cpu if lead else -1, lead)
        both = [begun[id(process)] for process, *_ in calls]
        self._guarded(both[0], lambda: all(one.done for one in both), self.limits, stop_when_idle=True)
        return both

    def _let_spin(self, process: Process) -> None:
        """The process in hand is at its hypercall again, and its CPU stands still for a moment: the others go on."""
        self._spinner, self._spinner_wanted = process, False
        process.state, self.in_hand = State.BUSY, None
        self._machine.pc = hypercall_address(self.arch)
        self._machine.hold(self._machine.cpu, _SPIN)

    def wait(self, pending: RawCall, limits: Limits | None = None) -> None:
        """Let time pass until a call has returned. Raises as `call` does."""
        limits = limits or self.limits
        self._guarded(pending, lambda: pending.done, limits)
        if pending.result is None:
            lines, _ = self._explain()
            how = os.WTERMSIG(pending.status) if pending.status else 0
            raise ProcessDiedError(
                f"{pending.what}: the process that made the call was killed in it (signal {how})",
                status=pending.status or 0,
                log=lines,
                pc=place_in(lines),
            )

    def pass_time(self, seconds: float, limits: Limits | None = None) -> None:
        """Let virtual time pass: timers fire, work runs, blocked calls return."""
        self._must_live()
        limits = limits or self.limits
        self._park_in_hand()
        self._run(lambda: False, self._machine.time + int(seconds * SECOND), limits, deadline_is_error=False)

    def rest(self) -> None:
        """Run until everything in the box waits, for no more than a virtual second."""
        self._must_live()
        until = self._machine.time + SECOND
        self._run(lambda: False, until, self.limits, stop_when_idle=True, deadline_is_error=False, yielding=True)

    def spawn(self) -> Process:
        """A new process of the box, parked."""
        parent = self._anyone()
        number = self._free_number()
        child = self.by_number[number] = Process(number, 0, State.BUSY)
        flags = _CLONE & ~0x8000 if parent.number == 0 else _CLONE
        pid = self.call(parent, "clone", self.arch.syscalls.clone(flags, number))
        if pid < 0:
            del self.by_number[number]
            raise OSError(-pid, f"clone: {os.strerror(-pid)}")
        child.pid = pid
        if child.state is State.BUSY:  # it has not run yet
            self._run(lambda: child.state is not State.BUSY, FOREVER, self.limits, yielding=True)
        return child

    def _free_number(self) -> int:
        """Raises `OSError` when there are as many processes as there can be; those that hang in a call count."""
        number = next((n for n in range(1, MAX_PROCESSES) if n not in self.by_number), None)
        if number is None:
            raise OSError(errno.EAGAIN, f"the box has {MAX_PROCESSES - 1} processes already, and no room for more")
        return number

    # -- programs ----------------------------------------------------------------------------------------------

    def vfork(self, parent: Process) -> tuple[Process, RawCall]:
        """A child of its own files and directory, in hand, that is to become a program; and the call of its parent,
        which comes back when it has.

        Raises `OSError` when the kernel refuses."""
        number = self._free_number()
        child = self.by_number[number] = Process(number, 0, State.BUSY)
        flags = _CLONE_PROGRAM | (_CLONE_PARENT if parent.number else 0)
        pending = self.command(parent, "clone", self.arch.syscalls.clone(flags, number))
        self._run(lambda: child.state is not State.BUSY or pending.done, FOREVER, self.limits)
        if pending.result is not None and pending.result < 0:
            del self.by_number[number]
            raise OSError(-pending.result, f"clone: {os.strerror(-pending.result)}")
        child.pid = self.call(child, "getpid", ())
        return child, pending

    def execute(self, child: Process, vfork: RawCall, arguments: tuple[int, ...]) -> Child | int:
        """Have a child of `vfork` call execve(2): the program that it then is, or the errno."""
        program = self.children[child.pid] = Child(child.pid)
        pending = self.command(child, "execve", arguments)
        self._run(lambda: pending.done or vfork.done, FOREVER, self.limits)
        if pending.result is not None:
            del self.children[child.pid]
            self.leave(child, 127)
            self._run(lambda: vfork.done, FOREVER, self.limits)
            return -pending.result
        self.by_number.pop(child.number, None)
        child.state = State.DEAD
        return program

    def leave(self, process: Process, status: int) -> None:
        """Have a process end."""
        self._take(process)
        self._set(process, "exit_group", (status,))
        process.state, self.in_hand = State.BUSY, None

    def follow(self, process: Process, script: Script) -> None:
        """Have a process make the calls of a script, each when the one before has returned, whatever else goes on."""
        self._take(process)
        self.in_hand = None
        process.script, process.state = script, State.BUSY
        self._continue(process, None)

    def resume_script(self, process: Process, script: Script) -> None:
        """Go on with a script whose first call is under way in the box already, as in one that was resumed."""
        process.script, process.state = script, State.BUSY

    def _continue(self, process: Process, result: int | None) -> None:
        script = process.script
        assert script is not None
        try:
            what, arguments = next(script) if result is None else script.send(result)
        except BaseException as ended:
            process.script, process.state, self.in_hand = None, State.IN_HAND, process
            self._park(process)
            if not isinstance(ended, StopIteration):
                raise
        else:
            self._set(process, what, arguments)

    def run_until(
        self,
        done: Callable[[], bool],
        *,
        until: int = FOREVER,
        limits: Limits | None = None,
        stop_when_idle: bool = False,
    ) -> bool:
        """Let programs run until `done()`, virtual time `until` (ns), or, if asked for, until all sleep:
        whether `done()`.

        Raises `BoxTimeoutError` when all sleep and no timer will ever wake them; `KernelPanicError`; `BoxHungError`
        when one call of a program burns `limits.cpu` seconds in the kernel.
        """
        self._must_live()
        if not done():
            self._park_in_hand()
            self._run(
                done,
                until,
                limits or self.limits,
                stop_when_idle=stop_when_idle,
                deadline_is_error=until == FOREVER,
                programs=True,
            )
        return done()

    def kill(self, process: Process) -> None:
        """SIGKILL a process and wait until it is gone."""
        if process.state is State.DEAD:
            return
        killer = next(p for p in (self._anyone(), self.by_number[0]) if p is not process or p.number == 0)
        self.call(killer, "kill", (process.pid, 9, 0, 0, 0, 0))
        self._run(lambda: process.state is State.DEAD, self._machine.time + 60 * SECOND, self.limits, yielding=True)

    @property
    def virtual_time(self) -> int:
        """The time of the box in nanoseconds."""
        return self._machine.time

    def usable(self, process: Process) -> bool:
        """Whether a new call can be given to it now."""
        return process.state in (State.IN_HAND, State.PARKED, State.WOKEN, State.LEAVING)

    # -- who has the CPU -------------------------------------------------------------------------------------

    def _must_live(self) -> None:
        if self.dead:
            lines, pc = self._explain()
            raise KernelPanicError(
                f"the box is dead: {self.dead}", log=lines, pc=pc, hint="Restore a checkpoint, or boot another box."
            )

    def command(self, process: Process, what: str, arguments: tuple[int, ...]) -> RawCall:
        """Leave a process at a system call that it makes as soon as the box runs."""
        self._must_live()
        if not self.usable(process) and not (process.number == 0 and process.pending is None):
            raise RuntimeError(f"process {process.pid} of the box is {process.state.value}: it cannot make a call now")
        self._take(process)
        pending = process.pending = RawCall(process, what)
        self._set(process, what, arguments)
        process.state = State.BUSY
        self.in_hand = None
        return pending

    def _set(self, process: Process, what: str, arguments: tuple[int, ...]) -> None:
        arguments = self.arch.abi.guest_arguments(what, arguments)
        number, arguments = self.arch.syscalls.resolve(what, arguments)
        padded = (number, *(a & FOREVER for a in arguments), 0, 0, 0, 0, 0, 0)
        self._machine.set_syscall(syscall_address(self.arch), padded[:7])

    def _take(self, process: Process) -> None:
        """Get a process in hand. It may ring at a moment when PID 1 is about its own affairs, and is then parked again:
        so it is called until it stays."""
        while self.in_hand is not process:
            self._send_for(process)

    def _send_for(self, process: Process) -> None:
        if process.space:  # a program wakes by itself, again and again: nobody else can reach its memory
            self._park_in_hand()
            self._run(lambda: self.in_hand is process, FOREVER, self.limits)
            return
        if self.in_hand is None:
            self._summon()
            if self.in_hand is process:
                return
        holder = self.in_hand
        assert holder is not None
        if process.number == 0:
            self._machine.serial_input(1, b"!")
            self._park(holder)
        elif process.state is State.LEAVING:
            self._park(holder)
        else:
            # The one woken may ring before its waker's call has returned; the waker is parked whenever that rings.
            self._set(holder, "futex", (_WORDS + 4 * process.number, _FUTEX_WAKE, 1))
            holder.state, self.in_hand = State.LEAVING, None
            process.state, self._woken = State.WOKEN, process
        self._run(lambda: self.in_hand is process or process.state is State.PARKED, FOREVER, self.limits)

    def _anyone(self) -> Process:
        self._must_live()
        if self.in_hand is None:
            self._summon()
        assert self.in_hand is not None
        return self.in_hand

    def _summon(self) -> None:
        """Nobody is in hand: wake PID 1 by its serial line."""
        init = self.by_number[0]
        self._machine.serial_input(1, b"!")
        self._run(lambda: self.in_hand is init, FOREVER, self.limits)

    def _park_in_hand(self) -> None:
        if self.in_hand is not None:
            self._park(self.in_hand)

    def _park(self, process: Process) -> None:
        """Put the process in hand to sleep: the CPU then is the kernel's."""
        if process.number == 0:
            self._set(process, "poll", (_POLL, 2, FOREVER))
        elif process.space:
            self._nap()
        else:
            self._set(process, "futex", (_WORDS + 4 * process.number, _FUTEX_WAIT, 0, 0))
        process.state = State.BUSY if process.number == 0 else State.PARKED
        self.in_hand = None

    def _nap(self) -> None:
        """Let a program that made the hypercall sleep for some milliseconds, and make it again."""
        self._set(self.by_number[0], "nanosleep", (nap_address(self.arch), 0))

    def _simple(self, process: Process, what: str, arguments: tuple[int, ...]) -> int:
        """A call that cannot block."""
        self._take(process)
        pending = process.pending = RawCall(process, what)
        self._set(process, what, arguments)
        process.state, self.in_hand = State.BUSY, None
        self._run(lambda: pending.done, FOREVER, self.limits)
        if pending.result is None:
            raise ProcessDiedError(f"{what}: the process died in it", status=pending.status or 0)
        return pending.result

    # -- running ---------------------------------------------------------------------------------------------

    def _guarded(
        self, pending: RawCall, done: Callable[[], bool], limits: Limits, *, stop_when_idle: bool = False
    ) -> None:
        """`_run`; when it is broken off (Ctrl-C, an exception of a probe, a time limit), the call is left behind."""
        until = self._machine.time + int(limits.timeout * SECOND)
        try:
            self._run(done, until, limits, stop_when_idle=stop_when_idle, what=pending.what)
        except BoxTimeoutError:
            pending.abandoned = True
            self._say_where_it_sleeps(pending, limits)
        except BaseException:
            pending.abandoned = True
            raise

    def _say_where_it_sleeps(self, pending: RawCall, limits: Limits) -> NoReturn:
        """Raise `BoxTimeoutError` with the stack of a process that does not come back, as the kernel tells it."""
        stack: list[str] = []
        with suppress(BoxError, OSError):
            stack = self._stack_of(pending.process)
        lines, _ = self._explain()
        raise BoxTimeoutError(
            f"{pending.what} has not come back after {limits.timeout:g} s of virtual time",
            log=[*lines, *(f"it sleeps in {place}" for place in stack[:1]), *(f"  called by {p}" for p in stack[1:])],
            pc=stack[0] if stack else "",
            box_lives=not self.dead,
        ) from None

    def _stack_of(self, process: Process) -> list[str]:
        """The functions that a sleeping process is in, the innermost first: /proc/PID/stack, read by PID 1."""
        init, limits = self.by_number[0], Limits(timeout=10, cpu=1)
        self._take(init)  # first: on waking it reads its news into the same buffer
        self._machine.write(_SCRATCH, f"/proc/{process.pid}/stack\0".encode(), self.space)
        fd = self.call(init, "open", (_SCRATCH, os.O_RDONLY | os.O_CLOEXEC, 0), limits)
        if fd < 0:
            return []
        size = self.call(init, "read", (fd, _SCRATCH, 512), limits)
        text = self._machine.read(_SCRATCH, min(max(size, 0), 512), self.space).decode(errors="replace")
        self.call(init, "close", (fd,), limits)
        lines = text.splitlines()[: -1 if size == 512 else None]
        return [line.partition("] ")[2] for line in lines]

    def _run_machine(self, until: int, blocks: int, stop_when_idle: bool) -> Event:
        return self._machine.run(until=until, blocks=blocks, stop_when_idle=stop_when_idle)

    def _run(
        self,
        done: Callable[[], bool],
        until: int,
        limits: Limits,
        *,
        stop_when_idle: bool = False,
        deadline_is_error: bool = True,
        yielding: bool = False,
        programs: bool = False,
        what: str = "the call",
    ) -> None:
        """Let the box run until `done()`, answering whoever rings. `yielding` first parks the process in hand;
        `programs` may run for as long as they like, only no single call of theirs."""
        if yielding and not done():
            self._park_in_hand()
        burnable = int(limits.cpu * BLOCKS_A_SECOND)
        end, calls = self._machine.work + burnable, 0
        if self._machine.devices.rung:
            self._machine.devices.attend()
        while not done():
            event = self.events.step(until, SLICE, stop_when_idle)
            if programs and event is Event.SLICE and (made := self._machine.progress()) != calls:
                end, calls = self._machine.work + burnable, made
            if self._machine.work > min(end, self._budget_end):
                self._out_of_budget(what, limits)
            if event is Event.HYPERCALL:
                self._rung(done)
            elif event is Event.SLICE:
                self.events.slice.notify()
            elif event is Event.DEVICE:
                pass
            elif event is Event.DEADLINE or (event is Event.IDLE and not stop_when_idle):
                if done():
                    return
                if not deadline_is_error:
                    return
                raise BoxTimeoutError(f"{what} has not come back", box_lives=True)
            elif event is Event.IDLE:
                return
            else:
                reason = {
                    Event.RESET: "the kernel panicked",
                    Event.HALTED: "the kernel stopped the CPU with interrupts off",
                    Event.TRIPLE_FAULT: "the CPU met a triple fault",
                }.get(event, f"the CPU stopped ({event.name})")
                self._die(reason)
            if self._machine.devices.rung:
                self._machine.devices.attend()
                if not done():
                    self._park_in_hand()  # who listens to a device may have made a call

    def _by_thread_pointer(self) -> Process:
        """The process of kobox's that has made the hypercall; a module may have changed its thread.fsbase."""
        number = self._machine.thread_pointer
        if number not in self.by_number:
            self._die(f"a process of kobox came back with another thread pointer, {number:#x}")
        return self.by_number[number]

    def _out_of_budget(self, what: str, limits: Limits) -> NoReturn:
        if self._machine.work > self._budget_end:
            self._die(f"all calls together burnt {self._budget:g} s of CPU time; the last was {what}", BoxHungError)
        self._die(f"{what} burnt {limits.cpu:g} s of CPU time and has not come back", BoxHungError)

    @contextmanager
    def budget(self, cpu: float) -> Iterator[None]:
        """All calls made inside may burn so many seconds of the box's CPU time together, each not more than its own
        limit. A budget inside of another one ends no later than that. Raises `BoxHungError` when it is spent."""
        before = self._budget, self._budget_end
        end = self._machine.work + int(cpu * BLOCKS_A_SECOND)
        if end < self._budget_end:
            self._budget, self._budget_end = cpu, end
        try:
            yield
        finally:
            self._budget, self._budget_end = before

    def _rung(self, done: Callable[[], bool]) -> None:
        """A process has made the hypercall: take note of his result, and let him sleep again unless he is wanted."""
        space = self._machine.address_space
        if space == self.space:
            process = self._by_thread_pointer()
        elif (program := next((p for p in self._serving if p.space == space), None)) is not None:
            process = program
        else:
            # One program is served at a time, but for those that the loading of a module by another may wait for.
            before = self._serving[-1].pending if self._serving else None
            if not self._serving or (before is not None and before.what in ("init_module", "finit_module")):
                self._serve(space)
            else:
                self._nap()
            return
        if process is self._spinner:
            if self._spinner_wanted:
                process.state, self.in_hand = State.IN_HAND, process
            else:
                self._let_spin(process)
            return
        if process.script is not None:
            result = self._last_result()
            self._continue(process, self.arch.addresses.call_result(result))
            return
        rested = process.state is State.BUSY
        if process.state is State.LEAVING and self._woken.state is State.WOKEN and not self._last_result():
            self._woken.state = State.PARKED  # it was on its way to sleep, and has to be woken again
        self.in_hand = process
        process.state = State.IN_HAND
        pending, process.pending = process.pending, None
        if pending is not None:
            result = self._last_result()
            pending.result = self.arch.addresses.call_result(result)
            if pending.finish:
                pending.finish()
        elif process.number == 0 and rested:  # else it has woken somebody, and what poll() said is stale
            self._hear_news(process)
        if not done() and self.in_hand is process:
            self._park(process)

    def _set_thread_pointer(self, process: Process, value: int) -> None:
        call = self.arch.syscalls.set_thread_pointer
        if call is None:
            self._machine.thread_pointer = value
        else:
            self._simple(process, *call(value))

    def _last_result(self) -> int:
        """What the last call of the process in hand returned, unsigned."""
        return self._machine.register(self.arch.init.last_result)

    def _serve(self, space: int) -> None:
        """The kernel has run a program of kobox's: it makes what calls a provider of `events.request` wants, then exits
        with 0; with 1 when there is none."""
        number = next(n for n in range(MAX_PROCESSES, 2 * MAX_PROCESSES) if n not in self.by_number)
        program = self.by_number[number] = self.in_hand = Process(number, 0, State.IN_HAND, space=space)
        self._serving.append(program)
        status = 1
        try:
            program.arguments = self.arguments()
            self._set_thread_pointer(program, number)  # from now on known by its number
            self._simple(program, "mlockall", (1,))
            status = 0 if self.events.request.ask(program) else 1
        except (KoboxError, OSError, ValueError):
            if self.dead:
                raise
            # else the kernel learns of it by the exit status, and says what it makes of that
        finally:
            if not self.dead and program.state is not State.DEAD:
                with suppress(BoxTimeoutError):  # it has died by itself
                    self._take(program)
                    self._set(program, "exit_group", (status,))
                program.state, self.in_hand = State.DEAD, None
            self.by_number.pop(number, None)
            if program in self._serving:
                self._serving.remove(program)

    def _hear_news(self, init: Process) -> None:
        """PID 1's poll() has returned: somebody wants it, or a child has died."""
        poll = self._machine.read(_POLL, 16, self.space)
        serial, _, called, signals, _, news = struct.unpack("<ihhihh", poll)
        if called:
            self._simple(init, "read", (serial, _SCRATCH, 512))
        if news:
            self._simple(init, "read", (signals, _SCRATCH, 512))
            for _ in range(_MOST_CHILDREN):
                if (pid := self._simple(init, "wait4", (FOREVER, _SCRATCH, 0x40000001, _SCRATCH + 16))) <= 0:
                    break
                said = self._machine.read(_SCRATCH, 16 + 144, self.space)
                if (child := self.children.pop(pid, None)) is not None:
                    child.resources = said[16:]
                    (child.status,) = struct.unpack_from("<i", said)
                self._died(pid, *struct.unpack_from("<i", said))

    def _died(self, pid: int, status: int) -> None:
        for process in list(self.by_number.values()):
            if process.pid == pid and process.number:
                process.state = State.DEAD
                del self.by_number[process.number]
                if process.pending is not None:
                    process.pending.status = status
                    process.pending = None

    def _die(self, reason: str, error: type[BoxHungError] | type[KernelPanicError] = KernelPanicError) -> NoReturn:
        self.dead = reason
        self.in_hand = None
        lines, pc = self._explain()
        pc = (place_in(lines) if error is KernelPanicError else "") or pc
        hint = "Restore a checkpoint, or boot another box."
        if error is BoxHungError:
            hint = f"If it is slow and not stuck, give it more CPU time (`limits.cpu`, --cpu-limit). {hint}"
        raise error(reason, log=lines, pc=pc, hint=hint)
