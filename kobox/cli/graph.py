"""`kobox graph`: pictures of what modules need of each other, and of one module's life in a box.

Exit status: 0; 1 when it cannot be drawn, or with --compare when something differs; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from kobox.cli.json_output import to_json
from kobox.cli.life import add_cpu_limit, add_uses
from kobox.cli.parser import CommandParser

if TYPE_CHECKING:
    from kobox.cli.progress import ProgressLine
    from kobox.graph import ModuleGraph
    from kobox.images.store import Store
    from kobox.kmod.module_tree import ModuleTree


def main(argv: list[str], prog: str) -> int:
    """Entry point of the subcommand."""
    parser = _parser(prog)
    arguments = parser.parse_args(argv)
    if arguments.output and arguments.compare is not None:
        parser.error("--compare prints what differs; it draws no picture")
    if arguments.remove and len(arguments.names) != 1:
        parser.error("--remove takes one module")
    if arguments.box and (arguments.host or arguments.tree):
        parser.error("--box, --host and --tree are three places: name one")
    if arguments.box and not arguments.names:
        parser.error("--box loads modules: name one")
    if arguments.life or arguments.map or arguments.calls:
        if not arguments.names:
            parser.error("a module's file is needed: its life is lived in a box")
        if (
            arguments.host
            or arguments.tree
            or arguments.compare
            or arguments.remove
            or arguments.users
            or arguments.box
        ):
            parser.error("--life, --map and --calls are of a module in a box: not with --host, --tree, --compare, …")
        from kobox.cli.graph_life import life_picture

        return life_picture(arguments)
    if arguments.commands or arguments.exercise:
        parser.error("-c and --exercise are for --life, --map and --calls")
    from kobox.cli.progress import ProgressLine
    from kobox.images.store import Store

    store, progress = Store(), ProgressLine()
    try:
        graph = _graph(arguments, arguments.kernel, store, progress)
        if arguments.compare is not None:
            return _compare(graph, _graph(arguments, arguments.compare, store, progress), arguments.json)
        if arguments.output:
            from kobox.graph import write_picture

            write_picture(graph, arguments.output, symbols=arguments.symbols, store=store, progress=progress)
            return 0
    finally:
        progress.close()
    print(_text(graph, arguments))
    return 0


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(
        prog=prog,
        description="Show what modules need of each other: as lines, or as a picture in a file.",
        epilog="Without names, the whole tree is summed up. Sizes are the memory that modules take when loaded.",
    )
    parser.add_argument("names", nargs="*", metavar="MODULE|FILE.ko", help="modules, aliases, or module files")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "-k", "--kernel", metavar="NAME", help="the tree of this kernel of kobox's (default: the default)"
    )
    source.add_argument("--tree", metavar="DIR", help="a module tree: …/lib/modules/RELEASE")
    source.add_argument("--host", action="store_true", help="the modules that are loaded on this machine")
    parser.add_argument("--box", action="store_true", help="what a box has loaded once these were loaded in it")
    parser.add_argument("-u", "--users", action="store_true", help="show what needs the modules, not what they need")
    parser.add_argument("-d", "--depth", type=_depth, metavar="N", help="how many needs away to go at most")
    parser.add_argument("-s", "--symbols", action="store_true", help="name the symbols that modules take from others")
    parser.add_argument("--remove", action="store_true", help="what goes along when the module is removed")
    parser.add_argument("--compare", metavar="KERNEL", help="what differs in the tree of another kernel")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write a picture: .svg .png .pdf .html .dot .mmd (Mermaid) .json"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    lived = parser.add_argument_group(
        "a module's life in a box", "FILE.ko [NAME=VALUE …] is loaded, used and unloaded in a box."
    )
    what = lived.add_mutually_exclusive_group()
    what.add_argument("--life", action="store_true", help="who called it when, and what it logged, in virtual time")
    what.add_argument("--map", action="store_true", help="its memory: sections, pages, what the page tables allow")
    what.add_argument(
        "--calls", action="store_true", help="who calls whom; --depth N: N functions deep into the kernel (default: 1)"
    )
    add_uses(lived)
    add_cpu_limit(lived)
    return parser


def _depth(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}: not a number above 0")
    return int(text)


def _graph(arguments: argparse.Namespace, kernel: str | None, store: Store, progress: ProgressLine) -> ModuleGraph:
    from kobox.graph import file_graph, kernel_graph, tree_graph

    names, users = arguments.names, arguments.users or arguments.remove
    files = [name for name in names if _is_file(name)]
    if arguments.host:
        from kobox.kernel.host import Host

        graph = kernel_graph(Host(), () if arguments.remove else names, users=users)
    elif arguments.box:
        graph = _of_a_box(arguments, kernel, store, progress, files)
    elif files and not users:
        graph = file_graph(files, _tree(arguments, kernel, store, progress, files))
        if len(files) < len(names):
            others = tree_graph(
                _tree(arguments, kernel, store, progress, []), [one for one in names if one not in files]
            )
            graph = _joined(graph, others)
    else:
        tree = _tree(arguments, kernel, store, progress, files)
        graph = tree_graph(tree, () if arguments.remove else names, users=users)
    if arguments.depth is not None and graph.roots:
        graph = graph.part(graph.roots, depth=arguments.depth, users=users)
    return graph


def _of_a_box(
    arguments: argparse.Namespace, kernel: str | None, store: Store, progress: ProgressLine, files: list[str]
) -> ModuleGraph:
    """The names are loaded in a box one after the other; then it is as with this machine."""
    from pathlib import Path

    import kobox
    from kobox.graph import kernel_graph
    from kobox.kernel.sysfs_modules import loaded_modules
    from kobox.ko.modulefile import ModuleFile
    from kobox.ko.name import canonical

    if kernel is None and files:
        kernel = store.fitting([Path(file) for file in files])
    with kobox.boot(store.ensure(kernel, progress)) as box:
        for name in arguments.names:
            if name in files:
                box.insmod(name)
            else:
                box.modprobe(name)
        there = {one.name for one in loaded_modules(box)}
        asked = [ModuleFile(name).name if name in files else canonical(name) for name in arguments.names]
        roots = [name for name in asked if name in there]  # an alias is no name of a module
        return kernel_graph(box, () if arguments.remove else roots, users=arguments.users or arguments.remove)


def _is_file(name: str) -> bool:
    return "/" in name or ".ko" in name or os.path.isfile(name)


def _joined(one: ModuleGraph, other: ModuleGraph) -> ModuleGraph:
    from kobox.graph import ModuleGraph

    edges = dict.fromkeys([*one.edges, *other.edges])
    return ModuleGraph(
        {**other.nodes, **one.nodes}, tuple(edges), f"{one.origin}, {other.origin}", (*one.roots, *other.roots)
    )


def _tree(
    arguments: argparse.Namespace, kernel: str | None, store: Store, progress: ProgressLine, files: list[str]
) -> ModuleTree:
    from pathlib import Path

    from kobox.kmod.module_tree import ModuleTree

    if arguments.tree and kernel is None:
        return ModuleTree(arguments.tree)
    from kobox.box.boot.boot import tree_of

    if kernel is None and files:
        kernel = store.fitting([Path(file) for file in files])
    return tree_of(store.ensure(kernel, progress))


def _text(graph: ModuleGraph, arguments: argparse.Namespace) -> str:

    from kobox.graph import text
    from kobox.graph.write import as_data
    from kobox.ko.name import canonical
    from kobox.printable import printable

    if arguments.remove:
        removal = graph.removal(canonical(arguments.names[0]))
        if arguments.json:
            from dataclasses import asdict

            return to_json("graph-removal", asdict(removal), indent=1)
        return printable(text.removal_text(removal))
    if arguments.json:
        return to_json("graph", as_data(graph), indent=1)
    if not graph.roots and not arguments.host and not arguments.box:
        return printable(text.summary_text(graph))
    return printable(text.tree_text(graph, users=arguments.users, symbols=arguments.symbols))


def _compare(before: ModuleGraph, after: ModuleGraph, as_json: bool) -> int:
    from dataclasses import asdict

    from kobox.graph import compare
    from kobox.graph.text import change_text

    change = compare(before, after)
    if as_json:
        print(to_json("graph-change", asdict(change), indent=1))
    else:
        print(f"from {before.origin}\nto   {after.origin}", file=sys.stderr)
        print(change_text(change))
    return 1 if change else 0
