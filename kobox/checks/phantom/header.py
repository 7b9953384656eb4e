"""What a driver asks the kernel about its device: IDs, revision, BARs, sizes of firmware. That cannot be answered while
the driver runs; the device must be another one.

    if (pdev->revision < 8)                             ->  revision 8
    if (PCI_FUNC(other->devfn) != 2)                    ->  another device, as function 2
    if (!(command & PCI_COMMAND_IO))                    ->  ports, which firmware has enabled
    if (pci_resource_len(pdev, 0) != 1 << 20)           ->  BAR 0 of 1 MiB
    if (!(pci_resource_flags(pdev, 1) & IORESOURCE_IO)) ->  BAR 1 of ports
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

from kobox.checks.phantom.solve import Bits
from kobox.devices.phantom import bars_of
from kobox.devices.phantom_policy import (
    COMMAND,
    COMPANION,
    CONFIGURATION_HEADER,
    FIRMWARE,
    PLACE,
    RESOURCE,
    RESOURCES,
    ROM,
    Companion,
    Policy,
    Read,
)
from kobox.machine.pci_function import PciIdentity

# struct pci_dev from `vendor` on (include/linux/pci.h): vendor, device, subsystem, class, revision.
_IDS = struct.Struct("<HHHHIB")
_START, _END, _FLAGS = 0, 8, 24  # in struct resource (include/linux/ioport.h)
_IS_PORTS, _IS_MEMORY = 0x100, 0x200  # IORESOURCE_IO, IORESOURCE_MEM
_COMMANDS = 0x0007  # I/O, memory, bus master
_LARGEST_BAR, _LARGEST_PORTS, _LARGEST_FILE = 64 << 20, 256, 16 << 20


Wanted = Callable[[PciIdentity], bool]
"""Whether the driver's table has such a device."""


