"""The user network of a box: its TCP and UDP go through ordinary sockets of this machine, where they are let.

    box.network.user(allow=["192.0.2.0/24"])

    the box                 here                                this machine
    eth0, 10.0.2.15/24 ---> gateway 10.0.2.2 ---- a socket ---> 127.0.0.1: always let
                            other addresses ----- a socket ---> that address, if in `allow`; else ICMP "prohibited"

A TCP connection ends here and goes on as one of this machine's: the wire between box and gateway loses nothing, so that
there is no congestion control, and a lost frame (the box had no room) is simply sent again. No IPv6, no DHCP, no way
in.

While a connection is open, or a datagram waits for its answer, a box that has nothing to do waits in real time: what
comes from outside is as late as it is. A box without either has its virtual time, as ever.

Source: RFC 9293 (TCP), RFC 768, RFC 792, RFC 826.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import struct
import time
from collections.abc import Sequence

from kobox.box.devices.card import Card, cards_of
from kobox.box.events import MachineStep
from kobox.errors import KoboxError
from kobox.machine.native_core import FOREVER, Event

BOX, GATEWAY, PREFIX = "10.0.2.15", "10.0.2.2", 24
_MAC = b"\x02kobo\xfe"
_FLOWS = 256  # open at a time, of each kind
_SEGMENT, _WINDOW = 1460, 65535
_AGAIN = 300_000_000  # ns of virtual time after which what was not acknowledged is sent again
_ANSWER, _MORE = (
    5_000_000_000,
    200_000_000,
)  # ns of virtual time that an answer to a datagram is waited for, and a next one
_KEPT = 60_000_000_000  # ns of virtual time after that, that it is still taken
_FIN, _SYN, _RST, _PSH, _ACK = 1, 2, 4, 8, 16
_BLOCKS = 400_000  # between two looks at the sockets while the box is busy
_Address = tuple[bytes, int]
_Key = tuple[_Address, _Address]  # the box's end, the other end, as the box sees them


class Datagrams:
    """The datagrams between one port of the box and one other end."""

    def __init__(self, net: UserNetwork, key: _Key, target: str) -> None:
        self.net, self.key = net, key
        self.until = 0
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.connect((target, key[1][1]))

    def wants(self) -> int:
        return select.POLLIN

    @property
    def open(self) -> bool:
        return self.net.now < self.until

    def send(self, data: bytes) -> None:
        self.until = self.net.now + _ANSWER
        with contextlib.suppress(OSError):
            self.sock.send(data)

    def serve(self) -> None:
        """The socket has something."""
        for _ in range(64):
            try:
                data = self.sock.recv(65535)
            except OSError as error:
                if not isinstance(error, BlockingIOError):
                    self.until = 0  # refused: nothing will come
                return
            here, there = self.key
            header = struct.pack(">HHHH", there[1], here[1], 8 + len(data), 0)
            if len(data) <= _SEGMENT:
                self.net.send_ip(17, there[0], here[0], header + data, checksum_at=6)
            self.until = self.net.now + _MORE

    def close(self) -> None:
        self.sock.close()


class Connection:
    """One TCP connection: its box's side is spoken here, the other is a socket."""

    def __init__(self, net: UserNetwork, key: _Key, target: str, sequence: int, window: int) -> None:
        self.net, self.key = net, key
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sock.setblocking(False)
        self.state = "connecting"
        self.next_in = sequence + 1 & 0xFFFFFFFF  # of the box's bytes
        self.first_out = self.next_out = net.sequence()
        self.window = window
        self.to_host, self.unacknowledged = bytearray(), bytearray()
        self.box_done = self.host_done = self.fin_sent = self.shut = False
        self.progress = net.now
        with contextlib.suppress(BlockingIOError):
            self.sock.connect((target, key[1][1]))

    open = True

    def wants(self) -> int:
        if self.state == "connecting":
            return select.POLLOUT
        room = not self.host_done and self._room() > 0
        return (select.POLLIN if room else 0) | (select.POLLOUT if self.to_host else 0)

    def _room(self) -> int:
        return min(self.window, _WINDOW) - (self.next_out - self.first_out & 0xFFFFFFFF)

    # -- the socket's side -----------------------------------------------------------------------------------

    def serve(self) -> None:
        """The socket is ready for something."""
        if self.state == "connecting":
            if self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._reset()
                return
            try:
                self.sock.getpeername()
            except OSError:
                return
            self.state = "greeting"
            self._segment(_SYN | _ACK, options=struct.pack(">BBH", 2, 4, _SEGMENT))
            self.next_out += 1
            return
        try:
            self._to_socket()
            self._from_socket()
        except BlockingIOError:
            pass
        except OSError:
            self._reset()

    def _to_socket(self) -> None:
        while self.to_host:
            before = len(self.to_host)
            del self.to_host[: self.sock.send(self.to_host)]
            if _WINDOW - before < _SEGMENT:
                self._segment(_ACK)  # there is room again
        if self.box_done and not self.shut:
            self.shut = True
            self.sock.shutdown(socket.SHUT_WR)
            self._maybe_end()

    def _from_socket(self) -> None:
        while self.state == "open" and not self.host_done and (room := self._room()) > 0:
            data = self.sock.recv(min(room, _SEGMENT))
            if not data:
                self.host_done = True
                self._segment(_FIN | _ACK)
                self.next_out += 1
                self.fin_sent = True
                return
            self.unacknowledged += data
            self._segment(_ACK | _PSH, data)
            self.next_out += len(data)

    # -- the box's side --------------------------------------------------------------------------------------

    def heard(self, flags: int, sequence: int, acknowledged: int, window: int, data: bytes) -> None:
        """A segment from the box."""
        if flags & _RST:
            self._hang_up()
            return
        if flags & _SYN or not flags & _ACK:
            if self.state == "greeting" and flags & _SYN:  # it has not heard us
                self.next_out -= 1
                self._segment(_SYN | _ACK, options=struct.pack(">BBH", 2, 4, _SEGMENT))
                self.next_out += 1
            return
        self.window = window
        self._acknowledged(acknowledged)
        late = self.next_in - sequence & 0xFFFFFFFF
        if late and late < 1 << 31:
            data = data[late:]
        elif late:
            return  # a hole: it will be sent again
        data = data[: _WINDOW - len(self.to_host)]
        self.to_host += data
        self.next_in = self.next_in + len(data) & 0xFFFFFFFF
        if flags & _FIN and not self.box_done and late <= len(data):
            self.box_done = True
            self.next_in = self.next_in + 1 & 0xFFFFFFFF
        if data or late or flags & _FIN:
            self._segment(_ACK)
        self.serve()

    def _acknowledged(self, acknowledged: int) -> None:
        count = acknowledged - self.first_out & 0xFFFFFFFF
        if not count or count > (self.next_out - self.first_out & 0xFFFFFFFF):
            return
        self.progress = self.net.now
        self.first_out = acknowledged
        if self.state == "greeting":
            self.state, count = "open", count - 1
        fin = self.fin_sent and count > len(self.unacknowledged)
        del self.unacknowledged[:count]
        if fin:
            self.state = "closed by host"
            self._maybe_end()

    def again(self) -> None:
        """Send again what was not acknowledged for some time."""
        if self.first_out == self.next_out or self.net.now - self.progress < _AGAIN:
            return
        self.progress = self.net.now
        end, self.next_out = self.next_out, self.first_out
        if self.state == "greeting":
            self._segment(_SYN | _ACK, options=struct.pack(">BBH", 2, 4, _SEGMENT))
        for at in range(0, len(self.unacknowledged), _SEGMENT):
            piece = bytes(self.unacknowledged[at : at + _SEGMENT])
            self._segment(_ACK | _PSH, piece)
            self.next_out += len(piece)
        if self.fin_sent:
            self._segment(_FIN | _ACK)
        self.next_out = end

    def _segment(self, flags: int, data: bytes = b"", options: bytes = b"") -> None:
        here, there = self.key
        offset = 20 + len(options)
        window = _WINDOW - len(self.to_host)
        header = struct.pack(
            ">HHIIBBHHH",
            *(there[1], here[1], self.next_out & 0xFFFFFFFF, self.next_in, offset << 2, flags, window, 0, 0),
        )
        self.net.send_ip(6, there[0], here[0], header + options + data, checksum_at=16)

    def _maybe_end(self) -> None:
        if self.shut and self.state == "closed by host":
            self.net.forget(self)

    def _reset(self) -> None:
        self._segment(_RST | _ACK)
        self.net.forget(self)

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):  # the other end is to see a reset, too
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.net.forget(self)

    def close(self) -> None:
        self.sock.close()


