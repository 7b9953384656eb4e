"""The kernel's word that a module came or went: uevents by netlink (lib/kobject_uevent.c).

`add@/module/NAME\\0ACTION=add\\0DEVPATH=/module/NAME\\0SUBSYSTEM=module\\0…`, one datagram an event. Anyone may listen.
"""

from __future__ import annotations

import os
import socket

_NETLINK_KOBJECT_UEVENT = 15
_KERNEL_GROUP = 1
_LONGEST = 16384


class UeventSource:
    """Becomes readable when a uevent has come. `problem` says why none will."""

    def __init__(self) -> None:
        self.problem = ""
        self._socket: socket.socket | None = None
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_KOBJECT_UEVENT
            )
            self._socket.setblocking(False)
            self._socket.bind((os.getpid(), _KERNEL_GROUP))
        except OSError as error:
            self.close()
            self.problem = f"netlink: {error.strerror}; modules are seen at the next look only"

    def fileno(self) -> int:
        """The socket, -1 without one."""
        return self._socket.fileno() if self._socket is not None else -1

    def drain(self) -> bool:
        """Read what has come; whether any of it was about a module."""
        found = False
        for _ in range(1000):
            try:
                data = self._socket.recv(_LONGEST) if self._socket is not None else b""
            except OSError:  # nothing more, or more came than there was room for: the next look sees it
                break
            if not data:
                break
            found = found or b"\0SUBSYSTEM=module\0" in data
        return found

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
