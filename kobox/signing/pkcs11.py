"""Signing with a key that stays in a token or a hardware module, named by a PKCS #11 URI (RFC 7512).

    pkcs11:token=Build;object=modules;type=private?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-value=1234

The library is the URI's module-path, else PKCS11_MODULE_PATH, else p11-kit's proxy for all that are configured.
Needs python-pkcs11 (`pip install kobox[pkcs11]`).
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Protocol
from urllib.parse import unquote, unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kobox.errors import SigningError
from kobox.signing.sign import Signer

_PROXIES = ("/usr/lib/x86_64-linux-gnu/p11-kit-proxy.so", "/usr/lib64/p11-kit-proxy.so", "/usr/lib/p11-kit-proxy.so")


class TokenKey(Protocol):
    """A private key in a token, as python-pkcs11 gives it."""

    def sign(self, data: bytes, *, mechanism: object) -> bytes:
        """Sign with one of `pkcs11.Mechanism`."""


def signer_in_token(uri: str, certificate: x509.Certificate, *, pin: str | None = None) -> Signer:
    """A signer that uses the key named by `uri`. Raises SigningError, with the token's own message."""
    try:
        import pkcs11
    except ImportError as error:
        raise SigningError(
            "a pkcs11: key needs python-pkcs11, which is not installed", hint="Install it: pip install 'kobox[pkcs11]'"
        ) from error
    path, query = parse_uri(uri)
    pin = query.get("pin-value") or _pin_of(query.get("pin-source")) or pin
    library = query.get("module-path") or os.environ.get("PKCS11_MODULE_PATH") or _first(_PROXIES)
    scheme = "rsa" if isinstance(certificate.public_key(), rsa.RSAPublicKey) else "ecdsa"
    try:
        key = _find_key(pkcs11, library, path, pin, scheme)
    except Exception as error:  # every class of the library's own, and RuntimeError for a library that will not load
        raise SigningError(
            f"{uri.partition('?')[0]}: the token gives no such key: {str(error) or type(error).__name__}",
            hint=f"The PKCS #11 library is {library}; KBUILD_SIGN_PIN holds the PIN.",
        ) from error
    signer = Signer(certificate, scheme, lambda data, name: _sign(pkcs11, key, data, name, scheme))
    _check_pair(signer, certificate)
    return signer


def parse_uri(uri: str) -> tuple[dict[str, bytes], dict[str, str]]:
    """The path and query attributes of a PKCS #11 URI. Raises SigningError."""
    body, _, query = uri.removeprefix("pkcs11:").partition("?")
    try:
        path = dict(part.split("=", 1) for part in body.split(";") if part)
        asked = dict(part.split("=", 1) for part in query.split("&") if part)
    except ValueError as error:
        raise SigningError(f"{uri}: not a PKCS #11 URI", hint="One is pkcs11:token=NAME;object=NAME.") from error
    return {name: unquote_to_bytes(value) for name, value in path.items()}, {
        name: unquote(value) for name, value in asked.items()
    }


def _find_key(pkcs11: ModuleType, library: str, path: dict[str, bytes], pin: str | None, scheme: str) -> TokenKey:
    wanted: dict[str, object] = {"object_class": pkcs11.ObjectClass.PRIVATE_KEY}
    wanted["key_type"] = pkcs11.KeyType.RSA if scheme == "rsa" else pkcs11.KeyType.EC
    if "object" in path:
        wanted["label"] = path["object"].decode()
    if "id" in path:
        wanted["id"] = path["id"]
    token_wanted: dict[str, object] = {}
    if "token" in path:
        token_wanted["token_label"] = path["token"].decode()
    if "serial" in path:
        token_wanted["token_serial"] = path["serial"]
    token = pkcs11.lib(library).get_token(**token_wanted)
    key: TokenKey = token.open(user_pin=pin).get_key(**wanted)
    return key


def _sign(pkcs11: ModuleType, key: TokenKey, data: bytes, hash_name: str, scheme: str) -> bytes:
    if scheme == "rsa":
        return key.sign(data, mechanism=getattr(pkcs11.Mechanism, f"{hash_name.upper()}_RSA_PKCS"))
    # Few tokens hash for ECDSA; they sign a digest and answer r and s, which X9.62 wants as a SEQUENCE.
    import hashlib

    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    raw = key.sign(hashlib.new(hash_name, data).digest(), mechanism=pkcs11.Mechanism.ECDSA)
    half = len(raw) // 2
    return encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))


def _check_pair(signer: Signer, certificate: x509.Certificate) -> None:
    """A token does not always show the public key, so the pair is proved by a signature."""
    from kobox.signing.verify import mismatch

    assert isinstance(certificate.public_key(), rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    probe = b"kobox"
    if mismatch(certificate, signer.sign(probe, "sha256"), probe, "sha256"):
        raise SigningError("the certificate belongs to another key than the token's")


def _pin_of(source: str | None) -> str | None:
    if not source:
        return None
    return Path(source.removeprefix("file:")).read_text().strip()


def _first(paths: tuple[str, ...]) -> str:
    return next((path for path in paths if Path(path).exists()), paths[0])
