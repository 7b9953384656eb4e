"""Packages of Debian's for a box that runs already: `apt install` in `kobox shell`.

    archive  ->  packages/2/SUITE/merged/KEY  ->  FUSE, read only  ->  /usr/lib/kobox/packages/N  <-  links in /usr

Nothing is copied: a compiler has 200 MB, and a box has little memory. A program's own directory stays whole behind the
links, so that gcc finds its parts beside itself. Files in /etc are copies, to be changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.box.guest.host_copy import copy_file, make_directories
from kobox.errors import FetchError, KoboxError
from kobox.images.debian.packages import merged, packages
from kobox.images.kernel_image import Progress

if TYPE_CHECKING:
    from kobox.box.box import Box
    from kobox.images.store import Store

_ROOM = "/usr/lib/kobox/packages"
_MERGED = ("bin", "sbin", "lib", "lib64")  # links to their namesakes in /usr
_HEADERS = "linux-headers"  # alone, or with - and a release
_HEADERS_NEED = ("libelf1",)  # objtool's
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_MOST = 64  # packages in one request
_UNCHANGING = 1e7  # seconds


def without_copies(names: Sequence[str]) -> bool:
    """Whether packages are too large for a box's memory: compilers, and a kernel's headers."""
    return any(
        re.fullmatch(rf"build-essential|g(cc|\+\+)(-\d+)?|clang(-\d+)?|{_HEADERS}(-.*)?", name) for name in names
    )


def install(box: Box, names: Sequence[str], store: Store, progress: Progress | None = None) -> str:
    """Have packages, and all that they need, in a box that runs; what apt would say.

    `linux-headers-RELEASE` of the box's own kernel are those that the cache has for it. Raises `KoboxError` for an
    unknown package, `FetchError` without network.
    """
    wanted = list(dict.fromkeys(re.split(r"[=/:]", name)[0] for name in names))
    if len(wanted) > _MOST:
        raise KoboxError(f"more than {_MOST} packages at once")
    for name in wanted:
        if not _NAME.fullmatch(name):
            raise KoboxError(f"Unable to locate package {name}")
    headers = [name for name in wanted if name == _HEADERS or name.startswith(f"{_HEADERS}-")]
    for name in headers:
        _must_fit(box, name)
    others = [name for name in wanted if name not in headers] + (list(_HEADERS_NEED) if headers else [])
    port = box.arch.debian
    try:
        trees = packages(store, others, progress, port=port)
    except FetchError as error:
        if unknown := re.search(r"Unable to locate package \S+", str(error)):
            raise KoboxError(unknown[0]) from None
        raise
    new = [tree for tree in trees if not box.exists(f"/var/lib/kobox/{tree.name}")]
    if new:
        # All of them in one tree, also those that the box has: a program finds its parts beside itself.
        _link(box, merged(store, trees, port=port))
        make_directories(box, "/var/lib/kobox")
        for tree in new:
            box.write_bytes(f"/var/lib/kobox/{tree.name}", b"")
    if headers:
        _attach_headers(box)
    _wrap_make(box)
    lines = [f"Setting up {name} ({version}) ..." for name, _, version in (tree.name.partition("_") for tree in new)]
    lines += [f"Setting up {name} (of this kernel) ..." for name in headers]
    return "".join(f"{line.replace('%3a', ':')}\n" for line in lines) or "Already the newest version.\n"


def _must_fit(box: Box, name: str) -> None:
    """Raise unless headers are those of the box's kernel, by its release or by the name of their newest."""
    release = name.removeprefix(_HEADERS).removeprefix("-")
    if release[:1].isdigit() and release != box.release:
        raise KoboxError(f"{name}: this box runs {box.release}", hint="Type `apt install linux-headers-$(uname -r)`.")
    if box.image.headers is None:
        raise KoboxError(
            f"{name}: the cache has no headers for {box.image.name}",
            hint="Outside: `kobox kernel add` with --headers DIR, or a kernel of Debian's, which has them.",
        )
    if box.arch.name != os.uname().machine:
        raise KoboxError(
            f"{name}: the headers' programs are for {os.uname().machine}, and this box is {box.arch.name}",
            hint="Build outside: `kobox build --kernel NAME`.",
        )


