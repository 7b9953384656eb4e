"""`kobox drgn`: drgn on the kernel of a box in which modules were loaded and used.

Exit status: 0; that of the script; 1 when a module is not loaded or drgn is missing; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.cli.life import add_box_options, life_box
from kobox.cli.parser import CommandParser

if TYPE_CHECKING:
    from collections.abc import Mapping

    import drgn


def main(argv: list[str], prog: str) -> int:
    """Entry point of the subcommand."""
    parser = _parser(prog)
    arguments = parser.parse_intermixed_args(argv)
    if arguments.host:
        if arguments.source or arguments.commands or arguments.kernel or arguments.save_core is not None:
            parser.error("--host is this machine's own kernel: it takes no modules, no -k, no -c, no --save-core")
        from kobox.kernel.host import Host

        return _use(arguments, Host().drgn(), {})
    from kobox.apps import run_sources
    from kobox.cli.progress import ProgressLine
    from kobox.images.store import Store
    from kobox.machine import native_core as native

    native.preload()
    store, progress = Store(), ProgressLine()
    try:
        image = store.ensure(arguments.kernel, progress)
        sources = run_sources.split(arguments.source)
        paths = run_sources.module_paths(
            sources, image, lambda path: print(f"building {path} for {image.name}", file=sys.stderr)
        )
        modules, parameters = run_sources.module_files(sources, paths)
        box = life_box(arguments, image, store, progress)
    finally:
        progress.close()
    with box:
        for module, text in zip(modules, parameters, strict=True):
            box.insmod(module.path, text)
        for command in arguments.commands:
            box.run(["/bin/sh", "-c", command])
        program = box.drgn(*(module.path for module in modules))
        if arguments.save_core is not None:
            core: Path = arguments.save_core
            box.save_core(core, core.with_name(core.name + ".vmlinux"))
        from kobox.box.drgn_program import running_stack

        return _use(arguments, program, {"box": box, "running_stack": lambda: running_stack(box, program)})


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(prog=prog, description="Open drgn on the kernel of a box, with modules loaded and used.")
    parser.add_argument(
        "source",
        nargs="*",
        metavar="FILE.ko|FILE.c|DIR|NAME=VALUE",
        help="modules to load, or source that is built first, each with its parameters",
    )
    add_box_options(parser)
    parser.add_argument(
        "--host", action="store_true", help="open this machine's own kernel by /proc/kcore, as root; nothing is loaded"
    )
    parser.add_argument("-e", "--execute", metavar="CODE", help="run this in place of a shell")
    parser.add_argument("--script", type=Path, metavar="FILE.py", help="run this file in place of a shell")
    parser.add_argument(
        "--save-core",
        type=Path,
        metavar="FILE",
        help="write the kernel's memory as a vmcore, and FILE.vmlinux with its symbols and types",
    )
    return parser


def _use(arguments: argparse.Namespace, program: drgn.Program, own: Mapping[str, object]) -> int:
    """The shell, or the code in place of it. `own` are names that it has beside drgn's."""
    from drgn.cli import default_globals, run_interactive

    if arguments.execute is None and arguments.script is None:
        if arguments.save_core is None or sys.stdin.isatty():
            run_interactive(program, globals_func=lambda names: {**names, **own})
        return 0
    code = arguments.execute if arguments.execute is not None else arguments.script.read_text()
    names = {**default_globals(program), **own, "__name__": "__main__"}
    try:
        exec(compile(code, str(arguments.script or "-e"), "exec"), names)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0