class UserNetwork:
    """The gateway of one card, and what goes through it. `close()` ends it all."""

    def __init__(self, card: Card, allow: Sequence[str] = ()) -> None:
        self.card = card
        self._machine = card.box.machine
        self.allow = [ipaddress.ip_network(one) for one in allow]
        self._flows: dict[tuple[int, _Key], Connection | Datagrams] = {}
        self._count = 0
        self._mac = b"\xff" * 6  # the box's
        if any(other.wire is not None or other.gateway is not None for other in cards_of(card.box)):
            raise KoboxError("a box that is joined to another, or has a user network already, cannot be given one")
        card.other_end, card.gateway = self._frame, self
        self._undo = card.box.guest.processes.events.step.subscribe(self._step)

    @property
    def now(self) -> int:
        """The box's virtual time, ns."""
        return self._machine.time

    @property
    def flows(self) -> int:
        """How many connections and exchanges of datagrams there are."""
        return len(self._flows)

    def close(self) -> None:
        """Close all sockets, and take the gateway away."""
        self.drop()
        if self.card.gateway is self:
            self.card.other_end = self.card.gateway = None
        self._undo()

    def drop(self) -> None:
        """Close all sockets: the box has gone to a time that knows nothing of them."""
        for flow in self._flows.values():
            flow.close()
        self._flows.clear()

    def sequence(self) -> int:
        """Where a new connection begins to count."""
        self._count += 1
        return self._count << 16 & 0xFFFFFFFF

    def forget(self, flow: Connection | Datagrams) -> None:
        """A connection has ended."""
        flow.close()
        self._flows = {key: other for key, other in self._flows.items() if other is not flow}

    # -- time ------------------------------------------------------------------------------------------------

    def _step(self, run: MachineStep, until: int, blocks: int, stop_when_idle: bool) -> Event:
        if self._flows:
            self._serve(0)
        if not any(flow.open for flow in self._flows.values()):
            return run(until, blocks, stop_when_idle)
        event = run(until, min(blocks, _BLOCKS), True)
        if event is not Event.IDLE or stop_when_idle:
            return event
        wakes = min(self._machine.next_timer, until)
        before = time.monotonic()
        wait = 0.05 if wakes == FOREVER else min(max((wakes - self.now) / 1e9, 0), 0.05)
        self._serve(wait)
        passed = int((time.monotonic() - before) * 1e9)
        event = run(min(wakes, self.now + max(passed, 1000)), blocks, False)
        return Event.DEVICE if event is Event.DEADLINE and self.now < until else event

    def _serve(self, seconds: float) -> None:
        """Look after the sockets; wait for them that long, at most."""
        poll = select.poll()
        by_number = {}
        for flow in self._flows.values():
            if wanted := flow.wants():
                poll.register(flow.sock, wanted)
                by_number[flow.sock.fileno()] = flow
        for number, _ in poll.poll(seconds * 1000):
            if (flow := by_number[number]) in self._flows.values():
                flow.serve()
        for flow in list(self._flows.values()):
            if isinstance(flow, Connection):
                flow.again()

    # -- frames ----------------------------------------------------------------------------------------------

    def _frame(self, _: int, frame: bytes) -> None:
        kind = frame[12:14]
        if kind == b"\x08\x06" and frame[20:22] == b"\0\1" and len(frame) >= 42:
            asked = frame[38:42]
            if asked != frame[28:32]:  # not for its own address
                self._mac = frame[6:12]
                self.card.send(frame[6:12] + _MAC + frame[12:20] + b"\0\2" + _MAC + asked + frame[22:28] + frame[28:32])
        elif kind == b"\x08\x00" and len(frame) >= 34:
            self._mac = frame[6:12]
            size, fragment = struct.unpack_from(">HxxH", frame, 16)
            packet, start = frame[14 : 14 + size], (frame[14] & 15) * 4
            # RFC 1122, 3.2.1: version 4, a header of five words at least, no longer than the packet, which is there.
            if frame[14] >> 4 == 4 and 20 <= start <= size == len(packet) and not fragment & 0x3FFF:
                self._packet(packet, start)

    def _packet(self, packet: bytes, start: int) -> None:
        source, target, body = packet[12:16], packet[16:20], packet[start:]
        place = self._place(target)
        if packet[9] == 1 and len(body) >= 8 and body[0] == 8 and target == _packed(GATEWAY):
            self.send_ip(1, target, source, b"\0" + body[1:2] + b"\0\0" + body[4:], checksum_at=2)
        elif packet[9] in (6, 17) and len(body) >= (20 if packet[9] == 6 else 8):
            here, there = struct.unpack_from(">HH", body)
            key = ((source, here), (target, there))
            if place is None:
                self._prohibited(packet, start)
            elif packet[9] == 17:
                self._datagram(key, place, body[8:])
            else:
                self._tcp(key, place, body)

    def _place(self, target: bytes) -> str | None:
        """Where an address of the box's view is; None where it may not go."""
        if target == _packed(GATEWAY):
            return "127.0.0.1"
        address = ipaddress.IPv4Address(target)
        return str(address) if any(address in network for network in self.allow) else None

    def _datagram(self, key: _Key, place: str, data: bytes) -> None:
        flow = self._flows.get((17, key))
        if not isinstance(flow, Datagrams):
            others = [other for other in self._flows.values() if isinstance(other, Datagrams)]
            for other in others[: max(len(others) - _FLOWS + 1, 0)] + [o for o in others if o.until + _KEPT < self.now]:
                self.forget(other)
            try:
                flow = self._flows[17, key] = Datagrams(self, key, place)
            except OSError:
                return
        flow.send(data)

    def _tcp(self, key: _Key, place: str, body: bytes) -> None:
        _, _, sequence, acknowledged, offset, flags, window = struct.unpack_from(">HHIIBBH", body)
        if not 20 <= (offset >> 4) * 4 <= len(body):
            return
        flow = self._flows.get((6, key))
        if isinstance(flow, Connection):
            flow.heard(flags, sequence, acknowledged, window, body[(offset >> 4) * 4 :])
        elif flags & _SYN and not flags & _ACK and sum(k[0] == 6 for k in self._flows) < _FLOWS:
            try:
                self._flows[6, key] = Connection(self, key, place, sequence, window)
            except OSError:
                self._refuse(key, sequence + 1)
        elif not flags & _RST:
            self._refuse(key, sequence + bool(flags & (_SYN | _FIN)) + len(body) - (offset >> 4) * 4, acknowledged)

    def _refuse(self, key: _Key, next_in: int, next_out: int = 0) -> None:
        here, there = key
        header = struct.pack(
            ">HHIIBBHHH", there[1], here[1], next_out, next_in & 0xFFFFFFFF, 0x50, _RST | _ACK, 0, 0, 0
        )
        self.send_ip(6, there[0], here[0], header, checksum_at=16)

    def _prohibited(self, packet: bytes, start: int) -> None:
        body = struct.pack(">BBHI", 3, 13, 0, 0) + packet[: start + 8]
        self.send_ip(1, _packed(GATEWAY), packet[12:16], body, checksum_at=2)

    def send_ip(self, protocol: int, source: bytes, target: bytes, body: bytes, *, checksum_at: int) -> None:
        """Send a packet to the box; its checksums are put in."""
        pseudo = b"" if protocol == 1 else source + target + struct.pack(">HH", protocol, len(body))
        total = _checksum(pseudo + body) or (0xFFFF if protocol == 17 else 0)
        body = body[:checksum_at] + struct.pack(">H", total) + body[checksum_at + 2 :]
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, 64, protocol, 0) + source + target
        header = header[:10] + struct.pack(">H", _checksum(header)) + header[12:]
        with contextlib.suppress(KoboxError):  # the card is gone
            self.card.send(self._mac + _MAC + b"\x08\x00" + header + body)


def _packed(address: str) -> bytes:
    return ipaddress.IPv4Address(address).packed


def _checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    data += bytes(len(data) & 1)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return int(~total & 0xFFFF)
