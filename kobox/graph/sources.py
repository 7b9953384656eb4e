"""Graphs of module trees, of module files, and of kernels that run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kobox.errors import KoboxError
from kobox.graph.module_graph import SOFT, SYMBOLS, UNKNOWN, WEAK, ModuleGraph, ModuleNode, Need
from kobox.kernel.interface import Kernel
from kobox.kernel.sysfs_modules import loaded_modules
from kobox.kmod.module_tree import ModuleTree
from kobox.kmod.resolve import not_found
from kobox.ko.elf import Elf
from kobox.ko.modulefile import ModuleFile
from kobox.ko.name import SUFFIXES, canonical

_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_PAGE = 4096
# Sections that the kernel gives back, or never takes (kernel/module/main.c, layout_sections()).
_NOT_KEPT = (b".init", b".modinfo", b"__versions", b".data..percpu", b"__ex_table_init")


def tree_graph(tree: ModuleTree, names: Iterable[str] = (), *, users: bool = False) -> ModuleGraph:
    """The modules of a tree that `names` need, or with `users` those that need them; without names the whole tree.

    Edges are read from the files: which symbols of which module each of them uses. Names may be aliases. Soft and weak
    dependencies are the files' own and those of the tree's configuration.

    Raises `ModuleNotFoundInTreeError`, `OSError`, `ModuleFormatError`, `KoboxError` for a directory without modules.
    """
    wanted = tuple(dict.fromkeys(one for name in names for one in _modules_of(tree, name)))
    if tree.missing:
        paths = _files_below(tree.directory)
    elif not wanted:
        paths = {name: entry.path for name in tree.names() if (entry := tree.entry(name))}
    else:
        paths = {name: entry.path for name in _closure(tree, wanted, users) if (entry := tree.entry(name))}
    if not paths and not any(map(tree.is_builtin, wanted)):
        raise KoboxError(f"{tree.directory}: no modules below it", hint="A tree is …/lib/modules/RELEASE.")
    files = {name: ModuleFile(path) for name, path in paths.items()}
    graph = _graph(files, tree, Path(tree.directory).name)
    return graph.part(wanted, users=users) if wanted else graph


def file_graph(paths: Sequence[str | os.PathLike[str]], tree: ModuleTree | None = None) -> ModuleGraph:
    """Module files, what they need of each other and, with a tree, of its modules.

    Raises `OSError`, `ModuleFormatError`.
    """
    given = {module.name: module for module in map(ModuleFile, paths)}
    files = dict(given)
    if tree is not None:
        needed = {name for module in given.values() for name in _named_by(module, tree)}
        found = [name for name in sorted(needed) if name not in files and tree.entry(name) is not None]
        for name in _closure(tree, found, users=False):
            if name not in files and (entry := tree.entry(name)):
                files[name] = ModuleFile(entry.path)
    origin = ", ".join(os.fspath(path) for path in paths)
    return _graph(files, tree, origin).part(given)


def kernel_graph(kernel: Kernel, names: Iterable[str] = (), *, users: bool = False) -> ModuleGraph:
    """The modules that are loaded in a kernel: a `Box`, or this machine's own (`Host`).

    A kernel says who uses whom, not by which symbols. Raises `OSError`, `KoboxError` for a name that is not loaded.
    """
    modules = loaded_modules(kernel)
    nodes = {
        one.name: ModuleNode(one.name, one.size, state=one.state, refcount=one.refcount, taint=one.taint)
        for one in modules
    }
    edges = tuple(
        sorted(
            (Need(user, one.name, UNKNOWN) for one in modules for user in one.users if user in nodes),
            key=lambda edge: (edge.user, edge.provider),
        )
    )
    graph = ModuleGraph(nodes, edges, origin=f"loaded in {kernel.release}")
    wanted = [canonical(name) for name in names]
    for name in wanted:
        if name not in nodes:
            raise KoboxError(f"{name} is not loaded", hint="`kobox lsmod` shows what is.")
    return graph.part(wanted, users=users) if wanted else graph


def kept_size(module: Elf) -> int:
    """How much memory a module takes after its init, in bytes, as kernel/module/main.c lays it out: text, read-only,
    read-only after init, data, and the symbols for kallsyms (kallsyms.c there); each begins a page. Newer kernels
    put the symbols behind the data, a page less at most."""
    groups = [0, 0, 0, 0, 0]
    kept: set[int] = set()
    for index in range(1, module.section_count):
        section = module.section_at(index)
        name = module.section_name(index)
        if not section.flags & _SHF_ALLOC or name.startswith(_NOT_KEPT):
            continue
        kept.add(index)
        if section.flags & _SHF_EXECINSTR:
            group = 0
        elif not section.flags & _SHF_WRITE:
            group = 1
        else:
            group = 2 if name in (b".data..ro_after_init", b"__jump_table") else 3
        alignment = max(1, min(section.alignment, _PAGE))
        groups[group] = -(-groups[group] // alignment) * alignment + section.size
    entry = module.layout.symbol.size + 1  # struct elf_sym, and a letter for its type
    groups[4] = entry + sum(entry + len(one.name) + 1 for one in module.symbols() if one.section in kept)
    return sum(-(-size // _PAGE) * _PAGE for size in groups)


def _modules_of(tree: ModuleTree, name: str) -> list[str]:
    if tree.missing or tree.is_builtin(canonical(name)):
        return [canonical(name)]
    matches = tree.lookup(name)
    if not matches:
        raise not_found(tree, name)
    return [match.module for match in matches]


def _closure(tree: ModuleTree, names: Iterable[str], users: bool) -> list[str]:
    """All that names need (hard and soft), or that need them, as modules.dep and the configuration say it."""
    towards: dict[str, list[str]] = {}
    if users:
        for name in tree.names():
            for other in _direct(tree, name):
                towards.setdefault(other, []).append(name)
    found, front = dict.fromkeys(names), list(names)
    while front:
        name = front.pop()
        for other in towards.get(name, ()) if users else _direct(tree, name):
            if other not in found:
                found[other] = None
                front.append(other)
    return list(found)


def _direct(tree: ModuleTree, name: str) -> list[str]:
    entry = tree.entry(name)
    needed = list(entry.dependencies) if entry else []
    soft = tree.softdeps.get(name)
    words = [*soft.pre, *soft.post] if soft else []
    words += [word for module, words in tree.config.weakdeps if module == name for word in words]
    return needed + [*_meant(words, tree)]


def _meant(words: Iterable[str], tree: ModuleTree | None) -> dict[str, None]:
    """The modules that soft dependencies stand for: names, or aliases (`crypto-crc32c`) of a tree."""
    found: dict[str, None] = {}
    for word in words:
        matches = tree.lookup(word) if tree is not None and not tree.missing else []
        found.update(dict.fromkeys(match.module for match in matches) if matches else {canonical(word): None})
    return found


def _files_below(directory: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(Path(directory).rglob("*.ko*")):
        if path.name.endswith(SUFFIXES) and path.is_file():
            found.setdefault(canonical(path.name.partition(".")[0]), str(path))
    return found


def _graph(files: Mapping[str, ModuleFile], tree: ModuleTree | None, origin: str) -> ModuleGraph:
    owners: dict[str, str] = {}
    for name, module in files.items():
        for export in module.exports:
            owners.setdefault(export.name, name)
    nodes = {name: ModuleNode(name, kept_size(module.elf), module.path) for name, module in files.items()}
    edges: list[Need] = []
    for name, module in files.items():
        taken: dict[str, list[str]] = {}
        for symbol in module.imports:
            owner = owners.get(symbol.name)
            if owner is not None and owner != name:
                taken.setdefault(owner, []).append(symbol.name)
        edges += [Need(name, owner, SYMBOLS, tuple(sorted(symbols))) for owner, symbols in taken.items()]
        # depmod and modpost agree where both know: what a file says it needs and nobody here exports is missing.
        for other in module.depends:
            if other not in nodes:
                nodes[other] = _absent(other, tree)
            if other not in taken and other != name:
                edges.append(Need(name, other, SYMBOLS))
        edges += _soft_edges(name, module, tree, nodes)
    return ModuleGraph(
        nodes, tuple(sorted(dict.fromkeys(edges), key=lambda edge: (edge.user, edge.provider, edge.kind))), origin
    )


def _soft_edges(name: str, module: ModuleFile, tree: ModuleTree | None, nodes: dict[str, ModuleNode]) -> list[Need]:
    """Edges to modules that are there; a soft dependency on something else counts for nothing."""
    soft = _soft_words(module)
    if tree is not None and name in tree.softdeps:
        soft += [*tree.softdeps[name].pre, *tree.softdeps[name].post]
    weak = [word for line in module.weakdeps for word in line.split()]
    found = []
    for words, kind in ((soft, SOFT), (weak, WEAK)):
        for other in _meant(words, tree):
            if other not in nodes and tree is not None and tree.is_builtin(other):
                nodes[other] = ModuleNode(other, builtin=True)
            if other in nodes and other != name:
                found.append(Need(name, other, kind))
    return found


def _named_by(module: ModuleFile, tree: ModuleTree) -> set[str]:
    return {*module.depends, *_meant(_soft_words(module), tree)}


def _soft_words(module: ModuleFile) -> list[str]:
    """The names behind `pre:` and `post:`; like kmod, those before either count for nothing (cifs has such)."""
    found: list[str] = []
    for line in module.softdeps:
        counts = False
        for word in line.split():
            if word in ("pre:", "post:"):
                counts = True
            elif counts:
                found.append(word)
    return found


def _absent(name: str, tree: ModuleTree | None) -> ModuleNode:
    builtin = tree is not None and tree.is_builtin(name)
    return ModuleNode(name, builtin=builtin, missing=not builtin)
