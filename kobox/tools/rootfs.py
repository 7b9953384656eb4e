"""The user space of a box that people stand in: Debian's busybox and kmod, accounts, and whatever packages are asked for.

    snapshot of the booted kernel  +  packages  ->  a box with a root file system  ->  a snapshot of that

It is made once for a kernel and a list of packages; then it is resumed as any booted kernel is. The root file system is the
kernel's own initramfs, merged as Debian's is (/bin is usr/bin), and writable.
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

_FORMAT = 2  # of what `_furnish` makes
_BASE = ("busybox-static", "kmod", "dash", "bash")
HOSTNAME = "box"
_MERGED = ("bin", "sbin", "lib", "lib64")
_DIRECTORIES = ("home", "opt", "srv", "usr/local/bin", "usr/local/sbin", "usr/share", "var/log", "var/tmp", "var/lib")
_FILES = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\nuser:x:1000:1000:user:/home/user:/bin/bash\n",
    "/etc/group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\ndisk:x:6:\nkmem:x:15:\nnogroup:x:65534:\nuser:x:1000:\n",
    # No passwords: whoever logs in here has the box anyway.
    "/etc/shadow": "root::19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n"
    "user::19000:0:99999:7:::\n",
    "/etc/hosts": f"127.0.0.1\tlocalhost\n127.0.1.1\t{HOSTNAME}\n::1\tlocalhost ip6-localhost ip6-loopback\n",
    "/etc/hostname": f"{HOSTNAME}\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nprotocols: files\nservices: files\n",
    "/etc/shells": "/bin/sh\n/bin/bash\n",
    "/etc/securetty": "console\nttyS0\npts/0\n",
    "/etc/protocols": "ip\t0\tIP\nicmp\t1\tICMP\ntcp\t6\tTCP\nudp\t17\tUDP\nipv6-icmp\t58\tIPv6-ICMP\nsctp\t132\tSCTP\n",
    "/etc/services": "echo\t7/tcp\necho\t7/udp\nssh\t22/tcp\ndomain\t53/udp\nhttp\t80/tcp\nhttps\t443/tcp\n",
    "/etc/profile": "export PATH={path}\nPS1='{release}:\\w\\$ '\nalias ll='ls -l'\n[ -d \"$HOME\" ] && cd \"$HOME\"\n",
    "/etc/shellrc": "PS1='{release}:\\w\\$ '\nalias ll='ls -l'\n",
}
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
    for path, text in _FILES.items():
        content = text.replace("{path}", programs.PATH).replace("{release}", box.release)
        box.write_bytes(path, content.encode())
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
