"""`kobox kmod`: list and static-nodes as kmod has them, links, and the six tools by their names."""

from __future__ import annotations

import os
import sys

from kobox.atomic_file import write_file
from kobox.cli.kmod.front import Messages, Option, begin, text_of, version
from kobox.errors import KoboxError

HELP = """usage: kmod [options] COMMAND [options of the command]

  -V, --version   show the version
  -h, --help      show this text

commands:
  list            list the modules that are in the kernel, as lsmod does
  static-nodes    list the device nodes that load a module when they are opened
  links           make the tools commands, with man pages and completion
  help            show this text
  TOOL            lsmod, insmod, rmmod, modprobe, modinfo or depmod"""
NODES_HELP = """usage: kmod static-nodes [options]

Shows the device nodes that load a module when they are opened, from modules.devname.

  -f, --format=FORMAT  human (the default), tmpfiles (for systemd-tmpfiles) or devname
  -o, --output=FILE    write to FILE instead of standard output
      --json           print JSON instead
  -h, --help           show this text"""
_TOOLS = ("lsmod", "insmod", "rmmod", "modprobe", "modinfo", "depmod")
_NODE_OPTIONS = (
    Option(("format",), "f", True),
    Option(("output",), "o", True),
    Option(("json",)),
    Option(("help",), "h"),
)


def main(argv: list[str], prog: str) -> int:
    """Run the command and return its exit status."""
    messages = Messages(prog)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP)
        if not argv:
            print("missing command", file=sys.stderr)
        return 0 if argv else 1
    name, rest = argv[0], argv[1:]
    if name in ("-V", "--version"):
        print(version())
        return 0
    if name.startswith("-"):
        shown = f"unrecognized option '{name}'" if name.startswith("--") else f"invalid option -- '{name[1:2]}'"
        messages.plain(shown)
        return 1
    if name == "list":
        from kobox.cli.kmod import lsmod as kmod_lsmod

        return kmod_lsmod.main(rest, prog)
    if name == "links":
        from kobox.cli.kmod import links

        return links.main(rest, prog)
    if name == "static-nodes":
        return _static_nodes(messages, rest)
    if name in _TOOLS:
        from kobox.cli.main import run

        return run(name, rest, prog=name)
    print(HELP)
    print(f"invalid command '{name}'", file=sys.stderr)
    return 1


def _static_nodes(messages: Messages, argv: list[str]) -> int:
    from kobox.kmod.module_tree import ModuleTree
    from kobox.kmod.static_nodes import FORMATS, render, static_nodes

    begun = begin(argv, messages.tool, _NODE_OPTIONS, NODES_HELP)
    if isinstance(begun, int):
        return begun
    values = dict(begun[1])
    form = values.get("format", "human")
    if form not in FORMATS:
        print(NODES_HELP)
        print(f"Unknown format: '{form}'.", file=sys.stderr)
        return 1
    tree = ModuleTree.of(os.uname().release)
    try:
        nodes = static_nodes(tree)
    except FileNotFoundError:
        print(f"Warning: {tree.directory}/modules.devname not found - ignoring", file=sys.stderr)
        return 0
    except (KoboxError, OSError) as error:
        messages.error(text_of(error))
        return 1
    if "json" in values:
        from kobox.cli.json_output import to_json

        text = to_json("static-nodes", [node._asdict() for node in nodes]) + "\n"
    else:
        text = render(nodes, form)
    try:
        _output(text, values.get("output", "/dev/stdout"))
    except BrokenPipeError:
        raise
    except OSError as error:
        messages.error(text_of(error))
        return 1
    return 0


def _output(text: str, path: str) -> None:
    if path == "/dev/stdout":
        sys.stdout.write(text)
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    write_file(path, text.encode("utf-8", "surrogateescape"), mode=0o644)
