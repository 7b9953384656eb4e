"""`kobox new`: a first version of a module, from a template."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kobox.cli.parser import CommandParser
from kobox.kbuild.new import TEMPLATES, is_bpf_template, new


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = CommandParser(prog=prog, description="Write a new module's directory from a template.")
    parser.add_argument("template", nargs="?", metavar="TEMPLATE", help="one of `--list`")
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the module: a C identifier")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="write here (default: ./NAME)")
    parser.add_argument("--list", action="store_true", help="list the templates")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(argv)
    if arguments.list:
        width = max(map(len, TEMPLATES))
        rows = "\n".join(f"{name:<{width}}  {about}" for name, about in TEMPLATES.items())
        print(json.dumps(TEMPLATES, indent=2) if arguments.json else rows)
        return 0
    if not (arguments.template and arguments.name):
        parser.error("TEMPLATE and NAME are needed; --list shows the templates")
    files = new(arguments.template, arguments.name, arguments.output)
    if arguments.json:
        print(json.dumps([str(file) for file in files], indent=2))
    else:
        where = min((file.parent for file in files), key=lambda parent: len(parent.parts))
        print(f"{where}: {', '.join(str(file.relative_to(where)) for file in files)}")
        model = next((f" --plug {file.name}" for file in files if file.name.endswith("_model.py")), "")
        made = f"{arguments.name}.bpf.o" if is_bpf_template(arguments.template) else f"{arguments.name}.ko{model}"
        print(f"next: cd {where} && kobox build && kobox run {made}")
    return 0
