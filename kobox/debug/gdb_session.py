"""A session with gdb: a module's life is lived once to learn where everything will lie, then gdb has it.

    session = GdbSession(box, life, [ModuleFile("hello.ko")])
    session.survey()                               # at full length, with nobody looking
    session.serve(connection)                      # a socket whose other end is gdb's

gdb begins where the first module's init begins. Oopses and panics are stops: the one at an oops is before the
instruction that caused it.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kobox.box.box import Box
from kobox.box.inspect.cpu_state import CpuReader
from kobox.box.inspect.symbols import LoadedAt
from kobox.box.symbol_file.kernel_symbol_file import must_be_wide
from kobox.checks.module.layout import Placement
from kobox.debug.gdb_library import gdb_library
from kobox.debug.gdb_server import GdbServer, Library
from kobox.debug.packets import DebuggerGoneError, RemotePackets
from kobox.debug.replay import FindLast, Going, GoTo, Moment, Replay
from kobox.errors import KoboxError
from kobox.ko.elf import SHF_ALLOC
from kobox.ko.modulefile import ModuleFile
from kobox.machine.stepper import Stop

_TRAP, _FAULT, _ABORT = 5, 11, 6  # SIGSEGV for an oops, SIGABRT for a panic
# Where the kernel begins to report that it has failed (kernel/panic.c).
_OOPS, _PANIC, _LINKED = "oops_enter", "panic", "do_init_module"


@dataclass(slots=True)
class Survey:
    """What is known of a life before gdb sees it: where the modules lie, and where the first one's init begins."""

    start: int = 0
    end: int = 0
    error: KoboxError | None = None
    placements: dict[str, Placement] = field(default_factory=dict)


