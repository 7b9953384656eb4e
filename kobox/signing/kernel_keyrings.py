"""The keys that the running kernel has, and in which keyrings (proc_keys(5), keyctl(2), certs/, security/integrity/).

    349a622d I------   1 perm 1f030000   0   0 asymmetri Debian Secure Boot CA: 6ccece7e…: X509.rsa 524668e2 []
    1938ce7d I------   2 perm 1f0b0000   0   0 keyring   .builtin_trusted_keys: 1
    serial   flags  usage expiry perm  uid gid type      description: a certificate's subject and key identifier

Modules are verified with .secondary_trusted_keys, which includes .builtin_trusted_keys and .machine, and on
most distributions with .platform (the firmware's and shim's certificates) when no key there fits.
"""

from __future__ import annotations

import ctypes
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kobox.arch.host_syscalls import host_number, host_syscall

TRUSTED = (".builtin_trusted_keys", ".secondary_trusted_keys", ".machine", ".platform")
Reader = Callable[[int], list[int]]
"""Returns the serial numbers of the keys in a keyring."""

_LINE = re.compile(r"([0-9a-f]{8}) \S+ +\d+ +\S+ +[0-9a-f]{8} +\d+ +\d+ +(\S+) +(.*)")
_KEYCTL_READ = 11


@dataclass(frozen=True, slots=True)
class KernelKey:
    """A certificate's key in the kernel: its subject as the kernel puts it, its identifier as hex, its keyrings."""

    subject: str
    identifier: str
    keyrings: tuple[str, ...]


def kernel_keys(text: str, read: Reader | None = None) -> list[KernelKey]:
    """The certificates' keys in the text of /proc/keys. `read` lists a keyring; without it `keyrings` is empty."""
    rows = [match.groups() for line in text.splitlines() if (match := _LINE.match(line))]
    rings = {
        int(serial, 16): description.rpartition(":")[0]
        for serial, kind, description in rows
        if kind == "keyring" and description.startswith(".")
    }
    inside = _members({serial: name for serial, name in rings.items() if name in TRUSTED}, read)
    found = []
    for serial, kind, description in rows:
        subject, _, identifier = description.rpartition(": X509.")[0].rpartition(": ")
        if kind == "asymmetri" and identifier:
            found.append(KernelKey(subject, identifier.lower(), inside.get(int(serial, 16), ())))
    return found


def _members(rings: Mapping[int, str], read: Reader | None) -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    for ring, name in rings.items() if read is not None else ():
        for key in read(ring) if read is not None else ():
            found[key] = (*found.get(key, ()), name)
    return found


def running_keys(root: Path) -> list[KernelKey]:
    """The keys of the kernel whose /proc lies below a root directory; the keyrings of / are asked. Raises OSError."""
    path = root / "proc/keys"
    if not path.exists():
        return []
    return kernel_keys(path.read_text(errors="replace"), read_keyring if root == Path("/") else None)


def read_keyring(serial: int) -> list[int]:
    """The serial numbers of what a keyring of the running kernel holds; empty when it may not be read."""
    number = host_number("keyctl")
    if number is None:
        return []
    room = ctypes.create_string_buffer(1 << 16)
    words = (ctypes.c_long(_KEYCTL_READ), ctypes.c_long(_signed(serial)), room, ctypes.c_long(len(room)))
    try:
        length = host_syscall(number, *words)
    except OSError:
        return []
    return [one[0] for one in struct.iter_unpack("=I", room.raw[: min(length, len(room)) & ~3])]


def _signed(serial: int) -> int:
    return serial - (1 << 32) if serial >= 1 << 31 else serial
