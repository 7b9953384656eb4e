"""An apt of the kernel cache's own (apt.conf(5), sources.list(5)), which needs no root and installs nothing.

Its sources, state and cache lie in one directory of the kernel cache, its package status is an empty file. The
machine's own apt configuration is still read before it, so that proxies and timeouts hold, and so is its list of
sources, from which the mirror is taken.

    ROOM/apt.conf, sources/     the configuration
    ROOM/state/, cache/         apt's package lists and its cache of them
    ROOM/debs/                  finished downloads
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kobox.errors import FetchError

_ROLLING = frozenset({"sid", "unstable"})  # they have no security archive
_OVER_SID = frozenset({"experimental", "rc-buggy"})  # what it depends on lies in sid
# Suites that only add to another one: bookworm-backports, trixie-proposed-updates …
_ADDITION = re.compile(r"(?P<base>[a-z]+)-(backports(-sloppy)?|proposed-updates|updates|security)")
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
{preference}APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
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
class Apt:
    """apt for one suite and one architecture of Debian, with its files in the directory `room`."""

    suite: str
    mirror: str
    security_mirror: str
    room: Path
    architecture: str = "amd64"

    def configure(self) -> None:
        """Write the configuration. Raises FetchError where Debian's keyring is missing, OSError."""
        keyring = next((ring for ring in _KEYRINGS if Path(ring).is_file()), None)
        if keyring is None:
            raise FetchError(
                "Debian's archive keyring is not installed, so packages cannot be verified",
                hint="Install it: apt-get install debian-archive-keyring",
            )
        for part in ("state/lists/partial", "cache/archives/partial", "sources"):
            (self.room / part).mkdir(parents=True, exist_ok=True)
        (self.room / "state/status").write_bytes(b"")
        (self.room / "sources/debian.sources").write_text(
            "\n".join(
                f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {keyring}\n"
                for suite, security in suites_beside(self.suite)
                for uri in [self.security_mirror if security else self.mirror]
            )
        )
        user = "root" if os.geteuid() == 0 else "_apt"
        # Backports and experimental are not automatic (apt_preferences(5)): of two versions the older would be taken.
        additional = self.suite in _OVER_SID or _ADDITION.fullmatch(self.suite)
        preference = f'APT::Default-Release "{self.suite}";\n' if additional else ""
        text = _CONFIGURATION.format(room=self.room, user=user, preference=preference, architecture=self.architecture)
        (self.room / "apt.conf").write_text(text)

    def run(
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
            if process.poll() is None:  # interrupted: apt must not go on in the background
                process.terminate()
                process.wait()

    def error(self, what: str, done: subprocess.CompletedProcess[str]) -> FetchError:
        """The error for a run of apt that failed, with apt's own messages."""
        said = [line for line in done.stderr.splitlines() if line[:2] in ("E:", "W:")] or done.stderr.splitlines()[-5:]
        lines = "".join(f"\n  {line}" for line in list(dict.fromkeys(said))[:6])
        text = done.stderr
        if "NO_PUBKEY" in text or "not signed" in text:
            hint = "Update Debian's keyring: apt-get install debian-archive-keyring"
        elif "does not have a Release file" in text or "404" in text:
            hint = f"Is there a suite {self.suite} at {self.mirror}?"
        elif "No space left" in text:
            hint = "Free some space, or set XDG_CACHE_HOME to a directory on another disk."
        else:
            hint = f"Check the network, and that {self.mirror} can be reached. Finished downloads are kept."
        return FetchError(f"{what}:{lines}", hint=hint)


def suites_beside(suite: str) -> list[tuple[str, bool]]:
    """The suites that hold a suite's packages and all they depend on, and whether each is in the security archive.

    >>> suites_beside("bookworm-backports")
    [('bookworm-backports', False), ('bookworm', False), ('bookworm-security', True)]
    """
    addition = _ADDITION.fullmatch(suite)
    if addition:
        base = suites_beside(addition["base"])
        return list(dict.fromkeys([(suite, suite.endswith("-security")), *base]))
    if suite in _OVER_SID:
        return [(suite, False), ("sid", False)]
    return [(suite, False)] if suite in _ROLLING else [(suite, False), (f"{suite}-security", True)]


def machine_mirrors() -> tuple[str, str]:
    """The URIs this machine takes Debian and its security updates from.

    KOBOX_DEBIAN_MIRROR (and the same with `-security` behind) counts first: for machines that are no Debian.
    Raises FetchError when neither names one.
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
            "the apt configuration of this machine names no Debian archive",
            hint="Set KOBOX_DEBIAN_MIRROR to one, such as http://HOST/debian.",
        )
    return found["Debian"], found.get("Debian-Security", f"{found['Debian']}-security")


def environment() -> dict[str, str]:
    """The environment of apt and dpkg: the user's, with messages in English."""
    return {**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": ""}
