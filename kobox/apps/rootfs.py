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

from kobox.apps import command_packages
from kobox.atomic_file import write_file
from kobox.box.boot import bare_boot as booting
from kobox.box.boot.boot import attach_tree, tree_of
from kobox.box.guest import host_copy as bringing
from kobox.box.guest import subprocess as programs
from kobox.box.guest import warm_shell
from kobox.errors import KoboxError
from kobox.images.debian.packages import packages
from kobox.images.kernel_image import KernelImage, is_plain
from kobox.images.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from kobox.box.box import Box

_FORMAT = 16  # of what `_furnish` makes
_BASE = ("busybox-static", "kmod", "dash", "bash", "mandoc")
# Of util-linux dmesg alone, with its libraries and manual page: its su and login need PAM.
_DMESG = "util-linux"
_DMESG_PARTS = (
    ("util-linux_", "bin/dmesg", "usr/bin/dmesg"),
    ("util-linux_", "usr/bin/dmesg", "usr/bin/dmesg"),
    ("util-linux_", "usr/share/man/man1/dmesg.1.gz", "usr/share/man/man1/dmesg.1.gz"),
)
_DMESG_LIBRARIES = ("libsmartcols1_", "libtinfo6_")
# The commands of kobox's own, and other names of theirs.
_COMMANDS = os.path.join(os.path.dirname(__file__), "guest_commands")
_NAMES = {"apt": ("apt", "apt-get"), "poweroff": ("poweroff", "reboot", "halt", "shutdown")}
_IN_SBIN = ("poweroff",)  # as busybox has them
_NOT_IN_PATH = ("ask", "make", "not-found")
_UNCHANGING = 1e7  # seconds: a kernel's tree does not change
HOSTNAME = "box"
_MERGED = ("bin", "sbin", "lib", "lib64")
_DIRECTORIES = ("home", "opt", "srv", "usr/local/bin", "usr/local/sbin", "usr/share", "var/log", "var/tmp", "var/lib")
# Files of /etc: `{release}` and `{path}` stand for the kernel's release and the search path.
_ETC = os.path.join(os.path.dirname(__file__), "etc")
Progress = booting.Progress


def shell_box(
    kernel: str | KernelImage | None = None,
    *,
    packages_added: Sequence[str] = (),
    memory: int = booting.MEMORY,
    cmdline: str = "",
    cpus: int = 1,
    profile: str = "fast",
    store: Store | None = None,
    progress: Progress | None = None,
) -> Box:
    """A box with a root file system: resumed, or made from a booted kernel and Debian's packages.

    Raises what `kobox.boot` does; `FetchError` for an unknown package.
    """
    store = store or Store()
    image = kernel if isinstance(kernel, KernelImage) else store.ensure(kernel, progress)
    trees = packages(store, (*_BASE, *packages_added), progress, port=image.arch.debian)
    dmesg = packages(store, (_DMESG,), progress, port=image.arch.debian)
    identity = repr((_FORMAT, [tree.name for tree in (*trees, *dmesg)], _commands_digest()))

    def furnish(box: Box) -> None:
        if progress:
            progress("putting the root file system in place", 0, 0)
        attach_tree(box)
        _furnish(box, trees, dmesg)

    box = booting.prepared(
        image, identity, furnish, memory=memory, cmdline=cmdline, cpus=cpus, profile=profile, progress=progress
    )
    attach_tree(box)
    box.quicken_program_loads()
    return box


def save(box: Box, name: str, store: Store) -> None:
    """Keep this state of a box under a name. Raises `KoboxError` for a name that cannot be one, or when there
    is no room."""
    place = saved_place(store, name)
    box.save(place)
    write_file(place / "kernel", box.image.name.encode(), mode=0o644)


def load_saved(name: str, store: Store) -> Box:
    """The box that was saved under a name. Raises `KoboxError` when there is none, or another kobox has saved it."""
    place = saved_place(store, name)
    try:
        kernel = (place / "kernel").read_text()
    except OSError:
        known = ", ".join(sorted(entry.name for entry in place.parent.glob("*"))) or "none"
        raise KoboxError(f"no box was saved as {name!r}", hint=f"Saved are: {known}.") from None
    box = booting.resume(store.get(kernel), place)
    if box is None:
        raise KoboxError(
            f"{place}: damaged, or saved by another version of kobox", hint=f"Remove {place}, and prepare it again."
        )
    attach_tree(box)
    box.quicken_program_loads()
    return box


def saved_place(store: Store, name: str) -> Path:
    """The directory of the box that is, or would be, saved under a name. Raises `KoboxError` for an impossible name."""
    if not is_plain(name) or name.startswith("."):
        raise KoboxError(f"{name!r} cannot be the name of a saved box", hint="Take letters and digits.")
    return store.root / "saved" / name


def _furnish(box: Box, trees: Sequence[Path], dmesg: Sequence[Path]) -> None:
    if box.image.modules is not None:
        _share_modules(box)
    for name in _MERGED:
        _merge(box, name)
    # The kernel's own requests go to the real modprobe from now on, as on any system; kobox's is out of the way.
    bringing.make_directories(box, "/usr/lib/kobox")
    box.syscall("rename", "/usr/sbin/modprobe", "/usr/lib/kobox/modprobe")
    for name in _DIRECTORIES:
        bringing.make_directories(box, f"/{name}")
    for tree in trees:
        for entry in sorted(os.listdir(tree)):
            if os.path.isdir(tree / entry):
                bringing.copy_in(box, tree / entry, "/")
    _add_dmesg(box, dmesg)
    _add_commands(box)
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
    warm_shell.start(box)


def _commands_digest() -> str:
    """What the box's own commands are: a change in one makes a root file system of its own."""
    digest = hashlib.sha256(f"{_NAMES}{_IN_SBIN}{command_packages.table()}".encode())
    for directory in (_COMMANDS, _ETC):
        for name in sorted(os.listdir(directory)):
            with open(os.path.join(directory, name), "rb") as file:
                digest.update(file.read())
    return digest.hexdigest()[:16]


def _add_dmesg(box: Box, trees: Sequence[Path]) -> None:
    for tree in trees:
        for package, here, there in _DMESG_PARTS:
            if tree.name.startswith(package) and (tree / here).is_file():
                bringing.copy_file(box, str(tree / here), f"/{there}")
        if tree.name.startswith(_DMESG_LIBRARIES):
            for name in os.listdir(tree):
                bringing.copy_in(box, tree / name, "/")


def _add_commands(box: Box) -> None:
    box.write_bytes("/usr/lib/kobox/packages.txt", command_packages.table().encode())
    for name in sorted(os.listdir(_COMMANDS)):
        place = f"/usr/lib/kobox/{name}"
        bringing.copy_file(box, os.path.join(_COMMANDS, name), place)
        box.syscall("chmod", place, 0o755)
        for called in () if name in _NOT_IN_PATH else _NAMES.get(name, (name,)):
            with suppress(FileExistsError):
                box.syscall("symlink", place, f"/usr/{'sbin' if name in _IN_SBIN else 'bin'}/{called}")


def _share_modules(box: Box) -> None:
    """/lib/modules/RELEASE: the kernel's tree, read when it is used, and writable in the box (depmod, modules_install).

    A kernel without fanotify(7) gets it by FUSE and overlay, which are modules that its users then see."""
    directory, target = tree_of(box.image).directory, f"/lib/modules/{box.release}"
    try:
        box.files.copy_when_opened(directory, target)
    except OSError:
        box.files.share(directory, target, private_copy=True, attr_timeout=_UNCHANGING)


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
