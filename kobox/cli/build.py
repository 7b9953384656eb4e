"""`kobox build`: a module from its source, for one kernel or many."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kobox.author.build import BuildOptions, BuiltModules, build, clean
from kobox.cli.progress import ProgressLine
from kobox.errors import BuildError
from kobox.images.store import KernelImage, Store


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    arguments = _parser(prog).parse_args(argv)
    if arguments.clean:
        count = clean(arguments.source)
        print(f"{arguments.source}: {count} build director{'y' if count == 1 else 'ies'} removed")
        return 0
    kernels = _kernels(arguments.kernel)
    options = BuildOptions(
        warnings=arguments.warnings or "",
        sparse=arguments.sparse,
        clang=arguments.clang,
        extra_symbols=tuple(arguments.extra_symbols),
        reproducible=arguments.reproducible,
        compile_commands=arguments.compile_commands,
        verbose=arguments.verbose,
        jobs=arguments.jobs,
    )
    failed = 0
    rows = []
    for kernel in kernels:
        output = arguments.output
        if len(kernels) > 1:
            output = (output or _directory(arguments.source)) / kernel.name
        try:
            built = build(arguments.source, kernel, output=output, options=options, on_output=_say(arguments.json))
        except BuildError as error:
            if len(kernels) == 1 and not arguments.json:
                raise
            failed += 1
            rows.append({"kernel": kernel.name, "built": False, "error": error.message, "output": error.output})
            print(f"{prog}: error: {kernel.name}: {error}", file=sys.stderr)
        else:
            rows.append(_row(built))
            if not arguments.json:
                print(f"{', '.join(map(str, built))}: built for {kernel.name} in {built.seconds:.1f} s")
    if arguments.json:
        print(json.dumps(rows, indent=2))
    return 1 if failed else 0


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Build the modules of a directory (with a Makefile or Kbuild, or bare .c files) or of one .c file.",
    )
    parser.add_argument("source", nargs="?", type=Path, default=Path(), help="directory or .c file (default: here)")
    parser.add_argument("-k", "--kernel", action="append", metavar="NAME", help="for this kernel; repeatable; `all`")
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
    parser.add_argument("--compile-commands", action="store_true", help="write compile_commands.json for editors")
    parser.add_argument("--clean", action="store_true", help="forget what was built of the source")
    parser.add_argument("-j", "--jobs", type=int, default=0, metavar="N", help="compile N files at once")
    parser.add_argument("-v", "--verbose", action="store_true", help="show whole commands")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _kernels(names: Sequence[str] | None) -> list[KernelImage]:
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


def _say(quiet: bool) -> Callable[[str], None] | None:
    """Where the lines of make and the compiler go, as they come."""
    return None if quiet else lambda line: print(line, file=sys.stderr, flush=True)


def _row(built: BuiltModules) -> dict[str, Any]:
    return {
        "kernel": built.kernel.name,
        "built": True,
        "modules": [str(module) for module in built],
        "seconds": round(built.seconds, 3),
        "output": built.output,
    }
