"""What netlink(7) leads to: the protocols that the kernel has sockets for, and the families of the generic one.

/proc/net/netlink            the kernel's own sockets have the port 0
GENL_ID_CTRL, CTRL_CMD_GETFAMILY with NLM_F_DUMP    (include/uapi/linux/genetlink.h)
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from kobox.errors import KoboxError

if TYPE_CHECKING:
    from kobox.box.box import Box

_GENERIC = 16  # NETLINK_GENERIC
_CONTROLLER, _GET_FAMILY, _FAMILY_ID = 0x10, 3, 1
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_DONTWAIT = 0x40
_MANY = 64  # messages


def netlink_families(box: Box) -> set[tuple[int, int]]:
    """(protocol, 0) of each protocol, and (NETLINK_GENERIC, family) of each family."""
    found: set[tuple[int, int]] = set()
    with suppress(OSError, ValueError, IndexError):
        for line in box.read_text("/proc/1/net/netlink").splitlines()[1:]:
            _, protocol, port, *_ = line.split()
            if port == "0":
                found.add((int(protocol), 0))
    with suppress(OSError, KoboxError, struct.error):
        found |= {(_GENERIC, family) for family in _generic_families(box)}
    return found


def _generic_families(box: Box) -> set[int]:
    socket = box.syscall("socket", 16, 3, _GENERIC)
    found: set[int] = set()
    try:
        request = struct.pack("<IHHIIBBH", 20, _CONTROLLER, _REQUEST_DUMP, 1, 0, _GET_FAMILY, 1, 0)
        address = struct.pack("<HHII", 16, 0, 0, 0)
        box.syscall("sendto", socket, request, len(request), 0, address, len(address))
        for _ in range(_MANY):
            buffer = bytearray(8192)
            try:
                size = box.syscall("recvfrom", socket, buffer, len(buffer), _DONTWAIT, 0, 0)
            except OSError:
                break
            if not _read(bytes(buffer[:size]), found):
                break
    finally:
        box.syscall("close", socket)
    return found


def _read(data: bytes, found: set[int]) -> bool:
    """Add the families that messages name; whether more may come."""
    at = 0
    while at + 20 <= len(data):
        length, kind = struct.unpack_from("<IH", data, at)
        if kind < _CONTROLLER or length < 20:  # NLMSG_DONE, NLMSG_ERROR
            return False
        part = at + 20
        while part + 4 <= at + length:
            size, attribute = struct.unpack_from("<HH", data, part)
            if size < 4:
                break
            if attribute == _FAMILY_ID and size >= 6:
                found.add(struct.unpack_from("<H", data, part + 4)[0])
            part += size + 3 & ~3
        at += length + 3 & ~3
    return True
