"""Keys and certificates that sign modules (Documentation/admin-guide/module-signing.rst).

The certificate has what the kernel's own certs/x509.genkey asks for: no CA, digitalSignature, a subject key
identifier; and the extended key usages codeSigning and "kernel module signing only" (1.3.6.1.4.1.2312.16.1.2), which
keeps shim from starting boot loaders signed with an enrolled key.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kobox.atomic_file import atomic_file
from kobox.errors import SigningError
from kobox.signing.certificates import UnknownKeyError, read_certificates

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

KINDS = ("rsa:2048", "rsa:3072", "rsa:4096", "ecdsa:p256", "ecdsa:p384")
MODULE_SIGNING_ONLY = x509.ObjectIdentifier("1.3.6.1.4.1.2312.16.1.2")
_CURVES: dict[str, type[ec.EllipticCurve]] = {"p256": ec.SECP256R1, "p384": ec.SECP384R1}


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """The files of a new key: the private key (PEM, mode 0600), its certificate as PEM, and as DER for mokutil."""

    key: Path
    certificate: Path
    der: Path


def generate(kind: str = "rsa:2048") -> PrivateKey:
    """A new private key. `kind` is `rsa:BITS` (2048 to 4096) or `ecdsa:p256`, `ecdsa:p384`. Raises SigningError."""
    family, _, size = kind.partition(":")
    if family == "rsa" and re.fullmatch(r"\d{4}", size) and 2048 <= int(size) <= 4096 and int(size) % 8 == 0:
        return rsa.generate_private_key(public_exponent=65537, key_size=int(size))
    if family == "ecdsa" and size in _CURVES:
        return ec.generate_private_key(_CURVES[size]())
    raise SigningError(
        f"{kind}: kernels verify no modules with this kind of key", hint=f"Use one of {', '.join(KINDS)}."
    )


def self_signed(
    key: PrivateKey, common_name: str, *, organization: str = "", email: str = "", days: int = 36500
) -> x509.Certificate:
    """A self-signed certificate for a key, valid for signing modules and for nothing else."""
    parts = [
        (NameOID.ORGANIZATION_NAME, organization),
        (NameOID.COMMON_NAME, common_name),
        (NameOID.EMAIL_ADDRESS, email),
    ]
    try:
        name = x509.Name([x509.NameAttribute(oid, text) for oid, text in parts if text])
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        end = now + datetime.timedelta(days=days)
    except (ValueError, OverflowError) as error:
        raise SigningError(f"{common_name!r} for {days} days: cannot be written into a certificate: {error}") from error
    public = key.public_key()
    builder = (
        x509.CertificateBuilder(name, name, public, x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks differ a little
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_DIGITAL_SIGNATURE, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING, MODULE_SIGNING_ONLY]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    long_curve = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256
    try:
        return builder.sign(key, hashes.SHA384() if long_curve else hashes.SHA256())
    except ValueError as error:
        raise SigningError(f"{common_name!r} for {days} days: cannot be written into a certificate: {error}") from error


_DIGITAL_SIGNATURE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def write_pair(
    directory: Path,
    name: str,
    key: PrivateKey,
    certificate: x509.Certificate,
    *,
    passphrase: str = "",
    overwrite: bool = False,
) -> KeyFiles:
    """Write NAME.key, NAME.crt and NAME.der. All of them or none; the key is readable by its owner only, from its
    first byte on.

    Raises SigningError when one of them is there already and `overwrite` is false, OSError as the system says.
    """
    files = KeyFiles(directory / f"{name}.key", directory / f"{name}.crt", directory / f"{name}.der")
    for path in (files.key, files.certificate, files.der):
        if path.exists() and not overwrite:
            raise SigningError(f"{path} exists already", hint="Give another name, or --force to replace it.")
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        lock = serialization.BestAvailableEncryption(passphrase.encode())
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    directory.mkdir(parents=True, exist_ok=True)
    contents = (
        (files.key, secret, 0o600),
        (files.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644),
        (files.der, certificate.public_bytes(serialization.Encoding.DER), 0o644),
    )
    with contextlib.ExitStack() as stack:  # none takes its place before all are on the disk
        for path, content, mode in contents:
            file = stack.enter_context(atomic_file(path, mode=mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    return files


def load_key(path: Path, passphrase: str | None = None) -> PrivateKey:
    """Read a private key (PEM or DER).

    Raises SigningError for anything else, a wrong passphrase, or a kind of key that kernels do not support.
    """
    content = path.read_bytes()
    load = serialization.load_pem_private_key if b"-----BEGIN" in content else serialization.load_der_private_key
    secret = passphrase.encode() if passphrase else None
    try:
        try:
            key = load(content, secret)
        except TypeError:
            if secret is None:
                raise
            key = load(content, None)  # sign-file too accepts a passphrase that is not needed
    except TypeError as error:
        raise SigningError(
            f"{path}: the key is encrypted", hint="Give its passphrase: KBUILD_SIGN_PIN holds it."
        ) from error
    except ValueError as error:
        if secret is not None and b"ENCRYPTED" in content:
            raise SigningError(f"{path}: wrong passphrase") from error
        said = "a certificate" if b"BEGIN CERTIFICATE" in content else "no private key"
        raise SigningError(f"{path}: {said}, where a private key (PEM) is needed") from error
    except Exception as error:  # UnsupportedAlgorithm, and whatever a damaged file raises
        raise SigningError(f"{path}: not a private key that can be read: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        kind = type(key).__name__.lstrip("_").removesuffix("PrivateKey")
        raise SigningError(f"{path}: a key of kind {kind}; kernels verify modules with RSA and ECDSA")
    return key


def load_certificates(path: Path) -> list[x509.Certificate]:
    """Read the certificates of a file: PEM (one or many) or DER. Raises SigningError when it holds none."""
    content = path.read_bytes()
    try:
        return read_certificates(content)
    except UnknownKeyError as error:
        raise SigningError(f"{path}: the certificate's key is of a kind that is not known: {error}") from error
    except ValueError as error:
        said = "a private key" if b"PRIVATE KEY" in content else "no certificate"
        raise SigningError(f"{path}: {said}, where an X.509 certificate (PEM or DER) is needed") from error


def check_pair(key: PrivateKey, certificate: x509.Certificate, path: Path | str) -> None:
    """Raise SigningError unless the certificate belongs to the key."""
    if public_bytes(key.public_key()) != public_bytes(certificate.public_key()):
        raise SigningError(
            f"{path}: the certificate belongs to another key",
            hint="Give the certificate that was made with this key.",
        )


def public_bytes(key: object) -> bytes:
    """A public key as DER (SubjectPublicKeyInfo): equal for equal keys."""
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def passphrase_from_environment() -> str | None:
    """What KBUILD_SIGN_PIN holds: sign-file takes a key's passphrase or a token's PIN from there."""
    return os.environ.get("KBUILD_SIGN_PIN") or None
