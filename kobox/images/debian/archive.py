"""Debian's archive: packages found, fetched and unpacked by apt and dpkg-deb, with no root and nothing installed."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kobox.arch.registry import architecture
from kobox.errors import FetchError, KernelNotFoundError
from kobox.images.debian.apt import Apt, environment, machine_mirrors
from kobox.images.debian.suite import port_suite
from kobox.images.kernel_image import Progress


@dataclass(frozen=True, slots=True)
class ArchivePackage:
    """One package as the archive describes it. Sizes in bytes: of the file, and installed."""

    name: str
    version: str
    architecture: str
    depends: tuple[str, ...]
    size: int
    installed_size: int

    @property
    def file_name(self) -> str:
        """The name that apt-get download gives its file."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


@dataclass(frozen=True, slots=True)
class Archive:
    """One suite of Debian's archive, for one architecture."""

    apt: Apt

    @classmethod
    def of_suite(cls, suite: str | None, rooms: Path, architecture: str = "amd64") -> Archive:
        """The archive of a suite from this machine's mirror. None: this machine's suite, or bookworm if it has none;
        of a port that is younger, the first suite that has it.

        `rooms` is the directory under which apt's files of each suite lie; `architecture` is Debian's name of one.
        Raises FetchError where apt or Debian's keyring is missing, KernelNotFoundError for an impossible suite name.
        """
        if suite is not None and not re.fullmatch(r"[a-z][a-z0-9.+-]*", suite):
            raise KernelNotFoundError(f"{suite!r} cannot be a suite of Debian", hint="One is bookworm, trixie or sid.")
        for tool, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg")):
            if shutil.which(tool) is None:
                raise FetchError(
                    f"{tool} is not installed, and kobox fetches Debian's kernels with it",
                    hint=f"Install {package}, or add a kernel you have: "
                    "`kobox kernel add host`, `kobox kernel add ./vmlinuz --modules DIR --headers DIR`.",
                )
        suite = suite or port_suite(architecture)
        mirror, security = machine_mirrors()
        room = rooms / (suite if architecture == "amd64" else f"{suite}-{architecture}")
        return cls(Apt(suite, mirror, security, room, architecture))

    def for_this_machine(self) -> Archive:
        """The archive of the same suite for this machine's architecture: this one where it is the same."""
        here = architecture(os.uname().machine).debian
        return self if here == self.architecture else self.for_port(here)

    def for_port(self, port: str) -> Archive:
        """The archive of the same suite for another architecture, by Debian's name of it."""
        return Archive.of_suite(self.suite, self.apt.room.parent, port)

    @property
    def suite(self) -> str:
        """The name of the suite."""
        return self.apt.suite

    @property
    def architecture(self) -> str:
        """Debian's name of the architecture."""
        return self.apt.architecture

    # ── lists ───────────────────────────────────────────────────────────────────────────────────────────────

    def update(self, progress: Progress) -> None:
        """Bring the package lists up to date. Raises FetchError with apt's own words."""
        self.apt.configure()
        progress(f"reading Debian's package lists ({self.suite})", 0, 0)
        done = self.apt.run("apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any")
        if done.returncode and not self.only_security_is_damaged(done.stderr):
            if not any((self.apt.room / "state/lists").glob("*Packages*")):
                shutil.rmtree(self.apt.room, ignore_errors=True)  # no such suite, or the first try without network
            raise self.apt.error(f"the package lists of Debian {self.suite} could not be fetched", done)
        if done.returncode:
            progress(f"the mirror's list of {self.suite}-security is damaged: without it", 0, 0)

    def only_security_is_damaged(self, said: str) -> bool:
        """Whether apt could verify all lists but the security archive's, which the mirror has while it is being
        changed: what the suite itself has is as good as it was on the day of its last point release."""
        failed = re.findall(r"^E: Failed to fetch (\S+)", said, re.MULTILINE)
        damaged = "File has unexpected size" in said or "Hash Sum mismatch" in said
        lists = any((self.apt.room / "state/lists").glob(f"*_dists_{self.suite}_*Packages*"))
        return bool(failed) and damaged and lists and all(f"/{self.suite}-security/" in url for url in failed)

    def names(self, prefix: str) -> list[str]:
        """The names of all packages that begin with `prefix`."""
        return self.apt.run("apt-cache", "pkgnames", prefix).stdout.split()

    def show(self, names: Iterable[str]) -> dict[str, ArchivePackage]:
        """The newest version of each named package; names that the archive does not know are left out."""
        done = self.apt.run("apt-cache", "show", "--no-all-versions", "--", *names)
        return {package.name: package for package in parse_packages(done.stdout)}

    def needed_by(self, package: str) -> list[ArchivePackage]:
        """A package with everything it depends on, as apt itself resolves it on an empty system."""
        done = self.apt.run("apt-get", "install", "--print-uris", "-qq", "--no-install-recommends", "--", package)
        if done.returncode:
            raise self.apt.error(f"the dependencies of {package} could not be resolved", done)
        names = [line.split()[1].split("_")[0] for line in done.stdout.splitlines() if line.startswith("'")]
        shown = self.show(names)
        return [shown[name] for name in names if name in shown]

    # ── files ───────────────────────────────────────────────────────────────────────────────────────────────

    def download(self, packages: Sequence[ArchivePackage], progress: Progress) -> list[Path]:
        """Download packages (those already there are not fetched again) and return the files, in the same order."""
        debs = self.apt.room / "debs"
        debs.mkdir(parents=True, exist_ok=True)
        total = sum(package.size for package in packages)
        _check_space(self.apt.room, total + sum(package.installed_size for package in packages))

        files = [debs / package.file_name for package in packages]
        partial = self.apt.room / "cache/archives/partial"

        def report() -> None:
            so_far = sum(map(_size_of, files)) + sum(_size_of(partial / file.name) for file in files)
            progress(f"downloading from Debian {self.suite}", min(so_far, total), total)

        names = [f"{package.name}={package.version}" for package in packages]
        done = self.apt.run("apt-get", "download", "-q", "--", *names, cwd=debs, meanwhile=report)
        missing = [file.name for file in files if not file.is_file()]
        if done.returncode or missing:
            raise self.apt.error(f"{', '.join(missing) or 'the packages'} could not be fetched", done)
        return files

    def unpack(self, debs: Sequence[Path], into: Path, progress: Progress) -> None:
        """Unpack packages into a directory. Raises FetchError with dpkg-deb's own words."""
        total = sum(deb.stat().st_size for deb in debs)
        done = 0
        for deb in debs:
            progress("unpacking", done, total)
            ran = subprocess.run(
                ["dpkg-deb", "-x", str(deb), str(into)], capture_output=True, text=True, env=environment(), check=False
            )
            if ran.returncode:
                if "No space left" not in ran.stderr:
                    deb.unlink(missing_ok=True)  # so that the next run fetches it afresh
                said = ran.stderr.strip() or f"dpkg-deb ended with {ran.returncode}"
                raise FetchError(
                    f"{deb.name} could not be unpacked: {said}",
                    hint="The cache is unchanged. Free some space if the disk is full, and run the command again.",
                )
            done += deb.stat().st_size
        _tame(into)
        progress("unpacking", total, total)

    def clean(self) -> None:
        """Drop the downloaded packages: they are unpacked."""
        shutil.rmtree(self.apt.room / "debs", ignore_errors=True)
        shutil.rmtree(self.apt.room / "cache", ignore_errors=True)


