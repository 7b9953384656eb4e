"""What a driver reads of a USB device's descriptors makes it another device.

    if (alt->desc.bNumEndpoints < 3)          ->  three endpoints
    if (!usb_endpoint_is_bulk_in(endpoint))   ->  that endpoint is bulk, to the host
    if (udev->descriptor.bcdDevice == 0x400)  ->  version 4.00

Source: Universal Serial Bus Specification 2.0, 9.6.
"""

from __future__ import annotations

import struct

from kobox.devices.phantom_usb import ENDPOINTS, SPEEDS, EndpointShape, UsbIdentity

# Offsets in HEADER: the descriptors of the device, of the interface, of each endpoint; a byte each of what is counted.
DEVICE, INTERFACE, ALTERNATES, SPEED, ENDPOINT_AT, ENDPOINTS_AT = 0, 0x40, 0x60, 0x61, 0x100, 16
_MOST_ENDPOINTS, _MOST_ALTERNATES = 15, 8
_PACKETS = {0: 64, 1: 256, 2: 512, 3: 64}  # wMaxPacketSize by kind
_IN, _LARGEST_PACKET = 0x80, 1024


def with_shape(identity: UsbIdentity, offset: int, wanted: int) -> UsbIdentity | None:
    """The device whose byte at an offset is as wanted; None when there can be none."""
    if offset >= ENDPOINT_AT:
        return _with_endpoint(identity, *divmod(offset - ENDPOINT_AT, ENDPOINTS_AT), wanted)
    if offset == ALTERNATES:
        return identity._replace(alternates=wanted) if 0 < wanted <= _MOST_ALTERNATES else None
    if offset == SPEED:
        return identity._replace(speed=wanted) if wanted in SPEEDS else None
    if offset >= INTERFACE:
        return _with_interface(identity, offset - INTERFACE, wanted)
    return _with_device(identity, offset - DEVICE, wanted)


def with_endpoint(identity: UsbIdentity, address: int, attributes: int) -> UsbIdentity:
    """The device that has an endpoint of this address and kind (bmAttributes)."""
    new = EndpointShape(address, attributes, _PACKETS[attributes])
    others = [one for one in identity.endpoints if one.address != address]
    return identity._replace(endpoints=tuple(sorted([*others, new], key=lambda one: one.address & 15)))


def _with_device(identity: UsbIdentity, byte: int, wanted: int) -> UsbIdentity | None:
    if 8 <= byte <= 13:
        words = bytearray(struct.pack("<HHH", identity.vendor, identity.product, identity.version))
        words[byte - 8] = wanted
        vendor, product, version = struct.unpack("<HHH", words)
        return identity._replace(vendor=vendor, product=product, version=version)
    if 4 <= byte <= 6:
        first, second, third = (wanted if 4 + n == byte else old for n, old in enumerate(identity.device_class))
        return identity._replace(device_class=(first, second, third))
    return None


def _with_interface(identity: UsbIdentity, byte: int, wanted: int) -> UsbIdentity | None:
    if byte == 2:
        return identity._replace(number=wanted) if wanted < 32 else None
    if byte == 4:
        if wanted > _MOST_ENDPOINTS:
            return None
        endpoints = list(identity.endpoints[:wanted])
        more = (EndpointShape(number | _IN * (number & 1)) for number in range(1, 16))
        taken = {one.address & 15 for one in endpoints}
        for one in (*ENDPOINTS, *more):
            if len(endpoints) < wanted and one.address & 15 not in taken:
                endpoints.append(one)
                taken.add(one.address & 15)
        return identity._replace(endpoints=tuple(endpoints))
    if 5 <= byte <= 7:
        first, second, third = (wanted if 5 + n == byte else old for n, old in enumerate(identity.interface_class))
        return identity._replace(interface_class=(first, second, third))
    return None


def _with_endpoint(identity: UsbIdentity, number: int, byte: int, wanted: int) -> UsbIdentity | None:
    if number >= len(identity.endpoints):
        return None
    endpoints = list(identity.endpoints)
    old = endpoints[number]
    if byte == 2:
        if not wanted & 15 or wanted & 0x70:
            return None
        for n, other in enumerate(endpoints):
            if n != number and other.address == wanted:
                endpoints[n] = other._replace(address=old.address)
        endpoints[number] = old._replace(address=wanted)
    elif byte == 3:
        kind = wanted & 3
        endpoints[number] = old._replace(attributes=kind, size=_PACKETS[kind])
    elif byte in (4, 5):
        shift = 8 * (byte - 4)
        size = old.size & ~(0xFF << shift) | wanted << shift
        if not 0 < size & 0x7FF <= _LARGEST_PACKET:
            return None
        endpoints[number] = old._replace(size=size)
    elif byte == 6:
        endpoints[number] = old._replace(interval=wanted)
    else:
        return None
    return identity._replace(endpoints=tuple(endpoints))