def with_header(
    identity: PciIdentity, policy: Policy, read: Read, bits: Bits, wanted: Wanted
) -> tuple[PciIdentity, Policy] | None:
    """The device of which the kernel knows that. None when there can be none, or the driver would not want it."""
    offset, number = read.register.offset, read.value & ~bits.mask | bits.value & bits.mask
    if read.register.bar < ROM:
        return _with_companion(identity, policy, -(read.register.bar // COMPANION), offset, read.size, number)
    if offset >= FIRMWARE:
        return _with_file(identity, policy, (offset - FIRMWARE) // 8, number)
    if offset >= RESOURCES:
        bar, member = divmod(offset - RESOURCES, RESOURCE)
        return _with_bar(identity, policy, bar, member, read.value, number)
    if offset < 0:
        place, ids = _split(offset, read.size, number)
        moved = replace(policy, place=place >> 3) if _split(offset, read.size, read.value)[0] != place else policy
        other = _with_ids(identity, 0, read.size - 4, ids) if read.size > 4 else identity
        fits = other is not None and (other == identity or wanted(other)) and _is_place(place) and not place & 7
        return (other, moved) if other is not None and fits else None
    if COMMAND <= offset < COMMAND + 2:
        command = number << 8 * (offset - COMMAND) & _COMMANDS | policy.command
        return (identity, replace(policy, command=command)) if command != policy.command else None
    if offset >= CONFIGURATION_HEADER:
        other = _with_configuration(identity, offset - CONFIGURATION_HEADER, read.size, number)
    else:
        other = _with_ids(identity, offset, read.size, number)
    return (other, policy) if other is not None and other != identity and wanted(other) else None


def _split(offset: int, size: int, number: int) -> tuple[int, int]:
    """What was read from `devfn` on: that, and the IDs behind it."""
    whole = number << 8 * (offset - PLACE)
    return whole & 0xFFFFFFFF, whole >> 32


def _is_place(number: int) -> bool:
    return 8 <= number < 256


def _with_companion(
    identity: PciIdentity, policy: Policy, which: int, offset: int, size: int, number: int
) -> tuple[PciIdentity, Policy] | None:
    """Another companion: one with other IDs, or somewhere else."""
    if not 0 < which <= len(policy.companions):
        return None
    before = Companion(*policy.companions[which - 1])
    who = PciIdentity(before.vendor, before.device)
    if offset < 0:
        place, ids = _split(offset, size, number)
        others = [Companion(*one).place for one in policy.companions if one is not policy.companions[which - 1]]
        named = _with_ids(who, 0, size - 4, ids) if size > 4 else who
        if not _is_place(place) or place in others or named is None:
            return None
        now = Companion(named.vendor, named.device, place)
    else:
        is_read = offset >= CONFIGURATION_HEADER
        other = (
            _with_configuration(who, offset - CONFIGURATION_HEADER, size, number)
            if is_read
            else _with_ids(who, offset, size, number)
        )
        if other is None:
            return None
        now = before._replace(vendor=other.vendor, device=other.device)
    if now == before:
        return None
    companions = (*policy.companions[: which - 1], now, *policy.companions[which:])
    return identity, replace(policy, companions=companions)


def _with_configuration(identity: PciIdentity, register: int, size: int, wanted: int) -> PciIdentity | None:
    """PCI Local Bus Specification 3.0, 6.1: IDs at 0, revision and class at 8, subsystem at 0x2C."""
    header = bytearray(CONFIGURATION_HEADER + 8)
    struct.pack_into("<HH", header, 0, identity.vendor, identity.device)
    struct.pack_into("<I", header, 8, identity.class_code << 8 | identity.revision)
    struct.pack_into("<HH", header, 0x2C, *identity.subsystem)
    header[register : register + size] = wanted.to_bytes(size, "little")
    (both,) = struct.unpack_from("<I", header, 8)
    ids, subsystem = struct.unpack_from("<HH", header, 0), struct.unpack_from("<HH", header, 0x2C)
    return identity._replace(
        vendor=ids[0],
        device=ids[1],
        class_code=both >> 8,
        revision=both & 255,
        subsystem=(subsystem[0], subsystem[1]),
    )


def _with_ids(identity: PciIdentity, offset: int, size: int, wanted: int) -> PciIdentity | None:
    ids = bytearray(
        _IDS.pack(identity.vendor, identity.device, *identity.subsystem, identity.class_code, identity.revision)
    )
    if offset + size > len(ids):
        return None
    ids[offset : offset + size] = wanted.to_bytes(size, "little")
    vendor, device, *subsystem, class_code, revision = _IDS.unpack(ids)
    if class_code >> 24:
        return None
    return identity._replace(
        vendor=vendor,
        device=device,
        subsystem=(subsystem[0], subsystem[1]),
        class_code=class_code,
        revision=revision,
    )


def _with_bar(
    identity: PciIdentity, policy: Policy, number: int, member: int, value: int, wanted: int
) -> tuple[PciIdentity, Policy] | None:
    size, is_ports = next(((size, ports) for n, size, ports in bars_of(policy) if n == number), (0, False))
    if member == _END:
        size = size + wanted - value  # its start stays
    elif member == _FLAGS and wanted & (_IS_PORTS | _IS_MEMORY) in (_IS_PORTS, _IS_MEMORY):
        is_ports = bool(wanted & _IS_PORTS)
        size = min(size, _LARGEST_PORTS) if is_ports else max(size, 1 << 20)
    elif member == _FLAGS and not wanted:
        size = 0
    elif member != _FLAGS:
        return None
    if size < 0 or size & size - 1 or size > (_LARGEST_PORTS if is_ports else _LARGEST_BAR):
        size = 1 << max(size - 1, 1).bit_length()  # the next power of two: more than was asked for
    if size > (_LARGEST_PORTS if is_ports else _LARGEST_BAR) or 0 < size < 16:
        return None
    return identity, policy.with_bar(number, size, is_ports)


def _with_file(identity: PciIdentity, policy: Policy, number: int, wanted: int) -> tuple[PciIdentity, Policy] | None:
    names = list(policy.firmware)
    if number >= len(names) or not 0 < wanted <= _LARGEST_FILE:
        return None
    return identity, policy.with_firmware(names[number], wanted)
