"""Verifies the signature of a module as the kernel does (kernel/module/signing.c, crypto/asymmetric_keys/).

The kernel's rules: the trailer's unused fields are zero, the message is PKCS #7 without content, one of its signers
is a trusted certificate by issuer and serial number or by key identifier, and the signature is over the module, or
over signed attributes that hold the module's digest. Dates of the certificate play no part.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from kobox.errors import ModuleFormatError
from kobox.ko.compression import decompress
from kobox.ko.signature import MARKER, PKCS7, strip
from kobox.signing.sign import HASHES

_TRAILER_SIZE = 12
_BROKEN = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class SignatureVerdict:
    """What is to be said of a module's signature.

    `valid` is None when there is none, or when nobody's certificate was there to check it with. `reason` says why it is
    not valid, `errno` is the kernel's answer when signatures are enforced ("" when it would load). `signer` is the
    common name of the trusted certificate, or of the issuer named; `key_id` the serial number or key identifier as hex.
    """

    valid: bool | None
    reason: str
    errno: str
    signer: str = ""
    issuer: str = ""
    key_id: str = ""
    hash_name: str = ""
    scheme: str = ""
    note: str = ""


def verify(data: bytes, trusted: Sequence[x509.Certificate], *, path: str = "") -> SignatureVerdict:
    """Verify the bytes of a module file, plain or compressed, against trusted certificates.

    Raises ModuleFormatError when compressed data is damaged.
    """
    data = decompress(data, path=path)
    if not data.endswith(MARKER):
        return SignatureVerdict(None, "not signed", "EKEYREJECTED")
    try:
        content, message, id_type = strip(data, path=path)
    except ModuleFormatError as error:
        return SignatureVerdict(False, f"the signature's lengths cannot be true ({error.message})", "EBADMSG")
    trailer = data[-len(MARKER) - _TRAILER_SIZE : -len(MARKER)]
    if id_type != PKCS7:
        return SignatureVerdict(False, f"a signature of type {id_type}, and kernels know PKCS #7 (2)", "ENOPKG")
    if any(trailer[:2] + trailer[3:8]):
        return SignatureVerdict(False, "fields of the signature's trailer that must be zero are not", "EBADMSG")
    return _verify_message(content, message, trusted)


def _verify_message(content: bytes, message: bytes, trusted: Sequence[x509.Certificate]) -> SignatureVerdict:
    from asn1crypto import cms

    try:
        info = cms.ContentInfo.load(message, strict=True)
        if info["content_type"].native != "signed_data":
            raise ValueError("it is no SignedData")
        _check_form(info["content"])
        signers = list(info["content"]["signer_infos"])
        verdicts = [_verify_signer(content, signer, trusted) for signer in signers]
    except _BROKEN as error:
        return SignatureVerdict(
            False, f"no PKCS #7 message: {str(error).splitlines()[0] if str(error) else error!r}", "EBADMSG"
        )
    if not verdicts:
        return SignatureVerdict(False, "a PKCS #7 message that nobody signed", "EBADMSG")
    # One trusted signer is enough (pkcs7_verify), but a wrong signature spoils it all.
    return min(verdicts, key=lambda verdict: (verdict.valid is None, verdict.valid is True))


def _check_form(signed_data: Any) -> None:
    """What the kernel checks of a message's form (pkcs7_parser.c), besides that it can be read."""
    if signed_data["version"].native not in ("v1", "v3"):
        raise ValueError("its version is neither 1 nor 3")
    if signed_data["encap_content_info"]["content_type"].native != "data":
        raise ValueError("it signs something else than data")
    for signer in signed_data["signer_infos"]:
        version = "v1" if signer["sid"].name == "issuer_and_serial_number" else "v3"
        if signer["version"].native != version:
            raise ValueError("the version of a signer does not go with the way it is named")


