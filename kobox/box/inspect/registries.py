"""What has been registered with a kernel, by name, read from its memory: no call is made.

What is listed here sends no uevent, or none that names it. Each function raises `KoboxError` when the kernel has no
such table or no type information, `ValueError` for damaged memory.

    chrdevs, major_names    device numbers (fs/char_dev.c, block/genhd.c)       major -> chain of structures
    file_systems            file systems (fs/filesystems.c)                     chain
    genl_fam_idr            generic netlink families (net/netlink/genetlink.c)  radix tree of struct genl_family
    sysctl_table_root       /proc/sys (fs/proc/proc_sysctl.c)                   red-black tree of struct ctl_node
    kprobe_table            kprobes (kernel/kprobes.c)                          64 chains by hash
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from kobox.box.inspect.hooks import (
    NOTIFIER_CHAINS,
    interrupt_handlers,
    netfilter_hooks,
    netlink_protocols,
    notifiers,
    resources,
    slab_caches,
    sockets,
)
from kobox.box.inspect.kernfs import sysfs_directories
from kobox.box.inspect.objects import Objects
from kobox.box.inspect.procfs import entries_in_debugfs, paths_in_proc

# The address of what was registered, and its name; "" when that stood in memory that is gone.
Registered: TypeAlias = tuple[int, str]

_MAJORS = 255  # CHRDEV_MAJOR_HASH_SIZE, BLKDEV_MAJOR_HASH_SIZE
_KPROBE_CHAINS = 64  # KPROBE_TABLE_SIZE
_XA_SLOTS = 64  # XA_CHUNK_SIZE
_DEPTH, _MANY = 16, 20_000
_DIRECTORY = 0o040000


def character_devices(objects: Objects) -> Iterator[Registered]:
    """Ranges of character device numbers, as /proc/devices has them."""
    for at in _hashed(objects, "chrdevs", "char_device_struct.next"):
        major = objects.number(at, "char_device_struct.major")
        yield at, f"character device number {major} ({objects.text(at, 'char_device_struct.name')})"


def block_devices(objects: Objects) -> Iterator[Registered]:
    """Majors of block devices, as /proc/devices has them."""
    for at in _hashed(objects, "major_names", "blk_major_name.next"):
        major = objects.number(at, "blk_major_name.major")
        yield at, f"block device number {major} ({objects.text(at, 'blk_major_name.name')})"


def file_systems(objects: Objects) -> Iterator[Registered]:
    """Kinds of file systems."""
    first = objects.pointer(objects.address("file_systems"))
    if objects.has("file_system_type.next"):
        found = objects.chain(first, link=objects.offset("file_system_type.next"))
    else:  # a hlist since 7.1
        link = objects.offset("file_system_type.list")
        found = (node - link for node in objects.chain(first))
    for at in found:
        yield at, _named("file system", objects.text(at, "file_system_type.name"))


def netlink_families(objects: Objects) -> Iterator[Registered]:
    """Families of generic netlink."""
    for at in _xarray(objects, objects.number(objects.address("genl_fam_idr"), "idr.idr_rt.xa_head")):
        yield at, _named("generic netlink family", objects.text(at, "genl_family.name"))


def protocols(objects: Objects) -> Iterator[Registered]:
    """Protocols of sockets, as /proc/net/protocols has them."""
    for at in objects.list(objects.address("proto_list"), "proto.node"):
        yield at, _named("network protocol", objects.text(at, "proto.name"))


def link_kinds(objects: Objects) -> Iterator[Registered]:
    """Kinds of network interfaces that `ip link add type` makes."""
    for at in objects.list(objects.address("link_ops"), "rtnl_link_ops.list"):
        yield at, _named("kind of network link", objects.text(at, "rtnl_link_ops.kind"))


def tty_drivers(objects: Objects) -> Iterator[Registered]:
    """Drivers of terminals, as /proc/tty/drivers has them."""
    for at in objects.list(objects.address("tty_drivers"), "tty_driver.tty_drivers"):
        yield at, _named("tty driver", objects.text(at, "tty_driver.driver_name"))


def workqueues(objects: Objects) -> Iterator[Registered]:
    """Workqueues."""
    for at in objects.list(objects.address("workqueues"), "workqueue_struct.list"):
        yield at, _named("workqueue", objects.text(at, "workqueue_struct.name"))


def kernel_threads(objects: Objects) -> Iterator[Registered]:
    """Threads of the kernel's, but for those that work for workqueues, which come and go."""
    for at in objects.list(objects.member(objects.address("init_task"), "task_struct.tasks"), "task_struct.tasks"):
        if not objects.number(at, "task_struct.mm") and not objects.number(at, "task_struct.exit_state"):
            name = objects.text(at, "task_struct.comm")
            if not name.startswith("kworker/"):
                yield at, f"kernel thread {name}"


