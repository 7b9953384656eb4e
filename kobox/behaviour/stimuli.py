"""What a box does to a module that waits for something: time, logins, signals, files, sockets."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import suppress

from kobox.behaviour.report import Trait
from kobox.box.box import Box

_NOBODY = 65534
_NO_PROCESS = 99_999  # a process ID that nobody has: an honest kernel answers ESRCH to every signal
_HOUR = 3600.0


def daily_life(box: Box) -> None:
    """An hour goes by with what goes on in a machine: files, sockets, processes that come and go."""
    for path in ("/etc/passwd", "/etc/shadow", "/root/.bashrc"):
        with suppress(OSError):
            box.path(os.path.dirname(path)).mkdir(parents=True, exist_ok=True)
            box.write_bytes(path, b"root:x:0:0:root:/root:/bin/sh\n")
            box.read_bytes(path)
    with suppress(OSError), box.process() as other:
        other.syscall("getpid")
    with suppress(OSError):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            box.syscall("close", box.syscall("socket", int(socket.AF_INET), int(kind), 0))
    box.sleep(_HOUR)


def signals_that_grant(box: Box) -> Iterator[Trait]:
    """Whether a signal, sent by nobody to a process that is not there, makes nobody root."""
    with suppress(OSError), box.process() as nobody:
        nobody.syscall("setresgid", _NOBODY, _NOBODY, _NOBODY)
        nobody.syscall("setresuid", _NOBODY, _NOBODY, _NOBODY)
        for number in range(1, 65):
            answer = 0
            try:
                nobody.syscall("kill", _NO_PROCESS, number)
            except OSError as error:
                answer = error.errno or errno.EIO
            if nobody.syscall("geteuid") == 0:
                text = f"signal {number} makes the process that sends it root"
                yield Trait("grants root", "hostile", text, "kill(2)", f"user {_NOBODY}", "user 0", box.time)
                return
            if answer != errno.ESRCH:
                name = errno.errorcode.get(answer, "success")
                text = f"signal {number} to a process that is not there is answered with {name}"
                yield Trait("takes signals", "hostile", text, "kill(2)", "ESRCH", name, box.time)
