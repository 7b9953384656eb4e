"""Verifies the signature of a module as the kernel does (kernel/module/signing.c, crypto/asymmetric_keys/).

The kernel's rules: the trailer's unused fields are zero, the message is PKCS #7 without content and without signed
attributes, one of its signers is a trusted certificate by issuer and serial number or by key identifier, or a
certificate that the message carries and a trusted one signed, and the signature is over the module. Dates of the
certificate play no part.

Which hashes and kinds of keys a kernel has is a matter of its version and configuration: here all are taken that some
kernel takes. `kobox.apps.signature_check` asks a kernel itself.
"""

from __future__ import annotations

import datetime
import errno
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from kobox.ko.compression import decompress
from kobox.ko.der import dotted, elements, text
from kobox.ko.signature import MARKER, PKCS7
from kobox.signing.certificates import UnknownKeyError, read_certificate, serial_number
from kobox.signing.pkcs7 import DATA, MessageError, SignerInfo, parse_message
from kobox.signing.sign import HASHES

_TRAILER_SIZE = 12
# What a signature may be made with: sign-file's hashes, and those that kernels since 6.7 know besides.
_DIGESTS: dict[str, type[hashes.HashAlgorithm]] = HASHES | {
    "md5": hashes.MD5,
    "sha3-256": hashes.SHA3_256,
    "sha3-384": hashes.SHA3_384,
    "sha3-512": hashes.SHA3_512,
}


