"""Kernels from Debian's archive: found, fetched and unpacked by apt and dpkg-deb, with no root and nothing installed.

apt gets a configuration of its own (apt.conf(5)): its sources, state and cache lie under the kernel cache, its
package status is an empty file. The machine's own apt configuration is still read before it, so that proxies and
timeouts hold, and so is its list of sources, from which the mirror is taken.

What belongs to a kernel is read off the packages themselves. `linux-image-RELEASE` and `linux-headers-RELEASE` are
followed along their dependencies as long as these are packages of the kernel's own (`linux-…`). So it does not
matter how a release is cut: up to 6.12 the image holds vmlinuz and modules, later `linux-binary-…` and
`linux-modules-…` do.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kobox.errors import FetchError, KernelNotFoundError
from kobox.images.debian.suite import machine_suite
from kobox.images.store import KernelImage, Progress, natural

_ROLLING = frozenset({"sid", "unstable", "experimental", "rc-buggy"})  # they have no security archive
_DEFAULT_FLAVOUR = "cloud-amd64"
_KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp")

_CONFIGURATION = """\
// Written by kobox: an apt of the kernel cache's own. The machine's configuration was read before it.
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Post-Invoke;
#clear APT::Architectures;
#clear APT::Default-Release;
Dir::State "{room}/state";
Dir::State::lists "{room}/state/lists";
Dir::State::status "{room}/state/status";
Dir::State::extended_states "{room}/state/extended_states";
Dir::Cache "{room}/cache";
Dir::Cache::archives "{room}/cache/archives";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{room}/sources";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Get::AllowUnauthenticated "false";
// As root apt would drop to a user that may not enter a private cache directory.
APT::Sandbox::User "{user}";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
Acquire::PDiffs "false";
Debug::NoLocking "true"; // the cache's own lock is held
"""


@dataclass(frozen=True, slots=True)
class Package:
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
class KernelPackages:
    """The packages that one kernel is made of. `origin` names them for good: same origin, same files."""

    release: str
    origin: str
    packages: tuple[Package, ...]


@dataclass(frozen=True, slots=True)
class Archive:
    """One suite of Debian's archive, with the directory where apt keeps its lists of it."""

    suite: str
    mirror: str
    security_mirror: str
    room: Path

    @classmethod
    def of_suite(cls, suite: str | None, rooms: Path) -> Archive:
        """The archive of a suite from this machine's mirror. None: this machine's suite, or bookworm if it has none.

        Raises FetchError where apt or Debian's keyring is missing, KernelNotFoundError for a suite that cannot be one.
        """
        if suite is not None and not re.fullmatch(r"[a-z][a-z0-9.+-]*", suite):
            raise KernelNotFoundError(f"{suite!r} cannot be a suite of Debian", hint="One is bookworm, trixie or sid.")
        for tool, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg")):
            if shutil.which(tool) is None:
                raise FetchError(
                    f"{tool} is not installed, and Debian's kernels are fetched with it",
                    hint=f"Install {package}, or add a kernel you have: "
                    "`kobox kernel add host`, `kobox kernel add ./vmlinuz --modules DIR --headers DIR`.",
                )
        suite = suite or machine_suite()
        mirror, security = machine_mirrors()
        return cls(suite, mirror, security, rooms / suite)

    # ── lists ───────────────────────────────────────────────────────────────────────────────────────────────

    def update(self, progress: Progress) -> None:
        """Bring the package lists up to date. Raises FetchError with apt's own words."""
        self._configure()
        progress(f"reading Debian's package lists ({self.suite})", 0, 0)
        done = self._run("apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any")
        if done.returncode:
            if not any((self.room / "state/lists").glob("*Packages*")):
                shutil.rmtree(self.room, ignore_errors=True)  # a suite that is none, or the first try without network
            raise self._refused(f"the package lists of Debian {self.suite} could not be fetched", done)

    def resolve(self, release: str | None = None) -> KernelPackages:
        """The packages of a kernel: of `release`, a flavour (`rt-amd64`), or None for the newest cloud kernel.

        Raises KernelNotFoundError, with what there is, when the suite has no such kernel.
        """
        wanted = release or _DEFAULT_FLAVOUR
        image = self._image(wanted)
        if image is None:
            others = self._releases()
            near = [other for other in others if wanted in other] or others
            raise KernelNotFoundError(
                f"Debian {self.suite} has no kernel {wanted}",
                hint=f"It has {', '.join(near[-6:])}; `kobox kernel add debian/{self.suite}:RELEASE` adds one.",
            )
        found = image.name.removeprefix("linux-image-")
        packages = self._closure([image.name, f"linux-headers-{found}"])
        return KernelPackages(found, f"debian/{self.suite} {image.name} {image.version}", packages)

    def _image(self, wanted: str) -> Package | None:
        """The package of a release's image; the name of a flavour leads to its newest release."""
        name = f"linux-image-{wanted}"
        for _ in range(4):
            image = self._show([name]).get(name)
            if image is None:
                return None
            onward = [other for other in image.depends if other.startswith("linux-image-")]
            if not onward:
                return image
            name = onward[0]
        return None

    def _closure(self, roots: Sequence[str]) -> tuple[Package, ...]:
        """The named packages and the kernel's own packages that they depend on; names that are no packages fall out."""
        found: dict[str, Package] = {}
        asked: set[str] = set()
        names = list(roots)
        while names:
            asked.update(names)
            shown = self._show(names)
            found.update(shown)
            names = sorted({name for package in shown.values() for name in package.depends if own(name)} - asked)
        return tuple(found.values())

    def _releases(self) -> list[str]:
        listed = self._run("apt-cache", "pkgnames", "linux-image-").stdout.split()
        releases = {name.removeprefix("linux-image-") for name in listed}
        return sorted((name for name in releases if re.fullmatch(r"\d[^ ]*amd64", name)), key=natural)

    def _show(self, names: Iterable[str]) -> dict[str, Package]:
        """The newest version of each named package; names the archive does not know are left out."""
        done = self._run("apt-cache", "show", "--no-all-versions", "--", *names)
        return {package.name: package for package in parse_packages(done.stdout)}

    # ── files ───────────────────────────────────────────────────────────────────────────────────────────────

    def fetch(self, kernel: KernelPackages, into: Path, progress: Progress) -> KernelImage:
        """Download a kernel's packages and unpack them in `into`; the image's `directory` and `digest` are left open.

        Raises FetchError.
        """
        from kobox.images.debian.headers import settle_headers
        from kobox.images.debian.toolchain import complete_tools

        self.unpack(self.download(kernel.packages, progress), into, progress)
        shutil.rmtree(into / "usr/share", ignore_errors=True)
        release = kernel.release
        modules = first_of(into, f"lib/modules/{release}", f"usr/lib/modules/{release}")
        vmlinuz = first_of(into, f"boot/vmlinuz-{release}", f"usr/lib/modules/{release}/vmlinuz", "boot/vmlinu[xz]*")
        if vmlinuz is None:
            names = ", ".join(package.name for package in kernel.packages)
            raise FetchError(f"Debian {self.suite}: no kernel image in {names}")
        headers = first_of(into, f"usr/src/linux-headers-{release}")
        if headers is not None:
            settle_headers(into)
            complete_tools(self, kernel, into, headers, progress)
        return KernelImage(release, release, vmlinuz, modules, headers, kernel.origin, into, "")

    def download(self, packages: Sequence[Package], progress: Progress) -> list[Path]:
        """Download packages (those already there are not fetched again) and return the files, in the same order."""
        debs = self.room / "debs"
        debs.mkdir(parents=True, exist_ok=True)
        total = sum(package.size for package in packages)
        self._check_space(total + sum(package.installed_size for package in packages))

        files = [debs / package.file_name for package in packages]
        partial = self.room / "cache/archives/partial"

        def report() -> None:
            so_far = sum(map(_size_of, files)) + sum(_size_of(partial / file.name) for file in files)
            progress(f"downloading from Debian {self.suite}", min(so_far, total), total)

        names = [f"{package.name}={package.version}" for package in packages]
        done = self._run("apt-get", "download", "-q", "--", *names, cwd=debs, meanwhile=report)
        missing = [file.name for file in files if not file.is_file()]
        if done.returncode or missing:
            raise self._refused(f"{', '.join(missing) or 'the packages'} could not be fetched", done)
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
                    hint="Nothing half done was left; make room if the disk is full, and run the command again.",
                )
            done += deb.stat().st_size
        progress("unpacking", total, total)

    def needed_by(self, package: str) -> list[Package]:
        """A package with everything it depends on, as apt itself resolves it on an empty system."""
        done = self._run("apt-get", "install", "--print-uris", "-qq", "--no-install-recommends", "--", package)
        if done.returncode:
            raise self._refused(f"what {package} depends on could not be resolved", done)
        names = [line.split()[1].split("_")[0] for line in done.stdout.splitlines() if line.startswith("'")]
        shown = self._show(names)
        return [shown[name] for name in names if name in shown]

    def clean(self) -> None:
        """Drop the downloaded packages: they are unpacked."""
        shutil.rmtree(self.room / "debs", ignore_errors=True)
        shutil.rmtree(self.room / "cache", ignore_errors=True)

    # ── apt ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _configure(self) -> None:
        keyring = next((ring for ring in _KEYRINGS if Path(ring).is_file()), None)
        if keyring is None:
            raise FetchError(
                "Debian's archive keyring is not installed, so its packages could not be trusted",
                hint="Install it: apt-get install debian-archive-keyring",
            )
        for part in ("state/lists/partial", "cache/archives/partial", "sources"):
            (self.room / part).mkdir(parents=True, exist_ok=True)
        (self.room / "state/status").write_bytes(b"")
        blocks = [(self.mirror, self.suite)]
        if self.suite not in _ROLLING:
            blocks.append((self.security_mirror, f"{self.suite}-security"))
        (self.room / "sources/debian.sources").write_text(
            "\n".join(
                f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {keyring}\n"
                for uri, suite in blocks
            )
        )
        user = "root" if os.geteuid() == 0 else "_apt"
        (self.room / "apt.conf").write_text(_CONFIGURATION.format(room=self.room, user=user))

    def _run(
        self, tool: str, *arguments: str, cwd: Path | None = None, meanwhile: Callable[[], None] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run an apt tool to its end, calling `meanwhile` a few times a second. Its messages are in English."""
        command = [tool, "-c", str(self.room / "apt.conf"), *arguments]
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            while True:
                try:
                    out, err = process.communicate(timeout=0.2 if meanwhile else None)
                    return subprocess.CompletedProcess(command, process.returncode, out, err)
                except subprocess.TimeoutExpired:
                    if meanwhile:
                        meanwhile()
        finally:
            if process.poll() is None:  # interrupted: apt must not go on behind our back
                process.terminate()
                process.wait()

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.room).free
        if free < needed:
            raise FetchError(
                f"{self.room}: {needed >> 20} MB are needed, and {free >> 20} MB are free",
                hint="Make room, or set XDG_CACHE_HOME to a place that has it.",
            )

    def _refused(self, what: str, done: subprocess.CompletedProcess[str]) -> FetchError:
        said = [line for line in done.stderr.splitlines() if line[:2] in ("E:", "W:")] or done.stderr.splitlines()[-5:]
        lines = "".join(f"\n  {line}" for line in list(dict.fromkeys(said))[:6])
        text = done.stderr
        if "NO_PUBKEY" in text or "not signed" in text:
            hint = "Update Debian's keyring: apt-get install debian-archive-keyring"
        elif "does not have a Release file" in text or "404" in text:
            hint = f"Is there a suite {self.suite} at {self.mirror}?"
        elif "No space left" in text:
            hint = "Make room, or set XDG_CACHE_HOME to a place that has it."
        else:
            hint = f"Is the network there, and {self.mirror} reachable? What was fetched is kept; run it again."
        return FetchError(f"{what}:{lines}", hint=hint)


def machine_mirrors() -> tuple[str, str]:
    """The URIs this machine takes Debian and its security updates from.

    KOBOX_DEBIAN_MIRROR (and the same with `-security` behind) counts first: for machines that are no Debian.
    Raises FetchError when neither tells.
    """
    named = os.environ.get("KOBOX_DEBIAN_MIRROR", "").rstrip("/")
    if named:
        return named, f"{named}-security"
    form = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    found: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        origin, label, uri = (line.split("|") + ["", ""])[:3]
        uri = uri.rstrip("/")
        if not uri.startswith(("http://", "https://", "mirror", "tor+", "file:", "copy:")):
            continue
        if origin == "Debian":
            found.setdefault(label, uri)
        elif not origin:  # apt has no lists yet (`apt-get update` was never run): the path says what it is
            labels = {"debian": "Debian", "debian-security": "Debian-Security"}
            found.setdefault(labels.get(uri.rpartition("/")[2], ""), uri)
    if "Debian" not in found:
        raise FetchError(
            "this machine's apt names no Debian archive",
            hint="Set KOBOX_DEBIAN_MIRROR to one, such as http://HOST/debian.",
        )
    return found["Debian"], found.get("Debian-Security", f"{found['Debian']}-security")


def parse_packages(text: str) -> Iterator[Package]:
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
        yield Package(
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


def own(name: str) -> bool:
    """Whether a package may be one of the kernel's own. linux-base is for booting and linux-libc-dev for programs."""
    return name.startswith("linux-") and name not in ("linux-base", "linux-libc-dev")


def first_of(root: Path, *patterns: str) -> Path | None:
    """The first existing path below `root` that one of the patterns names."""
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            return path
    return None


def environment() -> dict[str, str]:
    """The environment of apt and dpkg: the user's, with messages in English."""
    return {**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": ""}


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
