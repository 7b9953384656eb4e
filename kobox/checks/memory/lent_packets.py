"""Packets that the kernel hands to a function of the module: how much of one may be read where it begins.

    skb->head     skb->data              skb->tail          skb->end
    | headroom    | the linear part      | tailroom         | struct skb_shared_info
                  `- skb_headlen() bytes -'  the rest of skb->len lies in pages

A header that lies behind `tail` must be brought there first (pskb_may_pull()), or be copied (skb_header_pointer()). Who
reads there without asking gets what an earlier packet has left. While the function runs, the bytes of the tailroom
are marked: a read there is judged by where `tail` is then. Bytes that the module has written itself may be read.

Sources: include/linux/skbuff.h; the functions that register such functions, in the table below.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from kobox.box.inspect.probes import Hit
from kobox.checks.report.quantities import quantity
from kobox.checks.runner.session import Examination, Trace
from kobox.errors import KoboxError
from kobox.machine.watch import Mark

_MOST_TAILROOM = 1 << 16  # bytes that are marked of one packet
_MOST_FUNCTIONS = 64
_WORD_BYTES = 8

Adopt = Callable[[int, Trace], None]
"""Told of a packet, and of the calls."""


@dataclass(frozen=True, slots=True)
class PacketHandler:
    """Where a registration names a function: the argument that points to the structure, the path of its member in
    kernel types ("" where the argument is the function itself), the argument in which the function gets the packet,
    and whether it gets a pointer to that pointer."""

    argument: int
    member: str
    packet: int = 0
    indirect: bool = False


HANDLERS: dict[str, PacketHandler] = {
    "dev_add_pack": PacketHandler(0, "packet_type.func"),
    "netdev_rx_handler_register": PacketHandler(1, "", indirect=True),
    "nf_register_net_hook": PacketHandler(1, "nf_hook_ops.hook", packet=1),
    "nf_register_net_hooks": PacketHandler(1, "nf_hook_ops.hook", packet=1),
    "inet_add_protocol": PacketHandler(0, "net_protocol.handler"),
    "inet6_add_protocol": PacketHandler(0, "inet6_protocol.handler"),
    "__netlink_kernel_create": PacketHandler(3, "netlink_kernel_cfg.input"),
    "register_qdisc": PacketHandler(0, "Qdisc_ops.enqueue"),
}
"""Functions that a module registers those with that get packets. More than one element of nf_hook_ops is looked at."""


@dataclass(slots=True)
class _LentPacket:
    """A packet that a function of the module is looking at: struct sk_buff, and which bytes are marked."""

    packet: int
    start: int
    end: int


class LentPackets:
    """The probes of one examination."""

    def __init__(self, examination: Examination, adopt: Adopt) -> None:
        self._examination = examination
        self._adopt = adopt
        self._objects = examination.box.inspect.objects
        self._watch = examination.box.inspect.watch
        self._functions: set[int] = set()
        self._lent: list[_LentPacket] = []
        self._offsets = self._objects.has("sk_buff.tail") and self._objects.size("sk_buff.tail") == 4
        imports = {wanted.name for wanted in examination.file.imports}
        for name, handler in HANDLERS.items():
            if name in imports and name in examination.box.inspect.symbols:
                examination.probe(name, partial(self._registers, handler, name))
        if (
            any("register_netdev" in name for name in imports)
            and "register_netdevice" in examination.box.inspect.symbols
        ):
            examination.probe("register_netdevice", self._registers_device)

    def linked(self) -> None:
        """Another life begins: functions lie elsewhere."""
        self._functions.clear()
        self._lent.clear()

    def _registers(self, handler: PacketHandler, name: str, hit: Hit) -> None:
        with suppress(KoboxError, ValueError):
            place = hit.args[handler.argument]
            count = min(hit.args[2], 16) if name == "nf_register_net_hooks" else 1
            step = self._objects.size(handler.member.partition(".")[0]) if handler.member else 0
            for number in range(count):
                at = place + number * step
                self.watch(self._objects.number(at, handler.member) if handler.member else at, handler)

    def _registers_device(self, hit: Hit) -> None:
        with suppress(KoboxError, ValueError):
            operations = self._objects.number(hit.args[0], "net_device.netdev_ops")
            self.watch(self._objects.number(operations, "net_device_ops.ndo_start_xmit"), PacketHandler(0, ""))

    def watch(self, function: int, handler: PacketHandler) -> None:
        """Look at the packets that a function of the module gets."""
        if len(self._functions) >= _MOST_FUNCTIONS or function in self._functions:
            return
        if self._examination.in_module(function):
            self._functions.add(function)
            self._examination.probe_code(function, partial(self._given, handler), self._done)

    def _given(self, handler: PacketHandler, hit: Hit) -> None:
        packet = hit.args[handler.packet]
        with suppress(KoboxError, ValueError):
            if handler.indirect:
                packet = self._objects.u64(packet)
            self._adopt(packet, self._examination.trace(hit))
            hit.data = self.lend(packet)

    def _done(self, hit: Hit) -> None:
        if hit.data is not None:
            self.take_back(hit.data)

    # -- what may be read --------------------------------------------------------------------------------------

    def lend(self, packet: int) -> object:
        """Mark the tailroom of a packet, until `take_back` gets what this returns."""
        start, end = self._tail(packet), self._end(packet)
        if not start < end <= start + _MOST_TAILROOM or any(one.packet == packet for one in self._lent):
            return None
        for at, mark in enumerate(self._watch.marks(start, end - start)):
            if mark >= Mark.REDZONE:
                end = start + at
                break
        self._watch.mark(start, end - start, Mark.BEHIND_PACKET)
        self._lent.append(lent := _LentPacket(packet, start, end))
        return lent

    def take_back(self, lent: object) -> None:
        """The function has returned."""
        if isinstance(lent, _LentPacket) and lent in self._lent:
            self._lent.remove(lent)
            self._unmark(lent.start, lent.end)

    def _unmark(self, start: int, end: int) -> None:
        self._watch.exchange(start, max(end - start, 0), Mark.BEHIND_PACKET, Mark.WRITTEN)

    def judge(self, address: int, size: int, *, writes: bool) -> str:
        """What is wrong with an access of marked bytes, in words; "" if nothing is."""
        lent = next((one for one in self._lent if one.start < address + size and address < one.end), None)
        if lent is None:
            self._unmark(address, address + size)
            return ""
        tail = lent.start
        with suppress(KoboxError, ValueError):
            tail = self._tail(lent.packet)
        if lent.start <= tail <= lent.end:
            self._unmark(lent.start, tail)
        across = address < tail and size <= _WORD_BYTES  # ether_addr_equal_64bits() reads two bytes more than it uses
        if writes or across or not lent.start <= tail <= lent.end or address + size <= tail:
            self._unmark(address, address + size)
            return ""
        length = self._objects.number(lent.packet, "sk_buff.len")
        self._unmark(lent.start, lent.end)  # it is told once for each packet
        beyond = f"{quantity(max(address - tail, 0), 'byte')} past the end of a packet's linear part"
        return f"{beyond} (the packet has {quantity(length, 'byte')})"

    def _tail(self, packet: int) -> int:
        return self._place(packet, "sk_buff.tail")

    def _end(self, packet: int) -> int:
        return self._place(packet, "sk_buff.end")

    def _place(self, packet: int, member: str) -> int:
        """Offsets from `head` on machines of 64 bits (NET_SKBUFF_DATA_USES_OFFSET), pointers elsewhere."""
        value = self._objects.number(packet, member)
        return self._objects.number(packet, "sk_buff.head") + value if self._offsets else value
