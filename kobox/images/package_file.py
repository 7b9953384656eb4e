"""Packages of kernels as files: .deb, .rpm, Arch's .pkg.tar.zst, Alpine's .apk, and the tarballs of `make tar-pkg`.

What a kernel is made of is unpacked, and nothing else: boot, the module trees, the headers.

    .deb    an ar(5) archive: debian-binary, control.tar.*, data.tar.*           (deb(5))
    .rpm    a lead of 96 bytes, two headers, and a packed cpio archive           (RPM's docs/manual/format_v4.md)
    .apk    several tar archives, each packed with gzip, one behind the other    (apk-package(5), version 2)
    others  one tar archive, packed; or a container's image, with its layers (kobox.images.container_image)

A package is a stranger's file: no path leaves the directory, nothing is written through a link (all links are made at
the end), no bit but those of reading and executing is kept, and what is unpacked has a limit.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, Protocol, cast

from kobox.errors import KernelImageError
from kobox.images.container_image import ContainerLayers, Overlay, is_container_image
from kobox.images.debian.headers import settle_headers
from kobox.images.identify import identify
from kobox.images.kernel_image import KernelImage, Progress

_MOST_BYTES = 12 << 30
_MOST_ENTRIES = 400_000
_CHUNK = 1 << 20
_WANTED = ("boot", "lib/modules", "usr/lib/modules", "usr/src")
_LINK_MODE, _FILE_MODE, _DIRECTORY_MODE, _TYPE = 0o120000, 0o100000, 0o040000, 0o170000
_MAGICS = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2"}
_RPM, _AR, _RPM_HEADER, _CPIO = b"\xed\xab\xee\xdb", b"!<arch>\n", b"\x8e\xad\xe8", b"070701"
_RPM_COMPRESSOR = 1125  # RPMTAG_PAYLOADCOMPRESSOR
_LONGEST_NAME = 4096
_FIRST = 64  # members of an archive that are looked at
_IMAGES = ("boot/vmlinuz*", "boot/vmlinux*", "boot/Image*", "lib/modules/*/vmlinuz*", "usr/lib/modules/*/vmlinuz*")


class _Stream(Protocol):
    """What can be read to its end."""

    def read(self, size: int = ..., /) -> bytes: ...


class _Entry(NamedTuple):
    """One file of a package: `data` is None but for regular files, `target` is a link's."""

    name: str
    mode: int
    data: _Stream | None
    size: int
    target: str = ""
    hard: bool = False


def is_package(path: Path) -> bool:
    """Whether a file is a package or a tarball, by its first bytes. Raises `OSError`."""
    with path.open("rb") as file:
        head = file.read(512)
        if head.startswith((_RPM, _AR)) or _is_tar(head):
            return True
        file.seek(0)
        try:
            return _compression(head) != "" and _is_tar(_unpacked(file, _compression(head)).read(512))
        except (OSError, EOFError, lzma.LZMAError, zlib.error, KernelImageError):
            return False


def unpack_kernel(paths: Iterable[Path], into: Path, progress: Progress) -> KernelImage:
    """Unpack the packages of one kernel; the image's `directory` and `digest` are left open.

    Raises `KernelImageError` for what is no package, is damaged, or holds no kernel; `OSError`.
    """
    packages = list(paths)
    writer = _Writer(into)
    for path in packages:
        progress(f"unpacking {path.name}", 0, 0)
        try:
            with path.open("rb") as file:
                for entry in _entries(file):
                    writer.add(entry)
        except KernelImageError as error:  # a ValueError too: it says what is wrong already
            raise KernelImageError(f"{path}: {error.message}", hint=error.hint) from None
        except (
            EOFError,
            lzma.LZMAError,
            zlib.error,
            tarfile.TarError,
            struct.error,
            ValueError,
            _zstd_error(),
        ) as error:
            raise KernelImageError(f"{path}: a damaged package: {error}", hint="Fetch it again.") from None
        except OSError as error:
            if isinstance(error, gzip.BadGzipFile) or error.filename is None:
                raise KernelImageError(f"{path}: a damaged package: {error}", hint="Fetch it again.") from None
            raise
    writer.finish()
    return _found(into, packages)


