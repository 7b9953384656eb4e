"""What calls into a module later, read from the kernel's memory: notifiers, netfilter hooks, interrupt handlers; and
the resources, slab caches and sockets that it holds. No call is made.

    reboot_notifier_list …   chains of struct notifier_block       include/linux/notifier.h
    init_net.nf.hooks_*      arrays of struct nf_hook_entries      include/linux/netfilter.h
    /proc/irq/N/NAME         a directory a handler                 kernel/irq/proc.c
    ioport_resource …        trees of struct resource              kernel/resource.c
    slab_caches              a list of struct kmem_cache           mm/slab_common.c
    init_net.core.prot_inuse numbers of sockets, by protocol       include/net/sock.h
    nl_table                 struct netlink_table by protocol      net/netlink/af_netlink.h

Each function raises `KoboxError` when the kernel has no such table or no type information, `ValueError` for damaged
memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kobox.box.inspect.objects import Objects
from kobox.box.inspect.procfs import interrupt_handlers_in_proc

NOTIFIER_CHAINS = {  # chain: its kind (include/linux/notifier.h)
    "reboot_notifier_list": "blocking",
    "module_notify_list": "blocking",
    "inetaddr_chain": "blocking",
    "pm_chain_head": "blocking",
    "oom_notify_list": "blocking",
    "netlink_chain": "blocking",
    "crypto_chain": "blocking",
    "panic_notifier_list": "atomic",
    "die_chain": "atomic",
    "inet6addr_chain": "atomic",
    "netevent_notif_chain": "atomic",
    "keyboard_notifier_list": "atomic",
    "vt_notifier_list": "atomic",
    "netdev_chain": "raw",
}
_COUNTED = ("UDP", "UDPv6", "TCP", "TCPv6", "RAW", "RAWv6", "PING")
_MOST_PROTOCOLS = 64  # PROTO_INUSE_NR
_NETLINK_PROTOCOLS = 32  # MAX_LINKS
_FAMILIES = ("ipv4", "ipv6")
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_MOST_HOOKS = 1024  # MAX_HOOK_COUNT
_DEPTH, _MANY = 8, 2000
_BUSY = 0x80000000  # IORESOURCE_BUSY: requested by a driver


def notifiers(symbol: str) -> Callable[[Objects], Iterator[tuple[int, str]]]:
    """What lists the notifiers of one of `NOTIFIER_CHAINS`, told apart by their number; of none where this kernel does
    not have the chain. Each chain by itself: a notifier that a module has left there, and whose memory is gone, ends
    the list."""

    def of_chain(objects: Objects) -> Iterator[tuple[int, str]]:
        chain = objects.find(symbol)
        if chain is not None:
            # The number from the chain's end: who comes first may be new, those behind it keep theirs.
            for number, at in enumerate(reversed(list(notifier_chain(objects, symbol, chain))), 1):
                yield at, f"notifier {number} of {symbol}"

    of_chain.__name__ = symbol
    return of_chain


def notifier_chain(objects: Objects, symbol: str, head: int) -> Iterator[int]:
    """The notifiers of one chain: `symbol` is one of `NOTIFIER_CHAINS`, and `head` its address."""
    first = objects.number(head, f"{NOTIFIER_CHAINS[symbol]}_notifier_head.head")
    return objects.chain(first, link=objects.offset("notifier_block.next"))


def netfilter_hooks(objects: Objects) -> Iterator[tuple[int, str]]:
    """Hooks of packets in the first network namespace."""
    net, size = objects.address("init_net"), objects.size("nf_hook_entry")
    for family in _FAMILIES:
        table = objects.member(net, f"net.nf.hooks_{family}")
        for slot, name in enumerate(_HOOKS):
            entries = objects.pointer(table + objects.word * slot)
            count = objects.number(entries, "nf_hook_entries.num_hook_entries") if entries else 0
            each = objects.member(entries, "nf_hook_entries.hooks") if entries else 0
            seen: dict[int, int] = {}
            for number in range(min(count, _MOST_HOOKS)):
                function = objects.number(each + number * size, "nf_hook_entry.hook")
                seen[function] = seen.get(function, 0) + 1
                # One function may hook twice, and what was taken out leaves accept_all() behind.
                yield each + number * size, f"netfilter hook {function:#x} ({family} {name}, {seen[function]})"


def interrupt_handlers(objects: Objects) -> Iterator[tuple[int, str]]:
    """Handlers of interrupts, as /proc/irq has them."""
    for path, at in interrupt_handlers_in_proc(objects):
        number, _, name = path.partition("/")
        yield at, f"interrupt handler {name} of IRQ {number}"


def resources(objects: Objects) -> Iterator[tuple[int, str]]:
    """I/O ports and ranges of memory that drivers have requested, as /proc/ioports and /proc/iomem have them."""
    for root, kind in (("ioport_resource", "I/O ports"), ("iomem_resource", "I/O memory")):
        yield from _below(objects, objects.address(root), kind)


def _below(objects: Objects, parent: int, kind: str, depth: int = 0) -> Iterator[tuple[int, str]]:
    link = objects.offset("resource.sibling")
    first = objects.number(parent, "resource.child")
    for at in objects.chain(first, link=link) if first and depth < _DEPTH else ():
        if objects.number(at, "resource.flags") & _BUSY:
            start, end = objects.number(at, "resource.start"), objects.number(at, "resource.end")
            name = objects.text(at, "resource.name")
            yield at, f"{kind} {start:#x}-{end:#x} ({name})" if name else ""
        yield from _below(objects, at, kind, depth + 1)


def slab_caches(objects: Objects) -> Iterator[tuple[int, str]]:
    """Slab caches. One that the kernel has merged with another has no entry of its own."""
    for at in objects.list(objects.address("slab_caches"), "kmem_cache.list"):
        name = objects.text(at, "kmem_cache.name")
        yield at, f"slab cache {name}" if name else ""


def sockets(objects: Objects) -> Iterator[tuple[int, str]]:
    """Sockets of the first network namespace that have an address (sock_prot_inuse_add()), by protocol and number;
    those of programs too."""
    counts = objects.number(objects.address("init_net"), "net.core.prot_inuse")
    values = [objects.member(objects.percpu_at(counts, cpu), "prot_inuse.val") for cpu in range(objects.cpus)]
    for proto in objects.list(objects.address("proto_list"), "proto.node"):
        index, name = objects.number(proto, "proto.inuse_idx"), objects.text(proto, "proto.name")
        if name in _COUNTED and index < _MOST_PROTOCOLS:
            count = sum(objects.u32(value + 4 * index) for value in values) & 0xFFFFFFFF
            for number in range(min(count, _MANY)):
                yield proto + number, f"{name} socket {number + 1}"


def netlink_protocols(objects: Objects) -> Iterator[tuple[int, str]]:
    """Protocols of netlink that the kernel answers (netlink_kernel_create())."""
    table, size = objects.pointer(objects.address("nl_table")), objects.size("netlink_table")
    for protocol in range(_NETLINK_PROTOCOLS):
        at = table + protocol * size
        if objects.number(at, "netlink_table.registered"):
            yield at, f"netlink protocol {protocol}"
