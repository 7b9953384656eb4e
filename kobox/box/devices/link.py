"""A wire between two boxes: their cards joined, and their clocks in step.

    wire = kobox.join(first.network.eth0, second.network.eth0)
    first.network.eth0.up("10.0.0.1/24"); second.network.eth0.up("10.0.0.2/24")

A frame arrives `latency` after it was sent. Boxes that wires connect, over however many others, share one time: the
box that a call is made in runs, and the others follow.

    the box runs     no further than QUANTUM ahead of the others, and to the next frame that arrives
    it halts         the others run up to the next thing that wakes it, or until one of them sends a frame
    nobody is late   a box that is `latency` behind cannot send what arrives before that: the halted one may go on

All of this depends on virtual time alone, so two runs are equal. Source: conservative synchronisation, K. M. Chandy and
J. Misra, "Distributed Simulation" (1979).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from contextlib import suppress

from kobox.box.booted import BootedKernel
from kobox.box.devices.card import Card, cards_of
from kobox.box.events import MachineStep
from kobox.errors import BoxError, KoboxError
from kobox.machine.native_core import FOREVER, Event

LATENCY = 50_000  # ns
QUANTUM = 1_000_000  # ns that a running box may be ahead


class Wire:
    """A wire between two cards. `cut()` takes it away."""

    def __init__(self, first: Card, second: Card, latency: int, clocks: LinkedClocks) -> None:
        self.ends = first, second
        self.latency = latency
        self.clocks = clocks

    def cut(self) -> None:
        """Take the wire away; frames on it are lost. It is cut by itself when a card leaves its box."""
        for card in self.ends:
            if card.wire is self:
                card.wire = card.other_end = None
        self.clocks.remove(self)


class LinkedClocks:
    """Boxes that wires connect, and the frames on their way."""

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self._zero: dict[BootedKernel, int] = {}  # each box's own time when the common one was 0
        self._flying: list[tuple[int, int, Card, bytes]] = []  # heap of (arrival, number, to whom, frame)
        self._count = 0
        self._undo: dict[BootedKernel, tuple[Callable[[], None], ...]] = {}
        self._following: set[BootedKernel] = set()  # boxes that are run because another one is

    def add(self, box: BootedKernel, time: int) -> None:
        """A box comes in, when the common time is `time`."""
        self._zero[box] = box.machine.time - time
        events = box.guest.processes.events
        self._undo[box] = (
            events.step.subscribe(lambda run, until, blocks, idle: self._step(box, run, until, blocks, idle)),
            events.restored.subscribe(lambda before: self._gone_back(box, before)),
        )

    def _leave(self, box: BootedKernel) -> None:
        del self._zero[box]
        for undo in self._undo.pop(box):
            undo()

    def join(self, wire: Wire) -> None:
        """A wire comes in, between two boxes that are in."""
        self.wires.append(wire)
        wire.clocks = self
        for here, there in (wire.ends, wire.ends[::-1]):
            here.wire, here.other_end = wire, self._sender(here, there, wire.latency)

    def absorb(self, other: LinkedClocks) -> None:
        """Take over all that another one has."""
        ahead = self.time - other.time
        for box, zero in tuple(other._zero.items()):
            other._leave(box)
            self.add(box, box.machine.time - zero + ahead)
        for wire in other.wires:
            self.join(wire)
        self._flying = [(at + ahead, n, card, frame) for at, n, card, frame in [*other._flying]] + self._flying
        heapq.heapify(self._flying)
        self._count = max(self._count, other._count)

    def remove(self, wire: Wire) -> None:
        """A wire is cut. Boxes that have none left go their own way."""
        self.wires = [other for other in self.wires if other is not wire]
        self._flying = [row for row in self._flying if row[2] not in wire.ends]
        heapq.heapify(self._flying)
        wired = {card.box for other in self.wires for card in other.ends}
        for box in [box for box in self._zero if box not in wired]:
            self._leave(box)

    def _gone_back(self, box: BootedKernel, before: int) -> None:
        """A box, whose own time was `before`, has gone to another: what was on its way to it is lost."""
        self._zero[box] += box.machine.time - before
        self._flying = [row for row in self._flying if row[2].box is not box]
        heapq.heapify(self._flying)

    @property
    def time(self) -> int:
        """The common time, of the box that is furthest."""
        return max(self._now(box) for box in self._zero if not box.guest.closed)

    # -- frames ----------------------------------------------------------------------------------------------

    def _sender(self, here: Card, there: Card, latency: int) -> Callable[[int, bytes], None]:
        def send(time: int, frame: bytes) -> None:
            if not there.box.alive:
                return
            self._count += 1
            heapq.heappush(self._flying, (time - self._zero[here.box] + latency, self._count, there, frame))

        return send

    def _arrival(self, box: BootedKernel) -> int:
        return min((row[0] for row in self._flying if row[2].box is box), default=FOREVER)

    def _deliver(self, box: BootedKernel) -> None:
        now = self._now(box)
        due = [row for row in self._flying if row[2].box is box and row[0] <= now]
        if not due:
            return
        self._flying = [row for row in self._flying if row not in due]
        heapq.heapify(self._flying)
        for _, _, card, frame in sorted(due, key=lambda row: row[:2]):
            with suppress(KoboxError):  # the card is gone
                card.send(frame)

    # -- time ------------------------------------------------------------------------------------------------

    def _now(self, box: BootedKernel) -> int:
        return box.machine.time - self._zero[box]

    def _others(self, box: BootedKernel) -> list[BootedKernel]:
        """The boxes that can follow, the one that is furthest behind first."""
        return sorted(
            (other for other in self._zero if other is not box and other.alive and other not in self._following),
            key=self._now,
        )

    def _step(self, box: BootedKernel, run: MachineStep, until: int, blocks: int, stop_when_idle: bool) -> Event:
        """Let a box run, and the others with it. `Event.DEVICE` says no more than "go on"."""
        if box in self._following:
            return run(until, blocks, stop_when_idle)
        self._deliver(box)
        zero, others = self._zero[box], self._others(box)
        limit = min(until - zero, self._arrival(box), *(self._now(other) + QUANTUM for other in others[:1]))
        event = run(max(limit, 0) + zero, blocks, True)
        if event is Event.IDLE:
            return self._halted(box, run, until, blocks, stop_when_idle)
        if event is Event.DEADLINE and self._now(box) < until - zero:
            for other in others:
                self._follow(other, self._now(box))
            return Event.DEVICE
        return event

    def _halted(self, box: BootedKernel, run: MachineStep, until: int, blocks: int, stop_when_idle: bool) -> Event:
        zero = self._zero[box]
        wakes = min(box.machine.next_timer, until)
        target = min(wakes - zero if wakes != FOREVER else FOREVER, self._arrival(box))
        sent = self._count
        for other in self._others(box):
            behind = self._now(other) + min(wire.latency for wire in self.wires)
            if stop_when_idle:
                self._follow(other, FOREVER)
            elif behind < target:
                self._follow(other, target)
            if self._count != sent:
                return Event.DEVICE
        if stop_when_idle and not any(row[2].box.alive for row in self._flying):
            return Event.IDLE
        if target == FOREVER:
            return Event.IDLE
        event = run(target + zero, blocks, False)
        return Event.DEVICE if event is Event.DEADLINE and target < until - zero else event

    def _follow(self, box: BootedKernel, until: int) -> None:
        """Let a box that nobody waits for run up to a time, or until it has sent a frame; to its rest, for FOREVER."""
        self._following.add(box)
        sent = self._count
        try:
            while self._count == sent and box.alive:
                self._deliver(box)
                end = min(until, self._arrival(box))
                if until == FOREVER:
                    box.guest.processes.rest()
                    end = self._arrival(box)
                if end == FOREVER or (self._now(box) >= end and end == until):
                    return
                box.guest.processes.run_until(lambda: self._count != sent, until=end + self._zero[box])
        except BoxError:
            pass  # it has died, and says so when something is asked of it
        finally:
            self._following.discard(box)


def join(first: Card, second: Card, *, latency: float = LATENCY / 1e9) -> Wire:
    """Join two cards of two boxes by a wire; frames take `latency` virtual seconds.

    A card whose hardware address another one on the wires has gets another. Raises `KoboxError` for two cards of one
    box, and for a card that is joined already.
    """
    if first.box is second.box:
        raise KoboxError("both cards are of one box", hint="A wire joins two boxes; inside one, use a veth pair.")
    for card in (first, second):
        if card.wire is not None:
            raise KoboxError(f"{card!r} is joined already", hint="Cut that wire first.")
        if any(other.gateway is not None for other in cards_of(card.box)):
            raise KoboxError(f"{card.box!r} has a user network (`network.user`)", hint="Close that first.")
    clocks, theirs = _clocks_of(first), _clocks_of(second)
    used = {end.mac for known in (clocks, theirs) if known is not None for other in known.wires for end in other.ends}
    for card in (first, second):  # now, while each box still runs as it did: time passes in it
        before = mac = card.mac
        while mac in used:
            mac = _next(mac)
        if mac != before:
            card.set_mac(mac)
        used.add(mac)
    if clocks is None:
        clocks = LinkedClocks()
        clocks.add(first.box, 0)
    if theirs is None:
        clocks.add(second.box, clocks.time)
    elif theirs is not clocks:
        clocks.absorb(theirs)
    wire = Wire(first, second, max(int(latency * 1e9), 1000), clocks)
    clocks.join(wire)
    return wire


def _clocks_of(card: Card) -> LinkedClocks | None:
    """The clocks that a card's box runs in step with; None when no wire connects it."""
    wires = (other.wire for other in cards_of(card.box))
    return next((wire.clocks for wire in wires if isinstance(wire, Wire)), None)


def _next(mac: str) -> str:
    """Another hardware address; the last byte is the number of a card in its box."""
    data = bytearray.fromhex(mac.replace(":", ""))
    data[4] = data[4] + 1 & 0xFF
    return data.hex(":")