def _found(root: Path, packages: list[Path]) -> KernelImage:
    names = ", ".join(path.name for path in packages)
    images = [path for pattern in _IMAGES for path in sorted(root.glob(pattern)) if path.is_file()]
    known: dict[str, Path] = {}
    for image in images:
        try:
            known.setdefault(identify(image).release, image)
        except KernelImageError:
            continue
    if not known:
        raise KernelImageError(
            f"{names}: no kernel image in it",
            hint="Give the packages of one kernel together: image, modules and headers (kernel-core, kernel-modules, "
            "kernel-devel; linux, linux-headers).",
        )
    if len(known) > 1:
        raise KernelImageError(f"{names}: several kernels: {', '.join(known)}", hint="Add them one by one.")
    ((release, vmlinuz),) = known.items()
    architecture = identify(vmlinuz).architecture
    modules = _first(root, f"lib/modules/{release}", f"usr/lib/modules/{release}")
    if modules is not None and not any((modules / name).exists() for name in ("kernel", "updates", "extra")):
        modules = None
    settle_headers(root)
    headers = _first(
        root,
        f"usr/src/linux-headers-{release}",
        f"usr/src/kernels/{release}",
        f"lib/modules/{release}/build",
        f"usr/lib/modules/{release}/build",
        f"usr/src/linux-{release}",
    )
    if headers is not None and not (headers / "Makefile").is_file():
        headers = None
    return KernelImage(release, release, vmlinuz, modules, headers, names, root, "", architecture)


def _first(root: Path, *names: str) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


class _Writer:
    """Writes files as they come, and links at the end."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._left, self._entries = _MOST_BYTES, 0
        self._links: dict[PurePosixPath, _Entry] = {}

    def add(self, entry: _Entry) -> None:
        self._entries += 1
        if self._entries > _MOST_ENTRIES:
            raise ValueError(f"more than {_MOST_ENTRIES} files")
        name = _inside(entry.name)
        if name is None or not any(name.is_relative_to(wanted) for wanted in _WANTED):
            return
        kind = entry.mode & _TYPE
        if entry.hard or kind == _LINK_MODE:
            self._links[name] = entry
        elif kind == _DIRECTORY_MODE:
            (self._root / name).mkdir(parents=True, exist_ok=True)
        elif entry.data is not None:
            self._write(self._root / name, entry)

    def finish(self) -> None:
        for name, entry in self._links.items():
            place = self._root / name
            target = _inside(
                entry.target if entry.hard or entry.target.startswith("/") else str(name.parent / entry.target)
            )
            if target is None or place.exists() or place.is_symlink():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.parent.resolve() != self._root.resolve() / name.parent:
                continue  # it would lie behind another link, and lead elsewhere from there
            if entry.hard:
                if (self._root / target).is_file() and not (self._root / target).is_symlink():
                    shutil.copyfile(self._root / target, place)
            else:
                place.symlink_to(os.path.relpath(target, name.parent))

    def _write(self, place: Path, entry: _Entry) -> None:
        assert entry.data is not None
        place.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(place, flags, 0o644), "wb") as out:
            left = entry.size
            while left:
                data = entry.data.read(min(left, _CHUNK))
                if not data:
                    raise EOFError(f"{entry.name} ends early")
                self._left -= len(data)
                if self._left < 0:
                    raise ValueError(f"it unpacks to more than {_MOST_BYTES >> 30} GiB")
                out.write(data)
                left -= len(data)
        if entry.mode & 0o111:
            place.chmod(0o755)


def _inside(name: str) -> PurePosixPath | None:
    """A path below the root; None for one that leads out of it, or cannot be a file's name."""
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if not parts or "\0" in name or len(name) > _LONGEST_NAME:
        return None
    return PurePosixPath(*parts)


def _entries(file: IO[bytes]) -> Iterator[_Entry]:
    head = file.read(512)
    file.seek(0)
    if head.startswith(_RPM):
        yield from _cpio(_unpacked(file, _rpm_payload(file)))
    elif head.startswith(_AR):
        data = _deb_data(file)
        yield from _tar(_unpacked(data, _compression(data.peek(16)[:16])))
    elif _is_tar(head) and (image := _container(file)) is not None:
        yield from _layered(image)
    elif _is_tar(head) or _compression(head):
        yield from _tar(_unpacked(file, _compression(head)))
    else:
        raise KernelImageError("no package that kobox knows", hint="It knows .deb, .rpm, .apk and tarballs.")


def _container(file: IO[bytes]) -> ContainerLayers | None:
    """The image that a file holds, if it is one of a container."""
    archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - it has the file of the caller, who closes that
    if is_container_image(member.name for member in islice(archive, _FIRST)):
        return ContainerLayers(archive)
    file.seek(0)
    return None


def _layered(image: ContainerLayers) -> Iterator[_Entry]:
    """What is to be seen of all layers, from the top one down."""
    overlay = Overlay()
    for name in reversed(image.names()):
        layer = io.BufferedReader(cast(io.RawIOBase, image.open(name)))
        for entry in _tar(_unpacked(layer, _compression(layer.peek(16)[:16]))):
            if overlay.shows(entry.name):
                yield entry
        overlay.next_layer()


def _tar(stream: _Stream) -> Iterator[_Entry]:
    # An .apk is several archives: zeros between them end nothing.
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|", ignore_zeros=True, errorlevel=2) as archive:
        for member in archive:
            if member.isreg():
                yield _Entry(member.name, _FILE_MODE | member.mode & 0o777, archive.extractfile(member), member.size)
            elif member.isdir():
                yield _Entry(member.name, _DIRECTORY_MODE, None, 0)
            elif member.issym() or member.islnk():
                yield _Entry(member.name, _LINK_MODE, None, 0, member.linkname, member.islnk())