def _verify_signer(content: bytes, signer: Any, trusted: Sequence[x509.Certificate]) -> SignatureVerdict:
    hash_name = str(signer["digest_algorithm"]["algorithm"].native)
    issuer, key_id = _identity(signer["sid"])
    certificate = next((one for one in trusted if _is_named(one, signer["sid"])), None)
    about = {"issuer": issuer, "key_id": key_id, "hash_name": hash_name}
    if hash_name not in HASHES:
        return SignatureVerdict(
            False, f"hash {hash_name}, which kernels do not accept", "ENOPKG", signer=issuer, **about
        )
    signed, reason = _signed_bytes(content, signer, hash_name)
    if certificate is None:
        if reason:
            return SignatureVerdict(False, reason, "EKEYREJECTED", signer=issuer, **about)
        who = f"signed by a key that is not trusted here ({issuer or key_id})"
        return SignatureVerdict(None, who, "EKEYREJECTED", signer=issuer, **about)
    about["signer"] = common_name(certificate.subject)
    scheme = "rsa" if isinstance(certificate.public_key(), rsa.RSAPublicKey) else "ecdsa"
    algorithm = str(signer["signature_algorithm"]["algorithm"].native)
    if not reason and scheme not in algorithm:
        return SignatureVerdict(False, f"made with {algorithm}, which is not the kind of this key", "ENOPKG", **about)
    if not reason:
        reason = mismatch(certificate, signer["signature"].native, signed, hash_name)
    if reason:
        return SignatureVerdict(False, reason, "EKEYREJECTED", scheme=scheme, **about)
    return SignatureVerdict(True, "", "", scheme=scheme, note=_date_note(certificate), **about)


def _signed_bytes(content: bytes, signer: Any, hash_name: str) -> tuple[bytes, str]:
    """What the signature is over, and what is wrong with it, if anything."""
    attributes = signer["signed_attrs"]
    if not attributes:
        return content, ""
    digest = hashlib.new(hash_name, content).digest()
    said = [value.native for one in attributes if one["type"].native == "message_digest" for value in one["values"]]
    # The signature covers the attributes as a SET OF, not with the tag they have in the message (RFC 5652, 5.4).
    over = b"\x31" + attributes.dump()[1:]
    return over, "" if said == [digest] else "the module was changed after it was signed"


def mismatch(certificate: x509.Certificate, signature: bytes, signed: bytes, hash_name: str) -> str:
    """Why a bare signature over `signed` does not fit a certificate's key; "" when it does."""
    key = certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), HASHES[hash_name]())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(HASHES[hash_name]()))
        else:
            return "the certificate's key is neither RSA nor ECDSA"
    except InvalidSignature:
        return "the signature does not fit: the module was changed after it was signed, or the signature is damaged"
    except UnsupportedAlgorithm as error:
        return f"cannot be checked here: {error}"
    return ""


def _identity(sid: Any) -> tuple[str, str]:
    if sid.name == "issuer_and_serial_number":
        issuer = sid.chosen["issuer"].native
        name = issuer.get("common_name") or issuer.get("organization_name") or ""
        return str(name[0] if isinstance(name, list) else name), f"{sid.chosen['serial_number'].native:X}"
    return "", sid.chosen.native.hex().upper()


def _is_named(certificate: x509.Certificate, sid: Any) -> bool:
    """Whether a signer's identifier names a certificate."""
    if sid.name == "issuer_and_serial_number":
        issuer = certificate.issuer.public_bytes()
        return (str(certificate.serial_number), issuer) == (
            str(sid.chosen["serial_number"].native),
            sid.chosen["issuer"].dump(),
        )
    return bytes(sid.chosen.native) == key_identifier(certificate)


def key_identifier(certificate: x509.Certificate) -> bytes:
    """A certificate's subject key identifier, or b"" when it has none."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return b""


def common_name(name: x509.Name) -> str:
    """The name a person knows a certificate by."""
    for oid in (x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME):
        for attribute in name.get_attributes_for_oid(oid):
            return str(attribute.value)
    return name.rfc4514_string()


def fingerprint(certificate: x509.Certificate) -> str:
    """The sha256 of a certificate's DER, as hex."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def _date_note(certificate: x509.Certificate) -> str:
    now = datetime.datetime.now(datetime.UTC)
    if now > certificate.not_valid_after_utc:
        return f"the certificate ended on {certificate.not_valid_after_utc:%Y-%m-%d}; kernels do not look at that"
    if now < certificate.not_valid_before_utc:
        return f"the certificate begins on {certificate.not_valid_before_utc:%Y-%m-%d}; kernels do not look at that"
    return ""