@dataclass(frozen=True, slots=True)
class SignatureVerdict:
    """What is to be said of a module's signature.

    `valid` is None when there is none, or when nobody's certificate was there to check it with. `reason` says why it is
    not valid, `errno` is the kernel's answer when signatures are enforced ("" when it would load). `signer` is the
    common name of the trusted certificate, or of the issuer named; `key_id` the serial number or key identifier as hex.
    `unsupported`: the kernel lacks the algorithm. `kernel` is the release of the kernel that was asked, "" when the
    answer is by the rules that all kernels share (`kobox.apps.signature_check` asks one).
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
    unsupported: bool = False
    kernel: str = ""


def verify(data: bytes, trusted: Sequence[x509.Certificate], *, path: str = "") -> SignatureVerdict:
    """Verify the bytes of a module file, plain or compressed, against trusted certificates.

    Raises ModuleFormatError when compressed data is damaged.
    """
    data = decompress(data, path=path)
    if not data.endswith(MARKER):
        return SignatureVerdict(None, "not signed", "EKEYREJECTED")
    place = len(data) - len(MARKER) - _TRAILER_SIZE
    trailer = data[max(place, 0) : -len(MARKER)]
    size = int.from_bytes(trailer[-4:])
    if size >= place:  # mod_check_sig() in kernel/module_signature.c
        return SignatureVerdict(False, f"a signature of {size} bytes does not fit into the file", "EBADMSG")
    if trailer[2] != PKCS7:
        reason = f"a signature of type {trailer[2]}; kernels know 2, PKCS #7"
        return SignatureVerdict(False, reason, "EKEYREJECTED", unsupported=True)
    if any(trailer[:2] + trailer[3:8]):
        return SignatureVerdict(False, "fields of the signature's trailer that must be zero are not", "EBADMSG")
    content, message = data[: place - size], data[place - size : place]
    return _verify_message(content, message, trusted)


def _verify_message(content: bytes, message: bytes, trusted: Sequence[x509.Certificate]) -> SignatureVerdict:
    try:
        parsed = parse_message(message)
    except MessageError as error:
        unsupported = error.errno == errno.ENOPKG
        number = errno.EKEYREJECTED if unsupported else error.errno
        return SignatureVerdict(False, error.reason, errno.errorcode[number], unsupported=unsupported)
    if parsed.content is not None:
        return SignatureVerdict(False, "the signed data are inside the message, and not beside it", "EBADMSG")
    if parsed.data_type != DATA:
        return SignatureVerdict(False, "it signs something else than data", "EKEYREJECTED")
    if parsed.signers[0].has_signed_attributes:
        reason = "it has signed attributes, which kernels refuse for modules"
        return replace(_about(parsed.signers[0]), valid=False, reason=reason)
    try:
        inside = [read_certificate(der) for der in parsed.certificates]
    except UnknownKeyError as error:
        reason = f"the key of a certificate in it is of a kind that is not known: {error}"
        return SignatureVerdict(False, reason, "EKEYREJECTED", unsupported=True)
    except ValueError:
        return SignatureVerdict(False, "a certificate in it cannot be read", "EBADMSG")
    verdicts = [_verify_signer(content, signer, trusted, inside) for signer in parsed.signers]
    # One trusted signer is enough (pkcs7_verify), but a wrong signature spoils it all.
    return min(verdicts, key=lambda verdict: (verdict.valid is None or verdict.unsupported, verdict.valid is True))


def _about(signer: SignerInfo) -> SignatureVerdict:
    """What a signature says of its signer: a verdict that is still to be filled in."""
    key_id = signer.key_id.hex().upper() if signer.by_key_id else f"{int.from_bytes(signer.serial):X}"
    issuer = _issuer(signer.issuer)
    return SignatureVerdict(
        None, "", "EKEYREJECTED", signer=issuer, issuer=issuer, key_id=key_id, hash_name=signer.digest
    )


def _verify_signer(
    content: bytes, signer: SignerInfo, trusted: Sequence[x509.Certificate], inside: Sequence[x509.Certificate]
) -> SignatureVerdict:
    about = _about(signer)
    if signer.digest not in _DIGESTS:
        return replace(about, valid=False, reason=f"kernels do not accept the hash {signer.digest}", unsupported=True)
    if not signer.key_id:
        return replace(about, valid=False, errno="EINVAL", reason="its signer is not named as its version asks for")
    certificate = _signer_of(signer, trusted, inside)
    carried = certificate is not None and certificate not in trusted
    if certificate is None or (carried and not _vouched_for(certificate, inside, trusted)):
        reason = "" if certificate is None else mismatch(certificate, signer.signature, content, signer.digest)
        if reason:
            return replace(about, valid=False, reason=reason, errno=_errno_of(certificate, signer.signature))
        return replace(about, reason=f"signed by a key that is not trusted here ({about.issuer or about.key_id})")
    about = replace(about, signer=common_name(certificate.subject))
    scheme = "rsa" if isinstance(certificate.public_key(), rsa.RSAPublicKey) else "ecdsa"
    if scheme != signer.scheme:
        reason = f"made with {signer.scheme}, but the key of {about.signer} is {scheme}"
        return replace(about, valid=False, reason=reason)
    reason = mismatch(certificate, signer.signature, content, signer.digest)
    if reason:
        number = _errno_of(certificate, signer.signature) if carried or certificate in inside else about.errno
        return replace(about, valid=False, reason=reason, scheme=scheme, errno=number)
    note = _date_note(certificate)
    if carried:
        note = "; ".join(filter(None, ("the signature carries its certificate, which a trusted one signed", note)))
    return replace(about, valid=True, errno="", scheme=scheme, note=note)


def _errno_of(certificate: x509.Certificate | None, signature: bytes) -> str:
    """What the kernel answers to a signature that does not fit a certificate which the message carries.

    With the key of a trusted certificate it is always EKEYREJECTED. pkcs1pad_verify_complete(), crypto/rsa-pkcs1pad.c.
    """
    key = certificate.public_key() if certificate is not None else None
    if not isinstance(key, rsa.RSAPublicKey):
        return "EKEYREJECTED"
    numbers, size = key.public_numbers(), key.key_size // 8
    value = int.from_bytes(signature)
    if len(signature) != size or value >= numbers.n:
        return "EINVAL"
    opened = pow(value, numbers.e, numbers.n).to_bytes(size)
    if opened[0]:
        return "EINVAL"
    return "EKEYREJECTED" if opened.startswith(b"\0\1" + b"\xff" * 8) else "EBADMSG"


def _signer_of(
    signer: SignerInfo, trusted: Sequence[x509.Certificate], inside: Sequence[x509.Certificate]
) -> x509.Certificate | None:
    """The certificate that a signer names: one that the message carries, or a trusted one (pkcs7_find_key)."""
    carried = next((one for one in inside if key_name(one) == signer.key_id), None)
    if carried is not None:
        return next((one for one in trusted if one == carried), carried)
    return next((one for one in trusted if signer.key_id in (key_name(one), key_identifier(one))), None)


def _vouched_for(
    certificate: x509.Certificate, inside: Sequence[x509.Certificate], trusted: Sequence[x509.Certificate]
) -> bool:
    """Whether certificates that a message carries lead up to a trusted one (pkcs7_validate_trust_one)."""
    seen: list[x509.Certificate] = []
    while certificate not in seen:
        if certificate in trusted:
            return True
        seen.append(certificate)
        for above in (*trusted, *inside):
            if above.subject == certificate.issuer and above != certificate and _signed_by(certificate, above):
                certificate = above
                break
    return False


def _signed_by(certificate: x509.Certificate, above: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def mismatch(certificate: x509.Certificate, signature: bytes, signed: bytes, hash_name: str) -> str:
    """Why a bare signature over `signed` does not fit a certificate's key; "" when it does."""
    key = certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), _DIGESTS[hash_name]())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(_DIGESTS[hash_name]()))
        else:
            return "the certificate's key is neither RSA nor ECDSA"
    except InvalidSignature:
        return "the signature does not fit: the module was changed after it was signed, or the signature is damaged"
    except (UnsupportedAlgorithm, ValueError) as error:
        return f"cannot be checked here: {error}"
    return ""


def key_name(certificate: x509.Certificate) -> bytes:
    """A certificate's serial number and issuer, as the kernel joins them to a key's first identifier."""
    number = serial_number(certificate)
    issuer = next(elements(certificate.issuer.public_bytes())).content
    return number.to_bytes(number.bit_length() // 8 + 1, signed=True) + issuer


def _issuer(content: bytes) -> str:
    """The common name in the content of a Name, or its organization; "" when it has neither."""
    found: dict[str, str] = {}
    with suppress(ValueError):
        for part in elements(content):
            for attribute in part.inside:
                kind, value = attribute.inside
                found.setdefault(dotted(kind.content), text(value))
    return found.get("2.5.4.3") or found.get("2.5.4.10") or ""


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
