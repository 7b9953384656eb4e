"""Enrols a certificate as a Machine Owner Key: what `mokutil --import` prepares and shim's MokManager completes.

certificate (DER) → mokutil --import, with a one-time password → MokNew → reboot → MokManager: Enroll MOK → MokListRT
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kobox.atomic_file import write_file
from kobox.errors import SigningError
from kobox.signing.keys import load_certificates
from kobox.signing.mok_status import MachineKeys

STEPS = (
    "Reboot. Before the system starts, the blue screen of MokManager comes up; it waits ten seconds.",
    "There: press a key, choose Enroll MOK, Continue, Yes, and type the password just given.",
    "Reboot again. `kobox keys status` then says: enrolled.",
)


@dataclass(frozen=True, slots=True)
class EnrollPlan:
    """How a certificate gets enrolled. `der` is the file to import, `command` the command that does it.

    `done` says why nothing needs to be done ("" otherwise), `obstacle` why it cannot be done here.
    """

    certificate: x509.Certificate
    der: Path
    command: tuple[str, ...]
    done: str = ""
    obstacle: str = ""


def plan(path: Path, machine: MachineKeys, *, root_password: bool = False, hash_file: Path | None = None) -> EnrollPlan:
    """How to enrol the certificate of a file (PEM or DER) on a machine. Nothing is written or run.

    `root_password` takes root's password for the one-time one, `hash_file` the hash of one (mokutil --generate-hash).
    Raises SigningError: no certificate, or several.
    """
    certificates = load_certificates(path)
    if len(certificates) != 1:
        raise SigningError(f"{path}: {len(certificates)} certificates", hint="Give a file with just the one to enrol.")
    (certificate,) = certificates
    content = path.read_bytes()
    der = path.with_suffix(".der") if b"-----BEGIN" in content else path
    options = ["--root-pw"] if root_password else []
    options += ["--hash-file", str(hash_file)] if hash_file is not None else []
    command = ("mokutil", "--import", str(der), *options)
    known = machine.find(certificate)
    done = obstacle = ""
    if known is not None and known.trusted:
        done = f"{known.name} is {known.state}: nothing to do"
    elif known is not None and known.pending:
        done = f"{known.name}: enrolment is pending until the next boot"
    elif known is not None and known.forbidden:
        obstacle = f"{known.name} is on the list of forbidden keys (dbx, or MokListXRT)"
    elif not machine.uefi:
        obstacle = "this machine was not booted by UEFI: it has no Secure Boot and no list of keys to enrol into"
    elif shutil.which("mokutil") is None:
        obstacle = "mokutil is not installed (Debian: apt-get install mokutil)"
    return EnrollPlan(certificate, der, command, done, obstacle)


def write_der(what: EnrollPlan) -> bool:
    """Write the certificate as DER, unless the file exists; True if it was written. Raises SigningError, OSError."""
    content = what.certificate.public_bytes(serialization.Encoding.DER)
    if what.der.exists():
        if load_certificates(what.der) != [what.certificate]:
            raise SigningError(f"{what.der} exists already, with another certificate", hint="Move it away.")
        return False
    write_file(what.der, content, mode=0o644)
    return True


def carry_out(what: EnrollPlan) -> None:
    """Run mokutil, which asks for the password at the terminal. Raises SigningError when it fails, OSError."""
    done = subprocess.run(what.command, check=False)
    if done.returncode:
        raise SigningError(
            f"{' '.join(what.command)} failed with exit status {done.returncode}",
            hint="It needs root.",
        )
