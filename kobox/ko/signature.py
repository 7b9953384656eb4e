"""The signature appended to a module file.

    the module's bytes
    signature: PKCS #7 SignedData in DER, sig_len bytes
    struct module_signature (include/linux/module_signature.h), 12 bytes:
        u8 algo, hash, id_type (2: PKCS #7), signer_len, key_id_len, pad[3]; big-endian u32 sig_len
    "~Module signature appended~\\n", 28 bytes

Nothing is verified here: this only tells what the signature says of itself.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from kobox.errors import ModuleFormatError

MARKER = b"~Module signature appended~\n"
_TRAILER = struct.Struct(">BBBBB3xI")
ID_TYPES = ("PGP", "X509", "PKCS#7")
PKCS7 = 2


class Signature(NamedTuple):
    """A signature: `key_id` is the signing certificate's serial number, `signature` the bare signature's bytes.

    `id_type` is `PKCS#7` for every kernel since 4.3; `signer` is the common name of the certificate's issuer.
    `der` holds the whole appended signature, `content_size` the length of what it signs.
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
    end = len(data) - len(MARKER) - _TRAILER.size
    if end < 0:
        raise ModuleFormatError("a signature's marker, but no signature", path=path, offset=0)
    _, _, id_type, signer_size, key_size, size = _TRAILER.unpack_from(data, end)
    start = end - size - signer_size - key_size
    if size == 0 or start < 0:
        raise ModuleFormatError(f"a signature of {size} bytes is said to be appended", path=path, offset=end)
    return data[:start], data[start:end], id_type


def parse(data: bytes, *, path: str = "") -> Signature | None:
    """The signature of a (decompressed) module file, None if it has none.

    Raises `ModuleFormatError` when something is appended that is no signature.
    """
    content, der, id_type = strip(data, path=path)
    if not der:
        return None
    if id_type != PKCS7:
        name = ID_TYPES[id_type] if id_type < len(ID_TYPES) else f"type {id_type}"
        return Signature(name, "", b"", "", b"", der, len(content))
    try:
        signer, key_id, algorithm, signature = _pkcs7(der)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError) as error:
        raise ModuleFormatError(
            f"the appended signature is no PKCS #7 message: {error}", path=path, offset=len(content)
        ) from error
    return Signature(ID_TYPES[PKCS7], signer, key_id, algorithm, signature, der, len(content))


def _pkcs7(der: bytes) -> tuple[str, bytes, str, bytes]:
    from asn1crypto import cms

    info = cms.ContentInfo.load(der)["content"]["signer_infos"][0]
    algorithm = str(info["digest_algorithm"]["algorithm"].native)
    sid = info["sid"]
    signer, key_id = "", b""
    if sid.name == "issuer_and_serial_number":
        issuer = sid.chosen["issuer"].native
        signer = str(issuer.get("common_name", ""))
        # The contents octets, not the number: kmod and openssl show them as they are.
        key_id = sid.chosen["serial_number"].contents
    else:
        key_id = sid.chosen.native
    return signer, key_id, algorithm, info["signature"].native
