"""The kernel's word that a module came or went: uevents by netlink (lib/kobject_uevent.c).

`add@/module/NAME\\0ACTION=add\\0DEVPATH=/module/NAME\\0SUBSYSTEM=module\\0…`, one datagram an event. Anyone may listen.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import NamedTuple, Protocol

_NETLINK_KOBJECT_UEVENT = 15
_KERNEL_GROUP = 1
_LONGEST = 16384
_ROOM = 8 << 20  # bytes of events that may wait between two looks
_MOST_AT_ONCE = 20_000
_WORDS = {b"add": True, b"remove": False}


class ModuleUevent(NamedTuple):
    """A module came (`added`) or went; `by` is the program that did it with its process, "" where that is unknown."""

    module: str
    added: bool
    by: str = ""


class ModuleNotices(Protocol):
    """What tells at once that modules came or went."""

    problem: str

    def fileno(self) -> int:
        """What becomes readable when one did, -1 for nothing."""

    def drain(self) -> list[ModuleUevent]:
        """The modules that came and went, in order."""

    def close(self) -> None:
        """Listen no more."""


class UeventSource:
    """Becomes readable when a uevent has come. `problem` says why none will, or that some were lost: then what came and
    went between two looks is not known."""

    def __init__(self) -> None:
        self.problem = ""
        self._socket: socket.socket | None = None
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_KOBJECT_UEVENT
            )
            self._socket.setblocking(False)
            self._make_room()
            self._socket.bind((os.getpid(), _KERNEL_GROUP))
        except OSError as error:
            self.close()
            self.problem = f"netlink: {error.strerror}; modules are seen at the next look only"

    def fileno(self) -> int:
        """The socket, -1 without one."""
        return self._socket.fileno() if self._socket is not None else -1

    def drain(self) -> list[ModuleUevent]:
        """Read what has come; the modules that came and went, in order."""
        found: list[ModuleUevent] = []
        for _ in range(_MOST_AT_ONCE):
            try:
                data = self._socket.recv(_LONGEST) if self._socket is not None else b""
            except OSError as error:
                if error.errno == errno.ENOBUFS:  # more came than there was room for; the rest is there
                    self.problem = "netlink: uevents were lost; what came and went between two looks is not seen"
                    continue
                break
            if not data:
                break
            # `add@/module/NAME`, and so only for modules themselves: not add@/module/NAME/…
            action, at, path = data.partition(b"\0")[0].partition(b"@/module/")
            if at and path and b"/" not in path and action in _WORDS:
                found.append(ModuleUevent(path.decode(errors="replace"), _WORDS[action]))
        return found

    def _make_room(self) -> None:
        assert self._socket is not None
        for option in (getattr(socket, "SO_RCVBUFFORCE", 33), socket.SO_RCVBUF):  # the first takes CAP_NET_ADMIN
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, option, _ROOM)
            except OSError:
                continue
            return

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
