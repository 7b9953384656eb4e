"""Kernels of Debian's archive: which packages one is made of, and how they become a kernel of the cache.

What belongs to a kernel is read off the packages themselves. `linux-image-RELEASE` and `linux-headers-RELEASE` are
followed along their dependencies as long as these are packages of the kernel's own (`linux-…`). So it does not
matter how a release is cut: up to 6.12 the image holds vmlinuz and modules, later `linux-binary-…` and
`linux-modules-…` do.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kobox.arch.registry import architecture
from kobox.errors import FetchError, KernelNotFoundError
from kobox.images.debian.archive import Archive, ArchivePackage
from kobox.images.debian.header_types import make_types
from kobox.images.debian.headers import settle_headers
from kobox.images.debian.narrow_modpost import fetch_narrow_modpost
from kobox.images.debian.toolchain import complete_tools, has_types
from kobox.images.kernel_image import KernelImage, Progress, natural

# Ports of Debian that have no kernel for clouds.
_FLAVOURS = {"riscv64": "riscv64", "armhf": "armmp"}


@dataclass(frozen=True, slots=True)
class KernelPackages:
    """The packages that one kernel is made of. `origin` names them for good: same origin, same files."""

    release: str
    origin: str
    packages: tuple[ArchivePackage, ...]


def find_kernel(archive: Archive, release: str | None = None) -> KernelPackages:
    """The packages of a kernel: of `release`, a flavour (`rt-amd64`), or None for the newest one for clouds, else the
    newest of the port's most general flavour.

    Raises KernelNotFoundError, with the releases that there are, when the suite has no such kernel.
    """
    wanted = release or _FLAVOURS.get(archive.architecture, f"cloud-{archive.architecture}")
    image = _image(archive, wanted)
    if image is None:
        others = _releases(archive)
        near = [other for other in others if wanted in other] or others
        raise KernelNotFoundError(
            f"Debian {archive.suite} has no kernel {wanted}",
            hint=f"It has {', '.join(near[-6:])}; `kobox kernel add debian/{archive.suite}:RELEASE` adds one.",
        )
    found = image.name.removeprefix("linux-image-")
    packages = _closure(archive, [image.name, f"linux-headers-{found}"])
    return KernelPackages(found, f"{_where(archive)} {image.name} {image.version}", packages)


def fetch_kernel(archive: Archive, kernel: KernelPackages, into: Path, progress: Progress) -> KernelImage:
    """Download a kernel's packages and unpack them in `into`; the image's `directory` and `digest` are left open.

    Raises FetchError.
    """
    tools = archive.for_this_machine()
    programs = _programs(tools, kernel, progress) if tools is not archive else ()
    replaced = {package.name for package in programs}
    own_packages = [package for package in kernel.packages if package.name not in replaced]
    archive.unpack(archive.download(own_packages, progress), into, progress)
    if programs:
        tools.unpack(tools.download(programs, progress), into, progress)
    shutil.rmtree(into / "usr/share", ignore_errors=True)
    release = kernel.release
    modules = first_of(into, f"lib/modules/{release}", f"usr/lib/modules/{release}")
    vmlinuz = first_of(into, f"boot/vmlinuz-{release}", f"usr/lib/modules/{release}/vmlinuz", "boot/vmlinu[xz]*")
    if vmlinuz is None:
        names = ", ".join(package.name for package in kernel.packages)
        raise FetchError(f"Debian {archive.suite}: no kernel image in {names}")
    headers = first_of(into, f"usr/src/linux-headers-{release}")
    if headers is not None:
        settle_headers(into)
        complete_tools(tools, kernel.packages, into, headers, progress)
        if architecture(archive.architecture).addresses.word == 4:  # bytes
            kbuild = [package.name for package in kernel.packages if package.name.startswith("linux-kbuild")]
            fetch_narrow_modpost(tools, kbuild, into, progress)
        if not has_types(headers):
            progress("making types from the headers", 0, 0)
            make_types(headers, into)
    arch = architecture(archive.architecture).name
    return KernelImage(release, release, vmlinuz, modules, headers, kernel.origin, into, "", arch)


def _where(archive: Archive) -> str:
    """The suite, and the port where it is not this machine's."""
    port = "" if archive.for_this_machine() is archive else f":{archive.architecture}"
    return f"debian/{archive.suite}{port}"


def _programs(tools: Archive, kernel: KernelPackages, progress: Progress) -> tuple[ArchivePackage, ...]:
    """The packages of programs that Kbuild runs, for this machine instead of the kernel's. Raises FetchError."""
    tools.update(progress)
    names = [package.name for package in kernel.packages if package.name.startswith("linux-kbuild")]
    return tuple(tools.show(names).values())


def _image(archive: Archive, wanted: str) -> ArchivePackage | None:
    """The package of a release's image; the name of a flavour leads to its newest release."""
    name = f"linux-image-{wanted}"
    for _ in range(4):
        image = archive.show([name]).get(name)
        if image is None:
            return None
        onward = [other for other in image.depends if other.startswith("linux-image-")]
        if not onward:
            return image
        name = onward[0]
    return None


def _closure(archive: Archive, roots: Sequence[str]) -> tuple[ArchivePackage, ...]:
    """The named packages and the kernel's own packages that they depend on; unknown names are left out."""
    found: dict[str, ArchivePackage] = {}
    asked: set[str] = set()
    names = list(roots)
    while names:
        asked.update(names)
        shown = archive.show(names)
        found.update(shown)
        names = sorted({name for package in shown.values() for name in package.depends if own(name)} - asked)
    return tuple(found.values())


def _releases(archive: Archive) -> list[str]:
    releases = {name.removeprefix("linux-image-") for name in archive.names("linux-image-")}
    ends = f"(?:{archive.architecture}|{_FLAVOURS.get(archive.architecture, archive.architecture)})"
    return sorted((name for name in releases if re.fullmatch(rf"\d[^ ]*{ends}", name)), key=natural)


def own(name: str) -> bool:
    """Whether a package may be one of the kernel's own. linux-base is for booting and linux-libc-dev for programs."""
    return name.startswith("linux-") and name not in ("linux-base", "linux-libc-dev")


def first_of(root: Path, *patterns: str) -> Path | None:
    """The first existing path below `root` that one of the patterns names."""
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            return path
    return None
