"""What gdb asks, answered of a replay: registers, memory, breakpoints, threads, and the ways forwards and backwards.

Source: the GDB manual, appendix "GDB Remote Serial Protocol": packets are named there as here.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import NoReturn

from kobox.debug.non_stop import TaskStops, thread_actions
from kobox.debug.packets import MOST, DebuggerGoneError, RemotePackets
from kobox.debug.replay import FindLast, Going, GoTo, Moment, Replay
from kobox.debug.tasks import Task, all_tasks, running_task
from kobox.errors import KoboxError
from kobox.machine.pc import MachineError
from kobox.machine.stepper import Stop, StopReason, Touch
from kobox.printable import one_line, printable

_WATCHED = {2: Touch.WRITES, 3: Touch.READS, 4: Touch.READS | Touch.WRITES}
_NAMES = {2: "watch", 3: "rwatch", 4: "awatch"}
_TRAP, _INTERRUPTED, _FAULT = 5, 2, 11
_ERROR, _BAD_ADDRESS = b"E01", b"E0e"
_MORE = 0.005  # seconds: what gdb asks next comes at once, and the box does not run in between
# Where the kernel is when another task has got the CPU (kernel/sched/core.c).
_SWITCHED = "finish_task_switch"


@dataclass(frozen=True, slots=True)
class Library:
    """A file with symbols for gdb, and where its loaded sections lie, in the order in which the file has them."""

    path: str
    sections: tuple[int, ...]


class GdbServer:
    """Serves one gdb while a replay is played: `replay.play(server.meet)`.

    `monitor(words)` answers gdb's `monitor` command. `start` is the earliest moment that gdb gets back to.
    """

    def __init__(
        self,
        replay: Replay,
        packets: RemotePackets,
        libraries: Sequence[Library],
        monitor: Callable[[list[str]], str],
        start: int = 0,
    ) -> None:
        self._replay = replay
        self._box = replay.box
        self._packets = packets
        self._libraries = libraries
        self._monitor = monitor
        self._start = start
        self._target = replay.box.arch.debugger
        self._breakpoints: set[int] = set()
        self._watched: dict[tuple[int, int, int], None] = {}
        self._tasks: list[Task] = []
        self._thread = 0  # whose registers are asked for; 0: the one that runs
        self._running = Task(0, "", 0)
        self._quiet = False  # packets are not acknowledged any more
        self._waits = False  # gdb waits to be told of a stop
        self._found: Stop | None = None  # what is gone back to
        self._last_stop = b"T05"
        self._stops = TaskStops(packets.notify)
        self._asked = False  # non-stop: the box was stopped because gdb had sent a packet
        self._stepped: tuple[int, int] | None = None  # non-stop: the code that the running task is stepped through
        symbols = self._box.inspect.symbols
        self._switches = {symbols.address(name) for name in symbols.matching(_SWITCHED)}
        self._undo = self._box.events.slice.subscribe(self._look_for_packets)

    # -- stops ------------------------------------------------------------------------------------------------

    def meet(self, moment: Moment, signal: int = _TRAP, says: str = "") -> Going:
        """Tell gdb of a stop, and serve it until it lets the life go on. A fault is told with its signal;
        `says` is a line for the user.

        Raises `DebuggerGoneError` when gdb goes.
        """
        found, self._found = self._found, None
        if found is not None:
            moment = replace(moment, reason=found.reason, watched=found.watched)
        self._tasks = all_tasks(self._box)
        self._running = running_task(self._box, self._tasks)
        self._thread = 0
        if self._stops.on:
            return self._meet_non_stop(moment, signal)
        if self._packets.interrupted and moment.reason is StopReason.COUNT:
            signal = _INTERRUPTED
        self._packets.interrupted = False
        self._last_stop = self._stop_reply(moment, signal)
        if self._waits:
            if says:
                self._packets.send(b"O" + binascii.hexlify(f"kobox: {one_line(says)}\n".encode()))
            self._packets.send(self._last_stop)
            self._waits = False
        while not self._stops.on:
            try:
                self._serve_one()
            except _ResumedError as resumed:
                self._waits = True
                return resumed.going
        return self._serve_non_stop()

    def _serve_one(self) -> None:
        answer = self._answer(self._packets.receive())
        if answer is not None:
            self._packets.send(answer)
        self._packets.acknowledges = not self._quiet

    def show_stops(self, on: bool = True) -> None:
        """Have the stepper stop for gdb's breakpoints and watched bytes, or not for now."""
        for address in self._breakpoints:
            self._replay.stepper.set_breakpoint(address, on)
        for kind, address, size in self._watched:
            self._replay.stepper.watch(address, size, _WATCHED[kind], on)

    def close(self) -> None:
        """gdb has gone."""
        self._undo()

    def _stop_reply(self, moment: Moment, signal: int) -> bytes:
        text = f"T{signal:02x}thread:{_thread_id(self._running):x};"
        if moment.ended:
            text += "replaylog:end;"
        elif moment.count <= self._start and self._waits:
            text += "replaylog:begin;"
        elif moment.reason is StopReason.BREAKPOINT and signal == _TRAP:
            text += "swbreak:;"
        elif moment.watched:
            kinds = [kind for kind, address, size in self._watched if address <= moment.watched < address + size]
            text += f"{_NAMES[kinds[0]]}:{moment.watched:x};" if kinds else ""
        return text.encode()

    def _look_for_packets(self) -> None:
        """While the box runs."""
        if self._stops.on:
            if self._stepped is None and not self._replay.on_the_way and self._packets.pending():
                self._asked = True
                self._replay.stepper.stop_after(1)
        elif self._waits and self._packets.poll():
            self._replay.stepper.stop_after(1)

    # -- non-stop mode ----------------------------------------------------------------------------------------

    def _meet_non_stop(self, moment: Moment, signal: int) -> Going:
        """The box stands: for the task that has the CPU, unless it was only to answer gdb."""
        asked = self._asked and moment.reason is StopReason.COUNT
        asked = asked or (moment.reason is StopReason.BREAKPOINT and moment.pc in self._switches - self._breakpoints)
        self._asked = False
        self._set_switch_breakpoints(on=False)
        thread = _thread_id(self._running)
        if not asked or thread in self._stops.waking:
            self._stepped = None
            self._waits = True  # for how a stop at the start is told
            self._stops.stop(thread, self._stop_reply(moment, signal))
        self._stops.tell()
        return self._serve_non_stop()

    def _serve_non_stop(self) -> Going:
        """Answer gdb until it has let the running task go, and asks for nothing more."""
        thread = _thread_id(self._running)
        while True:
            if thread not in self._stops.held:
                if self._packets.poll():
                    self._interrupt()
                elif not self._packets.pending(_MORE):
                    break
            try:
                self._serve_one()
            except _ResumedError as resumed:  # backwards: gdb waits for a notification only
                self._stops.let_go(thread)
                self._stepped = None
                return resumed.going
            self._stops.tell()
        stepper = self._replay.stepper
        if self._stepped is not None:
            stepper.stop_outside(*self._stepped)
        else:
            stepper.run_free()
            self._set_switch_breakpoints(on=bool(self._stops.held or self._stops.waking))
        return None

    def _set_switch_breakpoints(self, on: bool) -> None:
        """Stop when another task gets the CPU, or not."""
        for address in self._switches - self._breakpoints:
            self._replay.stepper.set_breakpoint(address, on)

    def _interrupt(self, rest: bytes = b"") -> bytes:
        """Stop the task that has the CPU."""
        self._packets.interrupted = False
        thread = _thread_id(self._running)
        if thread not in self._stops.held:
            self._stops.stop(thread, f"T{_INTERRUPTED:02x}thread:{thread:x};".encode())
            self._stops.tell()
        return b"OK"

    def _act_on_tasks(self, text: str) -> bytes:
        """`vCont` in non-stop mode. It is answered at once; stops are told as they come."""
        running, stops = _thread_id(self._running), self._stops
        threads = {*map(_thread_id, self._threads()), *stops.held}
        for thread, action in thread_actions(text, threads).items():
            kind = action[:1].lower()
            if kind == "t" and thread not in stops.held:
                stops.stop(thread, f"T00thread:{thread:x};".encode())
            elif kind in "csr" and thread in stops.held:
                stops.let_go(thread)
                if thread == running:
                    self._stepped = self._range_of(action)
                elif kind != "c":
                    stops.waking.add(thread)
        return b"OK"

    def _range_of(self, action: str) -> tuple[int, int] | None:
        """The code that a step or a range step goes through; None for `c`."""
        if action[:1] == "r":
            start, end = (int(part, 16) for part in action[1:].split(","))
            return start, end
        pc = self._box.machine.pc
        return (pc, pc + 1) if action[:1] in "sS" else None

    def _set_mode(self, text: str) -> bytes:
        """`QNonStop:1` and `QNonStop:0`."""
        if text == "QNonStop:1":
            self._stops.start(_thread_id(self._running), self._last_stop)
        elif text == "QNonStop:0":
            self._stops.end()
        else:
            return _ERROR
        return b"OK"

    # -- packets ----------------------------------------------------------------------------------------------

    def _answer(self, packet: bytes) -> bytes | None:
        try:
            return self._answer_text(packet)
        except (ValueError, IndexError):
            return _BAD_ADDRESS if packet[:1] in b"mMX" else _ERROR
        except MachineError as error:
            return f"E.{one_line(str(error))}".encode()

    def _answer_text(self, packet: bytes) -> bytes | None:
        letter, rest = packet[:1].decode(errors="replace"), packet[1:]
        simple = _SIMPLE.get(letter)
        if simple is not None:
            return simple(self, rest)
        if letter in "qQ":
            return self._query(packet.decode(errors="replace"))
        if letter == "v":
            return self._v_packet(packet.decode(errors="replace"))
        return b""

    def _why(self, rest: bytes) -> bytes:
        return self._stops.all() if self._stops.on else self._last_stop

    def _read_registers(self, rest: bytes) -> bytes:
        values = self._values()
        return b"".join(_register_hex(values, register.source, register.bits) for register in self._target.registers)

    def _write_registers(self, rest: bytes) -> bytes:
        at, values = 0, self._values()
        for register in self._target.registers:
            size = register.bits // 4
            self._set(register.source, rest[at : at + size], values)
            at += size
        return b"OK"

    def _read_register(self, rest: bytes) -> bytes:
        register = self._target.registers[int(rest, 16)]
        return _register_hex(self._values(), register.source, register.bits)

    def _write_register(self, rest: bytes) -> bytes:
        number, _, value = rest.partition(b"=")
        self._set(self._target.registers[int(number, 16)].source, value, self._values())
        return b"OK"

    def _set(self, name: str, value: bytes, values: dict[str, int | None]) -> None:
        number = int.from_bytes(binascii.unhexlify(value), "little") if b"x" not in value else None
        if name and number is not None and values.get(name) not in (None, number):
            if self._thread_task() is not self._running:
                raise ValueError("the registers of a task that sleeps are not set")
            self._replay.set_register(name, number)

    def _values(self) -> dict[str, int | None]:
        task = self._thread_task()
        if task is self._running or not task.address:
            registers = self._box.machine.registers()
            return {r.source: getattr(registers, r.source) for r in self._target.registers if r.source}
        try:
            return dict(self._target.asleep(self._box.inspect.symbols.btf, self._box.machine.read, task.address))
        except (KoboxError, ValueError):
            return {}

    def _read_memory(self, rest: bytes) -> bytes:
        address, size = (int(part, 16) for part in rest.split(b","))
        return binascii.hexlify(self._read(address, min(size, MOST // 2 - 16)))

    def _read(self, address: int, size: int) -> bytes:
        """As much as there is. Raises `ValueError` where there is nothing."""
        out = b""
        while size > 0:
            piece = min(size, 4096 - (address & 4095))
            try:
                out += self._box.machine.read(address, piece)
            except ValueError:
                if out:
                    break
                raise
            address, size = address + piece, size - piece
        return out

    def _write_memory(self, rest: bytes) -> bytes:
        place, _, data = rest.partition(b":")
        address, size = (int(part, 16) for part in place.split(b","))
        bytes_ = binascii.unhexlify(data)
        if len(bytes_) != size:
            return _ERROR
        self._replay.write(address, bytes_)
        return b"OK"

    def _write_binary(self, rest: bytes) -> bytes:
        place, _, data = rest.partition(b":")
        if data:
            self._replay.write(int(place.split(b",")[0], 16), data)
        return b"OK"

    def _break(self, rest: bytes, on: bool) -> bytes:
        kind, address, size = (int(part, 16) for part in rest.split(b";")[0].split(b","))
        stepper = self._replay.stepper
        if kind in (0, 1):
            stepper.set_breakpoint(address, on)
            (self._breakpoints.add if on else self._breakpoints.discard)(address)
            return b"OK"
        if kind not in _WATCHED:
            return b""
        if on != ((kind, address, size) in self._watched):
            stepper.watch(address, size, _WATCHED[kind], on)
            if on:
                self._watched[kind, address, size] = None
            else:
                del self._watched[kind, address, size]
        return b"OK"

    def _set_break(self, rest: bytes) -> bytes:
        return self._break(rest, True)

    def _remove_break(self, rest: bytes) -> bytes:
        return self._break(rest, False)

    def _choose_thread(self, rest: bytes) -> bytes:
        if rest[:1] == b"g":
            number = int(rest[1:], 16)
            self._thread = max(number, 0)
        return b"OK"

    def _is_alive(self, rest: bytes) -> bytes:
        return b"OK" if any(_thread_id(task) == int(rest, 16) for task in self._threads()) else _ERROR

    def _detach(self, rest: bytes) -> bytes:
        self._packets.send(b"OK")
        raise DebuggerGoneError

    def _kill(self, rest: bytes) -> bytes:
        raise DebuggerGoneError

    # -- the ways on ------------------------------------------------------------------------------------------

    def _go(self, going: Going = None) -> NoReturn:
        """Leave the stop. The packet is answered at the next one."""
        raise _ResumedError(going)

    def _continue(self, rest: bytes = b"") -> bytes:
        self._replay.stepper.run_free()
        self._go()

    def _step(self, rest: bytes = b"") -> bytes:
        pc = self._box.machine.pc
        self._replay.stepper.stop_outside(pc, pc + 1)
        self._go()

    def _backwards(self, rest: bytes) -> bytes | None:
        now = self._replay.now
        if now <= self._start and self._stops.on:
            self._stops.stop(_thread_id(self._running), self._last_stop_at_start())
            return None  # the notification is the answer
        if now <= self._start:
            return self._last_stop_at_start()
        if rest == b"s":
            self._go(GoTo(now - 1))
        if rest == b"c":
            self._go(FindLast(now, self._go_back_to))
        return b""

    def _last_stop_at_start(self) -> bytes:
        return f"T05thread:{_thread_id(self._running):x};replaylog:begin;".encode()

    def _go_back_to(self, found: Stop | None) -> Going:
        """Before the instruction that has a breakpoint, or that has touched a watched byte."""
        if found is None or found.count - bool(found.watched) <= self._start:
            return GoTo(self._start)
        self._found = found
        return GoTo(found.count - bool(found.watched))

    def _v_packet(self, text: str) -> bytes:
        if text == "vCont?":
            return b"vCont;c;C;s;S;t;r"
        if text == "vStopped":
            return self._stops.fetched()
        if text == "vCtrlC":
            return self._interrupt()
        if text.startswith("vCont;") and self._stops.on:
            return self._act_on_tasks(text)
        if text.startswith("vCont;"):
            through = self._range_of(text[6:].split(";")[0].split(":")[0])
            if through is None:
                return self._continue()
            self._replay.stepper.stop_outside(*through)
            self._go()
        if text.startswith("vKill"):
            self._packets.send(b"OK")
            raise DebuggerGoneError
        return b""

    # -- queries ----------------------------------------------------------------------------------------------

    def _query(self, text: str) -> bytes:
        name = text.split(":")[0].split(",")[0].split(";")[0]
        if name == "qSupported":
            return (
                f"PacketSize={MOST:x};QStartNoAckMode+;qXfer:features:read+;qXfer:libraries:read+;qXfer:threads:read+;"
                "qXfer:memory-map:read+;"
                "QNonStop+;ReverseStep+;ReverseContinue+;swbreak+;hwbreak+;vContSupported+"
            ).encode()
        if name == "QStartNoAckMode":
            self._quiet = True
            return b"OK"
        if name == "QNonStop":
            return self._set_mode(text)
        if name == "qXfer":
            return self._transfer(text)
        if name == "qC":
            return f"QC{_thread_id(self._running):x}".encode()
        if name == "qfThreadInfo":
            return ("m" + ",".join(f"{_thread_id(task):x}" for task in self._threads())).encode()
        if name == "qRcmd":
            return self._command(text)
        return {"qAttached": b"1", "qSymbol": b"OK", "qsThreadInfo": b"l"}.get(name, b"")

    def _transfer(self, text: str) -> bytes:
        _, what, _, _, place = text.split(":")
        offset, size = (int(part, 16) for part in place.split(","))
        documents = {
            "features": self._target.describe,
            "libraries": self._library_list,
            "threads": self._thread_list,
            "memory-map": _memory_map,
        }
        document = documents[what]().encode() if what in documents else b""
        part = document[offset : offset + min(size, MOST // 2)]
        return (b"m" if offset + len(part) < len(document) else b"l") + part

    def _library_list(self) -> str:
        rows = "".join(
            f'<library name="{escape(library.path)}">'
            + "".join(f'<section address="{address:#x}"/>' for address in library.sections)
            + "</library>"
            for library in self._libraries
        )
        return f"<library-list>{rows}</library-list>"

    def _threads(self) -> list[Task]:
        return [self._running, *(task for task in self._tasks if task is not self._running)]

    def _thread_task(self) -> Task:
        return next((task for task in self._threads() if _thread_id(task) == self._thread), self._running)

    def _thread_list(self) -> str:
        rows = "".join(
            f'<thread id="{_thread_id(task):x}" name="{escape(one_line(task.name))}">'
            f"{'running' if task is self._running else 'asleep'}, PID {task.pid}</thread>"
            for task in self._threads()
        )
        return f"<threads>{rows}</threads>"

    def _command(self, text: str) -> bytes:
        words = binascii.unhexlify(text.partition(",")[2]).decode(errors="replace").split()
        answer = self._monitor(words)
        return binascii.hexlify(printable(answer).encode()) if answer else b"OK"


class _ResumedError(Exception):
    """The life goes on: the packet is answered at the next stop."""

    def __init__(self, going: Going) -> None:
        self.going = going


def _memory_map() -> str:
    """All addresses are memory that may be there: what is not mapped is told when it is read."""
    half = "0x8000000000000000"
    rows = "".join(f'<memory type="ram" start="{start}" length="{half}"/>' for start in ("0x0", half))
    return f'<?xml version="1.0"?><!DOCTYPE memory-map SYSTEM "gdb-memory-map.dtd"><memory-map>{rows}</memory-map>'


def _thread_id(task: Task) -> int:
    """gdb's number of a thread, never 0 (the idle task has 1) and positive, whatever PID the guest claims."""
    return (task.pid & 0x3FFFFFFF) + 1


def _register_hex(values: dict[str, int | None], name: str, bits: int) -> bytes:
    value = values.get(name) if name else None
    if value is None:
        return b"xx" * (bits // 8)
    return binascii.hexlify((value & (1 << bits) - 1).to_bytes(bits // 8, "little"))


_SIMPLE: dict[str, Callable[[GdbServer, bytes], bytes | None]] = {
    "?": GdbServer._why,
    "g": GdbServer._read_registers,
    "G": GdbServer._write_registers,
    "p": GdbServer._read_register,
    "P": GdbServer._write_register,
    "m": GdbServer._read_memory,
    "M": GdbServer._write_memory,
    "X": GdbServer._write_binary,
    "Z": GdbServer._set_break,
    "z": GdbServer._remove_break,
    "H": GdbServer._choose_thread,
    "T": GdbServer._is_alive,
    "D": GdbServer._detach,
    "k": GdbServer._kill,
    "c": GdbServer._continue,
    "s": GdbServer._step,
    "b": GdbServer._backwards,
}
