"""`kobox explain`: would a module load, and why not; or what a log says of a load that failed.

Exit status: 0 the module would load, or the log shows no failure; 1 otherwise; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser
from kobox.cli.worker import raise_wall
from kobox.printable import one_line

if TYPE_CHECKING:
    from cryptography import x509

    from kobox.box.box import Box
    from kobox.cli.progress import ProgressLine
    from kobox.explain.cause import Cause
    from kobox.explain.explanation import Conditions, Explanation
    from kobox.explain.oops_source import DecodedOops
    from kobox.images.store import KernelImage

_LARGEST_LOG = 64 << 20  # bytes, the last ones
_NOTHING = """\
no cause found: no line of this log is a known message about a module
Give the kernel's whole log and the tool's own message: `(dmesg; modprobe NAME) 2>&1 | kobox explain --log -`."""


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = _parser(prog)
    arguments = parser.parse_intermixed_args(argv)
    if arguments.log is not None:
        return _explain_log(arguments)
    if arguments.file is None:
        parser.error("give a module, or --log")
    if arguments.file.name.endswith((".bpf.o", ".bpf.c")):
        from kobox.cli.bpf import explain_object

        return explain_object(arguments)
    return _explain_file(arguments)


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(
        prog=prog,
        description="Say whether a module would load and why not, or find the causes in a log of a failed load.",
        epilog="Exit status: 0 it loads, or nothing in the log failed; 1 otherwise; 2 wrong usage.",
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE.ko", help="module, plain or compressed; or .bpf.o")
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="module parameters")
    parser.add_argument("-k", "--kernel", metavar="NAME", help="the kernel to load it in (default: the default kernel)")
    parser.add_argument(
        "--with",
        dest="beside",
        action="append",
        type=Path,
        default=[],
        metavar="FILE.ko",
        help="load this module before it; may be given several times",
    )
    parser.add_argument(
        "--trust",
        action="append",
        type=Path,
        default=[],
        metavar="CERT",
        help="a certificate that the kernel trusts; may be given several times",
    )
    parser.add_argument("--enforce", action="store_true", help="assume that the kernel enforces signatures")
    parser.add_argument(
        "--lockdown",
        default="",
        choices=("integrity", "confidentiality"),
        help="assume that the kernel is locked down at this level",
    )
    parser.add_argument("--disabled", action="store_true", help="assume that kernel.modules_disabled is 1")
    parser.add_argument("--cmdline", default="", metavar="TEXT", help="words added to the kernel's command line")
    parser.add_argument("-f", "--force", action="store_true", help="ignore version magic and symbol versions")
    parser.add_argument(
        "--try", dest="attempt", action="store_true", default=None, help="load it in a box, too (default)"
    )
    parser.add_argument("--no-try", dest="attempt", action="store_false", help="do not load it in a box")
    parser.add_argument(
        "--log",
        nargs="?",
        const="",
        metavar="FILE",
        help="explain a log: of FILE, of standard input (-), or of this machine (without FILE); an oops in FILE.ko or"
        " in a module of --with is decoded by its debugging information: source, inlined calls, variables",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


# -- a log --------------------------------------------------------------------------------------------------------


def _explain_log(arguments: argparse.Namespace) -> int:
    from kobox.explain.log import causes_in
    from kobox.images.exports import KernelExports
    from kobox.ko.compression import decompress

    data, kernels = _log_bytes(arguments.log), _cached_kernels()
    files = [path for path in (arguments.file, *arguments.beside) if path is not None]
    places = [place for kernel in kernels for place in (kernel.modules, kernel.directory) if place]
    raise_wall([*places, *(path.resolve().parent for path in files)], cpu_limit=60)
    text = decompress(data, path=arguments.log)[-_LARGEST_LOG:].decode(errors="replace")
    causes = causes_in(text, exports=[KernelExports(kernel) for kernel in kernels])
    oopses = _oopses(text, files)
    if arguments.json and files:
        told = {"causes": [asdict(cause) for cause in causes], "oopses": [asdict(oops) for oops in oopses]}
        print(to_json("explain-log-modules", told))
    elif arguments.json:
        print(to_json("explain-log", [asdict(cause) for cause in causes]))
    elif not causes:
        print(_NOTHING)
    else:
        print("\n".join(_shown(line) for cause in causes for line in _cause_lines(cause)))
    if not arguments.json:
        for oops in oopses:
            print("", *map(_shown, oops.lines()), sep="\n")
    return 1 if not causes or any(cause.fatal for cause in causes) else 0


def _oopses(text: str, files: Sequence[Path]) -> list[DecodedOops]:
    """The oopses of a log in modules whose files are given, decoded by them. Raises `OSError`, `ModuleFormatError`."""
    if not files:
        return []
    from kobox.explain.oops_source import oopses_in
    from kobox.ko.modulefile import ModuleFile

    return oopses_in(text, [ModuleFile(path) for path in files])


def _shown(line: str) -> str:
    """A line for a terminal, with the names of Rust symbols as Rust writes them."""
    from kobox.ko.demangle import demangle_text

    return one_line(demangle_text(line))


def _cause_lines(cause: Cause) -> list[str]:
    who = f"{cause.module}: " if cause.module else ""
    lines = [f"{'FAIL' if cause.fatal else 'note'}  {who}{cause.why}  [{cause.rule}]"]
    lines += [f"      seen: {cause.line}"] if cause.line else []
    lines += [f"      {line}" for line in cause.advice.split("\n")]
    for other in cause.alternatives:
        lines += [f"      or: {other.why}  [{other.rule}]", f"          {other.advice}"]
    return [one_line(line) for line in lines]


def _cached_kernels() -> list[KernelImage]:
    from kobox.images.store import Store

    return list(Store().list())


def _log_bytes(source: str) -> bytes:
    """The log: a file's bytes, which may be compressed, standard input's, or this machine's own."""
    if not source:
        from kobox.kernel.host import read_log

        return read_log().encode()
    return sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()


