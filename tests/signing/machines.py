"""Root directories of machines that were never there: the files that a UEFI machine with shim shows."""

from __future__ import annotations

import struct
import subprocess
import uuid
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kobox.signing import efi, keys
from tests.debian import Suite

OWNER = uuid.UUID("77fa9abd-0359-4d32-bd60-28f4e78f784b")


def certificate(name: str, kind: str = "ecdsa:p256") -> x509.Certificate:
    """A certificate of a key that nobody keeps."""
    return keys.self_signed(keys.generate(kind), name)


def der(one: x509.Certificate) -> bytes:
    return one.public_bytes(serialization.Encoding.DER)


def signature_list(*certificates: x509.Certificate) -> bytes:
    """Certificates as firmware keeps them: a list each, since their sizes differ."""
    return b"".join(
        efi.CERT_X509.bytes_le
        + struct.pack("<III", 28 + 16 + len(der(one)), 0, 16 + len(der(one)))
        + OWNER.bytes_le
        + der(one)
        for one in certificates
    )


def by_efitools(one: x509.Certificate, room: Path) -> bytes:
    """The same by efitools' own program."""
    pem = room / "one.pem"
    pem.write_bytes(one.public_bytes(serialization.Encoding.PEM))
    tool = Suite("bookworm").package("efitools") / "usr/bin/cert-to-efi-sig-list"
    subprocess.run([tool, "-g", str(OWNER), pem, room / "one.esl"], check=True, capture_output=True)
    return (room / "one.esl").read_bytes()


def set_variable(root: Path, name: str, guid: str, value: bytes) -> None:
    """A UEFI variable as efivarfs shows it."""
    room = root / efi.EFIVARS
    room.mkdir(parents=True, exist_ok=True)
    (room / f"{name}-{guid}").write_bytes(struct.pack("<I", 6) + value)


def uefi_machine(root: Path, *enrolled: x509.Certificate, secure: bool = True) -> Path:
    """A machine booted by UEFI whose list of owner's keys holds these."""
    set_variable(root, "SecureBoot", efi.GLOBAL, bytes([secure]))
    if enrolled:
        set_variable(root, "MokListRT", efi.SHIM, signature_list(*enrolled))
    return root


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
