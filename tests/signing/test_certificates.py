"""Certificates that are damaged anywhere: an answer, and no other error than ValueError."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kobox.errors import SigningError
from kobox.signing import keys
from kobox.signing.certificates import UnknownKeyError, read_certificate
from kobox.signing.sign import append, signature_of, signer_from
from kobox.signing.verify import common_name, key_identifier, key_name, verify

RSA = bytes.fromhex("06092a864886f70d010101")


@pytest.fixture(scope="module")
def pair() -> tuple[keys.PrivateKey, x509.Certificate, bytes]:
    key = keys.generate("rsa:2048")
    certificate = keys.self_signed(key, "mine")
    return key, certificate, certificate.public_bytes(serialization.Encoding.DER)


def test_every_byte_of_a_certificate_changed(pair: tuple[keys.PrivateKey, x509.Certificate, bytes]) -> None:
    whole, read = pair[2], 0
    for place in range(len(whole)):
        for bits in (1, 0x20, 0xFF):
            with suppress(ValueError):
                certificate = read_certificate(whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1 :])
                read += 1
                assert isinstance(key_identifier(certificate) + key_name(certificate), bytes)
                assert common_name(certificate.subject) + common_name(certificate.issuer)
                certificate.public_key()
    assert read > 800  # of about 2,400: most of the bytes are the key's and the signature's


# Parts of the same length, so that all lengths around them stay true.
DAMAGED = {
    "issuer's name is no string": (b"\x0c\x04mine", b"\x02\x04mine"),
    "empty relative name": (b"\x31\x0d\x30\x0b\x06\x03\x55\x04\x03", b"\x31\x00\x30\x0b\x06\x03\x55\x04\x03"),
    "time that is none": (b"\x17\x0d", b"\x17\x0c"),
    "key of an unknown kind": (RSA, RSA[:-1] + b"\x77"),
    "extension twice": (bytes.fromhex("0603551d0f"), bytes.fromhex("0603551d13")),
    "key identifier that is no octet string": (
        bytes.fromhex("0603551d0e04160414"),
        bytes.fromhex("0603551d0e04160514"),
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_certificate_in_a_message_and_in_a_file(
    name: str, pair: tuple[keys.PrivateKey, x509.Certificate, bytes], tmp_path: Path
) -> None:
    key, certificate, whole = pair
    assert DAMAGED[name][0] in whole
    damaged = whole.replace(*DAMAGED[name])
    with pytest.raises(ValueError):
        read_certificate(damaged)
    content = b"\x7fELF" + bytes(100)
    message = signature_of(content, signer_from(key, certificate))
    carried = _with_certificate(message, damaged)
    verdict = verify(append(content, carried), [certificate])
    assert not verdict.valid
    assert "certificate in it" in verdict.reason
    assert verdict.unsupported == ("unknown kind" in name)
    (tmp_path / "c.der").write_bytes(damaged)
    with pytest.raises(
        SigningError, match="of a kind that is not known" if "unknown kind" in name else "no certificate"
    ):
        keys.load_certificates(tmp_path / "c.der")


def _with_certificate(message: bytes, certificate: bytes) -> bytes:
    """A message that carries a certificate: it stands between what is signed and who signs."""
    kind = bytes.fromhex("06092a864886f70d010702")
    signers = message.index(b"\x31", message.index(bytes.fromhex("06092a864886f70d010701")))
    inside = message[4 + len(kind) + 8 : signers] + _element(0xA0, certificate) + message[signers:]
    return _element(0x30, kind + _element(0xA0, _element(0x30, inside)))


def _element(tag: int, content: bytes) -> bytes:
    return bytes([tag, 0x82]) + len(content).to_bytes(2) + content


def test_a_certificate_with_an_unknown_curve_is_told_apart() -> None:
    whole = keys.self_signed(keys.generate("ecdsa:p256"), "curve").public_bytes(serialization.Encoding.DER)
    with pytest.raises(UnknownKeyError):
        read_certificate(whole.replace(bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030177")))
