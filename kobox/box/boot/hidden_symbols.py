"""Variables that a kernel's table of symbols does not name: without CONFIG_KALLSYMS_ALL it names functions only.

Four places tell where they are:

    __ksymtab          what is exported to modules: { s32 address, s32 name, s32 namespace }, each relative to its own
                       place (include/linux/export.h, CONFIG_HAVE_ARCH_PREL32_RELOCATIONS), or three addresses
    BTF's DATASEC      per-CPU variables, as offsets in their section
    /proc/iomem        where the kernel's code and data begin and end
    code               a function that uses a variable holds its address; what lies there tells it from others
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from kobox.box.inspect import registries
from kobox.box.inspect.btf import Btf
from kobox.box.inspect.gone_modules import device_numbers
from kobox.box.inspect.hooks import NOTIFIER_CHAINS, notifier_chain, slab_caches
from kobox.box.inspect.layout_cache import LayoutCache
from kobox.box.inspect.objects import Objects
from kobox.box.inspect.registries import Registered
from kobox.box.inspect.symbols import Symbols
from kobox.errors import KoboxError
from kobox.machine.pc import Machine

_USERS = ("print_modules", "find_module_all", "module_get_kallsym")  # kernel/module/main.c, kallsyms.c
_LOOKED_AT = 512  # bytes of a function's code
_RELATIVE = struct.Struct("<iii")  # struct kernel_symbol, of 64-bit processors
_ABSOLUTE = struct.Struct("<III")  # the same of others
_READ_ONLY = 32 << 20  # bytes behind the kernel's text where its exports are looked for
_KNOWN_EXPORTS = ("__kmalloc", "kfree", "_printk")  # of functions; the first is a macro since 6.10
_MANY = 2000  # more than is registered at boot
_IOMEM = re.compile(r"^ *([0-9a-f]+)-([0-9a-f]+) : Kernel data$", re.M)
_NAME = re.compile(rb"[A-Za-z_]\w{0,127}")


def hidden_symbols(machine: Machine, symbols: Symbols, btf: Btf | None, iomem: str) -> dict[str, int]:
    """Name -> address, of the variables that can be found; asked before any module is loaded. `iomem` is the content
    of /proc/iomem."""
    found = find_exports(machine, symbols)
    modules = find_modules(machine, symbols)
    if modules is not None:
        found["modules"] = modules
    if btf is not None:
        found |= _per_cpu(btf, found)
        found |= _by_code(machine, symbols, btf, found)
        found |= _notifier_chains(machine, symbols, btf, found)
        found |= _of_modules_and_idleness(machine, symbols, btf, found)
        found |= _bounds(found, iomem)
    return found


# -- the list of modules -------------------------------------------------------------------------------------


def find_modules(machine: Machine, symbols: Symbols) -> int | None:
    """The address of `modules`, the list of modules, before any is loaded: a list head that points to itself, and that
    print_modules() or one of its kin uses. None where there is none, or more than one."""
    for function in _USERS:
        found = {address for address in _referenced(machine, symbols, function) if _is_empty_list(machine, address)}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _referenced(machine: Machine, symbols: Symbols, function: str) -> set[int]:
    """The kernel's addresses that the code of a function holds."""
    start = symbols.of_kernel(function)
    if start is None:
        return set()
    try:
        code = machine.read(start, min(symbols.extent(function) or _LOOKED_AT, 4 * _LOOKED_AT))
    except ValueError:  # a function of the kernel's boot, whose memory was given back
        return set()
    return {one for one in machine.arch.code.references(code, start) if machine.arch.addresses.is_pointer(one)}


def _is_empty_list(machine: Machine, address: int) -> bool:
    try:
        space = machine.arch.addresses
        return space.numbers(machine.read(address, 2 * space.word)) == (address, address)
    except ValueError:
        return False


# -- what is exported ----------------------------------------------------------------------------------------


