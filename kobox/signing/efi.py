"""UEFI variables that hold keys, and the lists of signatures in them (UEFI specification 2.10, section 32.4.1).

A variable is a file of efivarfs: four bytes of attributes, then the value. shim shows its own without the attributes in
/sys/firmware/efi/mok-variables, too, and splits MokListRT over MokListRT, MokListRT1 … where it does not fit into one.

    EFI_SIGNATURE_LIST                                  one after the other, to the value's end
        GUID type                                       X.509 certificate, SHA-256 …
        u32  list size     this header and all that follows
        u32  header size   bytes of a type's own header (0 for those known)
        u32  signature size
        header, then signatures of one size each:
            GUID owner     who put it there
            …              DER certificate, or hash
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kobox.errors import ModuleFormatError, SigningError

EFIVARS = "sys/firmware/efi/efivars"
MOK_VARIABLES = "sys/firmware/efi/mok-variables"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
IMAGE_SECURITY = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
SHIM = "605dab50-e046-4300-abb6-3dd810dd8b23"
CERT_X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
CERT_SHA256 = uuid.UUID("c1c41626-504c-4092-aca9-41f936934328")

_LIST = struct.Struct("<16sIII")
_GUID = 16
_PE_POINTER = 0x3C


@dataclass(frozen=True, slots=True)
class EfiSignature:
    """One entry of a signature list: its type, who put it there, and the certificate (DER) or hash."""

    kind: uuid.UUID
    owner: uuid.UUID
    data: bytes


def variable(root: Path, name: str, guid: str) -> bytes | None:
    """The value of a UEFI variable below a root directory, None when it is not there. Raises OSError, SigningError."""
    path = root / EFIVARS / f"{name}-{guid}"
    if path.exists():
        content = path.read_bytes()
        if len(content) < 4:
            raise SigningError(f"{path}: shorter than a variable's attributes")
        return content[4:]
    mirrored = root / MOK_VARIABLES / name
    return mirrored.read_bytes() if guid == SHIM and mirrored.exists() else None


def certificates(root: Path, name: str, guid: str) -> list[bytes] | None:
    """The DER certificates in a variable of signature lists; None when there is no variable of that name.

    Raises SigningError when it is damaged.
    """
    parts = [variable(root, name, guid)]
    while guid == SHIM and parts[-1] is not None:
        parts.append(variable(root, f"{name}{len(parts)}", guid))
    if parts[0] is None:
        return None
    where = f"{name}-{guid}"
    lists = [signatures(part, path=where) for part in parts if part is not None]
    return [signature.data for each in lists for signature in each if signature.kind == CERT_X509]


def signatures(content: bytes, *, path: str = "") -> list[EfiSignature]:
    """All signatures of some signature lists. Raises SigningError for inconsistent sizes."""
    return list(_signatures(content, path))


def _signatures(content: bytes, path: str) -> Iterator[EfiSignature]:
    at = 0
    while at < len(content):
        if len(content) - at < _LIST.size:
            raise SigningError(f"{path}: offset {at:#x}: {len(content) - at} bytes are too few for a signature list")
        kind, total, header, size = _LIST.unpack_from(content, at)
        body = total - _LIST.size - header
        if total > len(content) - at or body < 0 or size <= _GUID or body % size:
            told = f"list of {total} bytes, header of {header}, signatures of {size}"
            raise SigningError(f"{path}: offset {at:#x}: the sizes in a signature list are inconsistent ({told})")
        first = at + _LIST.size + header
        for start in range(first, at + total, size):
            owner = uuid.UUID(bytes_le=content[start : start + _GUID])
            yield EfiSignature(uuid.UUID(bytes_le=kind), owner, content[start + _GUID : start + size])
        at += total


def secure_boot(root: Path) -> bool | None:
    """Whether Secure Boot is on; None when the machine was not booted by UEFI, or the variable cannot be read."""
    value = variable(root, "SecureBoot", GLOBAL)
    return None if not value else value[0] == 1


def validation_disabled(root: Path) -> bool:
    """Whether shim was told not to verify (mokutil --disable-validation): MokSBStateRT is 1."""
    return variable(root, "MokSBStateRT", SHIM) == b"\x01"


def vendor_certificates(shim: bytes, *, path: str = "") -> list[bytes]:
    """The certificates (DER) that a shim's builder put into it, from its section `.vendor_cert`.

    It begins with four u32: size of the trusted part, size of the forbidden part, and the offset of each. The trusted
    part is one certificate, or signature lists. Raises ModuleFormatError when the file is no PE program, SigningError.
    """
    try:
        section = _pe_section(shim, b".vendor_cert")
        size, _, start, _ = struct.unpack_from("<IIII", section) if section else (0, 0, 0, 0)
    except (struct.error, ValueError) as error:
        raise ModuleFormatError(f"not a PE program, so not a shim: {error}", path=path) from error
    trusted = section[start : start + size]
    if trusted[:1] == b"\x30":
        return [trusted]
    return [one.data for one in signatures(trusted, path=path) if one.kind == CERT_X509]


def _pe_section(program: bytes, wanted: bytes) -> bytes:
    """A section's content; b"" when there is none. A name of more than 8 bytes is `/OFFSET` into the string table."""
    header = int.from_bytes(program[_PE_POINTER : _PE_POINTER + 4], "little")
    if program[:2] != b"MZ" or program[header : header + 4] != b"PE\0\0":
        raise ValueError("the magic number is missing")
    count, symbols, symbol_count, optional = struct.unpack_from("<2xH4xIIH", program, header + 4)
    strings = symbols + 18 * symbol_count
    for index in range(count):
        name, size, _, _, start = struct.unpack_from("<8sIIII", program, header + 24 + optional + 40 * index)
        name = name.rstrip(b"\0")
        if name.startswith(b"/"):
            at = strings + int(name[1:])
            name = program[at : program.index(b"\0", at)]
        if name == wanted:
            return program[start : start + size]
    return b""
