"""Packets that the kernel hands to a network device of the module: ndo_start_xmit() must free them, or pass them on,
when it returns NETDEV_TX_OK.

Which way through the function has lost one is told by the instructions that were executed for the first time then.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from kobox.arch.unwind import StackFrame
from kobox.box.inspect.objects import Objects
from kobox.box.inspect.probes import Hit
from kobox.checks.report.finding import Chain, Resource, Severity
from kobox.checks.report.quantities import quantity
from kobox.checks.runner.session import Check, Examination, Trace
from kobox.errors import KoboxError

_SENDS = "net_device.netdev_ops"
_BUSY = 0x10  # NETDEV_TX_BUSY
_MANY = 4096  # packets that are followed


@dataclass(frozen=True, slots=True)
class Sent:
    """A packet that was handed over: the calls then, and where the last new instruction was that the function executed
    (0: none was new)."""

    trace: Trace
    last_new: int


class HandedOverCheck(Check):
    """Watches the functions of the module that send packets."""

    name = "handed-over"

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._objects: Objects = examination.box.inspect.objects
        self._functions: set[int] = set()
        self._owned: dict[int, Sent] = {}
        self._lost_at: dict[int, int] = {}
        symbols = examination.box.inspect.symbols
        self._watched = "skb_release_head_state" in symbols and "register_netdevice" in symbols
        if not self._watched or not any("register_netdev" in wanted.name for wanted in examination.file.imports):
            self._watched = False
            return
        examination.probe("register_netdevice", self._registers)
        examination.probe("skb_release_head_state", self._freed)

    def linked(self, examination: Examination) -> None:
        if self._watched:
            self._functions.clear()
            self._owned.clear()

    def _registers(self, hit: Hit) -> None:
        with suppress(KoboxError, ValueError):
            operations = self._objects.number(hit.args[0], _SENDS)
            send = self._objects.number(operations, "net_device_ops.ndo_start_xmit")
            if self._examination.in_module(send) and send not in self._functions:
                self._functions.add(send)
                self._examination.probe_code(send, self._sends, partial(self._has_sent))

    def _sends(self, hit: Hit) -> None:
        packet, trace = hit.args[0], self._examination.trace(hit)
        hit.data = packet, trace, self._executed(hit.probe.address or 0)
        if len(self._owned) < _MANY:
            self._owned[packet] = Sent(trace, 0)

    def _has_sent(self, hit: Hit) -> None:
        packet, trace, before = hit.data
        if (hit.result or 0) & 0xFFFFFFFF == _BUSY:
            self._owned.pop(packet, None)  # the kernel keeps it, and tries again
        if packet not in self._owned:
            return
        address, after = hit.probe.address or 0, self._executed(hit.probe.address or 0)
        new = [n for n, flag in enumerate(after) if flag and not (n < len(before) and before[n])]
        self._owned[packet] = Sent(trace, address + new[len(new) // 2] if new else 0)

    def _freed(self, hit: Hit) -> None:
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
        if not self._watched or not self._owned:
            return
        lost = list(self._owned.values())
        first = next((sent for sent in lost if sent.last_new), lost[0])
        chain = self._chain(first)
        self._owned.clear()
        examination.report(
            "leak",
            Severity.ERROR,
            f"{quantity(len(lost), 'packet')} that ndo_start_xmit() was given and took (NETDEV_TX_OK) was never freed",
            chain=chain,
            object=Resource("packet (struct sk_buff)", made_at=chain),
            advice="Free it with dev_kfree_skb() on each way out of the function, or return NETDEV_TX_BUSY.",
        )

    def _chain(self, sent: Sent) -> Chain:
        if not sent.last_new:
            return self._examination.chain(sent.trace)
        frames = (StackFrame(sent.last_new, 0, True), *sent.trace.frames[1:])
        return self._examination.chain(Trace(frames, sent.trace.placement))