def find_exports(machine: Machine, symbols: Symbols) -> dict[str, int]:
    """Name -> address of the variables that the kernel exports. One entry is found by a function that is exported
    surely, the others stand before and behind it."""
    start = symbols.of_kernel("_etext")
    if start is None:
        return {}
    data = _read_only(machine, start)
    base = 0 if machine.arch.addresses.word == 8 else start  # what entries are counted from
    known = ((name, symbols.of_kernel(name)) for name in _KNOWN_EXPORTS)
    found_at = (
        entry
        for name, address in known
        if address is not None
        for entry in _entries(data, name.encode(), address - start, base)
    )
    first = next(found_at, None)
    if first is None:
        return {}
    found: dict[str, int] = {}
    for step in (-_RELATIVE.size, _RELATIVE.size):
        at = first
        while (entry := _export(data, at, base)) is not None:
            if entry[1] >= 0:  # a function's name is known, and there may be others for its address
                found[entry[0]] = start + entry[1]
            at += step
    return found


def _read_only(machine: Machine, start: int) -> bytes:
    """The kernel's memory from an address on, as far as it is mapped."""
    out = bytearray()
    while len(out) < _READ_ONLY:
        try:
            out += machine.read(start + len(out), 1 << 20)
        except ValueError:
            break
    return bytes(out)


def _entries(data: bytes, name: bytes, address: int, base: int) -> Iterator[int]:
    """Where in `data` entries are that export a function at `address` (counted from the start of `data`) by `name`.
    `base` is the address of `data` where entries hold addresses, 0 where they are relative to their own place."""
    if base:
        at = -1
        while (at := data.find(name + b"\0", at + 1)) >= 0:  # it may be the end of a longer text
            entry = data.find((address + base).to_bytes(4, "little") + (base + at).to_bytes(4, "little"))
            if entry >= 0 and not entry & 3:
                yield entry
        return
    words = memoryview(data)[: len(data) & -4].cast("i")
    at = -1
    while (at := data.find(b"\0" + name + b"\0", at + 1)) >= 0:
        for number in [number for number, word in enumerate(words) if word + 4 * number == at + 1]:
            if number and words[number - 1] + 4 * (number - 1) == address:
                yield 4 * (number - 1)


def _export(data: bytes, at: int, base: int) -> tuple[str, int] | None:
    """(name, address from the start of `data`) of the entry there; None where none is. `base` as for `_entries`."""
    if not 0 <= at <= len(data) - _RELATIVE.size:
        return None
    if base:
        address, name, _ = _ABSOLUTE.unpack_from(data, at)
        address, text = address - base - at, name - base
    else:
        address, name, _ = _RELATIVE.unpack_from(data, at)
        text = at + 4 + name
    if not 0 < text < len(data) or (match := _NAME.match(data, text)) is None:  # it may be the tail of another name
        return None
    return (match[0].decode(), at + address) if data[match.end() : match.end() + 1] == b"\0" else None


# -- where the kernel's data is ------------------------------------------------------------------------------


def _bounds(found: dict[str, int], iomem: str) -> dict[str, int]:
    """`_sdata` and `_end`: "Kernel data" of /proc/iomem (arch/arm64/kernel/setup.c, arch/arm/kernel/setup.c), which
    begins with the idle task's stack (INIT_TASK_DATA, include/asm-generic/vmlinux.lds.h)."""
    data = _IOMEM.search(iomem)
    if data is None or "init_stack" not in found:
        return {}
    start = found["init_stack"]
    return {"_sdata": start, "_end": start + int(data[2], 16) + 1 - int(data[1], 16)}


# -- per-CPU variables --------------------------------------------------------------------------------


def _per_cpu(btf: Btf, exports: dict[str, int]) -> dict[str, int]:
    """The per-CPU variables that BTF lists: those that are exported too tell where their section begins."""
    offsets = btf.section_variables(".data..percpu")
    starts = Counter(exports[name] - at for name, at in offsets.items() if name in exports)
    if not starts:
        return {}
    start = starts.most_common(1)[0][0]
    return {"__per_cpu_start": start, **{name: start + at for name, at in offsets.items()}}


