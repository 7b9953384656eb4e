"""A USB device of which nothing is known but which driver wants it: descriptors made up, requests and endpoints
answered by a policy.

    control request to the host      each byte is asked of the policy: request, value, index, byte
    bulk and interrupt to the host   the same by endpoint and byte, ten virtual milliseconds after it was asked for

What the driver wants of the descriptors (how many endpoints, of which kind and direction) makes it another device.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from kobox.devices.computer import Timer
from kobox.devices.phantom_policy import CONTROL, ENDPOINT, PLACE_BITS, Policy, PolicyAnswers, RegisterAt
from kobox.devices.state import Restore, save_state
from kobox.devices.usb import Endpoint, Interface, SetupPacket, UsbDevice

_ALIAS = re.compile(
    r"usb:v(\*|[0-9A-F]{4})p(\*|[0-9A-F]{4})d([0-9A-F*\[\]-]*?)dc(\*|..)dsc(\*|..)dp(\*|..)ic(\*|..)isc(\*|..)ip(\*|..)"
    r"in(\*|..)\*?"
)
_HID_ALIAS = re.compile(r"hid:b0003g(?:\*|[0-9A-F]{4})v([0-9A-F]{8})p([0-9A-F]{8})")
_KINDS = ("control", "isochronous", "bulk", "interrupt")
_PAUSE = 10_000_000  # virtual nanoseconds from a question to the answer of an endpoint
_MOST_ANSWERS = 64  # of one endpoint: who asks again and again is answered no more
_LARGEST = 4096  # bytes of one answer that are asked of the policy
SPEEDS = {1: "low", 2: "full", 3: "high", 5: "super"}  # enum usb_device_speed (include/uapi/linux/usb/ch9.h)


class EndpointShape(NamedTuple):
    """bEndpointAddress, bmAttributes, wMaxPacketSize and bInterval of an endpoint."""

    address: int
    attributes: int = 2
    size: int = 512
    interval: int = 4


ENDPOINTS = (
    *(EndpointShape(0x81), EndpointShape(0x02), EndpointShape(0x83, 3, 64), EndpointShape(0x04, 3, 64)),
    *(EndpointShape(0x85), EndpointShape(0x06)),
)
"""What an interface has before more is known: bulk and interrupt, both ways, and bulk once more."""


class UsbIdentity(NamedTuple):
    """Who a device says it is: IDs, version (bcdDevice), class, subclass and protocol of the device and of its
    interface, the interface's number, how many alternate settings it has, its endpoints, the device's speed,
    and the numbers of further interfaces."""

    vendor: int
    product: int
    version: int = 0x0100
    device_class: tuple[int, int, int] = (0, 0, 0)
    interface_class: tuple[int, int, int] = (0xFF, 0, 0)
    number: int = 0
    alternates: int = 1
    endpoints: tuple[EndpointShape, ...] = ENDPOINTS
    speed: int = 3
    more: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.vendor:04x}:{self.product:04x}"


_CDC = bytes.fromhex("05240010010524060001052401030104240206") + struct.pack(
    "<BBBBIHHB", 13, 0x24, 0x0F, 4, 0, 1514, 0, 0
)
_REPORTS = bytes.fromhex(
    "05010902a1010901a1000509190129031500250195037501810295017505810105010930093109381581257f750895038106c0c0"
)
"""The report descriptor of a mouse (Device Class Definition for HID 1.11, appendix E.10)."""
_HID = struct.pack("<BBHBBBH", 9, 0x21, 0x0111, 0, 1, 0x22, len(_REPORTS))
_COMMUNICATIONS = 2
_MORE = 8  # from this on, endpoints of further interfaces
HID_CLASS = 3
_EXTRA = {2: _CDC, HID_CLASS: _HID}  # class descriptors, by the class of the interface


class PhantomUsb(PolicyAnswers, UsbDevice):
    """A phantom in a USB port."""

    vectors = 0
    strings = ("02636172640A",)  # the hardware address of an Ethernet adapter

    def __init__(self) -> None:
        super().__init__()
        self._answered: dict[int, int] = {}
        self._waiting: set[int] = set()
        self._due: set[int] = set()
        self._pause = Timer(self, self._pause_over)
        self.given = 0  # how many reads the last answer was made of
        self.on_delivered: Callable[[Sequence[tuple[int, int]]], None] | None = None

    def save(self) -> Restore:
        return save_state(self, {"usb_port", "computer", "host", "on_delivered"})

    def interrupt(self, vector: int = 0) -> None:
        """Answer all endpoints that are asked, at once."""
        if not self.is_silent and self.plugged:
            self._pause_over()

    def descriptor(self, kind: int, number: int, index: int = 0) -> bytes:
        if kind == 0x22:
            return _REPORTS
        return super().descriptor(kind, number, index)

    def control_in(self, setup: SetupPacket) -> bytes:
        if self.next_is_refused():
            self.stall()
        bar = CONTROL + (setup.kind << 8 | setup.request)
        where = (setup.value << 16 | setup.index) << PLACE_BITS
        self.given = size = min(setup.length, _LARGEST)
        return bytes(self.answer(RegisterAt(bar, where + n), 1) for n in range(size)).ljust(setup.length, b"\0")

    def control_out(self, setup: SetupPacket, data: bytes) -> None:
        if self.next_is_refused():
            self.stall()
        bar = CONTROL + ((setup.kind | 0x80) << 8 | setup.request)
        where = (setup.value << 16 | setup.index) << PLACE_BITS
        for n, byte in enumerate(data[:_LARGEST]):
            self.keep(RegisterAt(bar, where + n), 1, byte)

    def data_in(self, endpoint: int, size: int) -> bytes | None:
        if self.endpoint_kind(endpoint) == "isochronous":
            return None
        if endpoint not in self._due:
            if self._answered.get(endpoint, 0) < _MOST_ANSWERS and not self.is_silent:
                self._waiting.add(endpoint)
                if self._pause.due is None:
                    self._pause.start(_PAUSE)
            return None
        self._due.discard(endpoint)
        if self.next_is_refused():
            self.stall()
        self._answered[endpoint] = self._answered.get(endpoint, 0) + 1
        self.given = known = min(size, _LARGEST)
        return bytes(self.answer(RegisterAt(ENDPOINT + endpoint, n), 1) for n in range(known)).ljust(size, b"\0")

    def data_out(self, endpoint: int, data: bytes) -> None:
        if self.endpoint_kind(endpoint) != "isochronous" and self.next_is_refused():
            self.stall()

    def delivered(self, endpoint: int, pieces: Sequence[tuple[int, int]]) -> None:
        if self.on_delivered is not None:
            self.on_delivered(pieces)

    def _pause_over(self) -> None:
        self._pause.stop()
        waiting, self._waiting = sorted(self._waiting), set()
        for endpoint in waiting:
            self._due.add(endpoint)
            self.ready(endpoint)
            self._due.discard(endpoint)


def _rows(aliases: Iterable[str]) -> Iterator[tuple[list[int | None], int | None]]:
    """Vendor, product, class (3), interface's class (3), its number, None for "*"; and a version that fits."""
    for match in filter(None, map(_ALIAS.fullmatch, aliases)):
        words = [*match.groups()[:2], *match.groups()[3:]]
        yield [None if word == "*" else int(word, 16) for word in words], _version(match[3])


