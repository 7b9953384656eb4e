"""The end of an Ethernet cable in a model of a network card.

    wire (box.network)                                  model
      put(frame)           -> waiting -> take(frame)     True: it is in a ring of the driver's, or dropped
      on_frame(frame)      <---------- transmit(frame)
      set_link(False)      ----------> link_changed()

A frame begins with the Ethernet header and has no check sequence. Checksums and segments that a driver leaves to its
card are made here.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from kobox.devices.computer import Computer
from kobox.devices.state import Restore

DEFAULT_MAC = bytes.fromhex("02636172640a")


class EthernetPort:
    """A port of a network card. `take` gets the frames that come in; it returns False when there is no room yet."""

    def __init__(
        self, mac: bytes, take: Callable[[bytes], bool], link_changed: Callable[[], None] = lambda: None
    ) -> None:
        self.mac = mac
        self.link = True
        self.waiting: deque[bytes] = deque()
        self.on_frame: Callable[[bytes], None] | None = None
        self._take, self._link_changed = take, link_changed

    def transmit(self, frame: bytes) -> None:
        """The driver sends a frame: it goes out by the cable, when there is one."""
        if self.on_frame is not None and self.link and len(frame) >= 14:
            self.on_frame(frame)

    def deliver(self) -> None:
        """Give the model the frames that wait, as long as it takes them."""
        while self.waiting and self._take(self.waiting[0]):
            self.waiting.popleft()

    def changed(self) -> None:
        """The cable was put in or pulled out: `link` says which."""
        self._link_changed()

    def save(self) -> Restore:
        """For a checkpoint: a function that brings back what waits and the link."""
        waiting, link = tuple(self.waiting), self.link

        def restore() -> None:
            self.waiting, self.link = deque(waiting), link

        return restore


def internet_sum(data: bytes | bytearray | memoryview) -> int:
    """The ones' complement sum of RFC 1071 over bytes, not inverted."""
    if len(data) % 2:
        data = bytes(data) + b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def put_checksum(frame: bytearray, start: int, at: int, end: int = 0) -> None:
    """Sum up a frame from `start` to `end` (0: its end) and write the checksum at `at`, where the driver has left the
    pseudo header's sum."""
    if at + 2 <= len(frame) and start < len(frame):
        struct.pack_into(">H", frame, at, ~internet_sum(memoryview(frame)[start : end or None]) & 0xFFFF)


def segments(frame: bytes, header: int, size: int, network: int, transport: int) -> Iterator[bytes]:
    """The frames that a TCP frame of more than `size` bytes of payload becomes ("TSO").

    `header` is the length of all headers, `network` and `transport` are where the IP and the TCP header begin. The TCP
    checksum is left as the sum of the pseudo header with each frame's length. Where the headers cannot be those of a
    TCP frame, the frame goes out as it is.
    """
    if not 0 <= network < transport <= header - 20 or header > len(frame) or size < 1:
        yield frame
        return
    ipv4 = frame[network] >> 4 == 4
    if transport - network < (20 if ipv4 else 40) or header + size - network > 0xFFFF:
        yield frame
        return
    payload = memoryview(frame)[header:]
    (sequence,) = struct.unpack_from(">I", frame, transport + 4)
    for number, at in enumerate(range(0, len(payload), size)):
        piece = payload[at : at + size]
        made = bytearray(frame[:header])
        made += piece
        length = len(made) - transport
        struct.pack_into(">I", made, transport + 4, sequence + at & 0xFFFFFFFF)
        if at + size < len(payload):
            made[transport + 13] &= ~0x09  # FIN and PSH belong to the last one
        if ipv4:
            (identity,) = struct.unpack_from(">H", made, network + 4)
            struct.pack_into(">HH", made, network + 2, len(made) - network, identity + number & 0xFFFF)
            addresses = bytes(made[network + 12 : network + 20])
        else:
            struct.pack_into(">H", made, network + 4, len(made) - network - 40)
            addresses = bytes(made[network + 8 : network + 40])
        pseudo = internet_sum(addresses + struct.pack(">HH", 6, length))
        struct.pack_into(">H", made, transport + 16, pseudo)
        yield bytes(made)


class HasPort(Protocol):
    """A model of a network card."""

    port: EthernetPort
    computer: Computer

    @property
    def plugged(self) -> bool: ...

    @property
    def sysfs(self) -> Sequence[str]: ...

    def unplug(self) -> None: ...
