"""`kobox bpf`: eBPF objects on several kernels (`matrix`), and their programs from inside (`list`, `cover`, `fuzz`).

`kobox explain prog.bpf.o` asks one kernel what `matrix` asks several.

Exit status of matrix: 0 every kernel takes every program; 1 otherwise; 2 wrong usage.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.cli.bpf_code import add_commands
from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser
from kobox.cli.worker import raise_wall
from kobox.errors import KoboxError
from kobox.printable import one_line

if TYPE_CHECKING:
    from kobox.apps.bpf_matrix import BpfAnswer
    from kobox.images.store import KernelImage


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = CommandParser(prog=prog, description="eBPF objects on several kernels, and their programs from inside.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    matrix = commands.add_parser("matrix", help="programs x kernels: refused, loads, attaches; and why")
    matrix.add_argument("file", type=Path, metavar="FILE.bpf.o", help="an object, or its source (.bpf.c)")
    matrix.add_argument(
        "-k", "--kernel", action="append", default=[], metavar="NAME", help="repeatable (default: all of the cache)"
    )
    matrix.add_argument("--json", action="store_true", help="print the table as JSON")
    matrix.set_defaults(run=_matrix)
    add_commands(commands)
    arguments, others = parser.parse_known_args(argv)  # type: ignore[no-untyped-call]
    if others and (not hasattr(arguments, "variables") or any(word.startswith("-") for word in others)):
        parser.parse_args(argv)  # says which words it does not know
    elif others:  # NAME=VALUE behind an option
        arguments.variables += others
    return int(arguments.run(arguments))


def _matrix(arguments: argparse.Namespace) -> int:
    answers = ask(arguments.file, _kernels(arguments.kernel))
    if arguments.json:
        print(to_json("bpf-matrix", [asdict(answer) for answer in answers]))
    else:
        print("\n".join(map(one_line, _table(answers))))
    return 0 if all(answer.state != "refused" for answer in answers) else 1


def explain_object(arguments: argparse.Namespace) -> int:
    """`kobox explain prog.bpf.o`."""
    from kobox.images.store import Store

    answers = ask(arguments.file, [Store().ensure(arguments.kernel)])
    if arguments.json:
        print(to_json("bpf-matrix", [asdict(answer) for answer in answers]))
    else:
        for answer in answers:
            print("\n".join(map(one_line, _told(answer))))
    return 0 if all(answer.state != "refused" for answer in answers) else 1


def ask(file: Path, kernels: Sequence[KernelImage]) -> list[BpfAnswer]:
    """What each kernel makes of an object; the wall is raised before it is read. Raises `KoboxError`, `OSError`."""
    from kobox.apps.bpf_matrix import survey
    from kobox.box.boot.boot import boot
    from kobox.cli.progress import ProgressLine
    from kobox.kbuild.build import build

    if not file.is_file():
        raise KoboxError(f"{file}: no such file", hint="`kobox build prog.bpf.c` makes prog.bpf.o.")
    if file.name.endswith(".bpf.c"):
        (file,) = build(file, kernels[0]).programs
    with ExitStack() as stack:
        progress = ProgressLine(quiet=False)
        try:
            boxes = [stack.enter_context(boot(kernel, progress=progress)) for kernel in kernels]
        finally:
            progress.close()
        for box in boxes:
            box.bpf.run_idle()  # behind the wall the loader cannot be built
            box.inspect.layout.keep()
        images = [place for kernel in kernels for place in (kernel.modules, kernel.directory) if place]
        raise_wall([file.resolve().parent, *images], cpu_limit=60 * len(boxes))
        data = file.read_bytes()
        return [answer for box in boxes for answer in survey(box, file.name, data)]


def _kernels(names: Sequence[str]) -> list[KernelImage]:
    from kobox.arch.registry import architecture
    from kobox.images.store import Store

    store = Store()
    if names:
        return [store.ensure(name) for name in names]
    found = [kernel for kernel in store.list() if architecture(kernel.architecture).name == "x86_64"]
    return found or [store.ensure()]


def _table(answers: Sequence[BpfAnswer]) -> list[str]:
    """A row a program, a column a kernel; below it why."""
    kernels = list(dict.fromkeys(answer.kernel for answer in answers))
    programs = list(dict.fromkeys((answer.program, answer.section) for answer in answers))
    found = {(answer.program, answer.kernel): answer for answer in answers}
    names = [f"{name} ({section})" if name else "the object" for name, section in programs]
    wide = max(map(len, names))
    lines = ["  ".join([" " * wide, *kernels]).rstrip()]
    for (program, _), name in zip(programs, names, strict=True):
        cells = [found[program, kernel].state if (program, kernel) in found else "" for kernel in kernels]
        row = [cell.ljust(len(kernel)) for cell, kernel in zip(cells, kernels, strict=True)]
        lines.append("  ".join([name.ljust(wide), *row]).rstrip())
    for answer in answers:
        if answer.state != "attaches" and answer.reason:
            lines += ["", f"{answer.kernel}:", *_told(answer)]
    return lines


def _told(answer: BpfAnswer) -> list[str]:
    name = f"{answer.program} ({answer.section})" if answer.program else "the object"
    if answer.state == "refused":
        hint = [f"  fix: {answer.hint}"] if answer.hint and answer.hint not in "\n".join(answer.reason) else []
        return [f"{name}: refused", *(f"  {line}" for line in answer.reason), *hint]
    told = f"{name}: {'loads and attaches' if answer.state == 'attaches' else 'loads'}"
    size = f"; the verifier went through {answer.instructions} instructions" if answer.instructions else ""
    return [f"{told}{size}", *(f"  not attached: {line}" for line in answer.reason[:1])]
