"""Debian packages of any suite and architecture, unpacked into the cache: real input for tests and benchmarks.

apt does the work, as an ordinary user, with a configuration and package lists of its own beside the unpacked
packages, so the machine's own lists and packages are never touched:

    $XDG_CACHE_HOME/kobox/debian/apt/SUITE-ARCH/       apt's lists and archives
    $XDG_CACHE_HOME/kobox/debian/SUITE-ARCH/PACKAGE/   `dpkg -x` of one package

A package that is there is not asked for again. Parallel test processes wait for each other on a file lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Debian's keys, whichever package or older release of it installed them.
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def cache_root() -> Path:
    """The folder under which everything fetched is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kobox" / "debian"


class Suite:
    """One suite of Debian for one architecture, for example `Suite("trixie", "s390x")`."""

    def __init__(self, name: str, architecture: str = "amd64") -> None:
        self.name = name
        self.architecture = architecture
        self.folder = cache_root() / f"{name}-{architecture}"
        self._apt = cache_root() / "apt" / f"{name}-{architecture}"

    def package(self, name: str) -> Path:
        """The folder with the package's files, fetched and unpacked on first use."""
        target = self.folder / name
        if target.is_dir():
            return target
        with self._locked():
            if not target.is_dir():
                self._fetch(name, target)
        return target

    def newest(self, pattern: str) -> str:
        """The name of the last package, in version order, whose whole name matches the regular expression."""
        kept = [folder.name for folder in self.folder.glob("*") if re.fullmatch(pattern, folder.name)]
        if not kept:
            with self._locked():
                self._update()
                names = self._run("apt-cache", "pkgnames").split()
            kept = [name for name in names if re.fullmatch(pattern, name)]
        if not kept:
            raise LookupError(f"no package matches {pattern} in {self.name} for {self.architecture}")
        return max(kept, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])

    def _fetch(self, name: str, target: Path) -> None:
        self._update()
        with tempfile.TemporaryDirectory(dir=self._apt) as aside:
            self._run("apt-get", "download", name, cwd=aside)
            (archive,) = Path(aside).glob("*.deb")
            unpacked = Path(aside, "unpacked")
            subprocess.run(["dpkg", "-x", str(archive), str(unpacked)], check=True)
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.move(unpacked, target)

    def _update(self) -> None:
        if (self._apt / "updated").exists():
            return
        (self._apt / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (self._apt / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        (self._apt / "parts").mkdir(exist_ok=True)
        (self._apt / "status").touch()
        line = f"deb [signed-by={KEYRING}] {_mirror()} {self.name} main\n"
        (self._apt / "sources.list").write_text(line)
        self._run("apt-get", "update", "-qq")
        (self._apt / "updated").touch()

    def _run(self, *command: str, cwd: str | None = None) -> str:
        options = {
            "Dir::Etc::sourcelist": self._apt / "sources.list",
            "Dir::Etc::sourceparts": self._apt / "parts",
            "Dir::State::Lists": self._apt / "lists",
            "Dir::State::status": self._apt / "status",
            "Dir::Cache": self._apt,
            "Dir::Cache::archives": self._apt / "archives",
            "APT::Architecture": self.architecture,
            "APT::Architectures": self.architecture,
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        done = subprocess.run([*command, *words], check=False, capture_output=True, text=True, cwd=cwd)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} for {self.name}-{self.architecture} failed:\n{done.stderr}")
        return done.stdout

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._apt.mkdir(parents=True, exist_ok=True)
        with open(self._apt / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _mirror() -> str:
    """The Debian mirror that this machine's own apt is set up with."""
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for line in listing.splitlines():
        origin, label, uri = line.split("|")
        if origin == label == "Debian":
            return uri
    raise RuntimeError("apt on this machine knows no Debian mirror (run `apt-get update` once)")


# What makes, checks and reads ext4 images.
EXT4 = ("e2fsprogs", "libext2fs2t64", "libcom-err2", "libss2", "libblkid1", "libuuid1")


class Programs:
    """Programs of trixie's packages, run where they lie, by the loader and libraries they were built with."""

    def __init__(self, *packages: str) -> None:
        suite = Suite("trixie", "amd64")
        folders = [suite.package(name) for name in ("libc6", *packages)]
        libraries = [
            folder / place for folder in folders for place in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")
        ]
        self._loader = folders[0] / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
        self._path = ":".join(str(folder) for folder in libraries if folder.is_dir())
        self._places = [folder / place for folder in folders for place in ("usr/sbin", "usr/bin", "sbin", "bin")]

    def run(self, name: str, *arguments: str | os.PathLike[str], check: bool = True) -> str:
        """Run a program to its end; all that it prints. Raises `AssertionError` with that when it fails and `check`."""
        binary = next(place / name for place in self._places if (place / name).exists())
        words = [
            str(self._loader),
            "--library-path",
            self._path,
            "--argv0",
            name,
            str(binary),
            *map(os.fspath, arguments),
        ]
        done = subprocess.run(
            words, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
        )
        assert not check or done.returncode == 0, f"{name}: exit status {done.returncode}\n{done.stdout}"
        return done.stdout


# kmod 34.2 runs on any x86-64 system by the dynamic loader and the libraries it was built with.
KMOD_PACKAGES = ("kmod", "libkmod2", "libc6", "libzstd1", "liblzma5", "zlib1g", "libssl3t64")


class Kmod:
    """The real kmod 34.2, from trixie, whatever this machine runs."""

    def __init__(self) -> None:
        suite = Suite("trixie", "amd64")
        folders = [suite.package(name) for name in KMOD_PACKAGES]
        libraries = [folder / "usr/lib/x86_64-linux-gnu" for folder in folders]
        self._loader = folders[2] / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
        self._path = ":".join(map(str, libraries))
        self._binary = folders[0] / "usr/bin/kmod"
        if platform.machine() != "x86_64":
            raise RuntimeError("the kmod to compare with is an x86-64 program")

    def command(self, tool: str, *arguments: str) -> list[str]:
        """The words that run one of kmod's tools; it calls itself by the tool's name in its messages."""
        return [str(self._loader), "--library-path", self._path, "--argv0", tool, str(self._binary), *arguments]

    def run(
        self, tool: str, *arguments: str | os.PathLike[str], env: dict[str, str] | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one of kmod's tools to its end and capture what it prints."""
        words = self.command(tool, *map(os.fspath, arguments))
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", **(env or {})}
        return subprocess.run(words, capture_output=True, env=environment, timeout=timeout, check=False)
