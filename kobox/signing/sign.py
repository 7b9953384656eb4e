"""Signs modules as the kernel's scripts/sign-file does.

What is appended is described in `kobox.ko.signature`. The PKCS #7 message (RFC 5652) carries neither the module nor
certificates nor signed attributes: the signature is over the module's bytes themselves.

    SignedData
        version            1; 3 when the signer is named by its key identifier
        digestAlgorithms   { sha256 }
        encapContentInfo   id-data, no content
        signerInfos        one:
            version              as above
            sid                  issuer and serial number of the certificate, or its subject key identifier
            digestAlgorithm      sha256                      (without parameters, as OpenSSL writes it)
            signatureAlgorithm   rsaEncryption NULL, or ecdsa-with-SHA256
            signature            PKCS #1 v1.5, or an ECDSA-Sig-Value
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from kobox.atomic_file import write_file
from kobox.errors import ModuleFormatError, SigningError
from kobox.ko.compression import read_file, recognise
from kobox.ko.signature import MARKER, PKCS7, strip
from kobox.signing.keys import PrivateKey

HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1,
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_TRAILER = struct.Struct(">BBBBB3xI")


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate, and the function that signs bytes with its key (`scheme` is rsa or ecdsa).

    The key may be a file's (`signer_from`) or stay in a token (`kobox.signing.pkcs11`).
    """

    certificate: x509.Certificate
    scheme: str
    sign: Callable[[bytes, str], bytes]


def signer_from(key: PrivateKey, certificate: x509.Certificate) -> Signer:
    """A signer with a private key in memory."""
    if isinstance(key, rsa.RSAPrivateKey):
        rsa_key = key
        return Signer(certificate, "rsa", lambda data, name: rsa_key.sign(data, padding.PKCS1v15(), HASHES[name]()))
    ec_key = key
    return Signer(certificate, "ecdsa", lambda data, name: ec_key.sign(data, ec.ECDSA(HASHES[name]())))


def signature_of(content: bytes, signer: Signer, *, hash_name: str = "sha256", by_key_id: bool = False) -> bytes:
    """The PKCS #7 message (DER) that signs `content`.

    `by_key_id` names the signer by the certificate's subject key identifier instead of issuer and serial number.
    Raises SigningError.
    """
    from asn1crypto import algos, cms, core
    from asn1crypto import x509 as asn1_x509

    if hash_name not in HASHES:
        raise SigningError(f"{hash_name}: not a hash of module signatures", hint=f"Use one of {', '.join(HASHES)}.")
    # asn1crypto would write NULL parameters; OpenSSL leaves them out, and so does RFC 5754 section 2.
    digest = algos.DigestAlgorithm({"algorithm": hash_name})
    digest["parameters"] = None
    if signer.scheme == "rsa":
        algorithm = algos.SignedDigestAlgorithm({"algorithm": "rsassa_pkcs1v15", "parameters": core.Null()})
    else:
        algorithm = algos.SignedDigestAlgorithm({"algorithm": f"{hash_name}_ecdsa"})
    certificate = asn1_x509.Certificate.load(signer.certificate.public_bytes(serialization.Encoding.DER))
    if by_key_id:
        if certificate.key_identifier_value is None:
            raise SigningError("the certificate has no subject key identifier", hint="Leave out -k.")
        sid = cms.SignerIdentifier("subject_key_identifier", certificate.key_identifier_value)
    else:
        named = cms.IssuerAndSerialNumber({"issuer": certificate.issuer, "serial_number": certificate.serial_number})
        sid = cms.SignerIdentifier("issuer_and_serial_number", named)
    version = "v3" if by_key_id else "v1"
    info = cms.SignerInfo(
        {
            "version": version,
            "sid": sid,
            "digest_algorithm": digest,
            "signature_algorithm": algorithm,
            "signature": signer.sign(content, hash_name),
        }
    )
    data = cms.SignedData(
        {
            "version": version,
            "digest_algorithms": [digest],
            "encap_content_info": {"content_type": "data"},
            "signer_infos": [info],
        }
    )
    message: bytes = cms.ContentInfo({"content_type": "signed_data", "content": data}).dump()
    return message


def append(content: bytes, message: bytes) -> bytes:
    """A module's bytes with a signature appended; `content` has none yet."""
    return content + message + _TRAILER.pack(0, 0, PKCS7, 0, 0, len(message)) + MARKER


def unsigned(path: Path) -> bytes:
    """A module's bytes without its signature, if it has one. Raises ModuleFormatError for what is no module file."""
    return strip(_module(path), path=str(path))[0]


def _module(path: Path) -> bytes:
    data = read_file(path)
    kind = recognise(data[:16])
    if kind:
        raise ModuleFormatError(
            f"compressed with {kind}",
            path=str(path),
            hint="Decompress the module, sign it, and compress it again.",
        )
    if data[:4] != b"\x7fELF":
        raise ModuleFormatError("not an ELF file, so not a module", path=str(path))
    return data


def sign_file(
    module: Path,
    signer: Signer,
    *,
    hash_name: str = "sha256",
    by_key_id: bool = False,
    destination: Path | None = None,
    detached: bool = False,
    keep_message: bool = False,
    behind: bool = False,
) -> Path:
    """Sign a module file, in place or into `destination`; its present signature is replaced. Returns the path written.

    With `behind` the present signature stays and the new one follows it, as the kernel's sign-file does.
    `detached` writes only the message, to MODULE.p7s; `keep_message` writes it as well. The old file stays until the
    signed one is complete on the disk. Raises SigningError, ModuleFormatError, OSError.
    """
    content = _module(module) if behind else unsigned(module)
    message = signature_of(content, signer, hash_name=hash_name, by_key_id=by_key_id)
    if detached or keep_message:
        beside = module.with_name(module.name + ".p7s")
        write_file(beside, message)
        if detached:
            return beside
    return _write(module, append(content, message), destination)


def append_raw(module: Path, message: Path, *, destination: Path | None = None, behind: bool = False) -> Path:
    """Append a signature made elsewhere (`sign-file -s`): a PKCS #7 message in DER over the module without its
    present signature, or with it (`behind`). Raises SigningError.
    """
    der = message.read_bytes()
    if der[:1] != b"\x30":
        raise SigningError(f"{message}: not a PKCS #7 message in DER", hint="`openssl cms -outform DER` writes one.")
    return _write(module, append(_module(module) if behind else unsigned(module), der), destination)


def strip_file(module: Path, *, destination: Path | None = None) -> bool:
    """Take a module's signature off; False when it has none. Raises ModuleFormatError, OSError."""
    content = unsigned(module)
    had = len(content) != module.stat().st_size
    if had or destination is not None:
        _write(module, content, destination)
    return had


def _write(module: Path, content: bytes, destination: Path | None) -> Path:
    path = destination or module
    mode = None if path.exists() else module.stat().st_mode & 0o777
    write_file(path, content, mode=mode)
    return path
