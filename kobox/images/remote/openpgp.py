"""OpenPGP signatures, checked by gpgv(1) against a distribution's keyring and nothing else."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kobox.errors import FetchError

_ARMOR = re.compile(
    rb"-----BEGIN PGP [A-Z ]+-----\r?\n(?:[^\r\n]+\r?\n)*\r?\n(.*?)(?:\r?\n=[\w+/]{4})?\r?\n-----END PGP", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys that a distribution signs with: binary or armored files; `revoked` fingerprints do not count."""

    files: tuple[Path, ...]
    revoked: frozenset[str] = frozenset()

    def check_detached(self, data: bytes | Path, signature: bytes, name: str) -> None:
        """Raises `FetchError` unless a signature of some data is good."""
        with tempfile.TemporaryDirectory(prefix="kobox-gpgv-") as room:
            place = data if isinstance(data, Path) else Path(room, "data")
            if isinstance(data, bytes):
                place.write_bytes(data)
            Path(room, "signature").write_bytes(dearmored(signature))
            self._check(Path(room), [str(Path(room, "signature")), str(place)], name)

    def check_inline(self, signed: bytes, name: str) -> bytes:
        """The text of a message with its signature in it (RFC 4880, 7). Raises `FetchError`."""
        with tempfile.TemporaryDirectory(prefix="kobox-gpgv-") as room:
            Path(room, "signed").write_bytes(signed)
            self._check(Path(room), ["--output", str(Path(room, "text")), str(Path(room, "signed"))], name)
            return Path(room, "text").read_bytes()

    def _check(self, room: Path, words: Sequence[str], name: str) -> None:
        gpgv = shutil.which("gpgv")
        if gpgv is None:
            raise FetchError("gpgv is not installed, and signatures are checked with it", hint="Install gpgv or gnupg.")
        rings: list[str] = []
        for number, file in enumerate(self.files):
            ring = room / f"ring{number}"
            ring.write_bytes(dearmored(file.read_bytes()))
            rings += ["--keyring", str(ring)]
        done = subprocess.run(
            [gpgv, "--homedir", str(room), "--status-fd", "2", *rings, *words],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        valid = re.findall(r"^\[GNUPG:\] VALIDSIG (\w+)(?: \S+)*? ?(\w{40})?$", done.stderr, re.MULTILINE)
        made_by = {fingerprint for one in valid for fingerprint in one if fingerprint}
        if done.returncode or not made_by or made_by & self.revoked:
            said = [line for line in done.stderr.splitlines() if line.startswith("gpgv: ")]
            why = "its key was revoked" if made_by & self.revoked else (said[-1][6:] if said else "no signature")
            raise FetchError(
                f"{name}: its signature is not good: {why}",
                hint=f"Nothing of it was used. The keys are those of {', '.join(map(str, self.files))}.",
            )


def keyring_of(distribution: str, given: Path | None, places: Sequence[str], package: str) -> Keyring:
    """The keyring of a distribution: the file that was given, or what this machine has in some places (globs).

    Raises `FetchError` where there is none.
    """
    files = [given] if given is not None else [one for place in places for one in sorted(Path("/").glob(place[1:]))]
    files = [file for file in files if file.is_file()]
    if not files:
        where = f"{given} is not there" if given is not None else f"none of {', '.join(places)} is there"
        raise FetchError(
            f"{distribution}: no keys to check signatures with: {where}",
            hint=f"Install {package}, or give the distribution's key: `--keyring FILE`.",
        )
    lists = [file.with_name(f"{file.name.partition('.')[0]}-revoked") for file in files]
    revoked = {word for one in lists if one.is_file() for word in one.read_text().split()}
    return Keyring(tuple(files), frozenset(revoked))


def dearmored(content: bytes) -> bytes:
    """What ASCII armor holds (RFC 4880, 6.2), of all blocks; other content as it is."""
    if not content.lstrip().startswith(b"-----BEGIN PGP"):
        return content
    try:
        return b"".join(base64.b64decode(b"".join(block.split())) for block in _ARMOR.findall(content))
    except ValueError:
        return content
