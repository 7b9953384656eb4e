"""`kobox shell`: a shell on a real kernel, inside this process.

On a terminal it is put through whole; elsewhere commands are read from standard input. Exit status: that of the shell,
128 + N when signal N has ended it; 124 after --timeout; 1 when the kernel died, or the command waits for something that
never comes; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import re
import struct
import sys
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from kobox.cli.parser import CommandParser
from kobox.cli.plug import add_plug_option
from kobox.cli.plug import models as plugged_models
from kobox.cli.terminal_output import Painted
from kobox.errors import BoxError, KoboxError
from kobox.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kobox.box.box import Box
    from kobox.box.guest.program import Program
    from kobox.box.inspect.printk import LogRecord
    from kobox.images.store import Store

_MEANINGS = {
    "oops": "kernel code caused a fault of the CPU, and the process that ran it was killed. Locks that it held"
    " stay taken, and its module may never unload; `exit` and a new `kobox shell` give a fresh box",
    "kernel-bug": "a BUG() was reached: a check in the kernel's code that must never fail. The process was killed",
    "kernel-warning": "a WARN() was reached: something is wrong, and the kernel goes on",
    "atomic-sleep": "code slept where it must not: in an interrupt, or with a spinlock held",
}
_HARDWARE_PACKAGES = (
    "pciutils",
    "usbutils",
    "i2c-tools",
    "gpiod",
)  # lspci, lsusb … for a box with devices
_NOT_FOUND = re.compile(rb"^[^\s:]+: \d+: (?:e(?:val|xec): )?([\w.+-]{1,64}): not found\n", re.MULTILINE)
_LONGEST = 200  # bytes of a line that is looked at
_DEATHS = {
    "KernelPanicError": "the kernel has stopped for good, as a machine that must be switched off and on",
    "BoxHungError": "the kernel does not come back from one call: an endless loop, or a lock that nobody gives back",
}


def main(argv: list[str], prog: str) -> int:
    """Entry point of the subcommand."""
    parser = _parser(prog)
    arguments = parser.parse_args(argv)
    if arguments.on == "vm":
        from kobox.cli import shell_on_vm

        for option in shell_on_vm.BOX_ONLY:
            if getattr(arguments, option):
                parser.error(f"--{option} is for boxes: it does not go with --on vm")
        if arguments.memory > shell_on_vm.MOST_MEMORY:
            parser.error(f"--memory: with --on vm, {shell_on_vm.MOST_MEMORY} MiB is the most")
        return shell_on_vm.run(arguments, prog, on_terminal=_interactive(arguments))
    if arguments.save and (arguments.net or arguments.disk or arguments.plug):
        parser.error(
            "a box with network cards, disks or devices cannot be kept: no --net, --disk or --plug with --save"
        )
    from kobox.machine import native_core as native

    native.preload()
    from kobox.apps.guest_requests import BoxSwitchedOffError

    while True:
        try:
            return _session(arguments, prog)
        except BoxSwitchedOffError as off:
            if not off.again:
                return 0
        except BoxError as error:
            if error.box_lives:
                raise
            _explain(error, prog)
            if not (_interactive(arguments) and _wants_another(error)):
                return 1


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(prog=prog, description="A shell on a real kernel, in a box.")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="files of this machine to have in the current directory"
    )
    parser.add_argument("-c", dest="command", metavar="COMMAND", help="run this command and exit with its status")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not show the kernel's messages")
    parser.add_argument(
        "-k", "--kernel", metavar="NAME", help="the kernel to boot (default: `kobox kernel list` marks it)"
    )
    parser.add_argument(
        "--with",
        dest="packages",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="add a package of Debian's; repeatable. In the shell: apt install PACKAGE",
    )
    parser.add_argument(
        "--share",
        action="append",
        default=[],
        type=_share,
        metavar="DIR:/PATH[:copy]",
        help="a directory of this machine, read only, or as a copy of the box's own to write in; repeatable",
    )
    parser.add_argument("--net", choices=["user"], help="a way out: TCP and UDP through sockets of this machine")
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="NETWORK",
        help="with --net: where to, besides this machine's loopback (10.0.2.2); repeatable",
    )
    parser.add_argument(
        "--disk", action="append", default=[], metavar="IMAGE", help="a disk, which itself is not written; repeatable"
    )
    add_plug_option(parser, "and load its driver")
    parser.add_argument("--save", metavar="NAME", help="keep the box under this name when the shell has ended")
    parser.add_argument("--load", metavar="NAME", help="go on with a box that was kept")
    parser.add_argument(
        "--on",
        choices=("box", "vm"),
        default="box",
        help="vm: the same kernel in a virtual machine under QEMU (default: box)",
    )
    parser.add_argument("--cpus", type=int, default=1, metavar="N", help="CPUs of the box, 1 to 8 (default: 1)")
    parser.add_argument("--memory", type=int, default=256, metavar="MIB", help="memory of the box (default: 256)")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="end the command when it has not ended by itself after so long in the box's time (exit status 124)",
    )
    parser.add_argument(
        "--profile",
        choices=("fast", "default"),
        default="fast",
        help="default: boot the kernel as the distribution does, with mitigations and security modules (default: fast)",
    )
    parser.add_argument("--cmdline", default="", metavar="TEXT", help="added to the kernel's command line")
    return parser


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r}: not a number of seconds")
    return value


def _share(text: str) -> tuple[str, str, bool]:
    directory, _, rest = text.partition(":")
    target, _, kind = rest.partition(":")
    if not directory or not target.startswith("/") or kind not in ("", "ro", "copy"):
        raise argparse.ArgumentTypeError(f"{text!r}: it is DIRECTORY:/PATH, with :copy behind to write there")
    return directory, target, kind == "copy"


def _interactive(arguments: argparse.Namespace) -> bool:
    return os.isatty(0) and os.isatty(1)


def _session(arguments: argparse.Namespace, prog: str) -> int:
    from kobox.apps import rootfs, terminal
    from kobox.apps.guest_requests import GuestRequests
    from kobox.box.guest import host_copy as bringing
    from kobox.images.store import Store

    store = Store()
    models = plugged_models(arguments.plug)
    with _box(arguments, store) as box:
        for file in arguments.files:
            bringing.copy_in(box, file, f"/root/{os.path.basename(os.path.abspath(file))}")
        for model in models:
            box.plug(model)
        if models:
            _load_drivers(box)
        if arguments.net:
            box.network.user(arguments.allow)
        for image in arguments.disk:
            box.disks.attach(image)
        for directory, target, private_copy in arguments.share:
            box.files.share(directory, target, private_copy=private_copy)
        _set_clock(box)
        large, _ = _packages(arguments)
        if large:
            _install(box, store, large)
        on_terminal = _interactive(arguments)
        console = _Console(box, quiet=arguments.quiet, raw=on_terminal)
        requests = GuestRequests(box, {"install": partial(_install, box, store)})
        if on_terminal and arguments.command is None and not arguments.quiet:
            print(_banner(box))
        program = _start(arguments, box, console, on_terminal)
        session = terminal.Session(box, program, 0, console.show, arguments.timeout, requests)
        try:
            if on_terminal:
                with terminal.raw(), session.window_changes():
                    status = session.pump()
            else:
                status = session.pump()
        except terminal.HangUp:
            return 129
        except terminal.SessionTimeoutError as error:
            print(f"{prog}: {error.message}", file=sys.stderr)
            return 124
        finally:
            if box.alive:
                program.close()
                requests.close()
        if arguments.save:
            rootfs.save(box, arguments.save, store)
        return status if status >= 0 else 128 - status


def _packages(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The packages of --with: those that a running box is lent, and those that it is made with."""
    from kobox.apps.box_packages import without_copies

    names = [name for names in arguments.packages for name in names.split(",")]
    large = [name for name in names if without_copies([name])]
    return large, [name for name in names if name not in large]


