"""Ubuntu's and Debian's repositories: signed Release, Packages with digests, .deb files.

dists/SUITE/InRelease                            signed, holds the SHA-256 of
dists/SUITE/COMPONENT/binary-ARCH/Packages.xz    which holds name, version, path, size and SHA-256 of each package
pool/…/linux-image-….deb
(https://wiki.debian.org/DebianRepository/Format)
"""

from __future__ import annotations

import gzip
import lzma
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from kobox.errors import FetchError, KernelNotFoundError
from kobox.images.kernel_image import Progress, natural
from kobox.images.remote.mirror import PackageMirror, require_content, require_digest
from kobox.images.remote.openpgp import Keyring
from kobox.images.remote.package import RemotePackage

_PACKINGS = (("Packages.xz", lzma.decompress), ("Packages.gz", gzip.decompress), ("Packages", bytes))


def deb_packages(
    mirror: PackageMirror, suites: Sequence[str], component: str, architecture: str, keyring: Keyring
) -> list[RemotePackage]:
    """The kernel packages of some suites. Raises `FetchError`."""
    found: list[RemotePackage] = []
    for suite in suites:
        signed = mirror.read(f"dists/{suite}/InRelease")
        release = keyring.check_inline(signed, f"{mirror.base}/dists/{suite}/InRelease").decode(errors="replace")
        digests = _digests(release)
        found += list(_packages(_index(mirror, suite, f"{component}/binary-{architecture}", digests)))
    return found


def deb_kernel(packages: Sequence[RemotePackage], flavour: str) -> list[RemotePackage]:
    """The packages of the newest kernel of a flavour, or of the release that is named. Raises `KernelNotFoundError`."""
    by_name: dict[str, RemotePackage] = {}
    for one in sorted(packages, key=lambda one: natural(one.version)):
        by_name[one.name] = one
    images = [
        name
        for name in by_name
        if re.fullmatch(rf"linux-image-(\d.*-{re.escape(flavour)}|{re.escape(flavour)})", name)
        and not name.endswith(("-dbg", "-unsigned"))
    ]
    if not images:
        raise KernelNotFoundError(f"no kernel {flavour} in it", hint=_flavours(by_name))
    release = max(images, key=natural).removeprefix("linux-image-")
    common = release.removesuffix(f"-{flavour}")
    names = [f"linux-{kind}-{release}" for kind in ("image", "modules", "modules-extra", "headers")]
    return [by_name[name] for name in (*names, f"linux-headers-{common}") if name in by_name]


def fetch_deb(mirror: PackageMirror, package: RemotePackage, into: Path, progress: Progress) -> Path:
    """One package, with the digest that its signed index has. Raises `FetchError`, `OSError`."""
    path = mirror.download(package.path, into, package.size, progress)
    require_digest(path, package.sha256)
    return path


def _flavours(names: dict[str, RemotePackage]) -> str:
    found = {match[1] for name in names if (match := re.fullmatch(r"linux-image-[\d.]+-\d+-(\w+)", name))}
    return f"It has the flavours {', '.join(sorted(found))}." if found else "Is the release right?"


def _digests(release: str) -> dict[str, str]:
    """Path -> SHA-256, as a Release file lists them."""
    _, _, rest = f"\n{release}".partition("\nSHA256:\n")
    lines = (line.split() for line in re.split(r"\n(?! )", rest)[0].splitlines())
    return {words[2]: words[0] for words in lines if len(words) == 3}


def _index(mirror: PackageMirror, suite: str, where: str, digests: dict[str, str]) -> str:
    for name, unpack in _PACKINGS:
        path = f"{where}/{name}"
        if path in digests:
            packed = require_content(mirror.read(f"dists/{suite}/{path}"), digests[path], path)
            try:
                return unpack(packed).decode(errors="replace")
            except (lzma.LZMAError, OSError, EOFError) as error:
                raise FetchError(f"{path}: damaged: {error}") from error
    raise FetchError(f"{mirror.base}/dists/{suite}: no {where}/Packages in its Release", hint="Is the suite right?")


def _packages(index: str) -> Iterator[RemotePackage]:
    for block in index.split("\n\n"):
        if not block.startswith("Package: linux-"):
            continue
        fields = dict(line.partition(": ")[::2] for line in block.splitlines() if not line.startswith(" "))
        size = fields.get("Size", "")
        yield RemotePackage(
            fields["Package"],
            fields.get("Version", ""),
            fields.get("Filename", ""),
            int(size) if size.isdigit() else 0,
            fields.get("SHA256", ""),
        )