# -- a module -----------------------------------------------------------------------------------------------------


def _explain_file(arguments: argparse.Namespace) -> int:
    from kobox.cli.progress import ProgressLine
    from kobox.explain.box_answer import try_in_box
    from kobox.explain.load_rules import explain
    from kobox.images.store import Store
    from kobox.ko.compression import read_file
    from kobox.ko.modulefile import ModuleFile

    data = read_file(arguments.file)
    conditions = _conditions(arguments)
    store = Store()
    progress = ProgressLine(quiet=arguments.json)
    try:
        kernel = store.ensure(arguments.kernel, progress)
        others = [other for other in store.list() if other.name != kernel.name]
        with ExitStack() as stack:
            wanted = arguments.attempt is not False
            box = stack.enter_context(_box(kernel, conditions, progress)) if wanted else None
            places = [place for one in (kernel, *others) if (place := one.modules)]
            raise_wall([*places, *(path.resolve().parent for path in arguments.beside)], cpu_limit=60)
            conditions = replace(conditions, beside=tuple(ModuleFile(path) for path in arguments.beside))
            result = explain(data, kernel, conditions, path=str(arguments.file), others=others)
            if box is not None:
                result = try_in_box(data, result, box, conditions)
    finally:
        progress.close()
    if arguments.json:
        print(to_json("explain", _as_json(result)))
    else:
        print("\n".join(map(_shown, _lines(result))))
    return 1 if result.errno else 0


def _conditions(arguments: argparse.Namespace) -> Conditions:
    from kobox.explain.explanation import Conditions
    from kobox.kernel.interface import InitFlags

    trust: list[x509.Certificate] = []
    if arguments.trust:
        from kobox.signing.keys import load_certificates

        trust = [certificate for path in arguments.trust for certificate in load_certificates(path)]
    force = InitFlags.IGNORE_MODVERSIONS | InitFlags.IGNORE_VERMAGIC
    return Conditions(
        parameters=" ".join(arguments.parameters),
        cmdline=arguments.cmdline,
        trust=tuple(trust),
        enforce=arguments.enforce,
        lockdown=arguments.lockdown,
        flags=force if arguments.force else InitFlags.NONE,
        disabled=arguments.disabled,
    )


def _box(kernel: KernelImage, conditions: Conditions, progress: ProgressLine) -> Box:
    import kobox

    return kobox.boot(
        kernel,
        cmdline=conditions.cmdline,
        trust=conditions.trust,
        enforce_signatures=conditions.enforce,
        lockdown=conditions.lockdown,
        progress=progress,
    )


def _as_json(result: Explanation) -> dict[str, object]:
    return asdict(result) | {"errno": result.errno, "loads": not result.errno, "agrees": result.agrees}


def _lines(result: Explanation) -> list[str]:
    import errno
    import os

    lines = [f"{result.path}: {result.module or 'no module'} for {result.kernel}"]
    for fact in result.facts:
        label = "FAIL" if fact.errno else "note" if fact.advice else "ok  "
        lines.append(f"  {label}  {fact.text}  [{fact.rule}]")
        if fact.advice:
            lines.append(f"        {fact.advice}")
    if result.size:
        lines.append(f"  ok    {result.size} bytes in the kernel's memory")
    if result.answer is not None:
        lines += _answer(result)
    else:
        lines += [f"  the kernel would print: {line}" for line in result.log]
    if not result.errno:
        return [*lines, "it loads" if result.answer else "it should load"]
    reason = os.strerror(getattr(errno, result.errno)) if hasattr(errno, result.errno) else "the kernel stopped it"
    return [*lines, f"it does not load: {reason} ({result.errno})"]


def _answer(result: Explanation) -> list[str]:
    from kobox.explain.box_answer import cause_of_answer

    assert result.answer is not None
    lines = [f"  kernel: {line}" for line in result.answer.log]
    if result.answer.note:
        lines.append(f"  note: {result.answer.note}")
    if not result.agrees and result.answer.errno:
        cause = cause_of_answer(result.answer, result.module)
        lines.append(f"  FAIL  in the box: {cause.why}  [{cause.rule}]")
        lines.append(f"        {cause.advice}")
    elif not result.agrees:
        lines.append("  note: a refusal was expected, and the box's kernel loads it all the same")
    return lines
