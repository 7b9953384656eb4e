"""The hardware of a network card of a box: virtio, or a model that has an Ethernet port (`kobox.devices.ethernet`)."""

from __future__ import annotations

import struct
from collections import deque
from typing import Protocol

from kobox.box.booted import BootedKernel
from kobox.box.devices.virtio_mmio import made_at, unplug
from kobox.devices.ethernet import HasPort
from kobox.machine.devices import Restore
from kobox.machine.virtio import BrokenQueueError, VirtioDevice

_F_MAC, _F_STATUS = 1 << 5, 1 << 16
_HEADER = 12  # struct virtio_net_hdr_v1, all zero: no offloads
_LONGEST = 65536 + _HEADER
MOST_WAITING = 4096  # frames that wait in each direction; what comes then is lost, as on a wire
_RECEIVE, _TRANSMIT = 0, 1
_FRAME_COST = 4  # in pieces of memory: what a model does to make a frame


class CardEnd(Protocol):
    """What the hardware asks of its card: `kobox.box.devices.card.Card`."""

    box: BootedKernel
    lost: int

    def pass_on(self, time: int, frame: bytes) -> None: ...

    def cable_pulled(self) -> None: ...

    def gone_back(self) -> None: ...


class CardHardware(Protocol):
    """The card itself: a virtio network card (`NetworkDevice`), or a model with an Ethernet port."""

    link: bool
    waiting: deque[bytes]

    def deliver(self) -> None:
        """Give the driver the frames that wait, as far as it has room for them."""

    def changed(self) -> None:
        """`link` has changed: tell the driver."""

    def in_box(self, box: BootedKernel) -> bool:
        """Whether it is plugged in."""

    def interface(self, box: BootedKernel) -> str:
        """The name of the interface that the driver has made; "" for none."""

    def remove(self, box: BootedKernel) -> None:
        """Take it out."""


class NetworkDevice(VirtioDevice):
    """The card as hardware: two queues and a MAC address (virtio 1.2, 5.1)."""

    kind = 1
    queue_count = 2
    features = VirtioDevice.features | _F_MAC | _F_STATUS

    def __init__(self, ram: memoryview, card: CardEnd, mac: bytes) -> None:
        super().__init__(ram)
        self.card = card
        self.mac = mac
        self.link = True
        self.waiting: deque[bytes] = deque()  # for room in the receive queue
        self.sent: deque[tuple[int, bytes]] = deque()  # (virtual time, frame), not yet passed on

    def configuration(self) -> bytes:
        return self.mac + struct.pack("<H", self.link)

    def notified(self, queue: int) -> None:
        if queue == _RECEIVE:
            self.deliver()
            return
        while buffer := self.queues[_TRANSMIT].pop():
            ram = self.bus.ram
            if sum(segment.size for segment in buffer.segments) > _LONGEST:
                raise BrokenQueueError("a frame of more than 64 KiB")
            data = b"".join(bytes(ram[s.address : s.address + s.size]) for s in buffer.segments if not s.writable)
            self.bus.work.moved(len(data), len(buffer.segments))
            if len(self.sent) < MOST_WAITING:
                self.sent.append((self.bus.now(), data[_HEADER:]))
            self.done(_TRANSMIT, buffer.head, 0)
        if self.sent:
            self.bus.ring(self)

    def deliver(self) -> None:
        """Put waiting frames where the driver has made room for them. One that is too long for it is lost."""
        try:
            self._deliver()
        except BrokenQueueError:
            self.broken()

    def _deliver(self) -> None:
        while self.waiting and (buffer := self.queues[_RECEIVE].pop()):
            data = struct.pack("<10xH", 1) + self.waiting[0]
            segments = [segment for segment in buffer.segments if segment.writable]
            self.waiting.popleft()
            if sum(segment.size for segment in segments) < len(data):
                self.card.lost += 1
                self.done(_RECEIVE, buffer.head, 0)
                continue
            at = 0
            for segment in segments:
                self.fill(segment, data[at : at + segment.size])
                at += segment.size
            self.done(_RECEIVE, buffer.head, len(data))

    def in_box(self, box: BootedKernel) -> bool:
        return box.machine.devices.slots.get(getattr(self, "slot", -1)) is self

    def interface(self, box: BootedKernel) -> str:
        return made_at(box, self, "net")

    def remove(self, box: BootedKernel) -> None:
        unplug(box, self)

    def attend(self) -> None:
        super().attend()
        while self.sent:
            self.card.pass_on(*self.sent.popleft())

    def unplugged(self) -> None:
        self.sent.clear()
        self.card.cable_pulled()

    def save(self) -> Restore:
        restore_virtio, link, waiting = super().save(), self.link, tuple(self.waiting)
        return lambda: self._restore(restore_virtio, link, waiting)

    def _restore(self, restore_virtio: Restore, link: bool, waiting: tuple[bytes, ...]) -> None:
        restore_virtio()
        self.link = link
        self.waiting = deque(waiting)
        self.sent.clear()
        self.card.gone_back()


class ModelPort:
    """A model's Ethernet port as the hardware of a card."""

    def __init__(self, card: CardEnd, model: HasPort) -> None:
        self.card, self.model = card, model
        self._sent: deque[tuple[int, bytes]] = deque()
        model.port.on_frame = self._send

    @property
    def link(self) -> bool:
        return self.model.port.link

    @link.setter
    def link(self, there: bool) -> None:
        self.model.port.link = there

    @property
    def waiting(self) -> deque[bytes]:
        return self.model.port.waiting

    @waiting.setter
    def waiting(self, frames: deque[bytes]) -> None:
        self.model.port.waiting = frames

    def _send(self, frame: bytes) -> None:
        self.card.box.machine.device_work.moved(len(frame), _FRAME_COST)
        if len(self._sent) < MOST_WAITING:
            self._sent.append((self.model.computer.now, frame))
        self.model.computer.ring(self)

    def attend(self) -> None:
        """Pass on what the driver has sent; the CPU has stopped."""
        while self._sent:
            self.card.pass_on(*self._sent.popleft())

    def deliver(self) -> None:
        self.model.port.deliver()

    def changed(self) -> None:
        self.model.port.changed()

    def in_box(self, box: BootedKernel) -> bool:
        return self.model.plugged and self.card.box is box

    def interface(self, box: BootedKernel) -> str:
        return next((name for place in self.model.sysfs for name in _listdir(box, f"{place}/net")), "")

    def remove(self, box: BootedKernel) -> None:
        self.model.unplug()
        self._sent.clear()
        self.card.cable_pulled()

    def save(self) -> Restore:
        """For a checkpoint: what is on its way is lost, as with any card."""

        def restore() -> None:
            self._sent.clear()
            self.card.gone_back()

        return restore


def _listdir(box: BootedKernel, path: str) -> list[str]:
    try:
        return [name for name in box.listdir(path) if name[0] != "."]
    except OSError:
        return []