# -- by code -------------------------------------------------------------------------------------------------


class _Used(NamedTuple):
    """A variable: the functions that use it, and what lists what it leads to. With `contains` one of the names does
    contain that; without, nothing may be there yet, and it is the only candidate."""

    name: str
    functions: tuple[str, ...]
    listed: Callable[[Objects], Iterator[Registered]]
    contains: str = ""


_VARIABLES = (
    _Used("chrdevs", ("chrdev_show", "__register_chrdev_region"), registries.character_devices, "(mem)"),
    _Used("major_names", ("blkdev_show", "__register_blkdev"), registries.block_devices, "(blkext)"),
    _Used("file_systems", ("unregister_filesystem",), registries.file_systems, "tmpfs"),
    _Used("genl_fam_idr", ("genl_register_family", "genl_unregister_family"), registries.netlink_families, "nlctrl"),
    _Used("proto_list", ("proto_unregister", "proto_register"), registries.protocols, "TCP"),
    _Used("link_ops", ("__rtnl_link_register", "rtnl_link_ops_get"), registries.link_kinds),
    _Used("tty_drivers", ("tty_register_driver", "tty_unregister_driver"), registries.tty_drivers, "pty_master"),
    _Used("workqueues", ("alloc_workqueue", "destroy_workqueue"), registries.workqueues, "workqueue events"),
    _Used("kprobe_table", ("get_kprobe",), registries.kprobes),
    _Used(
        "sysctl_table_root",
        ("register_sysctl_sz", "register_sysctl"),
        registries.sysctls,
        "/proc/sys/kernel",
    ),
    _Used(
        "proc_root",
        ("__xlate_proc_name", "proc_create_reg", "proc_root_lookup"),
        registries.proc_entries,
        "/proc/meminfo",
    ),
    _Used(
        "debugfs_mount",
        ("debugfs_remove", "debugfs_start_creating"),
        registries.debugfs_entries,
        "/sys/kernel/debug/bdi",
    ),
    _Used("cdev_map", ("cdev_add", "cdev_del"), device_numbers, "character device 1:"),
    _Used("slab_caches", ("slab_start", "slab_next", "kmem_cache_destroy"), slab_caches, "slab cache kmalloc"),
)
# Chain of notifiers -> the function that adds one (hooks.NOTIFIER_CHAINS). Those that are exported are not here.
_CHAIN_USERS = {
    "reboot_notifier_list": "register_reboot_notifier",
    "module_notify_list": "register_module_notifier",
    "inetaddr_chain": "register_inetaddr_notifier",
    "pm_chain_head": "register_pm_notifier",
    "oom_notify_list": "register_oom_notifier",
    "netlink_chain": "netlink_register_notifier",
    "die_chain": "register_die_notifier",
    "inet6addr_chain": "register_inet6addr_notifier",
    "netevent_notif_chain": "register_netevent_notifier",
    "keyboard_notifier_list": "register_keyboard_notifier",
    "vt_notifier_list": "register_vt_notifier",
    "netdev_chain": "register_netdevice_notifier",
}


