"""Arch Linux's repositories: a database of descriptions, and packages with a detached signature each.

core.db                tar.gz: NAME-VERSION/desc, blocks of %FIELD% and its lines (alpm-repo-db(7))
linux-….pkg.tar.zst    its signature is the desc's PGPSIG, or the file beside it with .sig
"""

from __future__ import annotations

import base64
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import zstandard

from kobox.errors import FetchError, KernelNotFoundError
from kobox.images.kernel_image import Progress
from kobox.images.remote.mirror import PackageMirror, require_digest
from kobox.images.remote.openpgp import Keyring
from kobox.images.remote.package import RemotePackage

_MOST_DESCRIPTION = 1 << 20


def arch_packages(mirror: PackageMirror, repository: str) -> list[RemotePackage]:
    """The kernel packages of a repository. Raises `FetchError`."""
    name = f"{repository}.db"
    content = mirror.read(name)
    try:
        if content.startswith(b"\x28\xb5\x2f\xfd"):
            content = zstandard.ZstdDecompressor().stream_reader(content).read(_MOST_DESCRIPTION << 8)
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as archive:
            return list(_packages(archive))
    except (tarfile.TarError, OSError, EOFError, ValueError, lzma.LZMAError, zlib.error, zstandard.ZstdError) as error:
        raise FetchError(f"{mirror.base}/{name}: damaged: {error}", hint="Try another mirror.") from error


def arch_kernel(packages: Sequence[RemotePackage], name: str) -> list[RemotePackage]:
    """The image and the headers of a kernel, by its package's name. Raises `KernelNotFoundError`."""
    found = {one.name: one for one in packages}
    if name not in found:
        raise KernelNotFoundError(f"no package {name} in it", hint="Kernels are linux, linux-lts, linux-zen.")
    return [found[one] for one in (name, f"{name}-headers") if one in found]


def fetch_arch(mirror: PackageMirror, package: RemotePackage, into: Path, progress: Progress, keyring: Keyring) -> Path:
    """One package with a good signature. Raises `FetchError`, `OSError`."""
    path = mirror.download(package.path, into, package.size, progress)
    require_digest(path, package.sha256)
    signature = package.signature or mirror.read(f"{package.path}.sig", 1 << 16)
    keyring.check_detached(path, signature, path.name)
    return path


def _packages(archive: tarfile.TarFile) -> Iterator[RemotePackage]:
    for member in archive:
        file = archive.extractfile(member) if member.isreg() and member.name.endswith("/desc") else None
        if file is None or not member.name.startswith("linux"):
            continue
        blocks = file.read(_MOST_DESCRIPTION).decode(errors="replace").split("\n\n")
        fields = {head: rest for head, _, rest in (block.strip().partition("\n") for block in blocks)}
        size = fields.get("%CSIZE%", "")
        yield RemotePackage(
            fields.get("%NAME%", ""),
            fields.get("%VERSION%", ""),
            Path(fields.get("%FILENAME%", "")).name,
            int(size) if size.isdigit() else 0,
            fields.get("%SHA256SUM%", ""),
            base64.b64decode(fields.get("%PGPSIG%", "")),
        )
