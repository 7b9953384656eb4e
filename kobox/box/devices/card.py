"""A network card of a box, whose other end is here: see `kobox/box/devices/network.py`."""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from kobox.box.booted import BootedKernel
from kobox.box.devices.card_hardware import MOST_WAITING, CardHardware, ModelPort, NetworkDevice
from kobox.box.guest.sockets import BoxSocket
from kobox.devices.ethernet import EthernetPort, HasPort
from kobox.devices.model import HardwareModel
from kobox.devices.virtio import VirtioTransport
from kobox.errors import KoboxError
from kobox.machine.subscribers import Subscribers

if TYPE_CHECKING:
    import os

    from kobox.box.devices.pcap import PcapWriter

FrameCallback = Callable[[bytes], object]
_SIOCADDRT, _SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR = 0x890B, 0x8913, 0x8914, 0x8916
_SIOCSIFNETMASK, _SIOCSIFHWADDR, SIOCSIFNAME = 0x891C, 0x8924, 0x8923
_IFF_UP = 1
_PUT_OFF = 10_000_000  # ns that work of the kernel may take, once an interface has been brought up


class WireEnd(Protocol):
    """A wire that a card is joined by: `kobox.box.devices.link.Wire`."""

    def cut(self) -> None: ...


class Gateway(Protocol):
    """What is at the other end of a card and holds connections: `kobox.box.devices.nat.UserNetwork`."""

    def drop(self) -> None: ...


