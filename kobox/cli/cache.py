"""`kobox cache`: what the cache holds and how much room it takes; `prune` removes what was not used for long.

Exit status: 0 done; 1 it failed; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser
from kobox.images.cache import CachePart, cache_parts, kinds, prunable, prune
from kobox.images.store import Store
from kobox.printable import one_line

_UNITS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = CommandParser(prog=prog, description="What the cache holds, and how much room it takes.")
    parser.add_argument("--json", action="store_true", help="print the parts as JSON")
    parser.add_argument("-v", "--verbose", action="store_true", help="list every part, not every kind")
    parser.set_defaults(run=_list)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    remove = commands.add_parser("prune", help="remove what has not been used for long, and is made again when needed")
    remove.add_argument(
        "--older-than", type=_age, default=_age("30d"), metavar="AGE", help="hours, days or weeks: 12h, 30d, 4w (30d)"
    )
    remove.add_argument(
        "--kind",
        action="append",
        default=[],
        choices=prunable(),
        metavar="KIND",
        help=f"only one kind, of {', '.join(prunable())}; repeatable (default: all)",
    )
    remove.add_argument("-n", "--dry-run", action="store_true", help="say what would be removed")
    remove.add_argument("--json", action="store_true", help="print what was removed as JSON")
    remove.set_defaults(run=_prune)
    arguments = parser.parse_args(argv)
    status: int = arguments.run(Store(), arguments)
    return status


def _age(text: str) -> float:
    match = re.fullmatch(r"(\d{1,6})([hdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r}: an age is a number with h, d or w behind it, such as 30d")
    return int(match[1]) * _UNITS[match[2]]


def _list(store: Store, arguments: argparse.Namespace) -> int:
    parts = list(cache_parts(store))
    if arguments.json:
        print(to_json("cache", [_row(part) for part in parts]))
        return 0
    about = kinds()
    for kind, what in about.items():
        of_kind = [part for part in parts if part.kind == kind]
        if not of_kind:
            continue
        print(f"{_megabytes(of_kind):>7} MB  {kind:<10}  {len(of_kind):>5}  {what}")
        if arguments.verbose:
            for part in sorted(of_kind, key=lambda part: -part.size):
                print(one_line(f"{_megabytes([part]):>7} MB    {part.days():>4} d  {part.name}"))
    print(f"{_megabytes(parts):>7} MB  in {one_line(str(store.root))}")
    return 0


def _prune(store: Store, arguments: argparse.Namespace) -> int:
    gone = prune(store, older_than=arguments.older_than, wanted=arguments.kind, dry_run=arguments.dry_run)
    if arguments.json:
        print(to_json("cache", [_row(part) for part in gone]))
        return 0
    for part in gone:
        print(one_line(f"{_megabytes([part]):>7} MB  {part.kind:<10}  {part.days():>4} d  {part.name}"))
    verb = "would be freed" if arguments.dry_run else "freed"
    print(f"{_megabytes(gone):>7} MB  {verb}")
    if not arguments.dry_run and any(part.path.exists() for part in gone):
        print("kobox cache: some parts could not be removed", file=sys.stderr)
        return 1
    return 0


def _megabytes(parts: Sequence[CachePart]) -> int:
    return sum(part.size for part in parts) + 500_000 >> 20


def _row(part: CachePart) -> dict[str, object]:
    return {"kind": part.kind, "name": part.name, "path": str(part.path), "size": part.size, "used": int(part.used)}
