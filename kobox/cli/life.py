"""What the commands that live a module's life in a box have in common: gdb, trace, profile, drgn."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from kobox.cli.parser import CommandParser

if TYPE_CHECKING:
    from kobox.box.box import Box
    from kobox.cli.progress import ProgressLine
    from kobox.images.store import KernelImage, Store

    _Options = CommandParser | argparse._ArgumentGroup


def add_life_options(parser: CommandParser) -> None:
    """The modules with their parameters, the kernel, and how the modules are used."""
    parser.add_argument(
        "source",
        nargs=1,
        metavar="FILE.ko|FILE.c|DIR",
        help="a module, source that is built first, or a directory of either; more of them may follow",
    )
    parser.add_argument(
        "parameters", nargs="*", metavar="NAME=VALUE", help="parameters of the module named before them"
    )
    add_box_options(parser)
    _add_exercise(parser)


def add_uses(group: _Options) -> None:
    """How a module is used, and the memory of the box."""
    _add_commands(group)
    _add_exercise(group)
    group.add_argument("--memory", type=int, default=256, metavar="MIB", help="memory of the box (default: 256)")


def _add_exercise(group: _Options) -> None:
    group.add_argument(
        "--exercise",
        action="append",
        default=[],
        metavar="FILE.py",
        help="a Python file with `def exercise(box)`, or with tests, to use the module by; repeatable",
    )


def add_box_options(parser: CommandParser) -> None:
    """The kernel of the box, its memory, and what its shell is to do."""
    parser.add_argument(
        "-k", "--kernel", metavar="NAME", help="the kernel to boot (default: `kobox kernel list` marks it)"
    )
    _add_commands(parser)
    parser.add_argument("--memory", type=int, default=256, metavar="MIB", help="memory of the box (default: 256)")


def _add_commands(group: _Options) -> None:
    group.add_argument(
        "-c",
        dest="commands",
        action="append",
        default=[],
        metavar="COMMAND",
        help="a command of the box's shell, while the modules are loaded; repeatable",
    )


def add_cpu_limit(group: _Options) -> None:
    """One budget for the whole life."""
    group.add_argument(
        "--cpu-limit",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="CPU time of the box, for all that is done in it together (default: 60)",
    )


def life_box(arguments: argparse.Namespace, image: KernelImage, store: Store, progress: ProgressLine) -> Box:
    """A box as the options ask for it; with a root file system when commands are to run in it."""
    import kobox
    from kobox.apps.rootfs import shell_box

    if arguments.commands:
        return shell_box(image, memory=arguments.memory << 20, store=store, progress=progress)
    return kobox.boot(image, memory=arguments.memory << 20, progress=progress)
