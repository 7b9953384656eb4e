"""Alpine's repositories: a signed index, and packages whose signed control part has the digest of their data.

    APKINDEX.tar.gz    gzip members one behind the other: .SIGN.RSA.KEY, then a tar with APKINDEX
    linux-virt.apk     gzip members: .SIGN.RSA.KEY, control (.PKGINFO with datahash), data
                       the signature is over the packed bytes of the member behind it (apk-package(5), version 2)

Keys are RSA public keys in PEM; a signature names the file of its key.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.errors import FetchError, KernelNotFoundError
from kobox.images.kernel_image import Progress, natural
from kobox.images.remote.mirror import PackageMirror
from kobox.images.remote.package import RemotePackage

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_CHUNK = 1 << 18
_MOST_CONTROL = 64 << 20  # bytes of an unpacked signature, control part or index
_SIGNATURES = {".SIGN.RSA.": "sha1", ".SIGN.RSA256.": "sha256"}


class AlpineKeys:
    """Public keys by the names of their files."""

    def __init__(self, keys: Mapping[str, RSAPublicKey]) -> None:
        self._keys = keys

    @classmethod
    def of_files(cls, paths: Sequence[Path]) -> AlpineKeys:
        """Keys in PEM. Raises `FetchError`."""
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        keys: dict[str, RSAPublicKey] = {}
        for path in paths:
            try:
                key = load_pem_public_key(path.read_bytes())
            except ValueError as error:
                raise FetchError(f"{path}: no public key in PEM: {error}") from None
            if isinstance(key, RSAPublicKey):
                keys[path.name] = key
        return cls(keys)

    def check(self, signature_part: bytes, signed: bytes, name: str) -> None:
        """Raises `FetchError` unless a signature member has a good signature of those bytes."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        for file, signature in _files(signature_part, name).items():
            prefix = next((one for one in _SIGNATURES if file.startswith(one)), "")
            key = self._keys.get(file.removeprefix(prefix)) if prefix else None
            if key is None:
                continue
            algorithm = hashes.SHA1() if _SIGNATURES[prefix] == "sha1" else hashes.SHA256()
            try:
                key.verify(signature, signed, padding.PKCS1v15(), algorithm)
            except InvalidSignature:
                raise FetchError(f"{name}: its signature is wrong", hint="Nothing of it was used.") from None
            return
        known = ", ".join(self._keys) or "none"
        raise FetchError(
            f"{name}: no signature by a key that is known ({known})", hint="`--keyring FILE` names another key."
        )


def alpine_packages(mirror: PackageMirror, keys: AlpineKeys) -> list[RemotePackage]:
    """The kernel packages of a repository. Raises `FetchError`."""
    name = f"{mirror.base}/APKINDEX.tar.gz"
    content = mirror.read("APKINDEX.tar.gz")
    signature, end = _member(content, 0, name)
    keys.check(signature, content[end:], name)
    index, _ = _member(content, end, name)
    text = _files(index, name).get("APKINDEX", b"").decode(errors="replace")
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.partition(":")[::2] for line in block.splitlines())
        if fields.get("P", "").startswith("linux-"):
            size = fields.get("S", "")
            version = fields.get("V", "")
            path = f"{fields['P']}-{version}.apk"
            found.append(RemotePackage(fields["P"], version, path, int(size) if size.isdigit() else 0, ""))
    return found


def alpine_kernel(packages: Sequence[RemotePackage], flavour: str) -> list[RemotePackage]:
    """The image and the headers of the newest kernel of a flavour. Raises `KernelNotFoundError`."""
    found = {one.name: one for one in sorted(packages, key=lambda one: natural(one.version))}
    name = f"linux-{flavour}"
    if name not in found:
        raise KernelNotFoundError(f"no package {name} in it", hint="Flavours are virt and lts.")
    return [found[one] for one in (name, f"{name}-dev") if one in found]


def fetch_alpine(
    mirror: PackageMirror, package: RemotePackage, into: Path, progress: Progress, keys: AlpineKeys
) -> Path:
    """One package with a good signature. Raises `FetchError`, `OSError`."""
    path = mirror.download(package.path, into, package.size, progress)
    check_apk(path, keys)
    return path


def check_apk(path: Path, keys: AlpineKeys) -> None:
    """Raises `FetchError` unless the control part has a good signature, and the data the digest in it."""
    with path.open("rb") as file:
        head = file.read(_MOST_CONTROL)
        signature, first = _member(head, 0, path.name)
        control, second = _member(head, first, path.name)
        keys.check(signature, head[first:second], path.name)
        lines = _files(control, path.name).get(".PKGINFO", b"").decode(errors="replace").splitlines()
        wanted = next((line.partition("=")[2].strip() for line in lines if line.startswith("datahash")), "")
        file.seek(second)
        if hashlib.file_digest(file, "sha256").hexdigest() != wanted:
            raise FetchError(f"{path.name}: its data is not what was signed", hint="Fetch it again.")


def _member(content: bytes, begin: int, name: str) -> tuple[bytes, int]:
    """(what a gzip member at an offset holds, where it ends)."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(content[begin:], _MOST_CONTROL)
    except zlib.error as error:
        raise FetchError(f"{name}: damaged: {error}", hint="Fetch it again.") from None
    if not unpacker.eof:
        raise FetchError(f"{name}: damaged: a part without an end", hint="Fetch it again.")
    return unpacked, len(content) - len(unpacker.unused_data)


def _files(tar: bytes, name: str) -> dict[str, bytes]:
    """The regular files of a tar archive, which may lack its end."""
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(tar + bytes(1024))) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                if file is not None:
                    found[member.name] = file.read()
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise FetchError(f"{name}: damaged: {error}", hint="Fetch it again.") from None
    return found
