"""Writes Debian binary packages (deb(5), deb-control(5), deb-md5sums(5)), without dpkg and without root.

A package is an ar archive of three members, two of which are tar archives:

    !<arch>\\n
    debian-binary     "2.0\\n"
    control.tar.xz    ./control  ./md5sums  ./postinst …
    data.tar.xz       ./  ./usr/  ./usr/src/ …              owned by root, directories before what is in them

    ar's header, 60 bytes: name[16] mtime[12] uid[6] gid[6] mode[8] size[10] "`\\n"; a member begins at an even offset

The same input gives the same bytes: one time stamp for all, members in the order of their names, one thread of xz.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from kobox.errors import KoboxError

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_VERSION = re.compile(r"(\d+:)?\d[A-Za-z0-9.+~-]*")
_MAINTAINER = re.compile(r"[^<>\n]+ <[^<>@\s]+@[^<>@\s]+>")


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a package: its bytes and mode, or where it points to if it is a symbolic link."""

    content: bytes = b""
    mode: int = 0o644
    link: str = ""


@dataclass(frozen=True, slots=True)
class DebPackage:
    """A binary package. `files` by path, as `usr/src/x-1/x.c`; `scripts` are postinst and its kin by name.

    `control` holds the fields besides Package, Version, Architecture, Maintainer, Installed-Size and Description, in
    their order; `description` is a synopsis line and paragraphs below it.
    """

    name: str
    version: str
    architecture: str
    maintainer: str
    description: str
    files: Mapping[str, Member]
    control: Mapping[str, str] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """The name that its file has by custom; the version's epoch is no part of it."""
        return f"{self.name}_{self.version.partition(':')[2] or self.version}_{self.architecture}.deb"

    def check(self) -> None:
        """Raise KoboxError for a field that dpkg or policy does not take."""
        if not _NAME.fullmatch(self.name):
            raise KoboxError(f"{self.name}: no name for a Debian package", hint="It takes a-z, 0-9, + - and . only.")
        if not _VERSION.fullmatch(self.version):
            raise KoboxError(
                f"{self.version}: no version of a Debian package",
                hint="It begins with a digit and has letters, digits, . + - and ~ only: give one with --version.",
            )
        if not _MAINTAINER.fullmatch(self.maintainer):
            raise KoboxError(f"maintainer {self.maintainer!r}: it must have the form `Name <address@host>`")

    def pack(self, epoch: int) -> bytes:
        """The package file's bytes; `epoch` (seconds since 1970) is every time in it. Raises KoboxError."""
        self.check()
        sums = "".join(
            f"{hashlib.md5(member.content, usedforsecurity=False).hexdigest()}  {path}\n"
            for path, member in sorted(self.files.items())
            if not member.link
        )
        about = {"control": Member(self._fields().encode()), "md5sums": Member(sums.encode())}
        about |= {name: Member(text.encode(), 0o755) for name, text in self.scripts.items()}
        members = [
            ("debian-binary", b"2.0\n"),
            ("control.tar.xz", _xz(_tar(about, epoch))),
            ("data.tar.xz", _xz(_tar(self.files, epoch))),
        ]
        return b"!<arch>\n" + b"".join(_ar_member(name, content, epoch) for name, content in members)

    def _fields(self) -> str:
        fields = {"Package": self.name, "Version": self.version, "Architecture": self.architecture}
        fields |= {"Maintainer": self.maintainer, "Installed-Size": str(self._installed_size())}
        fields |= dict(self.control)
        lines = [f"{name}: {_one_line(value)}\n" for name, value in fields.items() if value]
        return "".join(lines) + f"Description: {_folded(self.description)}\n"

    def _installed_size(self) -> int:
        """In KiB, as dpkg-gencontrol counts: each file rounded up, and one for a directory or link."""
        sizes = [-(-len(member.content) // 1024) if not member.link else 1 for member in self.files.values()]
        return sum(sizes) + len(_directories(self.files))


def _one_line(value: str) -> str:
    return " ".join(value.split())


def _folded(text: str) -> str:
    """A description as the field has it: each line below the first one begins with a space, empty ones are dots."""
    first, *rest = text.strip().splitlines()
    return "\n".join([_one_line(first)[:79], *(f" {line.rstrip() or '.'}" for line in rest)])


def _directories(paths: Mapping[str, Member] | Sequence[str]) -> list[str]:
    found = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    return sorted(found - {"."})


def _tar(files: Mapping[str, Member], epoch: int) -> bytes:
    """A tar archive of the files and the directories that they lie in."""
    room = io.BytesIO()
    entries: dict[str, Member | None] = {".": None, **dict.fromkeys(_directories(files), None), **files}
    with tarfile.open(fileobj=room, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, member in sorted(entries.items(), key=lambda entry: PurePosixPath(entry[0]).parts):
            info = tarfile.TarInfo("./" if path == "." else f"./{path}")
            info.mtime, info.uname, info.gname, info.mode = epoch, "root", "root", 0o755
            if member is None:
                info.type = tarfile.DIRTYPE
            elif member.link:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, member.link, 0o777
            else:
                info.size, info.mode = len(member.content), member.mode
            tar.addfile(info, io.BytesIO(member.content) if member is not None and not member.link else None)
    return room.getvalue()


def _xz(content: bytes) -> bytes:
    return lzma.compress(content, preset=6)


def _ar_member(name: str, content: bytes, epoch: int) -> bytes:
    header = f"{name:<16}{epoch:<12}{0:<6}{0:<6}{0o100644:<8o}{len(content):<10}`\n".encode()
    return header + content + b"\n" * (len(content) % 2)


def compressed_document(text: str) -> bytes:
    """A document as policy wants it below /usr/share/doc: gzip at its best, without name and time."""
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)
