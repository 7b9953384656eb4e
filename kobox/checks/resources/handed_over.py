"""What the kernel hands to a function of the module, which must free or complete it, or pass it on.

    a packet:   ndo_start_xmit()      when it returns NETDEV_TX_OK
                packet_type.func()    always
                rx_handler            when it returns RX_HANDLER_CONSUMED
                a netfilter hook      when it returns NF_STOLEN
                net_protocol.handler  when it returns 0; another number says which protocol goes on with the packet
    a request:  queue_rq()            when it returns BLK_STS_OK: blk_mq_end_request()
    a bio:      submit_bio()          always: bio_endio()

Which way through the function has lost one is told by the instructions that were executed for the first time then.

Sources: include/linux/netdevice.h, netfilter.h, blk-mq.h, blkdev.h; net/core/dev.c, net/ipv4/ip_input.c,
block/blk-mq.c, block/bio.c.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from kobox.arch.unwind import StackFrame
from kobox.box.inspect.objects import Objects
from kobox.box.inspect.probes import FROM_MODULE, Hit
from kobox.checks.report.finding import Chain, Resource, Severity
from kobox.checks.report.quantities import quantity
from kobox.checks.runner.session import Check, Examination, Trace
from kobox.errors import KoboxError

_MANY = 4096  # packets that are followed
_NEAR = 8  # lines in which a statement that returns is looked for
_MOST_HOOKS = 16  # of one array that is registered
NEVER_COMPLETED = "was never completed"


@dataclass(frozen=True, slots=True)
class Handed:
    """A kind of thing: what it is called, its structure, and the functions that get it last. `counted`: the member that
    counts its users, which falls when somebody gives it back."""

    name: str
    structure: str
    ends: tuple[str, ...]
    counted: str = ""


PACKET = Handed("packet", "sk_buff", ("skb_release_head_state",), "sk_buff.users")
REQUEST = Handed(
    "request",
    "request",
    (
        *("blk_mq_end_request", "__blk_mq_end_request", "blk_mq_end_request_batch", "blk_mq_free_request"),
        *("blk_mq_complete_request", "blk_mq_complete_request_remote", "blk_mq_requeue_request"),
    ),
)
BIO = Handed("bio", "bio", ("bio_endio",))


@dataclass(frozen=True, slots=True)
class Taker:
    """A function that gets such a thing: the name of its member in kernel types, in which argument it gets it (`via`:
    the member of what the argument points to, "*" for the pointer there), and which results say that it has taken it
    (None: all)."""

    what: Handed
    member: str
    results: tuple[int, ...] | None
    argument: int = 0
    via: str = ""

    @property
    def function(self) -> str:
        """The member's name."""
        return self.member.rpartition(".")[2]

    def has_taken(self, result: int) -> bool:
        """Whether the thing is the function's, by what it has returned."""
        return self.results is None or result & 0xFF in self.results


SENDS = Taker(PACKET, "net_device_ops.ndo_start_xmit", (0, 1, 2))
"""All but NETDEV_TX_BUSY, which is 0x10 (include/linux/netdevice.h); with that, the kernel tries again."""
QUEUES = Taker(REQUEST, "blk_mq_ops.queue_rq", (0,), argument=1, via="blk_mq_queue_data.rq")
SUBMITS = Taker(BIO, "block_device_operations.submit_bio", None)
REGISTRATIONS: dict[str, tuple[int, Taker]] = {
    "dev_add_pack": (0, Taker(PACKET, "packet_type.func", None)),
    "netdev_rx_handler_register": (1, Taker(PACKET, "rx_handler", (0,), via="*")),
    "nf_register_net_hook": (1, Taker(PACKET, "nf_hook_ops.hook", (2,), argument=1)),
    "nf_register_net_hooks": (1, Taker(PACKET, "nf_hook_ops.hook", (2,), argument=1)),
    "inet_add_protocol": (0, Taker(PACKET, "net_protocol.handler", (0,))),
    "inet6_add_protocol": (0, Taker(PACKET, "inet6_protocol.handler", (0,))),
}
"""Functions that a module registers the others with: which argument points to the structure, or is the function."""
DEVICES: dict[str, tuple[str, str, int, str, Taker]] = {
    "register_netdev": ("register_netdev", "register_netdevice", 0, "net_device.netdev_ops", SENDS),
    "blk_mq_alloc_tag_set": ("blk_mq_alloc_tag_set", "blk_mq_alloc_tag_set", 0, "blk_mq_tag_set.ops", QUEUES),
    "device_add_disk": ("device_add_disk", "device_add_disk", 1, "gendisk.fops", SUBMITS),
}
"""Functions that a device is registered with: how the name begins of what the module imports, the function that is
watched, which of its arguments is the device, and the device's member that points to its operations."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Something that a function of the module has taken: which kind of function, and the calls as it returned, of the
    function itself the last statement that it has executed for the first time. `is_new`: there was one. No calls are
    kept of what took the same way as one before."""

    taker: Taker
    calls: Trace | None = None
    is_new: bool = False


