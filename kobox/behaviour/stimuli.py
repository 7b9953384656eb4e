"""What a box does to a module that waits for something: time, logins, keys, signals, files, sockets."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from kobox.behaviour.report import Trait
from kobox.box.box import Box
from kobox.box.guest.box_process import BoxProcess
from kobox.devices.virtio_keyboard import VirtioKeyboard
from kobox.errors import KoboxError

_NOBODY = 65534
_SET_NAME = 15  # PR_SET_NAME
_ORDINARY = frozenset(("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx"))
_NO_PROCESS = 99_999  # a process ID that nobody has: an honest kernel answers ESRCH to every signal
_HOUR, _MONTH = 3600.0, 30 * 86400.0
_USER = 1000
_LOGIN_FILES = ("/etc/passwd", "/etc/shadow", "/var/run/utmp", "/var/log/wtmp", "/var/log/lastlog", "/etc/motd")
_TYPED = "root\nsecret\nls -l\n"


def keyboard_of(box: Box) -> VirtioKeyboard | None:
    """A keyboard, plugged in with its driver; None where the kernel has no driver for one."""
    with suppress(KoboxError, LookupError, OSError):
        box.modprobe("virtio_input")
        return box.plug(VirtioKeyboard())
    return None


def type_keys(box: Box, keyboard: VirtioKeyboard | None, words: list[str]) -> None:
    """Somebody logs in at the console, and types a module's own words."""
    if keyboard is None:
        return
    for text in (_TYPED, *words):
        with suppress(KoboxError):  # a character that has no key
            keyboard.type(f"{text}\n")
        box.sleep(0.05)


def login(box: Box) -> None:
    """What the kernel sees of a login by a terminal: a process in a session of its own, the files that login reads and
    writes, a program that starts, another user's numbers, a shell's name."""
    with suppress(OSError), box.process() as session:
        session.syscall("setsid")
        with suppress(OSError):
            session.syscall("open", "/dev/ptmx", os.O_RDWR)
        session.syscall("prctl", _SET_NAME, "login")
        for path in _LOGIN_FILES:
            with suppress(OSError):
                box.path(os.path.dirname(path)).mkdir(parents=True, exist_ok=True)
                session.syscall("close", session.syscall("open", path, os.O_RDWR | os.O_CREAT, 0o644))
        for program in ("/bin/login", "/usr/sbin/sshd", "/bin/bash"):
            with suppress(OSError):
                session.syscall("execve", program, 0, 0)  # no such program: who hooks it has seen its name
        session.syscall("setgroups", 0, 0)
        session.syscall("setresgid", _USER, _USER, _USER)
        session.syscall("setresuid", _USER, _USER, _USER)
        session.syscall("prctl", _SET_NAME, "bash")
        with suppress(OSError):
            session.syscall("mkdir", f"/tmp/{_USER}", 0o700)


def daily_life(box: Box, longest_wait: Callable[[], float]) -> None:
    """An hour goes by with what goes on in a machine: files, sockets, processes that come and go; more time, up to a
    month, where the module waits longer (`longest_wait()`, in seconds)."""
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
    begun = box.time
    # A timer may be late by an eighth of its time (kernel/time/timer.c, the wheel's levels).
    while (left := min(longest_wait() * 1.13 + 60, _MONTH) - (box.time - begun + _HOUR)) > 1:
        box.sleep(left)


def signals_that_grant(box: Box) -> Iterator[Trait]:
    """Whether a signal, sent by nobody to a process that is not there, makes nobody root."""
    with suppress(OSError), box.process() as nobody:
        _become_nobody(nobody)
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


def words_that_grant(box: Box, words: list[str]) -> Iterator[Trait]:
    """Whether one of a module's own words, used by nobody as a name or written to a file that it has made, makes nobody
    root."""
    with suppress(OSError), box.process() as nobody:
        files = [f"{place}/{name}" for place in ("/dev", "/proc") for name in box.listdir(place) if not name.isdigit()]
        _become_nobody(nobody)
        for word in words:
            tried: list[tuple[str, Callable[[], object]]] = [
                ("opens /tmp/{}", partial(nobody.syscall, "open", f"/tmp/{word}", 0)),
                ("calls itself {}", partial(nobody.syscall, "prctl", _SET_NAME, word)),
                ("makes the directory /tmp/{}", partial(nobody.syscall, "mkdir", f"/tmp/{word}/x/y", 0o700)),
            ]
            if granted := _granted(box, nobody, word, tried):
                yield granted
                return
        for path in files:
            with suppress(OSError):
                fd = nobody.syscall("open", path, os.O_WRONLY | os.O_NONBLOCK)
                for word in words if path not in _ORDINARY else ():
                    data = f"{word}\n".encode()
                    writes = [partial(nobody.syscall, "write", fd, data, size) for size in (len(data), len(data) - 1)]
                    if granted := _granted(box, nobody, word, [(f"writes {{}} to {path}", one) for one in writes]):
                        yield granted
                        return
                nobody.syscall("close", fd)


def _granted(box: Box, nobody: BoxProcess, word: str, tried: list[tuple[str, Callable[[], object]]]) -> Trait | None:
    for what, act in tried:
        with suppress(OSError):
            act()
        if nobody.syscall("geteuid") == 0:
            text = f"a process that {what.format(word)} becomes root"
            return Trait("grants root", "hostile", text, "", f"user {_NOBODY}", "user 0", box.time)
    return None


def _become_nobody(process: BoxProcess) -> None:
    process.syscall("setresgid", _NOBODY, _NOBODY, _NOBODY)
    process.syscall("setresuid", _NOBODY, _NOBODY, _NOBODY)
