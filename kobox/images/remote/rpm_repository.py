"""Fedora's, openSUSE's and RHEL's kin's repositories: repodata, and packages that carry their own signature.

repodata/repomd.xml            the digest of primary.xml; signed by some (repomd.xml.asc)
repodata/…-primary.xml.zst     name, version, path, size and digest of each package
kernel-core-….rpm              lead, signature header, header, payload: the signature is over the header, and the
                               header has the payload's digest (PAYLOADDIGEST)
(https://rpm-software-management.github.io/rpm/manual/format_v4.html)
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import zstandard

from kobox.errors import FetchError, KernelNotFoundError
from kobox.images.kernel_image import Progress, natural
from kobox.images.remote.mirror import PackageMirror, require_content, require_digest
from kobox.images.remote.openpgp import Keyring
from kobox.images.remote.package import RemotePackage

_REPO, _RPM = "{http://linux.duke.edu/metadata/repo}", "{http://linux.duke.edu/metadata/common}"
_SIGNATURES = (268, 267)  # RPMSIGTAG_RSA, RPMSIGTAG_DSA: over the header alone
_PAYLOAD_DIGEST, _PAYLOAD_DIGEST_ALGORITHM, _SHA256 = 5092, 5093, 8
_MAGIC = b"\x8e\xad\xe8\x01"
_LEAD = 96


def rpm_packages(mirror: PackageMirror, keyring: Keyring, *, signed: bool) -> list[RemotePackage]:
    """The kernel packages of a repository; `signed`: its repomd.xml has to have a good signature.

    Raises `FetchError`.
    """
    repomd = mirror.read("repodata/repomd.xml")
    if signed:
        signature = mirror.read("repodata/repomd.xml.asc")
        keyring.check_detached(repomd, signature, f"{mirror.base}/repodata/repomd.xml")
    try:
        path, digest = _primary(repomd)
        content = require_content(mirror.read(path), digest, path)
        return list(_packages(_unpacked(content)))
    except (ET.ParseError, ValueError, OSError, EOFError, lzma.LZMAError, zstandard.ZstdError) as error:
        if isinstance(error, FetchError):
            raise
        raise FetchError(f"{mirror.base}/repodata: damaged: {error}", hint="Try another mirror.") from error


def rpm_kernel(packages: Sequence[RemotePackage], names: Sequence[str], release: str) -> list[RemotePackage]:
    """The packages of the newest kernel, or of the one whose version begins as `release` does; the first of `names` is
    the one with the image. Raises `KernelNotFoundError`."""
    versions = {one.version for one in packages if one.name == names[0] and one.version.startswith(release)}
    if not versions:
        there = ", ".join(sorted({one.version for one in packages if one.name == names[0]}, key=natural)[-5:])
        raise KernelNotFoundError(f"no {names[0]} {release} in it", hint=f"It has {there}." if there else "")
    version = max(versions, key=natural)
    found = {one.name: one for one in packages if one.version == version and one.name in names}
    return [found[name] for name in names if name in found]


def fetch_rpm(mirror: PackageMirror, package: RemotePackage, into: Path, progress: Progress, keyring: Keyring) -> Path:
    """One package with a good signature of its own. Raises `FetchError`, `OSError`."""
    path = mirror.download(package.path, into, package.size, progress)
    require_digest(path, package.sha256)
    check_rpm(path, keyring)
    return path


def check_rpm(path: Path, keyring: Keyring) -> None:
    """Raises `FetchError` unless a package's header has a good signature, and its payload the digest in the header."""
    with path.open("rb") as file:
        try:
            file.seek(_LEAD)
            signatures, _ = _header(file)
            file.seek(-file.tell() % 8, io.SEEK_CUR)
            tags, raw = _header(file)
        except (ValueError, struct.error) as error:
            raise FetchError(f"{path.name}: a damaged package: {error}", hint="Fetch it again.") from None
        signature = next((signatures[tag] for tag in _SIGNATURES if tag in signatures), b"")
        if not signature:
            raise FetchError(f"{path.name}: it is not signed", hint="Nothing of it was used.")
        keyring.check_detached(raw, signature, path.name)
        digest = tags.get(_PAYLOAD_DIGEST, b"").partition(b"\0")[0].decode(errors="replace")
        algorithm = int.from_bytes(tags.get(_PAYLOAD_DIGEST_ALGORITHM, b"")[:4], "big")
        if algorithm != _SHA256 or hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise FetchError(f"{path.name}: its payload is not the one that was signed", hint="Fetch it again.")


def _header(file: IO[bytes]) -> tuple[dict[int, bytes], bytes]:
    """(tag -> the bytes from its value on, the header as it lies in the file)."""
    head = file.read(16)
    if len(head) < 16 or head[:4] != _MAGIC:
        raise ValueError("no header where one should be")
    count, size = struct.unpack(">II", head[8:])
    if count > 1 << 16 or size > 1 << 28:
        raise ValueError("a header too large")
    index, store = file.read(16 * count), file.read(size)
    if len(index) + len(store) != 16 * count + size:
        raise ValueError("it ends early")
    tags = {}
    for tag, kind, offset, length in struct.iter_unpack(">IIII", index):
        if kind in (4, 7):  # int32, binary
            tags[tag] = store[offset : offset + length * (4 if kind == 4 else 1)]
        else:
            tags[tag] = store[offset : offset + 4096]
    return tags, head + index + store


def _primary(repomd: bytes) -> tuple[str, str]:
    """(path, SHA-256) of primary.xml."""
    for data in ET.fromstring(repomd).iter(f"{_REPO}data"):
        if data.get("type") == "primary":
            location, checksum = data.find(f"{_REPO}location"), data.find(f"{_REPO}checksum")
            if location is None or checksum is None or checksum.get("type") != "sha256":
                raise ValueError("primary without a location or a SHA-256")
            return location.get("href", ""), (checksum.text or "").strip()
    raise ValueError("repomd.xml names no primary")


def _unpacked(content: bytes) -> IO[bytes]:
    raw = io.BytesIO(content)
    if content.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if content.startswith(b"\xfd7zXZ"):
        return cast(IO[bytes], lzma.LZMAFile(raw))
    if content.startswith(b"BZh"):
        return cast(IO[bytes], bz2.BZ2File(raw))
    if content.startswith(b"\x28\xb5\x2f\xfd"):
        return cast(IO[bytes], zstandard.ZstdDecompressor().stream_reader(raw))
    return raw


def _packages(primary: IO[bytes]) -> Iterator[RemotePackage]:
    """The packages whose name begins with kernel; of an index of hundreds of megabytes only one is in memory."""
    root: ET.Element | None = None
    for event, element in ET.iterparse(primary, events=("start", "end")):
        if root is None:
            root = element
        if event != "end" or element.tag != f"{_RPM}package":
            continue
        name = element.findtext(f"{_RPM}name", "")
        version, location = element.find(f"{_RPM}version"), element.find(f"{_RPM}location")
        size, checksum = element.find(f"{_RPM}size"), element.find(f"{_RPM}checksum")
        if name.startswith("kernel") and version is not None and location is not None and checksum is not None:
            length = size.get("package", "0") if size is not None else "0"
            yield RemotePackage(
                name,
                f"{version.get('ver', '')}-{version.get('rel', '')}",
                location.get("href", ""),
                int(length) if length.isdigit() else 0,
                (checksum.text or "").strip() if checksum.get("type") == "sha256" else "",
            )
        root.clear()