def _version(pattern: str) -> int | None:
    """The first version that a pattern such as "0[1-3]*" stands for, four digits (add_bcd in scripts/mod/file2alias.c);
    None for all."""
    digits = re.sub(r"\[(.)[^\]]*\]", r"\1", pattern).rstrip("*")
    return int(digits.ljust(4, "0")[:4], 16) if digits else None


def hid_identities(aliases: Iterable[str], most: int = 3) -> list[UsbIdentity]:
    """Whom a device may be for a driver of HID devices (keyboards, tablets, sensors) in USB ports."""
    names = [match for match in map(_HID_ALIAS.fullmatch, aliases) if match is not None]
    found = [
        UsbIdentity(
            int(vendor, 16), int(product, 16), interface_class=(HID_CLASS, 0, 0), endpoints=(EndpointShape(0x81, 3, 8),)
        )
        for vendor, product in dict.fromkeys((match[1], match[2]) for match in names)
    ]
    if len(found) <= most:
        return found
    return [found[n * (len(found) - 1) // (most - 1)] for n in range(most)]


def usb_wanted_by(aliases: Iterable[str]) -> Callable[[UsbIdentity], bool]:
    """Whether one of these aliases is of a device with an identity; of the version nothing is asked."""
    rows = [words for words, _ in _rows(aliases)]

    def wanted(who: UsbIdentity) -> bool:
        is_ = (who.vendor, who.product, *who.device_class, *who.interface_class, who.number)
        return any(all(word in (None, own) for word, own in zip(words, is_, strict=True)) for words in rows)

    return wanted


def usb_identities(aliases: Iterable[str], most: int = 3) -> list[UsbIdentity]:
    """Whom a device may be for a driver with these aliases; empty when it is no USB driver. Those that name vendor and
    product come first; of many, the first, the last and some between are taken."""
    named: dict[UsbIdentity, None] = {}
    others: dict[UsbIdentity, None] = {}
    for words, version in _rows(aliases):
        vendor, product, device, interface, number = words[0], words[1], words[2:5], words[5:8], words[8]
        who = UsbIdentity(
            0x16C0 if vendor is None else vendor,
            0x05DC if product is None else product,
            0x0100 if version is None else version,
            device_class=(device[0] or 0, device[1] or 0, device[2] or 0),
            interface_class=(
                0xFF if interface[0] is None else interface[0],
                interface[1] or 0,
                interface[2] or 0,
            ),
            number=number or 0,
        )
        (others if vendor is None or product is None else named)[who] = None
    found = [*named, *others]
    if len(found) <= most:
        return found
    return [found[n * (len(found) - 1) // (most - 1)] for n in range(most)]


def interfaces_of(identity: UsbIdentity) -> tuple[Interface, ...]:
    """The interface that an identity describes, in each of its alternate settings; for the communications class also
    the one with the data."""
    endpoints = tuple(
        Endpoint(one.address, _KINDS[one.attributes & 3], one.size, one.interval) for one in identity.endpoints
    )
    first = identity.interface_class[0]
    settings = [
        Interface(*identity.interface_class, endpoints, _EXTRA.get(first, b""), identity.number, alternate)
        for alternate in range(identity.alternates)
    ]
    if first == _COMMUNICATIONS:
        settings[0] = Interface(*identity.interface_class, endpoints[2:3], _CDC, identity.number)
        bulk = [endpoint for endpoint in endpoints if endpoint.kind == "bulk"]
        settings.append(Interface(10, endpoints=bulk[:2], number=identity.number + 1))
    for number in identity.more:
        own = (Endpoint(0x80 | _MORE + number % 8), Endpoint(_MORE + number % 8))
        settings.append(Interface(*identity.interface_class, own, number=number))
    return tuple(settings)


def phantom_usb(identity: UsbIdentity, policy: Policy) -> PhantomUsb:
    """A device that is `identity` and answers by `policy`."""
    members = {
        "policy": policy,
        "vendor_id": identity.vendor,
        "product_id": identity.product,
        "version": identity.version,
        "device_class": identity.device_class,
        "speed": SPEEDS[identity.speed],
        "interfaces": interfaces_of(identity),
    }
    made = type("Phantom", (PhantomUsb,), members)()
    assert isinstance(made, PhantomUsb)
    return made
