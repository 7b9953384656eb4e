"""`kobox kmod links DIR`: the kmod tools as commands of their own."""

from __future__ import annotations

import importlib
import os
import sys

from kobox.cli.kmod.front import Messages, Option, begin, text_of
from kobox.errors import KoboxError

OPTIONS = (Option(("force",), "f"), Option(("json",)), Option(("help",), "h"))
HELP = """usage: kmod links [options] DIR

Makes the tools in DIR: kmod, and links to it that are named modprobe, depmod, insmod, lsmod, modinfo and rmmod. A
program or a person that calls one of them gets kobox's. They start in half the time of `kobox modprobe`. Their man
pages and their completion for bash are written below DIR/share, or below share beside DIR when that is called bin or
sbin.

  -f, --force    replace what is there
      --json     print the paths as JSON
  -h, --help     show this text"""
TOOLS = ("modprobe", "depmod", "insmod", "lsmod", "modinfo", "rmmod", "kmod")


def main(argv: list[str], prog: str) -> int:
    """Run the command and return its exit status."""
    begun = begin(argv, prog, OPTIONS, HELP)
    if isinstance(begun, int):
        return begun
    messages, options, arguments = begun
    if len(arguments) != 1:
        messages.error("name one directory. See -h.")
        return 1
    return _make(messages, arguments[0], {name for name, _ in options})


def _make(messages: Messages, directory: str, chosen: set[str]) -> int:
    from kobox import __version__
    from kobox.apps.kmod_links import make_links
    from kobox.cli.completion import tool_completion
    from kobox.cli.main import COMMANDS
    from kobox.cli.manpage import tool_page

    pages = {}
    for tool in TOOLS:
        module, summary = COMMANDS[tool]
        pages[tool] = tool_page(tool, importlib.import_module(module).HELP, summary, __version__)
    completions = {tool: tool_completion(tool) for tool in TOOLS}
    try:
        made = make_links(
            directory, executable(), TOOLS, pages=pages, completions=completions, replace="force" in chosen
        )
    except (KoboxError, OSError) as error:
        messages.error(text_of(error))
        return 1
    if "json" in chosen:
        import json

        print(json.dumps(list(map(str, made)), indent=2))
    else:
        for path in made:
            print(path)
    return 0


def executable() -> str:
    """The text of the tools' program; where no program can name the interpreter, the path of `kobox`."""
    from kobox.apps.kmod_links import can_be_interpreter, program

    if not can_be_interpreter(sys.executable):
        return _kobox()
    return program(sys.executable, packages())


def packages() -> list[str]:
    """The directories that Python's packages lie in: that of this package first, then those that `site` has found."""
    import kobox

    own = os.path.dirname(os.path.dirname(os.path.abspath(kobox.__file__)))
    standard = os.path.dirname(os.__file__)
    found = [own, *(path for path in sys.path if os.path.isdir(path) and not path.startswith(f"{standard}/lib-"))]
    script = os.path.dirname(os.path.abspath(sys.argv[0]))
    return [path for path in dict.fromkeys(map(os.path.abspath, found)) if path not in (standard, script)]


def _kobox() -> str:
    """The path of the `kobox` command that is running, or else of the one beside the interpreter."""
    own = os.path.abspath(sys.argv[0])
    if os.path.basename(own) in ("kobox", *TOOLS) and os.access(own, os.X_OK):
        return os.path.realpath(own) if os.path.islink(own) else own
    return os.path.join(os.path.dirname(sys.executable), "kobox")