class Card:
    """One network card of a box. Made by `box.network.add`, `box.network.eth0`, or by plugging in a model that has an
    Ethernet port."""

    def __init__(self, box: BootedKernel, mac: bytes, model: HasPort | None = None) -> None:
        self.box = box
        self.device: CardHardware = ModelPort(self, model) if model else NetworkDevice(box.machine.ram, self, mac)
        self.frames: deque[bytes] = deque()
        self.lost = 0
        self._sent: Subscribers[[bytes], object] = Subscribers()
        self._captures: list[PcapWriter] = []
        # Who gets what the box sends: (virtual time, frame). None: it waits for `receive`.
        self.other_end: Callable[[int, bytes], None] | None = None
        self.wire: WireEnd | None = None
        self.gateway: Gateway | None = None

    def __repr__(self) -> str:
        return f"<Card {self.name or 'unplugged'} of {self.box!r}>"

    @property
    def virtio(self) -> NetworkDevice:
        """The card's hardware when it is virtio. Raises `KoboxError` when it is a model."""
        if not isinstance(self.device, NetworkDevice):
            raise KoboxError(f"{self!r} is no virtio card")
        return self.device

    @property
    def plugged(self) -> bool:
        """Whether the card is in its box: also false when the box has gone back to a time before it was there."""
        return self.device.in_box(self.box)

    @property
    def name(self) -> str:
        """The interface's name in the box, such as "eth0"; "" once unplugged."""
        return self.device.interface(self.box) if self.plugged else ""

    @property
    def mac(self) -> str:
        """The interface's hardware address, as the kernel has it now."""
        return self.box.read_text(f"/sys/class/net/{self._name()}/address").strip()

    # -- frames ----------------------------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        """A frame comes in by the wire. The kernel sees it when the box runs next: in any call, `receive` or
        `box.sleep`. `frame` is anything whose bytes() are the frame."""
        self._must_be_plugged()
        data = bytes(frame)
        if not 14 <= len(data) <= 65535:
            raise ValueError(f"a frame of {len(data)} bytes: an Ethernet frame has 14 to 65535")
        for capture in self._captures:
            capture.write(data, self._clock(self.box.machine.time))
        if len(self.device.waiting) >= MOST_WAITING:
            self.lost += 1
            return
        self.device.waiting.append(data)
        self.device.deliver()

    def receive(self, timeout: float = 1.0) -> bytes | None:
        """The next frame that the box has sent; None when none comes within `timeout` virtual seconds."""
        self._must_be_plugged()
        if not self.frames:
            until = self.box.machine.time + int(timeout * 1e9)
            self.box.guest.processes.run_until(lambda: bool(self.frames), until=until)
        return self.frames.popleft() if self.frames else None

    def on_frame(self, callback: FrameCallback) -> Callable[[], None]:
        """Call `callback(frame)` for each frame that the box sends, instead of keeping it for `receive`; what comes
        back takes the callback away.

        It runs while the box's CPU is stopped, in the middle of whatever call is under way: it may `send`, and must
        make no system calls. What it raises comes out of that call.
        """
        return self._sent.subscribe(callback)

    def pass_on(self, time: int, frame: bytes) -> None:
        """The box has sent a frame at a virtual time (ns since power on)."""
        for capture in self._captures:
            capture.write(frame, self._clock(time))
        self._sent.notify(frame)
        if self.other_end is not None:
            self.other_end(time, frame)
        elif not len(self._sent):
            if len(self.frames) >= MOST_WAITING:
                self.frames.popleft()
                self.lost += 1
            self.frames.append(frame)

    def capture(self, path: str | os.PathLike[str]) -> PcapWriter:
        """Write frames, both ways, to a pcap file as they go by, until `close()` or the end of the `with` block."""
        from kobox.box.devices.pcap import PcapWriter

        self._must_be_plugged()
        writer = PcapWriter(path, self._captures.remove)
        self._captures.append(writer)
        return writer

    def replay(self, path: str | os.PathLike[str]) -> int:
        """Send what a pcap file holds, with its pauses in virtual time; how many frames. Raises `KoboxError`."""
        from kobox.box.devices.pcap import read_pcap

        count, before = 0, None
        for time, frame in read_pcap(path):
            if before is not None and time > before:
                self.box.sleep((time - before) / 1e9)
            before = time
            self.send(frame)
            count += 1
        self.box.sleep(0.001)
        return count

    # -- the interface ---------------------------------------------------------------------------------------

    def up(self, *addresses: str, gateway: str = "") -> None:
        """Give the interface addresses ("10.0.0.2/24", "fd00::2/64") and bring it up, with a default route if asked.

        Raises `OSError` as the kernel does, `ValueError` for what is no address.
        """
        import ipaddress

        name, index = self._name(), int(self.box.read_text(f"/sys/class/net/{self._name()}/ifindex"))
        parsed = [ipaddress.ip_interface(address) for address in addresses]
        router = ipaddress.ip_address(gateway) if gateway else None
        for one in parsed:
            if one.version == 4:
                self.ioctl(_SIOCSIFADDR, name, _ipv4(one.ip.packed))
                self.ioctl(_SIOCSIFNETMASK, name, _ipv4(one.network.netmask.packed))
        self.set_up(True)
        for one in parsed:
            if one.version == 6:
                with suppress(FileExistsError):  # it has it already
                    self._ioctl6(_SIOCSIFADDR, struct.pack("<16sIi", one.ip.packed, one.network.prefixlen, index))
        with suppress(FileExistsError):
            if router is not None and router.version == 4:
                self._route4(router.packed)
            elif router is not None:
                flags = 3  # RTF_UP, RTF_GATEWAY
                route = struct.pack("<16s16s16sIHHI4xQIi", b"", b"", router.packed, 0, 0, 0, 1, 0, flags, index)
                self._ioctl6(_SIOCADDRT, route)

    def set_up(self, up: bool) -> None:
        """Bring the interface up or down. What the kernel puts off has been done then: in newer ones a virtio
        card's carrier comes in such work, and before it the kernel drops what it would send."""
        (flags,) = struct.unpack_from("<H", self.ioctl(_SIOCGIFFLAGS, self._name(), b""), 16)
        self.ioctl(_SIOCSIFFLAGS, self._name(), struct.pack("<H", flags | _IFF_UP if up else flags & ~_IFF_UP))
        until = self.box.machine.time + _PUT_OFF
        self.box.guest.processes.run_until(lambda: False, until=until, stop_when_idle=True)

    def set_mac(self, mac: str) -> None:
        """Change the interface's hardware address; it is down for a moment."""
        (flags,) = struct.unpack_from("<H", self.ioctl(_SIOCGIFFLAGS, self._name(), b""), 16)
        self.set_up(False)
        self.ioctl(_SIOCSIFHWADDR, self._name(), struct.pack("<H", 1) + mac_bytes(mac))
        self.set_up(bool(flags & _IFF_UP))

    @property
    def link(self) -> bool:
        """Whether the cable is in. Setting it is what the kernel sees as carrier lost and found."""
        return self.device.link

    @link.setter
    def link(self, there: bool) -> None:
        self._must_be_plugged()
        self.device.link = bool(there)
        self.device.changed()

    def remove(self) -> None:
        """Take the card out of its box."""
        if self.plugged:
            self.device.remove(self.box)

    def cable_pulled(self) -> None:
        """The card has left its box: wires end, and connections through it."""
        if self.wire is not None:
            self.wire.cut()
        if self.gateway is not None:
            self.gateway.drop()

    def gone_back(self) -> None:
        """The box has gone back in time: what was on its way is lost."""
        self.frames.clear()
        if self.gateway is not None:
            self.gateway.drop()

    def _route4(self, gateway: bytes) -> None:
        # struct rtentry: the device's name is at a pointer, so the kernel finds it by the gateway instead.
        entry = struct.pack("<Q16s16s16sH46x", 0, _ipv4(b"\0" * 4), _ipv4(gateway), _ipv4(b"\0" * 4), 3)
        with BoxSocket(self.box, socket.AF_INET, socket.SOCK_DGRAM) as control:
            control.ioctl(_SIOCADDRT, bytearray(entry.ljust(120, b"\0")))

    def ioctl(self, request: int, name: str, value: bytes) -> bytes:
        """An ioctl(2) on an interface (struct ifreq, netdevice(7)): `value` follows its name. All of it then."""
        with BoxSocket(self.box, socket.AF_INET, socket.SOCK_DGRAM) as control:
            argument = bytearray(name.encode().ljust(16, b"\0") + value.ljust(24, b"\0"))
            control.ioctl(request, argument)
        return bytes(argument)

    def _ioctl6(self, request: int, argument: bytes) -> None:
        with BoxSocket(self.box, socket.AF_INET6, socket.SOCK_DGRAM) as control:
            control.ioctl(request, bytearray(argument))

    def _name(self) -> str:
        self._must_be_plugged()
        return self.name

    def _must_be_plugged(self) -> None:
        if not self.plugged:
            raise KoboxError("the network card is not in its box any more", hint="Take it from `box.network` again.")

    def _clock(self, time: int) -> int:
        """A virtual time as the box's clock of the day has it, in ns since 1970."""
        from kobox.machine.pc import EPOCH

        return EPOCH * 1_000_000_000 + time


