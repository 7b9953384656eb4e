"""Network cards of a box, whose other ends are here: frames in and out as bytes.

    card = box.network.eth0
    card.up("10.0.0.2/24")
    card.send(frame)                     to the kernel in the box, as if it came in by the wire
    frame = card.receive(timeout=1.0)    what the kernel sends

A card is a virtio network card (`kobox/machine/virtio.py`, Linux' own driver virtio_net), so that everything a kernel
can do with a card works: XDP, tc, bridges, ethtool. A frame begins with the Ethernet header and has no check sequence.
What the box sends is passed on when its CPU has stopped, never inside the kernel: first to those who capture, then to
callbacks, then to the card's other end: another box's card, or the frames that `receive` gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kobox.box.booted import BootedKernel
from kobox.box.devices.card import SIOCSIFNAME, Card, cards_of, mac_bytes
from kobox.box.devices.virtio_mmio import plug
from kobox.box.guest.sockets import BoxSocket

if TYPE_CHECKING:
    from kobox.box.devices.nat import UserNetwork


class Network:
    """The network cards of a box, by their names in it, and its sockets."""

    def __init__(self, box: BootedKernel) -> None:
        self._box = box

    @property
    def eth0(self) -> Card:
        """The default card; plugged in when it is first asked for."""
        for card in self:
            if card.name == "eth0":
                return card
        return self.add()

    def add(self, name: str = "", mac: str = "") -> Card:
        """Plug in another card. `name` is what the interface is to be called (the kernel says eth0, eth1 …), `mac` its
        hardware address, "02:6b:6f:62:6f:00" and so on when none is given.

        Raises `KoboxError` when the kernel has no driver for it, or no place is free.
        """
        number = sum(1 for _ in self)
        card = Card(self._box, mac_bytes(mac) if mac else b"\x02kobo" + bytes([number]))
        made = plug(self._box, card.virtio, "virtio_net", "net")
        if name and name != made:
            card.ioctl(SIOCSIFNAME, made, name.encode()[:15])
        return card

    def send(self, frame: bytes) -> None:
        """`Card.send` of eth0."""
        self.eth0.send(frame)

    def receive(self, timeout: float = 1.0) -> bytes | None:
        """`Card.receive` of eth0."""
        return self.eth0.receive(timeout)

    def user(self, allow: Sequence[str] = ()) -> UserNetwork:
        """Give the box a way out, by eth0: its TCP and UDP over IPv4 go through sockets of this machine
        (`kobox.box.devices.nat`).

        The box is 10.0.2.15; 10.0.2.2 is this machine's 127.0.0.1. Other addresses are reached only when they are in
        `allow`, networks as "192.0.2.0/24". Raises `ValueError`, `KoboxError`.
        """
        from kobox.box.devices.nat import BOX, GATEWAY, PREFIX, UserNetwork

        made = UserNetwork(self.eth0, allow)
        made.card.up(f"{BOX}/{PREFIX}", gateway=GATEWAY)
        return made

    @property
    def nat(self) -> UserNetwork | None:
        """What `user` or `kobox.boot(net="user")` made, None without: `flows`, `close()`."""
        from kobox.box.devices.nat import UserNetwork

        return next((card.gateway for card in self if isinstance(card.gateway, UserNetwork)), None)

    def socket(self, family: int, kind: int, protocol: int = 0) -> BoxSocket:
        """A socket of the box's own network, with `socket.socket`'s methods."""
        return BoxSocket(self._box, family, kind, protocol)

    def __iter__(self) -> Iterator[Card]:
        return iter(cards_of(self._box))

    def __getitem__(self, name: str) -> Card:
        """The card of an interface. Raises `KeyError`."""
        for card in self:
            if card.name == name:
                return card
        raise KeyError(name)
