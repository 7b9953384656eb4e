"""`kobox top`: the modules of this machine, of another one, of a box or of a recording, live in the terminal.

Exit status: 0; 1 when they cannot be read; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.cli.monitor import (
    TRACEPOINTS,
    log_of,
    looked_at,
    must_be_readable,
    notices_of,
    recorder_of,
    seconds,
)
from kobox.cli.parser import CommandParser
from kobox.cli.whole_terminal import whole_terminal
from kobox.errors import KoboxError

if TYPE_CHECKING:
    import argparse

    from kobox.apps.top.app import ModuleTop
    from kobox.kernel.interface import Kernel
    from kobox.kmod.module_tree import ModuleTree
    from kobox.monitor import LogSource


def main(argv: list[str], prog: str) -> int:
    """Entry point of the subcommand."""
    arguments = _parser(prog).parse_args(argv)
    try:
        from kobox.apps.top.app import ModuleTop
    except ImportError as error:
        raise KoboxError(
            f"kobox top needs the package {error.name}", hint="Install it: pip install 'kobox[top]'."
        ) from None
    if arguments.recording is not None:
        return _replay(arguments, ModuleTop)
    from kobox.monitor import ModuleMonitor

    with _place(arguments) as (kernel, log, tree, title), ExitStack() as stack:
        must_be_readable(kernel)

        def file_of(name: str) -> Path | None:
            entry = tree.entry(name) if tree is not None else None
            return Path(entry.path) if entry is not None else None

        far = arguments.ssh is not None
        notices = None if far or arguments.box else notices_of(stack, arguments.tracepoints)
        recorder = recorder_of(stack, kernel, arguments.record, "a box" if arguments.box else arguments.ssh)
        program = ModuleTop(
            ModuleMonitor(recorder or kernel, log, notices, recorder=recorder),
            title=title,
            file_of=file_of,
            read_only=arguments.read_only,
            interval=arguments.interval,
            in_thread=far,
        )
        with whole_terminal():
            program.run()
    return program.return_code or 0


def _replay(arguments: argparse.Namespace, program: type[ModuleTop]) -> int:
    """--recording: a recording, as if it happened now."""
    if arguments.box or arguments.ssh or arguments.modules or arguments.record or arguments.tracepoints:
        raise KoboxError(
            "--recording stands alone: what it shows happened elsewhere", hint="Only --speed and --interval go with it."
        )
    from kobox.monitor import ModuleMonitor
    from kobox.monitor.recording import KernelRecording

    recording = KernelRecording(arguments.recording)
    shown = program(
        ModuleMonitor(recording, recording, clock=lambda: recording.time),
        title=f"{recording.host}, recorded",
        interval=arguments.interval,
        replay=recording,
        speed=arguments.speed,
    )
    with whole_terminal():
        shown.run()
    return shown.return_code or 0


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(
        prog=prog,
        description="Show the modules of this machine's kernel live: sizes, users, parameters, what is loaded, refused "
        "and why; load, unload, set parameters.",
        epilog="Keys: / filters, s sorts, space marks, l loads, u unloads, e sets parameters, b blacklists, "
        "c counts calls (by ftrace, as root), z undoes, q ends. In a recording: p pauses, . and , go a look on and "
        "back.",
    )
    parser.add_argument(
        "modules", nargs="*", metavar="FILE.ko|MODULE", help="with --box: what is loaded there at the start"
    )
    parser.add_argument("--ssh", metavar="HOST", help="look at this machine, through a shell there")
    parser.add_argument("--box", action="store_true", help="look at a box that is booted for it, not at this machine")
    parser.add_argument("-k", "--kernel", metavar="NAME", help="the kernel of the box")
    parser.add_argument("--recording", type=Path, metavar="FILE", help="show a recording, not a kernel")
    parser.add_argument(
        "--speed", type=_speed, default=1.0, metavar="N", help="with --recording: so many times as fast"
    )
    parser.add_argument("--record", type=Path, metavar="FILE", help="write down what is seen, for --recording")
    parser.add_argument("--tracepoints", action="store_true", help=TRACEPOINTS)
    parser.add_argument("--read-only", action="store_true", help="look, and change nothing")
    parser.add_argument("--interval", type=seconds, default=2.0, metavar="S", help="seconds between looks (default: 2)")
    return parser


def _speed(text: str) -> float:
    import argparse

    try:
        speed = float(text)
    except ValueError:
        speed = 0
    if not 0.01 <= speed <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r}: not a number from 0.01 to 10000")
    return speed


@contextmanager
def _place(arguments: argparse.Namespace) -> Iterator[tuple[Kernel, LogSource, ModuleTree | None, str]]:
    """The kernel, its log, its tree of modules, and what it is called."""
    from kobox.kmod.module_tree import ModuleTree

    if not arguments.box:
        if arguments.modules or arguments.kernel:
            raise KoboxError("modules and --kernel are for a box", hint="Add --box.")
        with looked_at(arguments.ssh) as kernel, closing(log_of(kernel, arguments.ssh)) as log:
            tree = ModuleTree.of(os.uname().release) if arguments.ssh is None else None
            yield kernel, log, tree, arguments.ssh or os.uname().nodename
        return
    if arguments.ssh is not None:
        raise KoboxError("--box and --ssh are two places", hint="Name one.")
    import kobox
    from kobox.box.boot.boot import tree_of
    from kobox.images.store import Store
    from kobox.monitor import BoxLog

    image = Store().ensure(arguments.kernel)
    with kobox.boot(image) as box:
        for module in arguments.modules:
            if "/" in module or ".ko" in module:
                box.insmod(module)
            else:
                box.modprobe(module)
        tree = tree_of(image) if image.modules is not None else None
        yield box, BoxLog(box.log.records), tree, f"a box, {image.name}"
