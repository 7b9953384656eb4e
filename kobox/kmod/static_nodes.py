"""kmod static-nodes: the device nodes that make the kernel load a module when they are opened.

Source: modules.devname, `MODULE NAME TYPE MAJOR:MINOR` a line, as depmod writes it.
"""

from __future__ import annotations

from typing import NamedTuple

from kobox.errors import KoboxError
from kobox.kmod.module_tree import ModuleTree

FORMATS = ("human", "tmpfiles", "devname")


class StaticNode(NamedTuple):
    """A device node below /dev; `kind` is `c` or `b`."""

    module: str
    name: str
    kind: str
    major: int
    minor: int


def static_nodes(tree: ModuleTree) -> list[StaticNode]:
    """The nodes of a tree. Raises `OSError` when there is no modules.devname, `KoboxError` for a bad line."""
    path = f"{tree.directory}/modules.devname"
    found = []
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if line.startswith("#") or not line.strip():
                continue
            try:
                module, name, numbers = line.split()
                major, minor = map(int, numbers[1:].split(":"))
            except ValueError:
                raise KoboxError(f"{path}: bad line {line.strip()!r}", hint="Write it anew with `depmod`.") from None
            found.append(StaticNode(module, name, numbers[0], major, minor))
    return found


def render(nodes: list[StaticNode], form: str) -> str:
    """The nodes in one of the three `FORMATS`: for people, for systemd-tmpfiles, or as modules.devname has them."""
    if form == "tmpfiles":
        return _tmpfiles(nodes)
    if form == "devname":
        return "".join(f"{n.module} {n.name} {n.kind}{n.major}:{n.minor}\n" for n in nodes)
    kinds = {"c": "character", "b": "block"}
    return "".join(
        f"Module: {n.module}\n\tDevice node: /dev/{n.name}\n\t\tType: {kinds.get(n.kind, n.kind)} device\n"
        f"\t\tMajor: {n.major}\n\t\tMinor: {n.minor}\n"
        for n in nodes
    )


def _tmpfiles(nodes: list[StaticNode]) -> str:
    lines = []
    for node in nodes:
        folder = node.name.rpartition("/")[0]
        if folder:
            lines.append(f"d /dev/{folder} 0755 - - -\n")
        lines.append(f"{node.kind}! /dev/{node.name} 0600 - - - {node.major}:{node.minor}\n")
    return "".join(lines)