def cards_of(box: BootedKernel) -> list[Card]:
    """The cards that are in a box: virtio cards, then those of models."""
    ends: list[object] = [d.card for d in box.machine.devices.slots.values() if isinstance(d, NetworkDevice)]
    ports = [model.card_port for model in plugged_models(box)]
    ends.extend(port.card for port in ports if isinstance(port, ModelPort) and port.in_box(box))
    return [end for end in ends if isinstance(end, Card)]


def add_card(box: BootedKernel, model: HardwareModel) -> None:
    """Give a model that has an Ethernet port a card in `box.network`."""
    port = getattr(model, "port", None)
    if isinstance(port, EthernetPort):
        model.card_port = Card(box, port.mac, model).device  # type: ignore[assignment, arg-type]


def plugged_models(box: BootedKernel) -> Iterator[HardwareModel]:
    """The models in a box: on the PCI bus, virtio devices, and on the buses that those make."""
    models: list[object] = [function.model for function in box.machine.pci.functions.values()]
    models += [device.model for device in box.machine.devices.slots.values() if isinstance(device, VirtioTransport)]
    models += box.machine.platform.models
    waiting = [model for model in models if isinstance(model, HardwareModel)]
    while waiting:
        model = waiting.pop(0)
        yield model
        waiting.extend(model.attached)


def _ipv4(address: bytes) -> bytes:
    """struct sockaddr_in of an address."""
    return struct.pack("<HH4s8x", socket.AF_INET, 0, address)


def mac_bytes(text: str) -> bytes:
    """The six bytes of a hardware address. Raises `ValueError`."""
    data = bytes.fromhex(text.replace(":", "").replace("-", ""))
    if len(data) != 6:
        raise ValueError(f"{text}: a hardware address has six bytes")
    return data