def _install(box: Box, store: Store, names: list[str]) -> str:
    from kobox.apps import box_packages
    from kobox.cli.progress import ProgressLine

    progress = ProgressLine()
    try:
        return box_packages.install(box, names, store, progress)
    finally:
        progress.close()


def _set_clock(box: Box) -> None:
    """The box's calendar is this machine's: `date`, `dmesg -T` and make compare with files from here."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    with suppress(OSError):
        box.syscall("clock_settime", 0, struct.pack("<qq", seconds, nanoseconds))


def _banner(box: Box) -> str:
    return (
        f"You are root on Linux {box.release}, in a box: nothing here reaches your machine.\n"
        "  insmod FILE.ko   load a module; `rmmod NAME` unloads it\n"
        "  dmesg -w         follow the kernel's log; Ctrl-C ends it\n"
        "  exit             leave; the box is gone (`kobox shell --save NAME` keeps it)"
    )


def _load_drivers(box: Box) -> None:
    """Load what udev would, and what i2cdetect needs."""
    box.load_drivers()
    if box.exists("/sys/bus/i2c/devices/i2c-0"):
        with suppress(KoboxError):
            box.modprobe("i2c-dev")


def _start(arguments: argparse.Namespace, box: Box, console: _Console, on_terminal: bool) -> Program[bytes]:
    """The shell, or the command."""
    from kobox.apps import terminal
    from kobox.box.guest import subprocess as programs
    from kobox.box.guest import warm_shell

    out, err = (_Screen(fd, console, is_terminal=on_terminal) for fd in (1, 2))
    if arguments.command is not None and not on_terminal:
        waiting = warm_shell.take(box, arguments.command, out, err)
        if waiting is not None:
            return waiting
    words = ["sh", "-c", arguments.command] if arguments.command is not None else ["-bash"] if on_terminal else ["sh"]
    environment = {**programs.ENVIRONMENT, "SHELL": "/bin/bash"}
    if on_terminal:
        environment["TERM"] = os.environ.get("TERM", "linux")
    return programs.popen(
        box,
        words,
        executable="/bin/bash" if words[0] == "-bash" else "/bin/sh",
        env=environment,
        cwd="/root",
        stdin=programs.PIPE,
        stdout=out,
        stderr=err,
        terminal=terminal.window_size() if on_terminal else None,
        sink=out.write if on_terminal else None,
    )


def _box(arguments: argparse.Namespace, store: Store) -> Box:
    from kobox.apps import rootfs
    from kobox.cli.progress import ProgressLine

    if arguments.load:
        return rootfs.load_saved(arguments.load, store)
    progress = ProgressLine()
    try:
        return rootfs.shell_box(
            arguments.kernel,
            packages_added=[*_packages(arguments)[1], *(_HARDWARE_PACKAGES if arguments.plug else ())],
            memory=arguments.memory << 20,
            cmdline=arguments.cmdline,
            profile=arguments.profile,
            cpus=arguments.cpus,
            store=store,
            progress=progress,
        )
    finally:
        progress.close()


class _Screen:
    """Where a program's output goes; what the kernel has said before it is shown before it.

    A terminal is a pipe with a thread of the kernel's in it, which may get the CPU late: a line that is not ended there
    is ended first.
    """

    def __init__(self, fd: int, console: _Console, *, is_terminal: bool) -> None:
        self._fd = fd
        self._console = console
        self._is_terminal = is_terminal
        self._in_line = False
        self._line = b""  # the last line, as far as it is known

    def write(self, data: bytes) -> None:
        """Show it."""
        head, ended, _ = data.partition(b"\n")
        if self._is_terminal and self._in_line and ended:
            self._write(head + ended)
            data = data[len(head) + 1 :]
        self._console.show()
        self._in_line = not data.endswith(b"\n") if data else False
        if self._fd == 2:
            lines, ended, rest = (self._line + data).rpartition(b"\n")
            self._line = rest[-_LONGEST:]
            data += b"".join(map(_with_package, _NOT_FOUND.finditer(lines + ended)))
        self._write(data)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]


def _with_package(found: re.Match[bytes]) -> bytes:
    """What dash says of a command that is not there, and the package that has it."""
    from kobox.apps.command_packages import not_found_hint

    return f"kobox: {one_line(not_found_hint(os.fsdecode(found[1])))}\n".encode(errors="replace")


class _Console:
    """The kernel's messages, as a console shows them: those that are more urgent than debugging."""

    def __init__(self, box: Box, *, quiet: bool, raw: bool) -> None:
        self._box = box
        self._new = box.log.follow()
        self._told = len(box.findings)
        self._quiet = quiet
        self._end = "\r\n" if raw else "\n"

    def show(self) -> None:
        """Print what is new."""
        records = list(self._new)
        lines = [self._line(record) for record in records if record.level < 7]
        if any(record.level < 5 for record in records):
            lines += [f"{line}{self._end}" for line in self._explained()]
        if lines and not self._quiet:
            sys.stderr.write(Painted("".join(lines)))
            sys.stderr.flush()

    def _explained(self) -> Iterator[str]:
        """What an oops or a warning means, once its report is whole."""
        findings = self._box.findings
        for finding in findings[self._told :]:
            yield f"kobox: the kernel reports {one_line(str(finding))}"
            if meaning := _MEANINGS.get(finding.kind):
                yield f"kobox: {meaning}"
        self._told = max(self._told, len(findings))

    def _line(self, record: LogRecord) -> str:
        microseconds = int(record.time * 1e6 + 0.0005)  # cut off, as the kernel's own print_time() does
        head = f"[{microseconds // 1_000_000:5}.{microseconds % 1_000_000:06}] "
        return "".join(f"{head}{one_line(line)}{self._end}" for line in record.text.split("\n"))


def _explain(error: BoxError, prog: str) -> None:
    lines = str(error).splitlines()
    print(f"\n{prog}: {lines[0]}", file=sys.stderr)  # the kernel's own words have been shown
    if meaning := _DEATHS.get(type(error).__name__):
        print(f"{prog}: {meaning}", file=sys.stderr)


def _wants_another(error: BoxError) -> bool:
    try:
        return input("Boot a fresh box? [Y/n] ").strip().lower() in ("", "y", "yes")
    except EOFError:
        return False
