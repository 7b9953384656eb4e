"""What stands in /proc and debugfs, read from the kernel's memory: no call is made, and no inode comes to be.

struct proc_dir_entry   name, subdir: a red-black tree of struct proc_dir_entry by subdir_node (fs/proc/internal.h)
struct dentry           d_name, children linked in a list (include/linux/dcache.h; another kind of list since 6.8)
"""

from __future__ import annotations

from collections.abc import Iterator

from kobox.box.inspect.objects import Objects

_ENTRY = 256  # bytes of a struct proc_dir_entry that are read at once: short names stand inside it
_MANY, _DEPTH = 20_000, 16
_DIRECTORY = 0o040000


def names_in_proc(objects: Objects) -> Iterator[str]:
    """The names in /proc that the kernel and its modules have made; processes are not among them.

    Raises `KoboxError` when the kernel has no type information, `ValueError` for damaged memory.
    """
    return _below(objects, objects.address("proc_root"))


def names_in_proc_net(objects: Objects) -> Iterator[str]:
    """The names in /proc/net of the first network namespace. Raises as `names_in_proc` does."""
    return _below(objects, objects.number(objects.address("init_net"), "net.proc_net"))


def paths_in_proc(objects: Objects) -> Iterator[tuple[str, int]]:
    """(path, address of its entry) of what the kernel and its modules have made below /proc and /proc/net; interrupts
    are left out. Raises as `names_in_proc` does."""
    yield from _paths(objects, objects.address("proc_root"), "")
    yield from _paths(objects, objects.number(objects.address("init_net"), "net.proc_net"), "net/")


def interrupt_handlers_in_proc(objects: Objects) -> Iterator[tuple[str, int]]:
    """("9/name", address of its entry) of the handlers of interrupts: /proc/irq/9 has a directory for each. Raises as
    `names_in_proc` does."""
    top = dict(_entries(objects, objects.address("proc_root"))).get("irq")
    for number, interrupt in _entries(objects, top) if top else ():
        if number.isdigit():
            for name, entry in _entries(objects, interrupt):
                if objects.number(entry, "proc_dir_entry.mode") & _DIRECTORY:
                    yield f"{number}/{name}", entry


def names_in_debugfs(objects: Objects) -> Iterator[str]:
    """The names at the top of debugfs. Raises as `names_in_proc` does."""
    return (name for name, _ in entries_in_debugfs(objects))


def entries_in_debugfs(objects: Objects) -> Iterator[tuple[str, int]]:
    """(name, address of its dentry) of what is at the top of debugfs. Raises as `names_in_proc` does."""
    mount = objects.pointer(objects.address("debugfs_mount"))
    root = objects.number(mount, "vfsmount.mnt_root") if mount else 0
    if not root:
        return
    if objects.has("dentry.d_subdirs"):
        children = objects.list(objects.member(root, "dentry.d_subdirs"), "dentry.d_child")
    else:
        link = objects.offset("dentry.d_sib")
        children = (at - link for at in objects.chain(objects.number(root, "dentry.d_children")))
    for child in children:
        # One that was removed while somebody held it is still linked, but no look-up finds it (d_unhashed()).
        if objects.number(child, "dentry.d_inode") and objects.number(child, "dentry.d_hash.pprev"):
            yield objects.text(child, "dentry.d_name.name"), child


def _paths(objects: Objects, directory: int, prefix: str, depth: int = 0) -> Iterator[tuple[str, int]]:
    subdirectory = objects.offset("proc_dir_entry.subdir.rb_node")
    for name, entry in _entries(objects, directory):
        yield f"{prefix}{name}", entry
        if objects.pointer(entry + subdirectory) and name != "irq" and depth < _DEPTH:
            yield from _paths(objects, entry, f"{prefix}{name}/", depth + 1)


def _below(objects: Objects, directory: int) -> Iterator[str]:
    return (name for name, _ in _entries(objects, directory))


def _entries(objects: Objects, directory: int) -> Iterator[tuple[str, int]]:
    """(name, address) of the entries of one directory."""
    node, name = objects.offset("proc_dir_entry.subdir_node"), objects.offset("proc_dir_entry.name")
    todo = [objects.number(directory, "proc_dir_entry.subdir.rb_node")]
    for _ in range(_MANY):
        if not todo:
            return
        at = todo.pop()
        if not at:
            continue
        entry = at - node
        data = objects.read(entry, _ENTRY)
        todo.append(objects.pointer_in(data, node + objects.word))
        todo.append(objects.pointer_in(data, node + 2 * objects.word))
        text = objects.pointer_in(data, name)
        inside = data[text - entry :].partition(b"\0") if 0 <= text - entry < _ENTRY else (b"", b"", b"")
        yield inside[0].decode(errors="backslashreplace") if inside[1] else objects.string(text), entry
