"""Pictures of what modules need of each other: from a tree, from files, or from a running kernel.

graph = tree_graph(tree, ["btrfs"])
graph.needs("btrfs")            # all that has to be loaded for it
graph.removal("libcrc32c")      # what a removal takes along, and what is unused after it
write_picture(graph, "btrfs.svg")
"""

from kobox.graph.change import GraphChange, compare
from kobox.graph.module_graph import ModuleGraph, ModuleNode, Need, RemovalEffect
from kobox.graph.sources import file_graph, kernel_graph, tree_graph
from kobox.graph.write import FORMATS, picture, write_picture

__all__ = [
    "FORMATS",
    "GraphChange",
    "ModuleGraph",
    "ModuleNode",
    "Need",
    "RemovalEffect",
    "compare",
    "file_graph",
    "kernel_graph",
    "picture",
    "tree_graph",
    "write_picture",
]