def _tame(tree: Path) -> None:
    """Take from an unpacked tree what a cache must not hold: set-user-ID bits, write permission for others, devices."""
    for directory, _, names in os.walk(tree):
        for name in (".", *names):
            path = os.path.join(directory, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
                if mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX | stat.S_IWGRP | stat.S_IWOTH):
                    os.chmod(path, stat.S_IMODE(mode) & 0o755)
            elif not stat.S_ISLNK(mode):
                os.unlink(path)


def parse_packages(text: str) -> Iterator[ArchivePackage]:
    """Read apt-cache's paragraphs (deb822(5)); the first paragraph of a package wins."""
    seen: set[str] = set()
    for paragraph in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in paragraph.splitlines():
            name, colon, value = line.partition(":")
            if colon and not line.startswith(" "):
                fields[name] = value.strip()
        name = fields.get("Package", "")
        if not name or name in seen or "Filename" not in fields:
            continue
        seen.add(name)
        yield ArchivePackage(
            name=name,
            version=fields["Version"],
            architecture=fields["Architecture"],
            depends=tuple(dependencies(fields.get("Pre-Depends", ""), fields.get("Depends", ""))),
            size=int(fields.get("Size", "0")),
            installed_size=int(fields.get("Installed-Size", "0")) * 1024,
        )


def dependencies(*fields: str) -> Iterator[str]:
    """The package names of Depends fields, of alternatives the first, without versions and architectures."""
    for field in fields:
        for clause in field.split(","):
            name = re.split(r"[ (:\[<|]", clause.strip(), maxsplit=1)[0]
            if name:
                yield name


def _check_space(room: Path, needed: int) -> None:
    free = shutil.disk_usage(room).free
    if free < needed:
        raise FetchError(
            f"{room}: {needed >> 20} MB are needed, and {free >> 20} MB are free",
            hint="Free some space, or set XDG_CACHE_HOME to a directory on another disk.",
        )


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