def _attach_headers(box: Box) -> None:
    """The headers of the box's kernel, where Debian has them, and lib/modules/RELEASE/build."""
    headers = box.image.headers
    assert headers is not None
    target = f"/usr/src/linux-headers-{box.release}"
    if not box.exists(f"{target}/Makefile"):
        source = headers.parent
        if source.name == "src" and source.parent.name == "usr":  # as packages have it, with directories beside it
            target = f"/usr/src/{headers.name}"
            box.files.share(source, "/usr/src", attr_timeout=_UNCHANGING)
            for kbuild in sorted(source.parent.glob("lib/linux-kbuild-*")):
                box.files.share(kbuild, f"/usr/lib/{kbuild.name}", attr_timeout=_UNCHANGING)
        else:
            box.files.share(headers, target, attr_timeout=_UNCHANGING)
    tools = box.image.directory / "toolchain"
    if tools.exists() and not box.exists("/toolchain"):  # its scripts name themselves by their place outside
        place = tools.resolve()
        box.files.share(place, str(place), attr_timeout=_UNCHANGING)
        box.syscall("symlink", str(place), "/toolchain")
    build = f"/lib/modules/{box.release}/build"
    make_directories(box, os.path.dirname(build))
    with suppress(OSError):
        box.syscall("unlink", build)
    with suppress(FileExistsError):
        box.syscall("symlink", target, build)


def _link(box: Box, tree: Path) -> None:
    number = 0
    while box.exists(f"{_ROOM}/{number}"):
        number += 1
    room = f"{_ROOM}/{number}"
    box.files.share(tree, room, attr_timeout=_UNCHANGING)
    for name in sorted(os.listdir(tree)):
        if os.path.isdir(tree / name):
            _link_directory(box, tree / name, f"{room}/{name}", f"/usr/{name}" if name in _MERGED else f"/{name}")


def _link_directory(box: Box, source: Path, inside: str, target: str) -> None:
    """Have what a directory holds at `target` as links to `inside`; a directory that is not there yet is one link."""
    if not box.exists(target) and not target.startswith(("/etc", "/var")):
        make_directories(box, os.path.dirname(target))
        with suppress(FileExistsError):
            box.syscall("symlink", inside, target)
        return
    _unfold(box, target)
    make_directories(box, target)
    with os.scandir(source) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        there = f"{target}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            _link_directory(box, Path(entry.path), f"{inside}/{entry.name}", there)
        elif target.startswith(("/etc", "/var")) and entry.is_file():
            if not box.exists(there):
                copy_file(box, entry.path, there)
        else:
            text = os.readlink(entry.path) if entry.is_symlink() else f"{inside}/{entry.name}"
            _place_link(box, text, there)


def _place_link(box: Box, text: str, there: str) -> None:
    """A link to a package's file. What the box has stays, but for busybox's own small form of a program."""
    try:
        box.syscall("symlink", text, there)
    except FileExistsError:
        with suppress(OSError):
            if "busybox" in box.readlink(there):
                box.syscall("unlink", there)
                box.syscall("symlink", text, there)


def _unfold(box: Box, target: str) -> None:
    """Make a directory of a link to a package's directory, with links to what that holds."""
    try:
        text = box.readlink(target)
    except OSError:
        return
    if text.startswith(f"{_ROOM}/"):
        box.syscall("unlink", target)
        make_directories(box, target)
        for name in box.listdir(text):
            if name not in (".", ".."):
                _place_link(box, f"{text}/{name}", f"{target}/{name}")


def _wrap_make(box: Box) -> None:
    """make, with a word on mistakes that come with code from a web page, before /usr/bin in the search path."""
    if box.exists("/usr/bin/make") and not box.exists("/usr/local/bin/make"):
        box.syscall("symlink", "/usr/lib/kobox/make", "/usr/local/bin/make")
