"""The user space of a virtual machine that people stand in: busybox, packages, and a `modprobe` that asks kobox.

    modprobe NAME  -->  /run/kobox/requests (a FIFO)  -->  ModprobeRequests  -->  kobox.kmod.modprobe over this machine
                   <--  /run/kobox/PID, PID.status    <--

So a module and all that it needs come from this machine's tree when they are asked for, by a person or by the kernel
(request_module()), and nothing of the tree has to lie in the machine's memory.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kobox.errors import KoboxError
from kobox.kmod.modprobe import Options, modprobe, remove
from kobox.kmod.module_tree import ModuleTree
from kobox.printable import printable
from kobox.vm.virtual_machine import VirtualMachine

_MERGED = ("bin", "sbin", "lib", "lib64")
_MOUNTS = (("devpts", "/dev/pts"), ("debugfs", "/sys/kernel/debug"), ("tracefs", "/sys/kernel/tracing"))
_REQUESTS, _LONGEST = "/run/kobox/requests", 4096
_ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "hostname": "vm\n",
}
_MODPROBE = """#!/bin/sh
# Asks kobox, outside of the machine, to load a module and what it needs.
echo "$$ $*" >/run/kobox/requests
until test -e /run/kobox/$$.status; do usleep 5000; done
cat /run/kobox/$$ >&2
status=$(cat /run/kobox/$$.status)
rm -f /run/kobox/$$ /run/kobox/$$.status
exit $status
"""


def furnish(machine: VirtualMachine, trees: Sequence[Path], busybox: str = "/bin/busybox") -> None:
    """Put unpacked packages in place, one of which has busybox, with its commands and kobox's own modprobe.

    Raises `KoboxError` where the machine's memory does not suffice; `OSError`.
    """
    with suppress(OSError):
        machine.call("rmdir", "/lib/modules")
    for name in ("usr", *(f"usr/{name}" for name in _MERGED)):
        _make(machine, f"/{name}")
    for name in _MERGED:
        with suppress(OSError):
            machine.call("rmdir", f"/{name}")
        machine.call("symlink", f"usr/{name}", f"/{name}")
    try:
        for tree in trees:
            copy_in(machine, tree, "")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise KoboxError(
            "the packages do not fit into the virtual machine's memory", hint="Give it more: --memory MIB."
        ) from None
    for kind, place in _MOUNTS:
        _make(machine, place)
        with suppress(OSError):
            machine.call("mount", kind, place, kind, 0, None)
    for name, text in _ETC.items():
        machine.write_bytes(f"/etc/{name}", text.encode())
    machine.call("sethostname", b"vm", 2)
    _make(machine, "/run/kobox")
    machine.call("mknod", _REQUESTS, stat.S_IFIFO | 0o600, 0)
    machine.call_in_program([busybox, "--install", "-s"])
    with suppress(OSError):
        machine.call("unlink", "/usr/sbin/modprobe")
    machine.write_bytes("/usr/sbin/modprobe", _MODPROBE.encode())
    machine.call("chmod", "/usr/sbin/modprobe", 0o755)


def copy_in(machine: VirtualMachine, source: Path, target: str) -> None:
    """Copy what a directory of this machine holds into one of the virtual machine's; or a file to a path."""
    if not source.is_dir():
        machine.write_bytes(target, source.read_bytes())
        machine.call("chmod", target, stat.S_IMODE(source.stat().st_mode) & 0o777)
        return
    if target:
        _make(machine, target)
    for entry in sorted(source.iterdir()):
        place = f"{target}/{entry.name}"
        if entry.is_symlink():
            with suppress(FileExistsError):
                machine.call("symlink", os.readlink(entry), place)
        elif entry.is_dir() or entry.is_file():
            copy_in(machine, entry, place)


def _make(machine: VirtualMachine, path: str) -> None:
    with suppress(FileExistsError):
        machine.call("mkdir", path, 0o755)


class ModprobeRequests:
    """What `modprobe` in the machine asks for. `serve()` has to be called now and then, while programs run."""

    def __init__(self, machine: VirtualMachine, tree: ModuleTree | None) -> None:
        self._machine, self._tree = machine, tree
        self._fifo = machine.call("open", _REQUESTS, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC, 0)

    def serve(self) -> bool:
        """Do what was asked; whether there was anything."""
        chunk = bytearray(_LONGEST)
        try:
            count = self._machine.call("read", self._fifo, chunk, len(chunk))
        except BlockingIOError:
            return False
        for line in bytes(chunk[:count]).decode(errors="replace").splitlines():
            number, *words = line.split()
            if number.isdigit():
                text, status = self._carried_out(words)
                place = f"/run/kobox/{number}"
                self._machine.write_bytes(place, text.encode())
                self._machine.write_bytes(f"{place}.new", f"{status}\n".encode())
                self._machine.call("rename", f"{place}.new", f"{place}.status")
        return True

    def _carried_out(self, words: list[str]) -> tuple[str, int]:
        """What modprobe prints, and its exit status."""
        options = {word for word in words if word.startswith("-")}
        names = [word for word in words if not word.startswith("-")]
        quiet = bool(options & {"-q", "--quiet"})
        unknown = options - {"-q", "--quiet", "-r", "--remove", "-a", "--all", "-s", "-v", "-b", "--"}
        if unknown or not names:
            return (
                f"modprobe: usage: modprobe [-q] [-a|-r] NAME [PARAMETER=VALUE ...]: {' '.join(sorted(unknown))}\n",
                1,
            )
        if self._tree is None:
            return ("" if quiet else "modprobe: this kernel has no modules in kobox's cache\n"), 1
        try:
            if options & {"-r", "--remove"}:
                for name in names:
                    remove(self._machine, self._tree, name, Options())
            elif options & {"-a", "--all"}:
                for name in names:
                    modprobe(self._machine, self._tree, name)
            else:
                modprobe(self._machine, self._tree, names[0], " ".join(names[1:]))
        except (KoboxError, OSError) as error:
            return ("" if quiet else f"modprobe: {printable(str(error))}\n"), 1
        return "", 0
