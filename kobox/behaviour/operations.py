"""Tables of operations of objects that the kernel has made: where they lead, before and after.

    entries of /proc         proc_ops, seq_ops, show and read functions of each, by path
    open files, directories  file_operations, inode_operations, super_operations of files that are there before

A pointer that led into the kernel and leads into the module, or to code that is nobody's, hooks what others do.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

from kobox.behaviour.calls import is_nobody_s, known_memory
from kobox.behaviour.report import Trait
from kobox.behaviour.shown_symbols import opened_file
from kobox.box.box import Box
from kobox.errors import KoboxError

_PLACES = (
    *("/", "/proc", "/proc/modules", "/proc/kallsyms", "/proc/net/tcp", "/proc/self/maps"),
    *("/sys", "/sys/module", "/dev", "/dev/kmsg", "/dev/null", "/tmp", "/etc"),
)
_MOST_ENTRIES = 4000


class Operations:
    """The tables as they were when this was made."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._before = dict(self._pointers())

    def traits(self, inside: Callable[[int], bool]) -> Iterator[Trait]:
        """What leads elsewhere since; `inside` tells the addresses of the module."""
        symbols = self._box.inspect.symbols
        for place, now in self._pointers():
            before = self._before.get(place)
            if before is None or now == before or not (inside(now) or is_nobody_s(self._box, now)):
                continue
            text = f"the operations of {place} lead into {'the module' if inside(now) else 'memory of nobody'} now"
            evidence = (place, symbols.describe(before), symbols.describe(now), self._box.time)
            yield Trait("operations", "hostile", text, *evidence)

    def _pointers(self) -> Iterator[tuple[str, int]]:
        with suppress(KoboxError, ValueError):
            yield from self._of_proc()
        for path in _PLACES:
            with suppress(KoboxError, OSError, ValueError):
                yield from self._of_file(path)

    def _of_proc(self) -> Iterator[tuple[str, int]]:
        """(path and member, function or table) of every entry of /proc and of what its tables hold."""
        objects = self._box.inspect.objects
        known = known_memory(self._box)  # asked once for all: thousands of tables are looked at
        waiting: list[tuple[int, str]] = [(objects.address("proc_root"), "/proc")]
        seen: set[int] = set()
        while waiting and len(seen) < _MOST_ENTRIES:
            entry, path = waiting.pop()
            if entry in seen:
                continue
            seen.add(entry)
            table = objects.number(entry, "proc_dir_entry.proc_ops")
            for name in ("proc_ops", "seq_ops"):
                yield f"{path} ({name})", objects.number(entry, f"proc_dir_entry.{name}")
            yield f"{path} (proc_iops)", objects.number(entry, "proc_dir_entry.proc_iops")
            if table and not known(table):
                yield from self._words(path, table, "proc_ops")
            for node in objects.tree(objects.member(entry, "proc_dir_entry.subdir")):
                child = objects.container(node, "proc_dir_entry.subdir_node")
                name = objects.string(objects.number(child, "proc_dir_entry.name"), 64)
                waiting.append((child, f"{path}/{name}"))

    def _words(self, path: str, table: int, structure: str) -> Iterator[tuple[str, int]]:
        """The functions in a table that is not among the kernel's constants, which are compared anyway."""
        data = self._box.inspect.objects.read(table, self._box.inspect.objects.size(structure))
        for at in range(0, len(data) - 7, 8):
            yield f"{path} ({structure}+{at:#x})", struct.unpack_from("<Q", data, at)[0]

    def _of_file(self, path: str) -> Iterator[tuple[str, int]]:
        """The tables of a file, found by opening it."""
        box, objects = self._box, self._box.inspect.objects
        fd = box.syscall("open", path, 0)
        try:
            file = opened_file(box, fd)
            inode = objects.number(file, "file.f_inode")
            yield f"{path} (f_op)", objects.number(file, "file.f_op")
            yield f"{path} (i_op)", objects.number(inode, "inode.i_op")
            yield f"{path} (i_fop)", objects.number(inode, "inode.i_fop")
            yield f"{path} (s_op)", objects.number(objects.number(inode, "inode.i_sb"), "super_block.s_op")
        finally:
            box.syscall("close", fd)
