"""`kobox schema`: what `--json` prints, as JSON Schema."""

from __future__ import annotations

import json

from kobox.cli.json_output import kinds, schema
from kobox.cli.parser import CommandParser
from kobox.errors import KoboxError


def main(argv: list[str], prog: str) -> int:
    """Entry point of the subcommand."""
    parser = CommandParser(
        prog=prog,
        description="Say what --json prints, as JSON Schema.",
        epilog="Without a name, all names with their commands. The version in `format` rises when a field changes its "
        "meaning or goes; fields are added without a new one.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="print this schema")
    arguments = parser.parse_args(argv)
    if arguments.name is None:
        width = max(map(len, kinds()))
        for kind in kinds():
            about = json.loads(schema(kind))
            print(f"{kind:<{width}}  {about['title']}")
        return 0
    try:
        print(schema(arguments.name), end="")
    except KeyError:
        raise KoboxError(f"no schema {arguments.name!r}", hint="`kobox schema` lists all of them.") from None
    return 0
