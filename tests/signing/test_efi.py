"""Signature lists and variables of UEFI, and what shim carries."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from cryptography import x509

from kobox.errors import ModuleFormatError, SigningError
from kobox.signing import efi
from kobox.signing.verify import common_name
from tests.debian import Suite
from tests.signing.machines import OWNER, by_efitools, certificate, der, put, set_variable, signature_list


def test_the_lists_that_efitools_writes(tmp_path: Path) -> None:
    one, other = certificate("one"), certificate("another", "rsa:2048")
    written = by_efitools(one, tmp_path)
    assert written == signature_list(one)
    read = efi.signatures(written + by_efitools(other, tmp_path))
    assert [(entry.kind, entry.owner, entry.data) for entry in read] == [
        (efi.CERT_X509, OWNER, der(one)),
        (efi.CERT_X509, OWNER, der(other)),
    ]


def test_a_list_of_hashes_with_a_header_and_a_certificate_behind_it() -> None:
    hashes = b"".join(OWNER.bytes_le + bytes([number]) * 32 for number in (1, 2, 3))
    listed = efi.CERT_SHA256.bytes_le + struct.pack("<III", 28 + 5 + 144, 5, 48) + b"extra" + hashes
    read = efi.signatures(listed + signature_list(certificate("behind")))
    assert [entry.data for entry in read[:3]] == [bytes([number]) * 32 for number in (1, 2, 3)]
    assert [entry.kind for entry in read] == [efi.CERT_SHA256] * 3 + [efi.CERT_X509]
    assert efi.signatures(b"") == []


@pytest.mark.parametrize(
    ("at", "value"),
    [(16, 0), (16, 27), (16, 1 << 31), (20, 1 << 31), (24, 0), (24, 16), (24, 7)],
    ids=["no size", "less than a header", "past the end", "a header past it", "no signatures", "just an owner", "odd"],
)
def test_sizes_that_cannot_be_true(at: int, value: int) -> None:
    damaged = bytearray(signature_list(certificate("x")))
    struct.pack_into("<I", damaged, at, value)
    with pytest.raises(SigningError, match="MokListRT: offset 0x0"):
        efi.signatures(bytes(damaged), path="MokListRT")


def test_a_list_that_is_cut_off_anywhere() -> None:
    whole = signature_list(certificate("x"))
    for length in range(1, len(whole), 37):
        with pytest.raises(SigningError):
            efi.signatures(whole[:length])


def test_a_variable_that_was_split_and_one_without_attributes(tmp_path: Path) -> None:
    first, second = certificate("first"), certificate("second")
    set_variable(tmp_path, "MokListRT", efi.SHIM, signature_list(first))
    set_variable(tmp_path, "MokListRT1", efi.SHIM, signature_list(second))
    assert efi.certificates(tmp_path, "MokListRT", efi.SHIM) == [der(first), der(second)]
    put(tmp_path / efi.MOK_VARIABLES / "MokListXRT", signature_list(second))
    assert efi.certificates(tmp_path, "MokListXRT", efi.SHIM) == [der(second)]
    assert efi.certificates(tmp_path, "db", efi.IMAGE_SECURITY) is None
    put(tmp_path / efi.EFIVARS / f"db-{efi.IMAGE_SECURITY}", b"\1\2")
    with pytest.raises(SigningError, match="attributes"):
        efi.certificates(tmp_path, "db", efi.IMAGE_SECURITY)


@pytest.mark.parametrize(("value", "answer"), [(b"\1", True), (b"\0", False)])
def test_secure_boot(value: bytes, answer: bool, tmp_path: Path) -> None:
    assert efi.secure_boot(tmp_path) is None
    set_variable(tmp_path, "SecureBoot", efi.GLOBAL, value)
    assert efi.secure_boot(tmp_path) is answer
    assert efi.validation_disabled(tmp_path) is False
    set_variable(tmp_path, "MokSBStateRT", efi.SHIM, b"\1")
    assert efi.validation_disabled(tmp_path) is True


def test_debian_s_shim_names_debian() -> None:
    shim = (Suite("bookworm").package("shim-unsigned") / "usr/lib/shim/shimx64.efi").read_bytes()
    (vendor,) = [x509.load_der_x509_certificate(one) for one in efi.vendor_certificates(shim)]
    assert common_name(vendor.subject) == "Debian Secure Boot CA"
    assert efi.vendor_certificates(shim.replace(b".vendor_cert\0", b".vendor_cart\0")) == []
    for other in (b"", b"MZ", b"\x7fELF" + bytes(200), shim[:700]):
        with pytest.raises(ModuleFormatError):
            efi.vendor_certificates(other)