def kprobes(objects: Objects) -> Iterator[Registered]:
    """Kprobes that are set by a symbol's name."""
    table, link = objects.address("kprobe_table"), objects.offset("kprobe.hlist")
    for first in objects.pointers(table, _KPROBE_CHAINS):
        for node in objects.chain(first) if first else ():
            name = objects.text(node - link, "kprobe.symbol_name")
            yield node, f"kprobe at {name or hex(objects.number(node - link, 'kprobe.addr'))}"


def ciphers(objects: Objects) -> Iterator[Registered]:
    """Algorithms of the crypto API, as /proc/crypto has them."""
    for at in objects.list(objects.address("crypto_alg_list"), "crypto_alg.cra_list"):
        yield at, _named("crypto algorithm", objects.text(at, "crypto_alg.cra_driver_name"))


def sysctls(objects: Objects) -> Iterator[Registered]:
    """The entries of /proc/sys."""
    yield from _sysctl(objects, objects.member(objects.address("sysctl_table_root"), "ctl_table_root.default_set.dir"))


def proc_entries(objects: Objects) -> Iterator[Registered]:
    """The entries of /proc that the kernel and its modules have made."""
    return ((at, f"/proc/{path}") for path, at in paths_in_proc(objects))


def debugfs_entries(objects: Objects) -> Iterator[Registered]:
    """The entries at the top of debugfs."""
    return ((at, f"/sys/kernel/debug/{name}") for name, at in entries_in_debugfs(objects))


REGISTRIES: tuple[Callable[[Objects], Iterator[Registered]], ...] = (
    character_devices,
    block_devices,
    file_systems,
    netlink_families,
    protocols,
    link_kinds,
    tty_drivers,
    workqueues,
    kernel_threads,
    kprobes,
    ciphers,
    sysfs_directories,
    sysctls,
    proc_entries,
    debugfs_entries,
    *map(notifiers, NOTIFIER_CHAINS),
    netfilter_hooks,
    interrupt_handlers,
    resources,
    slab_caches,
    sockets,
    netlink_protocols,
)
# What the kernel itself keeps: a cipher that was made of a template stays when nobody uses it any more, and so does a
# cache that the SCSI core makes for the first host.
KEPT_BY_THE_KERNEL = ("crypto algorithm ", "slab cache scsi_sense_cache")


def _named(kind: str, name: str) -> str:
    return f"{kind} {name}" if name else ""


def _hashed(objects: Objects, table: str, link: str) -> Iterator[int]:
    address, offset = objects.address(table), objects.offset(link)
    for first in objects.pointers(address, _MAJORS):
        if first:
            yield from objects.chain(first, link=offset)


def _xarray(objects: Objects, entry: int, depth: int = 0) -> Iterator[int]:
    """The pointers in an xarray (include/linux/xarray.h): a node is marked by the lowest bits being 2."""
    if entry & 3 != 2 or entry < 4096:
        if entry and not entry & 3:
            yield entry
        return
    slots = objects.member(entry - 2, "xa_node.slots")
    for number in range(_XA_SLOTS if depth < _DEPTH else 0):
        yield from _xarray(objects, objects.pointer(slots + objects.word * number), depth + 1)


def _sysctl(objects: Objects, directory: int, path: str = "/proc/sys", depth: int = 0) -> Iterator[Registered]:
    root = objects.number(directory, "ctl_dir.root.rb_node")
    todo = [root] if root and depth < _DEPTH else []
    node_size, entry_size = objects.size("ctl_node"), objects.size("ctl_table")
    header, first = objects.offset("ctl_node.header"), objects.offset("ctl_table_header.node")
    table, name_at = objects.offset("ctl_table_header.ctl_table"), objects.offset("ctl_table.procname")
    mode_at, head_size = objects.offset("ctl_table.mode"), objects.size("ctl_table_header")
    seen = 0
    while todo and seen < _MANY:
        node, seen = todo.pop(), seen + 1
        data = objects.read(node, node_size)
        todo += [
            child
            for child in (objects.pointer_in(data, objects.word), objects.pointer_in(data, 2 * objects.word))
            if child
        ]
        head = objects.pointer_in(data, header)
        about = objects.read(head, head_size)
        entry = objects.pointer_in(about, table) + (node - objects.pointer_in(about, first)) // node_size * entry_size
        row = objects.read(entry, entry_size)
        name = f"{path}/{objects.string(objects.pointer_in(row, name_at))}"
        yield entry, name
        if int.from_bytes(row[mode_at : mode_at + 2], "little") & 0o170000 == _DIRECTORY:
            yield from _sysctl(objects, head, name, depth + 1)
