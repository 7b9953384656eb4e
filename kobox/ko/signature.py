"""The signature appended to a module file.

    the module's bytes
    signer's name and key identifier, signer_len and key_id_len bytes: before Linux 4.3; since then there are none
    signature: PKCS #7 SignedData in DER, or before Linux 4.3 the bare signature, sig_len bytes
    struct module_signature (include/linux/module_signature.h), 12 bytes:
        u8 algo, hash, id_type (2: PKCS #7), signer_len, key_id_len, pad[3]; big-endian u32 sig_len
    "~Module signature appended~\\n", 28 bytes

Nothing is verified here: these are the claims of the signature.
"""

from __future__ import annotations

import struct

from kobox.errors import ModuleFormatError
from kobox.ko.binary import c_string
from kobox.ko.der import INTEGER, OCTETS, SEQUENCE, SET, Element, dotted, elements, text
from kobox.startup import NamedTuple

MARKER = b"~Module signature appended~\n"
_TRAILER = struct.Struct(">BBBBB3xI")
ID_TYPES = ("PGP", "X509", "PKCS#7")
PKCS7 = 2


class Signature(NamedTuple):
    """A signature: `key_id` is the signing certificate's serial number, `signature` the bare signature's bytes.

    `id_type` is `PKCS#7` for every kernel since 4.3; `signer` is the common name of the certificate's issuer. Before,
    with `X509`, all is as the trailer has it: the signer's name and the key's identifier stand before the signature.
    `hash_algorithm` is "" when its number or type is not known. `der` holds all that was appended before the trailer,
    `content_size` the length of what it signs.
    """

    id_type: str
    signer: str
    key_id: bytes
    hash_algorithm: str
    signature: bytes
    der: bytes
    content_size: int


def strip(data: bytes, *, path: str = "") -> tuple[bytes, bytes, int]:
    """(the module without its signature, the signature as it was appended, its id type); (data, b"", 0) if unsigned.

    Raises `ModuleFormatError` when the marker is there but the lengths before it can't be true.
    """
    if not data.endswith(MARKER):
        return data, b"", 0
    start, end, id_type = _place(data, path)
    return data[:start], data[start:end], id_type


def _place(data: bytes, path: str) -> tuple[int, int, int]:
    """(where the signature begins, where it ends, its id type)."""
    end = len(data) - len(MARKER) - _TRAILER.size
    if end < 0:
        raise ModuleFormatError("a signature's marker, but no signature", path=path, offset=0)
    _, _, id_type, signer_size, key_size, size = _TRAILER.unpack_from(data, end)
    start = end - size - signer_size - key_size
    if size == 0 or start < 0:
        raise ModuleFormatError(f"a signature of {size} bytes is said to be appended", path=path, offset=end)
    return start, end, id_type


def parse(data: bytes, *, path: str = "") -> Signature | None:
    """The signature of a (decompressed) module file, None if it has none.

    Raises `ModuleFormatError` when something is appended that is no signature.
    """
    if not data.endswith(MARKER):
        return None
    start, end, id_type = _place(data, path)
    der = data[start:end]
    if id_type != PKCS7:
        return _plain(data, start, end)
    try:
        signer, key_id, algorithm, signature = _pkcs7(der)
    except (ValueError, IndexError, StopIteration) as error:
        raise ModuleFormatError(
            f"the appended signature is no PKCS #7 message: {error}", path=path, offset=start
        ) from error
    return Signature(ID_TYPES[PKCS7], signer, key_id, algorithm, signature, der, start)


# enum pkey_hash_algo of Linux 3.7 to 4.2, by the names that modinfo shows.
_KEY_ALGORITHMS = (0, 1)  # DSA, RSA
_NUMBERED_DIGESTS = ("md4", "md5", "sha1", "rmd160", "sha256", "sha384", "sha512", "sha224", "sm3")


def _plain(data: bytes, start: int, end: int) -> Signature:
    """A signature that is no PKCS #7 message: signer, key and signature stand side by side."""
    kind, digest, id_type, signer_size, key_size, _ = _TRAILER.unpack_from(data, end)
    name = ID_TYPES[id_type] if id_type < len(ID_TYPES) else f"type {id_type}"
    known = kind in _KEY_ALGORITHMS and digest < len(_NUMBERED_DIGESTS)
    algorithm = _NUMBERED_DIGESTS[digest] if known else ""
    key = start + signer_size
    signer = c_string(data[start:key]).decode("utf-8", "surrogateescape")
    bare = key + key_size
    return Signature(name, signer, data[key:bare], algorithm, data[bare:end], data[start:end], start)


# The names that OpenSSL gives to digests, and modinfo shows.
_DIGESTS = {
    "1.2.840.113549.2.4": "md4",
    "1.2.840.113549.2.5": "md5",
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
    "2.16.840.1.101.3.4.2.4": "sha224",
    "2.16.840.1.101.3.4.2.8": "sha3-256",
    "2.16.840.1.101.3.4.2.9": "sha3-384",
    "2.16.840.1.101.3.4.2.10": "sha3-512",
    "2.16.840.1.101.3.4.2.12": "shake256",
    "1.2.156.10197.1.401": "sm3",
}
_COMMON_NAME = "2.5.4.3"


def _pkcs7(der: bytes) -> tuple[str, bytes, str, bytes]:
    """(signer, key id, digest, signature) of the first SignerInfo (RFC 5652).

    ContentInfo { type, [0] SignedData { version, digests, content, [0] certificates?, [1] crls?, SET of SignerInfo } }
    SignerInfo { version, issuer and serial number | [0] key id, digest, [0] attributes?, algorithm, signature, ... }
    """
    _, explicit = next(elements(der)).inside
    (signed,) = explicit.inside
    infos = [element for element in signed.inside if element.tag == SET][-1]
    version, sid, digest, *rest = next(infos.inside).inside
    if version.tag != INTEGER:
        raise ValueError("a SignerInfo without version")
    value = next(element.content for element in rest if element.tag == OCTETS)
    oid = dotted(next(digest.inside).content)
    signer, key_id = "", sid.content
    if sid.tag == SEQUENCE:
        # The number's content octets, not the number: kmod and openssl show them as they are.
        issuer, serial = sid.inside
        signer, key_id = _common_name(issuer), serial.content
    return signer, key_id, _DIGESTS.get(oid, oid), value


def _common_name(name: Element) -> str:
    for part in name.inside:
        for attribute in part.inside:
            kind, value = attribute.inside
            if dotted(kind.content) == _COMMON_NAME:
                return text(value)
    return ""