def _by_code(machine: Machine, symbols: Symbols, btf: Btf, known: dict[str, int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for variable in _VARIABLES:
        for function in variable.functions:
            candidates = [
                address
                for address in sorted(_referenced(machine, symbols, function))
                if address not in known.values() and _leads_there(machine, btf, known, variable, address)
            ]
            if len(candidates) > 1:  # code that adds to a list uses both words of its head
                candidates = [address for address in candidates if _is_list_head(machine, address)]
            if len(candidates) == 1:
                found[variable.name] = candidates[0]
                break
    return found


def _is_list_head(machine: Machine, address: int) -> bool:
    """Whether the element that is next says that this one is before it (struct list_head)."""
    space = machine.arch.addresses
    try:
        following = space.number(machine.read(address, space.word))
        return space.number(machine.read(following + space.word, space.word)) == address
    except ValueError:
        return False


def _leads_there(machine: Machine, btf: Btf, known: dict[str, int], variable: _Used, address: int) -> bool:
    """Whether what lies at an address is what the variable's would be."""
    objects = Objects(machine, LayoutCache.of(btf, {**known, variable.name: address}))
    try:
        names = [name for _, name in islice(variable.listed(objects), _MANY)]
    except (KoboxError, ValueError):
        return False
    if not variable.contains:
        return all(name.isprintable() for name in names) and _may_be_empty(objects, variable, address)
    return any(variable.contains in name for name in names)


def _may_be_empty(objects: Objects, variable: _Used, address: int) -> bool:
    """Of a variable that nothing need be in yet: whether it is a list's head, or a table of nothing."""
    first, last = objects.pointers(address, 2)
    return bool(variable.name.endswith("_table") and not first and not last) or (
        first >= 4096 and objects.pointer(first + objects.word) == address
    )


def _notifier_chains(machine: Machine, symbols: Symbols, btf: Btf, known: dict[str, int]) -> dict[str, int]:
    """The chains of notifiers, each found by what the function that adds one refers to."""
    objects = Objects(machine, LayoutCache.of(btf, known))
    text = range(symbols.of_kernel("_stext") or 0, symbols.of_kernel("_etext") or 0)
    found: dict[str, int] = {}
    for symbol, function in _CHAIN_USERS.items():
        if symbol not in known:
            heads = {at: _notified(objects, text, symbol, at) for at in _referenced(machine, symbols, function)}
            used = [at for at, calls in heads.items() if calls]
            empty = [at for at, calls in heads.items() if calls is not None]
            if len(used) == 1:
                found[symbol] = used[0]
            elif empty and not used:
                found[symbol] = max(empty)  # code reaches a variable from one before it (gcc's -fsection-anchors)
    return found


def _notified(objects: Objects, text: range, symbol: str, head: int) -> list[int] | None:
    """The functions that a chain calls whose head is at an address; None where no head can be: a notifier's function
    is in `text`, the kernel's code, and nobody waits for the chain's lock."""
    with suppress(KoboxError, ValueError):
        if NOTIFIER_CHAINS[symbol] == "blocking":
            waiting = objects.member(head, "blocking_notifier_head.rwsem.wait_list")
            if objects.pointer(waiting) != waiting:
                return None
        calls = [objects.number(at, "notifier_block.notifier_call") for at in notifier_chain(objects, symbol, head)]
        if all(call in text for call in calls):
            return calls
    return None


def _of_modules_and_idleness(machine: Machine, symbols: Symbols, btf: Btf, known: dict[str, int]) -> dict[str, int]:
    """`mod_tree`, which keeps the bounds of all modules (kernel/module/main.c), and the stack of the idle task."""
    objects = Objects(machine, LayoutCache.of(btf, known))
    found: dict[str, int] = {}
    for at in sorted(_referenced(machine, symbols, "__module_address")):
        with suppress(KoboxError, ValueError):
            bounds = [objects.number(at, f"mod_tree_root.{bound}") for bound in ("addr_min", "addr_max")]
            if bounds == [machine.arch.addresses.mask, 0]:
                found["mod_tree"] = at
    used = _referenced(machine, symbols, "cpu_init")
    for at in used:
        # ARM's stacks of four modes, four words each (arch/arm/kernel/setup.c): in abort mode's is what faulted last.
        if {at + 16, at + 32, at + 48} <= used:
            found["stacks"] = at
    with suppress(KoboxError, ValueError):
        found["init_stack"] = objects.number(objects.address("init_task"), "task_struct.stack")
    return found
