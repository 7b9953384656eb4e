"""For a command that reads a stranger's file and prints what it says: it reads that from here on, and nothing else.

It stays in its own process, since a worker costs more than the whole of such a command; what is given up is the same
as behind the wall. This file imports little, and so do the two that it stands on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from kobox.isolation import landlock, seccomp

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def own_places() -> list[str]:
    """What Python, its libraries and this package have to read, whatever a process does."""
    system = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/proc/self")
    devices = ("/sys/devices/system/cpu", "/dev/null", "/dev/urandom")
    return [*system, *devices, sys.prefix, sys.base_prefix, _PACKAGE, *filter(os.path.isdir, sys.path)]


def read_only(files: Sequence[str]) -> None:
    """Give up, for good, to read other files than these, to write any, to start programs, to open sockets; as far as
    this machine can. Descriptors that are open stay. Raises `OSError`."""
    landlock.allow_reading([*own_places(), *files])
    seccomp.give_up()
