"""Reads a PKCS #7 message as the kernel does (crypto/asymmetric_keys/pkcs7.asn1, pkcs7_parser.c, lib/asn1_decoder.c).

An ASN.1 library would not do: what counts is not what the standard says but what the kernel's decoder takes. It takes
lengths that are longer than they need be, indefinite lengths, a SEQUENCE where a SET belongs, and bytes behind the
message; it refuses lengths of more than two bytes and messages of more than 65535 bytes. Its checks come in the order
of the bytes, so the first thing wrong decides the errno.

    ContentInfo   SEQUENCE { OID signedData, [0] SignedData }
    SignedData    SEQUENCE { version, digestAlgorithms, SEQUENCE { OID, [0] content? }, [0] certificates?, [1] crls?,
                             SET of SignerInfo }
    SignerInfo    SEQUENCE { version, issuer and serial | [0] key identifier, digest, [0] signed attributes?,
                             algorithm, OCTET STRING signature, [1] unsigned attributes? }
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

from kobox.ko.der import dotted

LONGEST = 65535
_CONSTRUCTED = 0x20
_INTEGER, _OCTETS, _OID, _SEQUENCE, _SET = 0x02, 0x04, 0x06, 0x30, 0x31
DATA = "1.2.840.113549.1.7.1"
_SIGNED_DATA, _INDIRECT_DATA = "1.2.840.113549.1.7.2", "1.3.6.1.4.1.311.2.1.4"
_CONTENT_TYPE, _MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"

DIGESTS = {
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
    "1.2.156.10197.1.401": "sm3",
}
_SCHEMES = {
    "1.2.840.113549.1.1.1": "rsa",
    "1.2.840.10045.4.1": "ecdsa",
    "1.2.840.10045.4.3.1": "ecdsa",
    "1.2.840.10045.4.3.2": "ecdsa",
    "1.2.840.10045.4.3.3": "ecdsa",
    "1.2.840.10045.4.3.4": "ecdsa",
    "2.16.840.1.101.3.4.3.9": "ecdsa",
    "2.16.840.1.101.3.4.3.10": "ecdsa",
    "2.16.840.1.101.3.4.3.11": "ecdsa",
    "2.16.840.1.101.3.4.3.12": "ecdsa",
}


class MessageError(Exception):
    """A message that the kernel refuses while it reads it: `reason` in words, `errno` as a number."""

    def __init__(self, reason: str, number: int = errno.EBADMSG) -> None:
        super().__init__(reason)
        self.reason = reason
        self.errno = number


@dataclass(slots=True)
class SignerInfo:
    """One signer: `key_id` is the content of the key identifier, or of the serial number followed by the issuer.

    `issuer` and `serial` are contents of their elements, empty when the signer is named by key identifier.
    """

    by_key_id: bool = False
    issuer: bytes = b""
    serial: bytes = b""
    key_id: bytes = b""
    digest: str = ""
    scheme: str = ""
    signature: bytes = b""
    has_signed_attributes: bool = False


@dataclass(slots=True)
class Message:
    """What the kernel takes from a message. `content` is None unless the signed data are inside."""

    version: int = 0
    data_type: str = ""
    content: bytes | None = None
    certificates: list[bytes] = field(default_factory=list)
    signers: list[SignerInfo] = field(default_factory=list)


def parse_message(data: bytes) -> Message:
    """Read a message. Raises `MessageError`."""
    if len(data) > LONGEST:
        raise MessageError(f"a PKCS #7 message of {len(data)} bytes; kernels read {LONGEST}", errno.EMSGSIZE)
    return _Reader(data).message()


class _Reader:
    """A position in the message, and where the innermost element with a definite length ends."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._end = len(data)

    # -- the decoder ---------------------------------------------------------------------------------------------

    def _fail(self, reason: str) -> NoReturn:
        raise MessageError(f"not a PKCS #7 message: offset {self._at:#x}: {reason}")

    def _is(self, tag: int) -> bool:
        """Whether an element with this tag is next. Of a constructed one the kernel does not compare that bit."""
        if self._at == self._end:
            return False
        if self._end - self._at < 2:
            self._fail("cut short")
        found = self._data[self._at]
        if found & 0x1F == 0x1F:
            self._fail("a tag of several bytes")
        return found == tag or (bool(tag & _CONSTRUCTED) and found | _CONSTRUCTED == tag)

    def _header(self, tag: int | None, *, leaf: bool) -> tuple[int, int, int | None]:
        """(tag, where the element begins, length of its content or None); the position is then the content."""
        if self._end - self._at < 2:
            self._fail("cut short")
        start, found = self._at, self._data[self._at]
        if found & 0x1F == 0x1F:
            self._fail("a tag of several bytes")
        if tag is not None and not self._is(tag):
            self._fail(f"tag {found:#04x} where {tag:#04x} is expected")
        size = self._data[self._at + 1]
        self._at += 2
        if size == 0x80:
            if not found & _CONSTRUCTED:
                self._fail("an indefinite length of a primitive element")
            if self._end - self._at < 2:
                self._fail("cut short")
            return found, start, self._indefinite() if leaf else None
        if size > 0x80:
            count = size - 0x80
            if count > 2:
                self._fail(f"a length of {count} bytes")
            if count > self._end - self._at:
                self._fail("cut short")
            size = int.from_bytes(self._data[self._at : self._at + count])
            self._at += count
        if size > self._end - self._at:
            self._fail(f"an element of {size} bytes in {self._end - self._at}")
        return found, start, size

    def _indefinite(self) -> int:
        """The length of content up to its end mark, the mark included (asn1_find_indefinite_length)."""
        at, level = self._at, 1
        while level:
            if self._end - at < 2:
                self._fail("an indefinite length without end")
            tag, size = self._data[at], self._data[at + 1]
            at += 2
            if tag == 0:
                if size:
                    self._fail("an end mark with a length")
                level -= 1
            elif size == 0x80:
                level += 1
            else:
                if size > 0x80:
                    count = size - 0x80
                    size = int.from_bytes(self._data[at : at + count])
                    at += count
                at += size
        return at - self._at

    def _leaf(self, tag: int | None) -> tuple[int, bytes, bytes]:
        """(tag, content, the whole element) of an element that is not looked into."""
        found, start, size = self._header(tag, leaf=True)
        assert size is not None
        content = self._data[self._at : self._at + size]
        self._at += size
        return found, content, self._data[start : self._at]

    @contextmanager
    def _inside(self, tag: int) -> Iterator[Callable[[], bool]]:
        """The content of a constructed element; the function tells whether there is more of it."""
        _, _, size = self._header(tag, leaf=False)
        outer = self._end
        if size is not None:
            self._end = self._at + size

        def more() -> bool:
            return self._at < self._end and (size is not None or self._data[self._at] != 0)

        yield more
        if size is None:
            if self._data[self._at : self._at + 2] != b"\0\0":
                self._fail("an indefinite length without end")
            self._at += 2
        elif self._at != self._end:
            self._fail("more in an element than belongs there")
        self._end = outer

    def _each(self, tag: int, read: Callable[[], object], *, may_be_empty: bool = False) -> None:
        """A SET OF or SEQUENCE OF: one at least, unless the decoder skips what is not there."""
        with self._inside(tag) as more:
            if may_be_empty and not more():
                return
            read()
            while more():
                read()

    def _oid(self) -> str:
        try:
            return dotted(self._leaf(_OID)[1])
        except ValueError:
            return "?"  # unknown to the kernel, as any that it has no name for

    # -- the grammar ---------------------------------------------------------------------------------------------

    def message(self) -> Message:
        found = Message()
        with self._inside(_SEQUENCE):
            if self._oid() != _SIGNED_DATA:
                raise MessageError("a PKCS #7 message that is no SignedData", errno.EINVAL)
            if self._is(0xA0):
                with self._inside(0xA0):
                    self._signed_data(found)
        attributes = {signer.has_signed_attributes for signer in found.signers}
        if len(attributes) != 1:
            what = "some signers have signed attributes, and others none" if attributes else "nobody signed it"
            raise MessageError(f"a PKCS #7 message that cannot be: {what}", errno.EINVAL)
        return found

    def _signed_data(self, found: Message) -> None:
        with self._inside(_SEQUENCE):
            found.version = self._version("SignedData")
            self._each(_SET if self._is(_SET) else _SEQUENCE, self._algorithm)
            with self._inside(_SEQUENCE):
                found.data_type = self._oid()
                if self._is(0xA0):
                    with self._inside(0xA0):
                        found.content = self._leaf(None)[1]
            if found.data_type not in (DATA, _INDIRECT_DATA):
                raise MessageError("it signs something else than data", errno.EINVAL)
            for tag in (0xA0, 0xA2):
                if self._is(tag):
                    self._each(tag, lambda: self._certificate(found), may_be_empty=tag == 0xA0)
                    break
            for tag in (0xA1, 0xA3):
                if self._is(tag):
                    self._each(tag, lambda: self._each(_SEQUENCE, lambda: self._certificate(Message())))
                    break
            if self._at != self._end:
                self._each(_SET if self._is(_SET) else _SEQUENCE, lambda: self._signer(found))

    def _version(self, what: str) -> int:
        content = self._leaf(_INTEGER)[1]
        if content not in (b"\x01", b"\x03"):
            raise MessageError(f"the version of the {what} is neither 1 nor 3", errno.EINVAL)
        return content[0]

    def _algorithm(self) -> str:
        """An AlgorithmIdentifier; the parameters are not looked at."""
        with self._inside(_SEQUENCE):
            found = self._oid()
            if self._at != self._end:
                self._leaf(None)
        return found

    def _certificate(self, found: Message) -> None:
        tag, _, whole = self._leaf(None)
        if tag != _SEQUENCE:
            self._fail("a certificate that is no SEQUENCE")
        found.certificates.append(whole)

    def _signer(self, found: Message) -> None:
        signer = SignerInfo()
        with self._inside(_SEQUENCE):
            version = self._version("SignerInfo")
            if (version == 1) != (found.version == 1):
                raise MessageError("the versions of the SignedData and of a SignerInfo do not go together")
            signer.by_key_id = version == 3
            skid = self._name(signer)
            algorithm = self._algorithm()
            if algorithm not in DIGESTS:
                raise MessageError(f"digest {algorithm}, which kernels do not know", errno.ENOPKG)
            signer.digest = DIGESTS[algorithm]
            self._attributes(signer)
            algorithm = self._algorithm()
            if algorithm not in _SCHEMES:
                raise MessageError(f"signature algorithm {algorithm}, which kernels do not know", errno.ENOPKG)
            signer.scheme = _SCHEMES[algorithm]
            signer.signature = self._leaf(_OCTETS)[1]
            for tag in (0xA1, 0xA3):
                if self._is(tag):
                    self._each(tag, self._unsigned_attribute)
                    break
        if found.data_type == _INDIRECT_DATA and not signer.has_signed_attributes:
            raise MessageError("Authenticode without signed attributes")
        signer.key_id = skid if signer.by_key_id else signer.serial + signer.issuer
        found.signers.append(signer)

    def _name(self, signer: SignerInfo) -> bytes:
        """Issuer and serial number go into the signer; the key identifier is returned."""
        if self._is(0x80):
            return self._leaf(0x80)[1]
        with self._inside(_SEQUENCE):
            self._is(_SEQUENCE)
            at = self._at
            self._each(_SEQUENCE, lambda: self._each(_SET, self._name_part))
            signer.issuer = _Reader(self._data[at : self._at])._leaf(_SEQUENCE)[1]
            signer.serial = self._leaf(_INTEGER)[1]
        return b""

    def _name_part(self) -> None:
        with self._inside(_SEQUENCE):
            self._oid()
            self._leaf(None)

    def _attributes(self, signer: SignerInfo) -> None:
        kinds: list[str] = []
        if self._is(0xA0):
            self._each(0xA0, lambda: kinds.append(self._attribute()))
            if not {_CONTENT_TYPE, _MESSAGE_DIGEST} <= set(kinds):
                raise MessageError("signed attributes without content type or message digest")
            signer.has_signed_attributes = True
        elif self._is(0xA2):
            with self._inside(0xA2):
                self._each(_SEQUENCE, self._attribute)

    def _attribute(self) -> str:
        with self._inside(_SEQUENCE):
            kind = self._oid()
            values: list[tuple[int, bytes]] = []
            self._each(_SET, lambda: values.append(self._leaf(None)[:2]))
        for number, (tag, content) in enumerate(values if kind in (_CONTENT_TYPE, _MESSAGE_DIGEST) else ()):
            if number:
                raise MessageError("a signed attribute with several values", errno.EKEYREJECTED)
            if kind == _MESSAGE_DIGEST and tag != _OCTETS:
                raise MessageError("a message digest that is no OCTET STRING")
            if kind == _CONTENT_TYPE and content != bytes.fromhex("2a864886f70d010701"):
                raise MessageError("signed attributes for content of another type")
        return kind

    def _unsigned_attribute(self) -> None:
        with self._inside(_SEQUENCE):
            self._oid()
            self._each(_SET, lambda: self._leaf(None))
