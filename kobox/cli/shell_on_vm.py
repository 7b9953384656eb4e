"""`kobox shell --on vm`: the shell, or a command, on the same kernel under QEMU.

Exit status: as `kobox shell`; the seconds of --timeout are real ones here.
"""

from __future__ import annotations

import argparse
import os
import select
import shlex
import signal
import struct
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from kobox.cli.terminal_output import Painted
from kobox.printable import one_line

if TYPE_CHECKING:
    from kobox.vm import VirtualMachine
    from kobox.vm.user_space import ModprobeRequests
    from kobox.vm.vm_program import VmProgram

_WAIT = 20  # milliseconds that the machine waits for output, and the keyboard for the machine
_CHUNK = 1 << 14
_BASE = ("busybox-static", "kmod", "dash", "bash")
MOST_MEMORY = 2032  # MiB: a larger machine has no window of shared memory, and its packages would take minutes
BOX_ONLY = ("net", "disk", "plug", "save", "load", "share", "allow")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(arguments: argparse.Namespace, prog: str, *, on_terminal: bool) -> int:
    """Start a machine, furnish it, and put its shell through; the exit status."""
    from kobox.apps import terminal
    from kobox.box.boot.boot import tree_of
    from kobox.cli.progress import ProgressLine
    from kobox.images.debian.packages import packages
    from kobox.images.store import Store
    from kobox.vm import VirtualMachine
    from kobox.vm.user_space import ModprobeRequests, copy_in, furnish
    from kobox.vm.vm_program import VmProgram

    for file in arguments.files:
        os.stat(file)  # before a machine is started for it
    store, progress = Store(), ProgressLine()
    try:
        image = store.ensure(arguments.kernel, progress)
        added = [name for names in arguments.packages for name in names.split(",")]
        trees = packages(store, (*_BASE, *added), progress)
        progress(f"starting {image.name} under QEMU", 0, 0)
        machine = VirtualMachine(
            image,
            memory=arguments.memory << 20,
            cpus=arguments.cpus,
            cmdline=arguments.cmdline,
            profile=arguments.profile,
        )
    finally:
        progress.close()
    with machine:
        furnish(machine, trees)
        machine.call("clock_settime", 0, _now())
        for file in arguments.files:
            copy_in(machine, Path(file), f"/root/{Path(file).resolve().name}")
        requests = ModprobeRequests(machine, tree_of(image) if image.modules is not None else None)
        if on_terminal and arguments.command is None and not arguments.quiet:
            print(_banner(machine))
        environment = {"PATH": _PATH, "HOME": "/root", "USER": "root", "SHELL": "/bin/bash", "PS1": "\\u@\\h:\\w\\$ "}
        if on_terminal:
            environment["TERM"] = os.environ.get("TERM", "linux")
        window = terminal.window_size() if on_terminal else None
        program = VmProgram(machine, _script(arguments.command, on_terminal), environment, window=window)
        pump = _Pump(program, requests, _Log(machine, quiet=arguments.quiet, raw=on_terminal), arguments.timeout)
        try:
            with terminal.raw() if on_terminal else nullcontext(), pump.window_changes(terminal.window_size):
                status = pump.run()
        except TimeoutError:
            print(f"{prog}: the command has not ended within {arguments.timeout:g} s", file=sys.stderr)
            return 124
        finally:
            _hang_up(program)
        return status if status >= 0 else 128 - status


def _now() -> bytes:
    return struct.pack("<qq", *divmod(time.time_ns(), 1_000_000_000))


def _script(command: str | None, on_terminal: bool) -> str:
    if command is not None:
        return f"exec sh -c {shlex.quote(command)}"
    return "exec bash -l" if on_terminal else "exec sh"


def _hang_up(program: VmProgram) -> None:
    from kobox.errors import BoxError

    with suppress(BoxError, OSError):  # the machine may have stopped
        program.close()


def _banner(machine: VirtualMachine) -> str:
    return (
        f"You are root on Linux {machine.release}, in a virtual machine: nothing here reaches your machine.\n"
        "  insmod FILE.ko   load a module; `rmmod NAME` unloads it; modprobe takes the kernel's own\n"
        "  exit             leave; the machine is gone"
    )


class _Log:
    """The kernel's messages, as a console shows them: those that are more urgent than debugging."""

    def __init__(self, machine: VirtualMachine, *, quiet: bool, raw: bool) -> None:
        self._machine = machine
        self._quiet = quiet
        self._end = "\r\n" if raw else "\n"

    def show(self) -> None:
        """Print what is new."""
        lines = self._machine.new_lines()
        text = "".join(f"[{seconds:12.6f}] {one_line(line)}{self._end}" for level, seconds, line in lines if level < 7)
        if text and not self._quiet:
            sys.stderr.write(Painted(text))
            sys.stderr.flush()


class _Pump:
    """This process's standard streams and a program of the machine's, until it ends."""

    def __init__(self, program: VmProgram, requests: ModprobeRequests, log: _Log, timeout: float | None) -> None:
        self._program, self._requests, self._log = program, requests, log
        self._end = time.monotonic() + timeout if timeout is not None else None
        self._typed = b""
        self._listens = True
        self._told_the_end = False
        self._resized = False
        self._window: Callable[[], tuple[int, int]] | None = None

    def window_changes(self, window: Callable[[], tuple[int, int]]) -> _WindowChanges:
        """Tell the program when this terminal has another size."""
        self._window = window
        return _WindowChanges(self._was_resized)

    def _was_resized(self, number: int, frame: FrameType | None) -> None:
        self._resized = True

    def run(self) -> int:
        """Its exit status, negative for a signal. Raises `TimeoutError` when it has had its time."""
        while True:
            status = self._program.poll()
            self._take_input()
            told = self._tell(0 if status is not None else _WAIT)
            if self._requests.serve() or told:
                self._log.show()
            if status is not None and not told:
                self._log.show()
                return status
            if self._end is not None and time.monotonic() > self._end:
                raise TimeoutError
            if self._resized and self._window is not None:
                self._resized = False
                self._program.resize(*self._window())

    def _take_input(self) -> None:
        if self._listens and len(self._typed) < _CHUNK and select.select([0], [], [], 0)[0]:
            data = os.read(0, _CHUNK)
            self._typed += data
            self._listens = bool(data)
        if self._typed:
            self._typed = self._typed[self._program.write(self._typed) :]
        if not self._listens and not self._typed and not self._told_the_end:
            self._told_the_end = True
            self._program.end_input()

    def _tell(self, milliseconds: int) -> bool:
        found = self._program.read(milliseconds)
        for where, data in found:
            rest = data
            while rest:
                rest = rest[os.write(where, rest) :]
        return bool(found)


class _WindowChanges:
    """SIGWINCH goes to a function meanwhile."""

    def __init__(self, handler: Callable[[int, FrameType | None], None]) -> None:
        self._handler = handler

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGWINCH, self._handler)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGWINCH, self._before)
