"""What stands in /sys, read from the kernel's memory: no call is made.

    kernel_kobj …                  struct kobject                                 lib/kobject.c
      sd                           struct kernfs_node of its directory            include/linux/kernfs.h
        dir.children               red-black tree of struct kernfs_node
          priv                     of a file: its struct attribute or bin_attribute (fs/sysfs/file.c)

Each function raises `KoboxError` when the kernel has no type information, `ValueError` for damaged memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from kobox.box.inspect.module_memory import ModuleMemory
from kobox.box.inspect.objects import Objects

_DIRECTORY, _FILE = 1, 2  # KERNFS_DIR, KERNFS_FILE
# Those of /sys that hold directories which no uevent announces.
_KOBJECTS = {"kernel_kobj": "/sys/kernel", "fs_kobj": "/sys/fs", "firmware_kobj": "/sys/firmware", "mm_kobj": ""}


def sysfs_directories(objects: Objects) -> Iterator[tuple[int, str]]:
    """Directories at the top of /sys, and in those of its directories that send no uevent."""
    for symbol, path in _KOBJECTS.items():
        kobject = objects.pointer(objects.address(symbol))
        if not kobject:
            continue
        node = objects.number(kobject, "kobject.sd")
        if symbol == "kernel_kobj":
            yield from ((at, f"/sys/{name}") for at, name in _directories(objects, _parent(objects, node)))
        shown = path or "/sys/kernel/mm"
        yield from ((at, f"{shown}/{name}") for at, name in _directories(objects, node))


def own_attributes(objects: Objects, directory: str, module: ModuleMemory) -> Iterator[str]:
    """The files in a directory of /sys ("/sys/devices/virtual/misc/x"), and in its groups, whose attributes are
    variables of a module, and that somebody may read."""
    node = _parent(objects, objects.number(objects.pointer(objects.address("kernel_kobj")), "kobject.sd"))
    for name in directory.removeprefix("/sys/").split("/"):
        node = next((at for at, kind, found in _children(objects, node) if found == name and kind == _DIRECTORY), 0)
        if not node:
            return
    for at, kind, name in _children(objects, node):
        files = [(at, kind, name)]
        if kind == _DIRECTORY:
            files = [(inner, kind, f"{name}/{below}") for inner, kind, below in _children(objects, at)]
        for file, what, path in files:
            mode = objects.number(file, "kernfs_node.mode")
            if what == _FILE and mode & 0o444 and objects.number(file, "kernfs_node.priv") in module:
                yield f"{directory}/{path}"


def _directories(objects: Objects, directory: int) -> Iterator[tuple[int, str]]:
    """The directories in one."""
    return ((at, name) for at, kind, name in _children(objects, directory) if kind == _DIRECTORY)


def _children(objects: Objects, directory: int) -> Iterator[tuple[int, int, str]]:
    """What stands in a directory: address, kind, name."""
    link = objects.offset("kernfs_node.rb")
    for node in objects.tree(objects.member(directory, "kernfs_node.dir.children")):
        at = node - link
        yield at, objects.number(at, "kernfs_node.flags") & 15, objects.text(at, "kernfs_node.name")


def _parent(objects: Objects, node: int) -> int:
    member = "kernfs_node.parent" if objects.has("kernfs_node.parent") else "kernfs_node.__parent"  # since 6.15
    return objects.number(node, member)
