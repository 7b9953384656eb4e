"""`kobox box list | rm | export | import`: the boxes that `kobox shell --save NAME` has kept.

Exit status: 0 done; 1 it failed; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from kobox.apps import saved_boxes
from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser
from kobox.images.store import Store
from kobox.printable import one_line


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = CommandParser(prog=prog, description="The boxes that `kobox shell --save NAME` has kept.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="list them")
    listing.add_argument("--json", action="store_true", help="print them as JSON")
    listing.set_defaults(run=_list)
    remove = commands.add_parser("rm", help="remove boxes")
    remove.add_argument("names", nargs="+", metavar="BOX", help="the name that was given to --save")
    remove.set_defaults(run=_remove)
    export = commands.add_parser("export", help="write a box into one file")
    export.add_argument("name", metavar="BOX", help="the name that was given to --save")
    export.add_argument("-o", "--output", type=Path, metavar="FILE", help="write here (default: BOX.box)")
    export.set_defaults(run=_export)
    bring = commands.add_parser("import", help="take a box from a file, of somebody whose programs you would run")
    bring.add_argument("file", type=Path, metavar="FILE", help="what `kobox box export` has written")
    bring.add_argument("--name", metavar="NAME", help="keep it under this name (default: the file's)")
    bring.set_defaults(run=_import)
    arguments = parser.parse_args(argv)
    status: int = arguments.run(Store(), arguments)
    return status


def _list(store: Store, arguments: argparse.Namespace) -> int:
    boxes = saved_boxes.saved_boxes(store)
    if arguments.json:
        print(to_json("box-list", [asdict(box) for box in boxes]))
    elif not boxes:
        print("no box was saved; `kobox shell --save NAME` keeps one")
    else:
        width = max(len(box.name) for box in boxes)
        for box in boxes:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(box.saved))
            print(one_line(f"{box.name:<{width}}  {box.size >> 20:>5} MB  {when}  {box.kernel}"))
    return 0


def _remove(store: Store, arguments: argparse.Namespace) -> int:
    for name in arguments.names:
        saved_boxes.remove_box(store, name)
        print(f"{one_line(name)}: removed")
    return 0


def _export(store: Store, arguments: argparse.Namespace) -> int:
    file = arguments.output or Path(f"{arguments.name}.box")
    saved_boxes.export_box(store, arguments.name, file)
    print(one_line(f"{file}: {file.stat().st_size + 500_000 >> 20} MB; `kobox box import` takes it on another machine"))
    return 0


def _import(store: Store, arguments: argparse.Namespace) -> int:
    box = saved_boxes.import_box(store, arguments.file, arguments.name)
    print(one_line(f"{box.name}: imported; `kobox shell --load {box.name}` goes on with it"))
    return 0
