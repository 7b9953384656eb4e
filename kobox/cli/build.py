"""`kobox build`: a module from its source, for one kernel or many."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser
from kobox.cli.progress import ProgressLine
from kobox.errors import BuildError
from kobox.images.store import KernelImage, Store
from kobox.kbuild.build import BuildOptions, BuiltModules, build, build_each, clean
from kobox.kbuild.matrix import matrix, refused_interfaces


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    arguments = _parser(prog).parse_args(argv)
    if arguments.clean:
        count = clean(arguments.source)
        print(f"{arguments.source}: {count} build director{'y' if count == 1 else 'ies'} removed")
        return 0
    kernels = kernels_named(arguments.kernel)
    options = BuildOptions(
        warnings=arguments.warnings or "",
        sparse=arguments.sparse,
        clang=arguments.clang,
        extra_symbols=tuple(arguments.extra_symbols),
        reproducible=arguments.reproducible,
        compile_commands=arguments.compile_commands,
        btf=arguments.btf,
        verbose=arguments.verbose,
        jobs=arguments.jobs,
    )
    if len(kernels) > 1:
        return _many(arguments, kernels, options)
    try:
        built = build(arguments.source, kernels[0], output=arguments.output, options=options, on_output=_say(arguments))
    except BuildError as error:
        if arguments.json:
            print(to_json("build", [_failed(kernels[0], error)]))
        else:  # what make said was printed as it came, but with -q
            print(error.output if arguments.quiet else "", end="", file=sys.stderr)
            print(f"{prog}: error: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(to_json("build", [_row(built)]))
    else:
        print(*(f"note: {hint}" for hint in built.hints), sep="\n", end="\n" if built.hints else "", file=sys.stderr)
        if not arguments.quiet:
            print(f"{', '.join(map(str, built))}: built for {kernels[0].name} in {built.seconds:.1f} s")
    return 0


def _many(arguments: argparse.Namespace, kernels: Sequence[KernelImage], options: BuildOptions) -> int:
    """Build for several kernels; what the compiler says of each comes in one piece, and a table at the end."""
    output = arguments.output or _directory(arguments.source)
    rows, table, results = [], [], []
    for kernel, result in build_each(arguments.source, kernels, output=output, options=options):
        results.append((kernel, result))
        if isinstance(result, BuildError):
            rows.append(_failed(kernel, result))
            table.append((kernel.name, "FAILED", "", _first_error(result)))
        else:
            rows.append(_row(result))
            warnings = sum("warning:" in line for line in result.output.splitlines())
            told = f"{warnings} warning{'s' if warnings != 1 else ''}" if warnings else "ok"
            table.append((kernel.name, told, f"{result.seconds:.1f} s", " ".join(map(str, result))))
        if not arguments.json and ("warning:" in result.output or isinstance(result, BuildError)):
            notes = (
                "\n".join(f"note: {one}" for one in result.hints) if isinstance(result, BuiltModules) else result.hint
            )
            hint = f"\n{notes}" if notes else ""
            print(f"── {kernel.name}\n{result.output}{hint}", file=sys.stderr, flush=True)
    if arguments.json:
        print(to_json("build", rows))
    elif not arguments.quiet or len(results) > sum(isinstance(result, BuiltModules) for _, result in results):
        widths = [max(len(row[n]) for row in table) for n in range(3)]
        for row in table:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            print("  ".join([*cells, row[3]]).rstrip())
        _print_matrix(matrix(results), [kernel.name for kernel in kernels])
    return 0 if all(row["built"] for row in rows) else 1


def _print_matrix(interfaces: Mapping[str, Mapping[str, str]], kernels: Sequence[str]) -> None:
    """A line an interface, a column a kernel; nothing where no kernel refuses one."""
    if not interfaces:
        return
    width = max(map(len, interfaces))
    print(f"\n{'':<{width}}  {'  '.join(kernels)}")
    for name, cells in interfaces.items():
        line = "  ".join(cells[kernel].ljust(len(kernel)) for kernel in kernels)
        print(f"{name:<{width}}  {line}".rstrip())


def _first_error(error: BuildError) -> str:
    """The line of the output that says the most: the compiler's or modpost's before make's."""
    lines = error.output.splitlines()
    for pattern in (r"error: |ERROR: ", r"^(?!make).*\*\*\*", r"\*\*\*"):
        found = next((line for line in lines if re.search(pattern, line)), "")
        if found:
            return found
    return error.message


def _failed(kernel: KernelImage, error: BuildError) -> dict[str, object]:
    facts = {"kernel": kernel.name, "built": False, "error": error.message}
    facts["refused"] = refused_interfaces(error)
    return facts | {"output": error.output, "hint": error.hint}


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(
        prog=prog,
        description="Build the modules of a directory (with a Makefile or Kbuild, or bare .c files) or of one .c file.",
    )
    parser.add_argument("source", nargs="?", type=Path, default=Path(), help="directory or .c file (default: here)")
    parser.add_argument(
        "-k", "--kernel", "--kernels", action="append", metavar="NAME", help="for this kernel; repeatable; `all`"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="put the .ko files here (default: SOURCE)")
    parser.add_argument("-W", dest="warnings", nargs="?", const="1", metavar="LEVEL", help="more warnings: 1, 2, 3, e")
    parser.add_argument("--sparse", action="store_true", help="check every file with sparse")
    parser.add_argument("--clang", action="store_true", help="build with clang and lld")
    parser.add_argument(
        "--extra-symbols",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="another module's Module.symvers",
    )
    parser.add_argument("--reproducible", action="store_true", help="keep this machine's paths out of the result")
    parser.add_argument("--btf", action="store_true", help="put type information into the modules, for eBPF programs")
    parser.add_argument("--compile-commands", action="store_true", help="write compile_commands.json for editors")
    parser.add_argument("--clean", action="store_true", help="forget what was built of the source")
    parser.add_argument("-j", "--jobs", type=int, default=0, metavar="N", help="compile N files at once")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors and notes")
    parser.add_argument("-v", "--verbose", action="store_true", help="show whole commands")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def kernels_named(names: Sequence[str] | None) -> list[KernelImage]:
    """The kernels of the cache with these names, `all` for all of them; the default one for none."""
    store = Store()
    if names and "all" in names:
        return store.list() or [_ensured(store, None)]
    return [_ensured(store, name) for name in names] if names else [_ensured(store, None)]


def _ensured(store: Store, name: str | None) -> KernelImage:
    progress = ProgressLine()
    try:
        if name is None and not store.list():
            print("no kernel in the cache yet: adding Debian's newest cloud kernel", file=sys.stderr)
        return store.ensure(name, progress)
    finally:
        progress.close()


def _directory(source: Path) -> Path:
    return source if source.is_dir() else source.parent


def _say(arguments: argparse.Namespace) -> Callable[[str], None] | None:
    """Where the lines of make and the compiler go, as they come."""
    return None if arguments.json or arguments.quiet else lambda line: print(line, file=sys.stderr, flush=True)


def _row(built: BuiltModules) -> dict[str, object]:
    return {
        "kernel": built.kernel.name,
        "built": True,
        "modules": [str(module) for module in built],
        "seconds": round(built.seconds, 3),
        "output": built.output,
        "hints": list(built.hints),
    }
