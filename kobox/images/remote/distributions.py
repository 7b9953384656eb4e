"""Distributions by name: where their mirrors are, how they are laid out, and what a kernel is made of there.

ubuntu/24.04       ubuntu/noble:lowlatency
fedora/41          rocky/9, almalinux/9
opensuse           Tumbleweed; opensuse/15.6
archlinux          archlinux:linux-lts
alpine/3.20        alpine/edge:lts
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kobox.errors import FetchError, KernelNotFoundError
from kobox.images.kernel_image import Progress
from kobox.images.remote import alpine_repository as alpine
from kobox.images.remote import arch_repository as arch
from kobox.images.remote import deb_repository as deb
from kobox.images.remote import rpm_repository as rpm
from kobox.images.remote.mirror import NotOnMirrorError, PackageMirror
from kobox.images.remote.openpgp import keyring_of
from kobox.images.remote.package import RemotePackage

# Ubuntu's releases by number, as its archive names them (https://wiki.ubuntu.com/Releases).
_UBUNTU = {
    "18.04": "bionic",
    "20.04": "focal",
    "22.04": "jammy",
    "24.04": "noble",
    "24.10": "oracular",
    "25.04": "plucky",
    "25.10": "questing",
}
_FEDORA = ("kernel-core", "kernel-modules-core", "kernel-modules", "kernel-devel")
_SUSE = ("kernel-default", "kernel-default-devel", "kernel-devel")


class WantedKernel(NamedTuple):
    """What a name means: `release` of the distribution ("" for the newest), `flavour` or version of the kernel."""

    distribution: str
    release: str
    flavour: str


class FetchedKernel(NamedTuple):
    """The packages of a kernel, fetched and verified, and where they came from in words."""

    packages: tuple[Path, ...]
    origin: str


@dataclass(frozen=True, slots=True)
class Distribution:
    """`mirror` is the address used where none is given, `keys` are globs of its keyring's files, `package` what
    installs them."""

    mirror: str
    keys: tuple[str, ...]
    package: str
    fetch: Callable[[_Job], FetchedKernel]


@dataclass(frozen=True, slots=True)
class _Job:
    wanted: WantedKernel
    mirror: PackageMirror
    keyring: Path | None
    into: Path
    progress: Progress
    architecture: str = "x86_64"

    @property
    def known(self) -> Distribution:
        """The distribution."""
        return DISTRIBUTIONS[self.wanted.distribution]


def wanted_kernel(spec: str) -> WantedKernel | None:
    """What a source such as `fedora/41` means; None where it names no distribution."""
    match = re.fullmatch(r"([a-z]+)(?:/([\w.+-]+))?(?::([\w.+~-]+))?", spec)
    if match is None or match[1] not in DISTRIBUTIONS:
        return None
    return WantedKernel(match[1], match[2] or "", match[3] or "")


def fetch_kernel_packages(
    wanted: WantedKernel, into: Path, progress: Progress, *, mirror: str = "", keyring: Path | None = None
) -> FetchedKernel:
    """Fetch and verify the packages of a kernel into a directory.

    `mirror` is another mirror's address or a directory; without it that of KOBOX_NAME_MIRROR in the environment, or the
    distribution's own. Raises `FetchError`, `KernelNotFoundError`, `OSError`.
    """
    known = DISTRIBUTIONS[wanted.distribution]
    address = mirror or os.environ.get(f"KOBOX_{wanted.distribution.upper()}_MIRROR", "") or known.mirror
    if "://" not in address:
        address = Path(address).resolve().as_uri()
    progress(f"reading the index of {wanted.distribution}", 0, 0)
    return known.fetch(_Job(wanted, PackageMirror(address), keyring, into, progress))


# -- one function a layout -----------------------------------------------------------------------------------------


def _ubuntu(job: _Job) -> FetchedKernel:
    release = job.wanted.release or max(_UBUNTU)
    suite = _UBUNTU.get(release, release)
    if not re.fullmatch(r"[a-z]+", suite):
        raise KernelNotFoundError(
            f"ubuntu/{release}: no release that kobox knows",
            hint=f"It knows {', '.join(_UBUNTU)}; name another by its first word (ubuntu/noble).",
        )
    known = job.known
    keyring = keyring_of("ubuntu", job.keyring, known.keys, known.package)
    packages: list[RemotePackage] = []
    for number, one in enumerate((suite, f"{suite}-updates", f"{suite}-security")):
        try:
            packages += deb.deb_packages(job.mirror, [one], "main", "amd64", keyring)
        except NotOnMirrorError:
            if not number:
                raise
    chosen = deb.deb_kernel(packages, job.wanted.flavour or "generic")
    return _fetched(job, chosen, lambda one: deb.fetch_deb(job.mirror, one, job.into, job.progress))


def _rpm_repositories(
    job: _Job, paths: Sequence[str], names: Sequence[str], *, signed: bool, optional: int = 1
) -> FetchedKernel:
    known = job.known
    keyring = keyring_of(job.wanted.distribution, job.keyring, known.keys, known.package)
    packages: dict[RemotePackage, PackageMirror] = {}
    for number, path in enumerate(paths):
        mirror = job.mirror.below(path)
        try:
            packages |= dict.fromkeys(rpm.rpm_packages(mirror, keyring, signed=signed), mirror)
        except NotOnMirrorError:
            if number < len(paths) - optional:
                raise
    chosen = rpm.rpm_kernel(list(packages), names, job.wanted.flavour)
    return _fetched(job, chosen, lambda one: rpm.fetch_rpm(packages[one], one, job.into, job.progress, keyring))


def _fedora(job: _Job) -> FetchedKernel:
    release = _needed(job, "fedora/41")
    base = ("development" if release == "rawhide" else "releases") + f"/{release}/Everything/x86_64/os"
    return _rpm_repositories(job, (base, f"updates/{release}/Everything/x86_64"), _FEDORA, signed=False)


def _enterprise(job: _Job) -> FetchedKernel:
    release = _needed(job, f"{job.wanted.distribution}/9")
    paths = tuple(f"{release}/{name}/x86_64/os" for name in ("BaseOS", "AppStream"))
    return _rpm_repositories(job, paths, _FEDORA, signed=False)


def _opensuse(job: _Job) -> FetchedKernel:
    release = job.wanted.release
    if release in ("", "tumbleweed"):
        return _rpm_repositories(job, ("tumbleweed/repo/oss",), _SUSE, signed=True, optional=0)
    paths = (f"distribution/leap/{release}/repo/oss", f"update/leap/{release}/oss", f"update/leap/{release}/sle")
    return _rpm_repositories(job, paths, _SUSE, signed=True, optional=2)


def _archlinux(job: _Job) -> FetchedKernel:
    known, name = job.known, job.wanted.flavour or "linux"
    if job.wanted.release:
        raise KernelNotFoundError(
            f"archlinux/{job.wanted.release}: it has no releases", hint="`archlinux`, or `archlinux:linux-lts`."
        )
    keyring = keyring_of("archlinux", job.keyring, known.keys, known.package)
    packages: dict[RemotePackage, PackageMirror] = {}
    for repository in ("extra", "core"):
        mirror = job.mirror.below(f"{repository}/os/x86_64")
        try:
            packages |= dict.fromkeys(arch.arch_packages(mirror, repository), mirror)
        except NotOnMirrorError:
            if repository == "core":
                raise
    chosen = arch.arch_kernel(list(packages), name)
    return _fetched(job, chosen, lambda one: arch.fetch_arch(packages[one], one, job.into, job.progress, keyring))


def _alpine(job: _Job) -> FetchedKernel:
    release = job.wanted.release or "latest-stable"
    branch = f"v{release}" if release[0].isdigit() else release
    known = job.known
    keyring = keyring_of("alpine", job.keyring, known.keys, known.package)
    keys = alpine.AlpineKeys.of_files(keyring.files)
    mirror = job.mirror.below(f"{branch}/main/x86_64")
    chosen = alpine.alpine_kernel(alpine.alpine_packages(mirror, keys), job.wanted.flavour or "virt")
    return _fetched(job, chosen, lambda one: alpine.fetch_alpine(mirror, one, job.into, job.progress, keys))


def _needed(job: _Job, example: str) -> str:
    if not job.wanted.release:
        raise KernelNotFoundError(f"{job.wanted.distribution}: which release?", hint=f"For example {example}.")
    return job.wanted.release


def _fetched(job: _Job, chosen: Sequence[RemotePackage], fetch: Callable[[RemotePackage], Path]) -> FetchedKernel:
    for one in chosen:
        if not one.path or ".." in Path(one.path).parts or one.path.startswith("/"):
            raise FetchError(f"{one.name}: an index with a path that leads elsewhere: {one.path!r}")
    wanted = job.wanted
    name = wanted.distribution + (f"/{wanted.release}" if wanted.release else "")
    return FetchedKernel(tuple(map(fetch, chosen)), f"{name} {chosen[0].name} {chosen[0].version}")


_GPG = "/usr/share/distribution-gpg-keys"
DISTRIBUTIONS: dict[str, Distribution] = {
    "ubuntu": Distribution(
        "https://archive.ubuntu.com/ubuntu",
        ("/usr/share/keyrings/ubuntu-archive-keyring.gpg",),
        "ubuntu-keyring (Ubuntu), ubuntu-archive-keyring (Debian)",
        _ubuntu,
    ),
    "fedora": Distribution(
        "https://dl.fedoraproject.org/pub/fedora/linux",
        ("/etc/pki/rpm-gpg/RPM-GPG-KEY-fedora-*", f"{_GPG}/fedora/RPM-GPG-KEY-fedora-*"),
        "distribution-gpg-keys",
        _fedora,
    ),
    "rocky": Distribution(
        "https://dl.rockylinux.org/pub/rocky",
        ("/etc/pki/rpm-gpg/RPM-GPG-KEY-Rocky-*", f"{_GPG}/rocky/RPM-GPG-KEY-*"),
        "distribution-gpg-keys",
        _enterprise,
    ),
    "almalinux": Distribution(
        "https://repo.almalinux.org/almalinux",
        ("/etc/pki/rpm-gpg/RPM-GPG-KEY-AlmaLinux*", f"{_GPG}/alma/RPM-GPG-KEY-*"),
        "distribution-gpg-keys",
        _enterprise,
    ),
    "opensuse": Distribution(
        "https://download.opensuse.org",
        ("/usr/lib/rpm/gnupg/keys/*.asc", f"{_GPG}/suse/RPM-GPG-KEY-*", f"{_GPG}/opensuse/RPM-GPG-KEY-*"),
        "distribution-gpg-keys",
        _opensuse,
    ),
    "archlinux": Distribution(
        "https://geo.mirror.pkgbuild.com",
        ("/usr/share/pacman/keyrings/archlinux.gpg", "/usr/share/keyrings/archlinux.gpg"),
        "archlinux-keyring",
        _archlinux,
    ),
    "alpine": Distribution(
        "https://dl-cdn.alpinelinux.org/alpine",
        ("/usr/share/apk/keys/*.pub", "/usr/share/apk/keys/x86_64/*.pub", "/etc/apk/keys/*.pub"),
        "alpine-keys",
        _alpine,
    ),
}