class GdbSession:
    """One life of modules under gdb. `life` loads `files`, uses and unloads them, whenever it is called."""

    def __init__(self, box: Box, life: Callable[[], None], files: Sequence[ModuleFile]) -> None:
        must_be_wide(box)
        self._box = box
        self._files = {file.name: file for file in files}
        self.replay = Replay(box, life)
        self.known = Survey()
        self._stepper = self.replay.stepper
        symbols = box.inspect.symbols
        self._linked = symbols.address(_LINKED)
        self._failures = {
            address: signal
            for name, signal in ((_OOPS, _FAULT), (_PANIC, _ABORT))
            if (address := symbols.find(name)) is not None
        }
        self._inits: set[int] = set()
        self._server: GdbServer | None = None
        self._faulted: Moment | None = None  # the oops whose cause was gone back to,
        self._cause = 0  # and the instruction that is the cause
        self._says = ""  # of the stop that gdb was told last

    def close(self) -> None:
        """End the session; the box stays as it is."""
        self.replay.close()

    # -- the first life --------------------------------------------------------------------------------------

    def survey(self) -> Survey:
        """Live the whole life once. Raises `KoboxError` when none of the modules is ever linked."""
        self._stepper.set_breakpoint(self._linked)
        self._stepper.run_free()
        self.replay.play(self._look)
        self._stepper.set_breakpoint(self._linked, on=False)
        if not self.known.start:
            raise KoboxError(
                f"none of {', '.join(self._files)} comes to its first instruction: {self.known.error or 'not loaded'}",
                hint="`kobox explain FILE.ko` says why a module is refused.",
            )
        return self.known

    def _look(self, moment: Moment) -> Going:
        if moment.ended:
            self.known.end, self.known.error = moment.count, moment.error
        elif moment.pc == self._linked:
            self._place(self._box.machine.registers().argument(0))
        elif moment.pc in self._inits:
            self._stepper.set_breakpoint(moment.pc, on=False)
            self.known.start = self.known.start or moment.count
        return None

    def _place(self, address: int) -> None:
        """A module was linked: remember where it lies, and look for its first instruction."""
        objects = self._box.inspect.objects
        module = next((one for one in self._box.inspect.symbols.modules() if one.address == address), None)
        file = self._files.get(module.name) if module is not None else None
        if module is None or file is None or module.name in self.known.placements:
            return
        self.known.placements[module.name] = Placement.of(self._box, module, file)
        init = objects.number(address, "module.init")
        if init:
            self._inits.add(init)
            self._stepper.set_breakpoint(init)
        elif not self.known.start:
            self.known.start = self.replay.now

    # -- gdb's life -------------------------------------------------------------------------------------------

    def serve(self, connection: socket.socket) -> None:
        """Serve the gdb at the other end from the first module's init on, until it goes or the life has ended."""
        with tempfile.TemporaryDirectory(prefix="kobox-modules-") as directory:
            self._serve(connection, Path(directory))

    def _serve(self, connection: socket.socket, directory: Path) -> None:
        libraries = [
            Library(gdb_library(file, directory), _sections(file, self.known.placements[name]))
            for name, file in self._files.items()
            if name in self.known.placements
        ]
        packets = RemotePackets(connection)
        self._server = GdbServer(self.replay, packets, libraries, self._monitor, self.known.start)
        for address in self._failures:
            self._stepper.set_breakpoint(address)
        try:
            self.replay.play(self._meet, self.known.start)
        except DebuggerGoneError:
            pass
        finally:
            self._server.close()
            packets.close()

    def _meet(self, moment: Moment) -> Going:
        if moment.pc in self._failures and not moment.ended:
            return self._failed(moment)
        if moment.ended:
            how = f"by an error: {moment.error.message}" if moment.error is not None else "as it should"
            return self._tell(moment, f"the module's life has ended {how}; `reverse-continue` goes back")
        if self._cause == moment.count:
            return self._tell(moment, "the kernel oopses in the instruction that comes next", _FAULT)
        return self._tell(moment)

    def _tell(self, moment: Moment, says: str = "", signal: int = _TRAP) -> Going:
        assert self._server is not None
        self._says = says
        return self._server.meet(moment, signal, says)

    def _failed(self, moment: Moment) -> Going:
        """The kernel begins to report a failure: go back to the instruction that caused it, if that is told."""
        assert self._server is not None
        known = self._faulted is not None and self._faulted.count == moment.count
        cause = None if known or self._failures[moment.pc] != _FAULT else self._interrupted()
        if cause is None:
            self._faulted = None
            signal = self._failures[moment.pc]
            return None if known else self._tell(moment, "the kernel begins to report a failure", signal)
        server = self._server
        server.show_stops(on=False)
        self._stepper.set_breakpoint(cause)

        def back(found: Stop | None) -> Going:
            self._stepper.set_breakpoint(cause, on=False)
            server.show_stops()
            self._faulted, self._cause = moment, found.count if found is not None else 0
            return GoTo(self._cause or moment.count)

        return FindLast(moment.count, back)

    def _interrupted(self) -> int | None:
        """The instruction of the kernel's that was interrupted by what is handled now."""
        frames = self._box.inspect.unwinder.walk()
        return next((frame.address for frame in frames[1:] if frame.exact), None)

    # -- gdb's `monitor` --------------------------------------------------------------------------------------

    def _monitor(self, words: list[str]) -> str:
        commands: dict[str, tuple[str, Callable[[], str]]] = {
            "log": ("what the kernel has said", self._log),
            "why": ("why the box has stopped, where gdb itself does not know", lambda: f"{self._says}\n"),
            "where": ("the calls that have led here, by the kernel's own tables", self._where),
            "time": ("the box's clock, and the number of this instruction", self._time),
            "current": ("the address of the running task's task_struct", self._current),
            "modules": ("the modules that are loaded, and where", self._modules),
            "save-core": (
                "FILE: memory and registers as a vmcore, and FILE.vmlinux beside it",
                lambda: self._save(words),
            ),
        }
        if words and words[0] in commands:
            return commands[words[0]][1]()
        return "".join(f"monitor {name:8} {text}\n" for name, (text, _) in commands.items())

    def _log(self) -> str:
        return "".join(f"[{record.time:12.6f}] {record.text}\n" for record in list(self._box.log)[-200:])

    def _where(self) -> str:
        describe = self._box.inspect.symbols.describe
        return "".join(f"{describe(frame.address)}\n" for frame in self._box.inspect.unwinder.walk())

    def _time(self) -> str:
        return f"{self._box.time:.9f} s, instruction {self.replay.now} of {self.known.end}\n"

    def _save(self, words: list[str]) -> str:
        if len(words) != 2:
            return "monitor save-core FILE\n"
        try:
            self._box.save_core(words[1], f"{words[1]}.vmlinux")
        except (KoboxError, OSError) as error:
            return f"{error}\n"
        return f"{words[1]}, {words[1]}.vmlinux: drgn -c and crash open them\n"

    def _current(self) -> str:
        return f"{CpuReader(self._box).current:#x}\n"

    def _modules(self) -> str:
        rows: list[LoadedAt] = self._box.inspect.symbols.modules()
        return "".join(f"{module.name:24} {module.address:#x}\n" for module in rows)


def _sections(file: ModuleFile, placement: Placement) -> tuple[int, ...]:
    """The addresses of the sections that are loaded, in the file's order; 0 where it is not known."""
    numbers = [n for n, section in enumerate(file.elf.sections) if section.flags & SHF_ALLOC]
    return tuple(placement.starts.get(n, 0) for n in numbers)
