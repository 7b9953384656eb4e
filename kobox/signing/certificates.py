"""Reads an X.509 certificate as a whole.

`cryptography` reads most parts of a certificate when they are first asked for, and raises there. Certificates of
messages, files and firmware are read here: all parts are asked for at once, where it is known whose they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.utils import CryptographyDeprecationWarning

_HEADER = b"-----BEGIN"
_OTHERS = (x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)  # which are no ValueErrors


class UnknownKeyError(ValueError):
    """A certificate whose kind of key, or whose curve, is not known."""


def read_certificate(der: bytes) -> x509.Certificate:
    """The certificate in these bytes. Raises `ValueError` when a part that is used anywhere cannot be read,
    `UnknownKeyError` when that part is its key."""
    try:
        with _quiet():
            return _whole(x509.load_der_x509_certificate(der))
    except _OTHERS as error:
        raise ValueError(str(error)) from error


def read_certificates(data: bytes) -> list[x509.Certificate]:
    """The certificates of a file: PEM, one or many, or one as DER. Raises `ValueError` as `read_certificate` does."""
    if _HEADER in data:
        with _quiet():
            found = x509.load_pem_x509_certificates(data)
        return [read_certificate(one.public_bytes(serialization.Encoding.DER)) for one in found]
    return [read_certificate(data)]


def serial_number(certificate: x509.Certificate) -> int:
    """Its serial number, which may be zero or negative: kernels take those too."""
    with _quiet():
        return certificate.serial_number


@contextmanager
def _quiet() -> Iterator[None]:
    """Without a warning on the terminal about what a stranger's certificate has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        yield


def _whole(certificate: x509.Certificate) -> x509.Certificate:
    for name in (certificate.issuer, certificate.subject):
        name.rfc4514_string()
    _ = serial_number(certificate), certificate.not_valid_before_utc, certificate.not_valid_after_utc
    with suppress(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    try:
        certificate.public_key()
    except UnsupportedAlgorithm as error:
        raise UnknownKeyError(str(error)) from error
    return certificate