class HandedOverCheck(Check):
    """Watches the functions of the module that are handed packets, requests and bios."""

    name = "handed-over"

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._objects: Objects = examination.box.inspect.objects
        self._functions: set[int] = set()
        self._owned: dict[int, Taken] = {}
        symbols = examination.box.inspect.symbols
        imports = {wanted.name for wanted in examination.file.imports}
        followed: set[Handed] = set()
        for name, (argument, taker) in REGISTRATIONS.items():
            if name in imports and name in symbols:
                followed.add(taker.what)
                examination.probe(name, partial(self._registers, name, argument, taker), when=FROM_MODULE)
        for beginning, watched, argument, operations, taker in DEVICES.values():
            if watched in symbols and any(name.startswith(beginning) for name in imports):
                followed.add(taker.what)
                examination.probe(watched, partial(self._registers_device, argument, operations, taker))
        self._watched = bool(followed)
        for name in (name for what in followed for name in what.ends if name in symbols):
            examination.probe(name, self._ended)

    def linked(self, examination: Examination) -> None:
        if self._watched:
            self._functions.clear()
            self._owned.clear()

    def _registers_device(self, argument: int, operations: str, taker: Taker, hit: Hit) -> None:
        with suppress(KoboxError, ValueError):
            table = self._objects.number(hit.args[argument], operations)
            self._follow(self._objects.number(table, taker.member), taker)

    def _registers(self, name: str, argument: int, taker: Taker, hit: Hit) -> None:
        with suppress(KoboxError, ValueError):
            structure, _, member = taker.member.partition(".")
            if not member:
                self._follow(hit.args[argument], taker)
                return
            for number in range(min(hit.args[2], _MOST_HOOKS) if name == "nf_register_net_hooks" else 1):
                at = hit.args[argument] + number * self._objects.size(structure)
                self._follow(self._objects.number(at, taker.member), taker)

    def _follow(self, function: int, taker: Taker) -> None:
        if self._examination.in_module(function) and function not in self._functions:
            self._functions.add(function)
            self._examination.probe_code(function, partial(self._given, taker), self._has_returned)

    def _given(self, taker: Taker, hit: Hit) -> None:
        with suppress(KoboxError, ValueError):
            thing = hit.args[taker.argument]
            if taker.via:
                thing = self._objects.u64(thing) if taker.via == "*" else self._objects.number(thing, taker.via)
            users = self._users(taker, thing)
            hit.data = taker, thing, users, self._executed(hit.probe.address or 0)
            if len(self._owned) < _MANY:
                self._owned[thing] = Taken(taker)

    def _users(self, taker: Taker, thing: int) -> int:
        return self._objects.number(thing, taker.what.counted) if taker.what.counted else 0

    def _has_returned(self, hit: Hit) -> None:
        if hit.data is None or hit.data[1] not in self._owned:
            return
        taker, thing, users, before = hit.data
        with suppress(KoboxError, ValueError):
            given_back = self._users(taker, thing) < users
            if given_back or not taker.has_taken((hit.result or 0) & 0xFFFFFFFF):
                self._owned.pop(thing)  # others have it
                return
        address, after = hit.probe.address or 0, self._executed(hit.probe.address or 0)
        new = [n for n, flag in enumerate(after) if flag and not (n < len(before) and before[n])]
        if new or not any(one.calls for one in self._owned.values()):
            callers = self._examination.trace(hit)
            function = StackFrame(address + self._latest(address, new), 0, True)
            self._owned[thing] = Taken(taker, Trace((function, *callers.frames), callers.placement), bool(new))

    def _latest(self, function: int, new: list[int]) -> int:
        """Which of the instructions of a function stands last in the source, before its closing brace: the statement
        that has returned. Without debugging information, one in their middle."""
        placement, debug = self._examination.placement, self._examination.file.debug
        place = placement.find(function) if placement is not None else None
        found = debug.function_at(*place) if place is not None else None
        if place is None or found is None or not new:
            return 0
        section, start = place
        lines: dict[int, int] = {}
        for n in range(found.size):  # of a function that the compiler has split, a part may be inlined in itself
            places = debug.lines(section, start + n)
            lines[n] = max((one.line for one in places if one.function == places[-1].function), default=0)
        brace = max(lines.values(), default=0)
        stated = [(lines[n], -n) for n in new if 0 < lines.get(n, 0) < brace]
        return -max(stated)[1] if stated else new[len(new) // 2]

    def _to_the_return(self, chain: Chain) -> Chain:
        """With the line of the statement that returns, where the source has one a few lines behind the first frame's:
        the compiler makes no instruction of its own for each."""
        if not chain or not chain[0].line:
            return chain
        for line in range(chain[0].line, chain[0].line + _NEAR):
            text = self._examination.sources.line(chain[0].file, line)
            if re.search(r"\breturn\b", text):
                return (replace(chain[0], line=line), *chain[1:])
            if text.startswith("}"):
                break
        return chain

    def _ended(self, hit: Hit) -> None:
        self._owned.pop(hit.args[0], None)

    def _executed(self, function: int) -> bytes:
        """Which instructions of a function of the module were executed so far, a byte for each of its bytes."""
        examination = self._examination
        place = examination.placement.find(function) if examination.placement is not None else None
        if place is None or examination.placement is None:
            return b""
        found = examination.file.debug.function_at(*place)
        size = found.size if found is not None else 0
        with suppress(KoboxError):
            start = examination.placement.starts[place[0]]
            whole = examination.box.inspect.watch.executed(start, examination.file.elf.section_at(place[0]).size)
            return whole[place[1] : place[1] + size]
        return b""

    def gone(self, examination: Examination) -> None:
        for what in (PACKET, REQUEST, BIO):
            self._tell(what)

    def stuck(self, examination: Examination) -> None:
        for what in (REQUEST, BIO):
            self._tell(what)

    def _tell(self, what: Handed) -> None:
        """Report what of one kind is still the module's."""
        lost = [one for one in self._owned.values() if one.taker.what is what] if self._watched else []
        if not lost:
            return
        self._owned = {thing: one for thing, one in self._owned.items() if one.taker.what is not what}
        first = max(lost, key=lambda one: (one.is_new, one.calls is not None))
        chain = self._examination.chain(first.calls) if first.calls is not None else ()
        chain = self._to_the_return(chain) if first.is_new else chain
        given = f"{quantity(len(lost), what.name)} that {first.taker.function}() was given and took"
        kind, said, advice = "leak", "was never freed", "Free it with kfree_skb() on each way out of the function."
        if what is not PACKET:
            end = "blk_mq_end_request()" if what is REQUEST else "bio_endio()"
            kind, said = "hang", f"{NEVER_COMPLETED}: who waits for it sleeps for ever"
            advice = f"Call {end} on each way, with an error where that is what happened."
        elif first.taker is SENDS:
            given += " (NETDEV_TX_OK)"
            advice = "Free it with dev_kfree_skb() on each way out of the function, or return NETDEV_TX_BUSY."
        self._examination.report(
            kind,
            Severity.ERROR,
            f"{given} {said}",
            chain=chain,
            object=Resource(f"{what.name} (struct {what.structure})", made_at=chain),
            advice=advice,
        )
