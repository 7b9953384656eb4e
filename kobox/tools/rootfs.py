"""The user space of a box that people stand in: Debian's busybox and kmod, accounts, and whatever packages are
asked for.

    snapshot of the booted kernel  +  packages  ->  a box with a root file system  ->  a snapshot of that

It is made once for a kernel and a list of packages; then it is resumed as any booted kernel is. The root file
system is the kernel's own initramfs, merged as Debian's is (/bin is usr/bin), and writable.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from kobox.images.packages import packages
from kobox.images.store import KernelImage, Store
from kobox.kernel import box as boxes
from kobox.kernel import bringing, programs
from kobox.tools import boot as booting

if TYPE_CHECKING:
    from pathlib import Path

    from kobox.kernel.box import Box

_FORMAT = 3  # of what `_furnish` makes
_BASE = ("busybox-static", "kmod", "dash", "bash")
HOSTNAME = "box"
_MERGED = ("bin", "sbin", "lib", "lib64")
_DIRECTORIES = ("home", "opt", "srv", "usr/local/bin", "usr/local/sbin", "usr/share", "var/log", "var/tmp", "var/lib")
# Files of /etc: `{release}` and `{path}` stand for the kernel's release and the search path.
_ETC = os.path.join(os.path.dirname(__file__), "etc")
Progress = boxes.Progress


def shell_box(
    kernel: str | KernelImage | None = None,
    *,
    packages_added: Sequence[str] = (),
    memory: int = boxes.MEMORY,
    cmdline: str = "",
    store: Store | None = None,
    progress: Progress | None = None,
) -> Box:
    """A box with a root file system: resumed, or made from a booted kernel and Debian's packages.

    Raises what `kobox.boot` does; `FetchError` for a package that is none.
    """
    store = store or Store()
    image = kernel if isinstance(kernel, KernelImage) else store.ensure(kernel, progress)
    trees = packages(store, (*_BASE, *packages_added), progress)
    identity = hashlib.sha256(repr((_FORMAT, [tree.name for tree in trees])).encode()).hexdigest()[:16]

    def furnish(box: Box) -> None:
        if progress:
            progress("putting the root file system in place", 0, 0)
        box.loader = booting.load
        _furnish(box, trees)

    box = boxes.prepared(image, identity, furnish, memory=memory, cmdline=cmdline, progress=progress)
    box.loader = booting.load
    return box


def _furnish(box: Box, trees: Sequence[Path]) -> None:
    for name in _MERGED:
        _merge(box, name)
    for name in _DIRECTORIES:
        bringing.make_directories(box, f"/{name}")
    for tree in trees:
        for entry in sorted(os.listdir(tree)):
            if os.path.isdir(tree / entry):
                bringing.copy_in(box, tree / entry, "/")
    box.run(["/bin/busybox", "--install", "-s"], check=True)
    for name in os.listdir(_ETC):
        with open(os.path.join(_ETC, name)) as file:
            text = file.read().replace("{path}", programs.PATH).replace("{release}", box.release)
        box.write_bytes(f"/etc/{name}", text.encode())
    with suppress(OSError):
        box.syscall("chmod", "/etc/shadow", 0o640)
    box.syscall("chmod", "/root", 0o700)
    bringing.make_directories(box, "/home/user")
    box.syscall("chown", "/home/user", 1000, 1000)
    box.syscall("sethostname", HOSTNAME.encode(), len(HOSTNAME))
    # What is typed first is there at once: programs that have run once are in the page cache, and so is their code.
    for words in (["sh", "-c", "ls / | head -1; true"], ["kmod", "--version"]):
        box.run(words, capture_output=True)


def _merge(box: Box, name: str) -> None:
    """Make /NAME a link to usr/NAME, with what it held."""
    bringing.make_directories(box, f"/usr/{name}")
    with suppress(FileNotFoundError):
        if stat.S_ISLNK(box.stat(f"/{name}", follow_symlinks=False).st_mode):
            return
        for entry in box.listdir(f"/{name}"):
            if entry not in (".", ".."):
                box.syscall("rename", f"/{name}/{entry}", f"/usr/{name}/{entry}")
        box.syscall("rmdir", f"/{name}")
    box.syscall("symlink", f"usr/{name}", f"/{name}")