def _cpio(stream: _Stream) -> Iterator[_Entry]:
    """newc (cpio(5)): 110 bytes of hexadecimal fields, the name, the content; both padded to 4 bytes. Of the names of
    one file the last has the content."""
    waiting: dict[tuple[int, int], list[str]] = {}
    while True:
        head = _exactly(stream, 110)
        if head[:6] != _CPIO:
            raise ValueError(f"no cpio header of kind newc: {head[:6]!r}")
        ino, mode, _, _, links, _, size, major, minor, _, _, name_size, _ = (
            int(head[at : at + 8], 16) for at in range(6, 110, 8)
        )
        if not 0 < name_size <= _LONGEST_NAME + 1:
            raise ValueError(f"a name of {name_size} bytes")
        name = _exactly(stream, name_size + -(110 + name_size) % 4)[: name_size - 1].decode(errors="surrogateescape")
        if name == "TRAILER!!!":
            return
        content = _Part(stream, size)
        target = (
            content.read(size).decode(errors="surrogateescape") if mode & _TYPE == _LINK_MODE and size < 65536 else ""
        )
        if links > 1 and not size and mode & _TYPE == _FILE_MODE:
            waiting.setdefault((major << 32 | minor, ino), []).append(name)
        else:
            yield _Entry(name, mode, content if mode & _TYPE == _FILE_MODE else None, size, target)
            for other in waiting.pop((major << 32 | minor, ino), ()):
                yield _Entry(other, mode, None, 0, name, hard=True)
        content.skip()
        _exactly(stream, -size % 4)


class _Part:
    """The next bytes of a stream."""

    def __init__(self, stream: _Stream, size: int) -> None:
        self._stream, self._left = stream, size

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(min(self._left, _CHUNK if size < 0 else size))
        self._left -= len(data)
        return data

    def skip(self) -> None:
        while self._left:
            if not self.read(_CHUNK):
                raise EOFError("it ends early")


def _rpm_payload(file: IO[bytes]) -> str:
    """Go to the payload; how it is packed."""
    file.seek(96)
    _rpm_header(file)
    file.seek(-file.tell() % 8, os.SEEK_CUR)
    tags = _rpm_header(file)
    compressor = tags.get(_RPM_COMPRESSOR, b"gzip").decode(errors="replace")
    return {"none": "", "lzma": "lzma"}.get(compressor, compressor)


def _rpm_header(file: IO[bytes]) -> dict[int, bytes]:
    """The tags that are texts, by number: an index of (tag, type, offset, count), and a store."""
    head = _exactly(file, 16)
    count, size = struct.unpack(">II", head[8:])
    if head[:3] != _RPM_HEADER or count > 1 << 16 or size > 1 << 28:
        raise ValueError("no header where one should be")
    index, store = _exactly(file, 16 * count), _exactly(file, size)
    found = {}
    for tag, kind, offset, _ in struct.iter_unpack(">IIII", index):
        if kind == 6 and offset < size:
            found[tag] = store[offset:].partition(b"\0")[0] if tag == _RPM_COMPRESSOR else b""
    return found


def _deb_data(file: IO[bytes]) -> io.BufferedReader:
    """The member data.tar.*, as a stream: ar(5), 60 bytes before each member."""
    file.seek(len(_AR))
    while head := file.read(60):
        if len(head) < 60 or head[58:] != b"`\n":
            raise ValueError("no header of ar(5) where one should be")
        size = int(head[48:58])
        if head.startswith(b"data.tar"):
            return io.BufferedReader(_Window(file, size))
        file.seek(size + size % 2, os.SEEK_CUR)
    raise KernelImageError("an archive without data.tar: no package", hint="Debian's packages have one.")


class _Window(io.RawIOBase):
    """The next `size` bytes of a file, for a buffered reader."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


def _unpacked(file: IO[bytes], how: str) -> _Stream:
    if how == "gzip":
        return gzip.GzipFile(fileobj=file)
    if how in ("xz", "lzma"):
        return lzma.LZMAFile(file)
    if how == "bzip2":
        return bz2.BZ2File(file)
    if how == "zstd":
        import zstandard

        return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
    if how:
        raise KernelImageError(f"packed with {how[:40]!r}", hint="kobox unpacks gzip, xz, lzma, bzip2 and zstd.")
    return file


def _compression(head: bytes) -> str:
    return next((name for magic, name in _MAGICS.items() if head.startswith(magic)), "")


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _exactly(stream: _Stream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = stream.read(size - len(data))
        if not part:
            raise EOFError("it ends early")
        data += part
    return data


def _zstd_error() -> type[Exception]:
    import zstandard

    error: type[Exception] = zstandard.ZstdError
    return error
