"""`verify` against real kernels that enforce signatures: every field of the message, mutated."""

from __future__ import annotations

import errno
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from kobox.apps.signature_check import SignatureCheck
from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.errors import ModuleLoadError
from kobox.images.store import KernelImage
from kobox.ko.signature import MARKER
from kobox.signing import keys
from kobox.signing.sign import append, signature_of, signer_from
from kobox.signing.verify import key_identifier, verify
from tests.building import BuiltTestModules

KOBOX = str(Path(sys.executable).with_name("kobox"))
KERNELS = ["debian_kernel", "trixie_kernel", "sid_kernel"]


# Hashes that some kernels have and others not.
OF_THE_KERNEL = frozenset({"digest md5", "digest sha3-256", "digest sha3-384", "digest sha3-512"})


# -- DER by hand --------------------------------------------------------------------------------------------------


def der(tag: int, *content: bytes, longer: int = 0) -> bytes:
    """An element; `longer` makes its length so many bytes longer than need be."""
    data = b"".join(content)
    size = len(data).to_bytes((len(data).bit_length() + 7) // 8 or 1)
    if len(data) < 0x80 and not longer:
        return bytes([tag, len(data)]) + data
    size = bytes(longer) + size
    return bytes([tag, 0x80 | len(size)]) + size + data


def endless(tag: int, *content: bytes) -> bytes:
    """An element of indefinite length."""
    return bytes([tag, 0x80]) + b"".join(content) + b"\0\0"


def oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    out = bytearray([40 * first + second])
    for number in rest:
        part = [number & 0x7F]
        while number := number >> 7:
            part.append(number & 0x7F | 0x80)
        out += bytes(reversed(part))
    return der(0x06, bytes(out))


NULL = b"\x05\0"
DATA, SIGNED, ENVELOPED, INDIRECT = (
    *(f"1.2.840.113549.1.7.{number}" for number in (1, 2, 3)),
    "1.3.6.1.4.1.311.2.1.4",
)
DIGESTS = {
    "md4": "1.2.840.113549.2.4",
    "md5": "1.2.840.113549.2.5",
    "sha1": "1.3.14.3.2.26",
    "sha224": "2.16.840.1.101.3.4.2.4",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
    "sha512-256": "2.16.840.1.101.3.4.2.6",
    "sha3-256": "2.16.840.1.101.3.4.2.8",
    "sha3-384": "2.16.840.1.101.3.4.2.9",
    "sha3-512": "2.16.840.1.101.3.4.2.10",
    "sm3": "1.2.156.10197.1.401",
    "unknown": "1.2.3.4",
}
RSA, ECDSA, PSS = "1.2.840.113549.1.1.1", "1.2.840.10045.4.3.2", "1.2.840.113549.1.1.10"
CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_TIME, SMIME = (f"1.2.840.113549.1.9.{number}" for number in (3, 4, 5, 15))


class Maker(NamedTuple):
    """Makes messages over a module, with keys: `mine` is trusted, `leaf` is signed by the trusted `ca`."""

    module: bytes
    mine: tuple[rsa.RSAPrivateKey, x509.Certificate]
    stranger: tuple[rsa.RSAPrivateKey, x509.Certificate]
    ca: tuple[rsa.RSAPrivateKey, x509.Certificate]
    leaf: tuple[rsa.RSAPrivateKey, x509.Certificate]

    def sign(self, name: str, who: str = "mine", over: bytes | None = None) -> bytes:
        key, _ = getattr(self, who)
        kinds = {"md5": hashes.MD5, "sha1": hashes.SHA1, "sha224": hashes.SHA224, "sha384": hashes.SHA384}
        kinds |= {"sha512": hashes.SHA512, "sha3-256": hashes.SHA3_256, "sha3-384": hashes.SHA3_384}
        kinds |= {"sha3-512": hashes.SHA3_512, "sha512-256": hashes.SHA512_256}
        kind = kinds.get(name, hashes.SHA256)
        signature: bytes = key.sign(self.module if over is None else over, padding.PKCS1v15(), kind())
        return signature

    def sid(self, who: str = "mine", serial: bytes | None = None, issuer: bytes | None = None) -> bytes:
        _, certificate = getattr(self, who)
        number = certificate.serial_number
        raw = number.to_bytes(number.bit_length() // 8 + 1) if serial is None else serial
        return der(0x30, issuer or certificate.issuer.public_bytes(), der(0x02, raw))

    def signer(self, hash_name: str = "sha256", who: str = "mine", **parts: bytes) -> bytes:
        """A SignerInfo; `parts` replace its parts by name."""
        made = {
            "version": der(0x02, b"\x01"),
            "sid": self.sid(who),
            "digest": der(0x30, oid(DIGESTS[hash_name])),
            "attributes": b"",
            "algorithm": der(0x30, oid(RSA), NULL),
            "signature": b"",
            "unsigned": b"",
            "behind": b"",
        } | parts
        if not made["signature"]:
            made["signature"] = der(0x04, self.sign(hash_name, who))
        return der(0x30, *made.values())

    def message(self, *signers: bytes, outer: Callable[..., bytes] = der, **parts: bytes) -> bytes:
        """A whole message; `parts` replace those of the SignedData."""
        made = {
            "version": der(0x02, b"\x01"),
            "digests": der(0x31, der(0x30, oid(DIGESTS["sha256"]))),
            "content": der(0x30, oid(DATA)),
            "certificates": b"",
            "crls": b"",
            "signers": der(0x31, *(signers or (self.signer(),))),
            "behind": b"",
        } | parts
        kind = made.pop("kind", oid(SIGNED))
        return outer(0x30, kind, outer(0xA0, outer(0x30, *made.values())))

    def attributes(self, *more: bytes, without: str = "", digest: bytes = b"", tag: int = 0xA0) -> bytes:
        """Signed attributes."""
        value = digest or _digest(self.module)
        made = {
            "type": der(0x30, oid(CONTENT_TYPE), der(0x31, oid(DATA))),
            "time": der(0x30, oid(SIGNING_TIME), der(0x31, der(0x17, b"261126000000Z"))),
            "digest": der(0x30, oid(MESSAGE_DIGEST), der(0x31, der(0x04, value))),
        }
        made.pop(without, None)
        return der(tag, *made.values(), *more)

    def attributed(self, attributes: bytes, **parts: bytes) -> bytes:
        """A message whose signature is over these attributes."""
        over = b"\x31" + attributes[1:]
        signature = der(0x04, self.sign("sha256", over=over))
        return self.message(self.signer(attributes=attributes, signature=signature), **parts)


def _digest(data: bytes) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(data)
    return digest.finalize()


def certificate_of(who: tuple[rsa.RSAPrivateKey, x509.Certificate]) -> bytes:
    return who[1].public_bytes(serialization.Encoding.DER)


def messages(m: Maker) -> dict[str, bytes]:
    """Messages by what is odd in them."""
    plain = m.message()
    v3 = {"version": der(0x02, b"\x03")}
    skid = key_identifier(m.mine[1])
    skid_signer = m.signer(version=der(0x02, b"\x03"), sid=der(0x80, skid))
    mine = certificate_of(m.mine)
    attributes = m.attributes()
    found = {
        "plain": plain,
        "by sign-file": signature_of(m.module, signer_from(*m.mine)),
        "by key identifier": m.message(skid_signer, **v3),
        "key identifier, wrong": m.message(
            m.signer(version=der(0x02, b"\x03"), sid=der(0x80, skid[:-1] + b"\0")), **v3
        ),
        "key identifier, cut": m.message(m.signer(version=der(0x02, b"\x03"), sid=der(0x80, skid[:-1])), **v3),
        "key identifier, empty": m.message(m.signer(version=der(0x02, b"\x03"), sid=der(0x80)), **v3),
        "key identifier, constructed": m.message(
            m.signer(version=der(0x02, b"\x03"), sid=der(0xA0, der(4, skid))), **v3
        ),
        "key identifier in version 1": m.message(m.signer(sid=der(0x80, skid))),
        "issuer in version 3": m.message(m.signer(version=der(0x02, b"\x03")), **v3),
        "SignedData v3, SignerInfo v1": m.message(**v3),
        "SignedData v1, SignerInfo v3": m.message(skid_signer),
        "SignedData v0": m.message(version=der(0x02, b"\x00")),
        "SignedData v4": m.message(version=der(0x02, b"\x04")),
        "SignedData v1 in two bytes": m.message(version=der(0x02, b"\x00\x01")),
        "SignerInfo v2": m.message(m.signer(version=der(0x02, b"\x02"))),
        "SignerInfo v1 in two bytes": m.message(m.signer(version=der(0x02, b"\x00\x01"))),
        "no version": m.message(version=b""),
        # content
        "EnvelopedData": m.message(kind=oid(ENVELOPED)),
        "an unknown type": m.message(kind=oid("1.2.3")),
        "content of another type": m.message(content=der(0x30, oid(ENVELOPED))),
        "content of Authenticode": m.message(content=der(0x30, oid(INDIRECT))),
        "content inside": m.message(content=der(0x30, oid(DATA), der(0xA0, der(0x04, m.module[:100])))),
        "empty content inside": m.message(content=der(0x30, oid(DATA), der(0xA0, der(0x04)))),
        "content without its inside": m.message(content=der(0x30, oid(DATA), der(0xA0))),
        "no content": m.message(content=b""),
        "no SignedData": der(0x30, oid(SIGNED)),
        "SignedData without its inside": der(0x30, oid(SIGNED), der(0xA0)),
        # digests
        "no digests": m.message(digests=der(0x31)),
        "digests as a SEQUENCE": m.message(digests=der(0x30, der(0x30, oid(DIGESTS["sha256"])))),
        "another digest in the list": m.message(digests=der(0x31, der(0x30, oid(DIGESTS["md5"])))),
        "an unknown digest in the list": m.message(digests=der(0x31, der(0x30, oid("1.2.3")))),
        "three digests": m.message(digests=der(0x31, *[der(0x30, oid(DIGESTS["sha256"]), NULL)] * 3)),
        "digest with NULL": m.message(m.signer(digest=der(0x30, oid(DIGESTS["sha256"]), NULL))),
        "digest with other parameters": m.message(m.signer(digest=der(0x30, oid(DIGESTS["sha256"]), der(4, b"xyz")))),
        "digest with two parameters": m.message(m.signer(digest=der(0x30, oid(DIGESTS["sha256"]), NULL, NULL))),
        "digest that is another": m.message(
            m.signer(digest=der(0x30, oid(DIGESTS["sha512"])), signature=der(4, m.sign("sha256")))
        ),
        # algorithms
        "algorithm ECDSA with an RSA key": m.message(m.signer(algorithm=der(0x30, oid(ECDSA)))),
        "algorithm PSS": m.message(m.signer(algorithm=der(0x30, oid(PSS)))),
        "algorithm unknown": m.message(m.signer(algorithm=der(0x30, oid("1.2.3")))),
        "algorithm sha256WithRSA": m.message(m.signer(algorithm=der(0x30, oid("1.2.840.113549.1.1.11"), NULL))),
        "algorithm without NULL": m.message(m.signer(algorithm=der(0x30, oid(RSA)))),
        "no algorithm": m.message(m.signer(algorithm=b"")),
        # signatures
        "signature of another": m.message(m.signer(signature=der(4, m.sign("sha256", "stranger")))),
        "signature cut": m.message(m.signer(signature=der(4, m.sign("sha256")[:-1]))),
        "signature longer": m.message(m.signer(signature=der(4, b"\0" + m.sign("sha256")))),
        "signature empty": m.message(m.signer(signature=der(4))),
        "signature zero": m.message(m.signer(signature=der(4, bytes(256)))),
        "signature all ones": m.message(m.signer(signature=der(4, b"\xff" * 256))),
        "signature as a BIT STRING": m.message(m.signer(signature=der(3, b"\0" + m.sign("sha256")))),
        "signature over something else": m.message(m.signer(signature=der(4, m.sign("sha256", over=b"x")))),
        # names
        "stranger": m.message(m.signer(who="stranger")),
        "serial with a zero before it": m.message(m.signer(sid=m.sid(serial=b"\0" + _serial(m)))),
        "serial of another": m.message(m.signer(sid=m.sid(serial=b"\x01\x02"))),
        "issuer of another": m.message(m.signer(sid=m.sid(issuer=m.stranger[1].issuer.public_bytes()))),
        "issuer empty": m.message(m.signer(sid=m.sid(issuer=der(0x30)))),
        "issuer with a longer length": m.message(m.signer(sid=m.sid(issuer=_longer(m.mine[1].issuer.public_bytes())))),
        "no name": m.message(m.signer(sid=b"")),
        # signers
        "nobody signed": m.message(signers=der(0x31)),
        "no signers": m.message(signers=b""),
        "signers as a SEQUENCE": m.message(signers=der(0x30, m.signer())),
        "mine and a stranger's": m.message(m.signer(), m.signer(who="stranger")),
        "a stranger's and mine": m.message(m.signer(who="stranger"), m.signer()),
        "mine twice": m.message(m.signer(), m.signer()),
        "mine, and mine that does not fit": m.message(
            m.signer(), m.signer(signature=der(4, m.sign("sha256", over=b"x")))
        ),
        "mine, and one with an unknown digest": m.message(
            m.signer(), m.signer(digest=der(0x30, oid("1.2.3")), signature=der(4, b"x"))
        ),
        "unsigned attributes": m.message(m.signer(unsigned=der(0xA1, der(0x30, oid("1.2.3"), der(0x31, NULL))))),
        "unsigned attributes as a SEQUENCE": m.message(
            m.signer(unsigned=der(0xA3, der(0x30, oid("1.2.3"), der(0x31, NULL))))
        ),
        "unsigned attributes empty": m.message(m.signer(unsigned=der(0xA1))),
        "bytes behind in a signer": m.message(m.signer(behind=NULL)),
        # signed attributes
        "signed attributes": m.attributed(attributes),
        "signed attributes that do not fit": m.attributed(m.attributes(digest=bytes(32))),
        "signed attributes with a short digest": m.attributed(m.attributes(digest=bytes(20))),
        "signed attributes without digest": m.attributed(m.attributes(without="digest")),
        "signed attributes without type": m.attributed(m.attributes(without="type")),
        "signed attributes, one twice": m.attributed(
            m.attributes(der(0x30, oid(MESSAGE_DIGEST), der(0x31, der(4, _digest(m.module)))))
        ),
        "signed attributes, two values": m.attributed(
            m.attributes(der(0x30, oid(MESSAGE_DIGEST), der(0x31, NULL, NULL)), without="digest")
        ),
        "signed attributes of another content": m.attributed(
            m.attributes(der(0x30, oid(CONTENT_TYPE), der(0x31, oid(ENVELOPED))), without="type")
        ),
        "signed attributes with S/MIME": m.attributed(m.attributes(der(0x30, oid(SMIME), der(0x31, der(0x30))))),
        "signed attributes with an unknown one": m.attributed(m.attributes(der(0x30, oid("1.2.3"), der(0x31, NULL)))),
        "signed attributes empty": m.message(m.signer(attributes=der(0xA0))),
        "signed attributes as a SEQUENCE": m.message(
            m.signer(attributes=der(0xA2, der(0x30, attributes[4:] if attributes[1] & 0x80 else attributes[2:])))
        ),
        "signed attributes of one signer": m.message(m.signer(), m.signer(attributes=attributes)),
        # certificates
        "its certificate inside": m.message(certificates=der(0xA0, mine)),
        "its certificate inside, as a SEQUENCE": m.message(certificates=der(0xA2, mine)),
        "another certificate inside": m.message(certificates=der(0xA0, certificate_of(m.stranger))),
        "a stranger's certificate inside": m.message(
            m.signer(who="stranger"), certificates=der(0xA0, certificate_of(m.stranger))
        ),
        "no certificates in a list": m.message(certificates=der(0xA0)),
        "a leaf of a trusted CA": m.message(m.signer(who="leaf"), certificates=der(0xA0, certificate_of(m.leaf))),
        "a leaf and its CA": m.message(
            m.signer(who="leaf"), certificates=der(0xA0, certificate_of(m.leaf), certificate_of(m.ca))
        ),
        "a leaf that does not come along": m.message(m.signer(who="leaf")),
        "a leaf with a wrong signature": m.message(
            m.signer(who="leaf", signature=der(4, m.sign("sha256", "mine"))),
            certificates=der(0xA0, certificate_of(m.leaf)),
        ),
        "garbage for a certificate": m.message(certificates=der(0xA0, der(0x30, b"xyz"))),
        "crls": m.message(crls=der(0xA1, der(0x30, mine))),
        # encoding
        "bytes behind": plain + b"behind",
        "zeros behind": plain + bytes(64),
        "bytes behind in SignedData": m.message(behind=NULL),
        "lengths longer than need be": m.message(version=der(0x02, b"\x01", longer=1)),
        "lengths of three bytes": m.message(version=der(0x02, b"\x01", longer=2)),
        "outer length of three bytes": m.message(outer=lambda tag, *parts: der(tag, *parts, longer=1)),
        "indefinite lengths": m.message(outer=endless),
        "an indefinite length without end": m.message(outer=endless)[:-2],
        "a SignerInfo of indefinite length": m.message(endless(0x30, *_parts(m.signer()))),
        "cut": plain[:-1],
        "half": plain[: len(plain) // 2],
        "empty": b"",
        "one byte": b"\x30",
        "an empty SEQUENCE": b"\x30\0",
        "garbage": random.Random(1).randbytes(300),
        "primitive SEQUENCE": b"\x10" + plain[1:],
        "a tag of several bytes": b"\x3f\x21" + plain[1:],
        "more than 65535 bytes": plain + bytes(66000),
    }
    for name in DIGESTS:
        found[f"digest {name}"] = m.message(m.signer(name))
    return found


def _serial(m: Maker) -> bytes:
    number = m.mine[1].serial_number
    return number.to_bytes(number.bit_length() // 8 + 1)


def _longer(name: bytes) -> bytes:
    assert name[1] < 0x80
    return name[:1] + b"\x81" + name[1:]


def _parts(element: bytes) -> list[bytes]:
    return [element[4:]]  # its length has three bytes


def trailers(message: bytes, module: bytes) -> dict[str, bytes]:
    """Modules with an odd trailer."""
    made = {}
    for number, name in enumerate(("algo", "hash", "id_type", "signer_len", "key_id_len", "pad0", "pad1", "pad2")):
        fields = bytearray([0, 0, 2, 0, 0, 0, 0, 0])
        fields[number] = 1
        made[f"trailer: {name}"] = module + message + bytes(fields) + struct.pack(">I", len(message)) + MARKER
    for name, size in {"zero": 0, "too long": 1 << 31, "the whole file": len(module) + len(message)}.items():
        made[f"trailer: length {name}"] = (
            module + message + bytes([0, 0, 2, 0, 0, 0, 0, 0]) + struct.pack(">I", size) + MARKER
        )
    made["two signatures"] = append(append(module, message), message)
    made["bytes behind the marker"] = append(module, message) + b"\n"
    made["module changed"] = append(module[:-1] + b"x", message)
    made["no signature"] = module
    made["a marker alone"] = module + MARKER
    return made


@pytest.fixture(scope="module", params=KERNELS)
def case(request: pytest.FixtureRequest) -> Iterator[tuple[SignatureCheck, Box, Maker]]:
    """A kernel that judges, the same kernel that really loads, and what makes messages."""
    kernel: KernelImage = request.getfixturevalue(request.param)
    pairs = []
    for name in ("mine", "stranger"):
        key = keys.generate("rsa:2048")
        pairs.append((key, keys.self_signed(key, name)))
    ca, leaf = _authority()
    module = BuiltTestModules(kernel)("good").read_bytes()
    maker = Maker(module, *pairs, ca, leaf)  # type: ignore[arg-type]
    trusted = [maker.mine[1], maker.ca[1]]
    with (
        SignatureCheck(kernel, trusted) as check,
        boot(kernel, trust=trusted, enforce_signatures=True) as box,
    ):
        yield check, box, maker


def _authority() -> tuple[tuple[rsa.RSAPrivateKey, x509.Certificate], tuple[rsa.RSAPrivateKey, x509.Certificate]]:
    """A certificate authority and a leaf of it."""
    made = []
    for name in ("authority", "leaf"):
        key = rsa.generate_private_key(65537, 2048)
        own = keys.self_signed(key, name)
        above, above_key = (made[0][1], made[0][0]) if made else (own, key)
        builder = (
            x509.CertificateBuilder(above.subject, own.subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(own.not_valid_before_utc)
            .not_valid_after(own.not_valid_after_utc)
            .add_extension(x509.BasicConstraints(ca=name == "authority", path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above_key.public_key()), critical=False)
        )
        made.append((key, builder.sign(above_key, hashes.SHA256())))
    return made[0], made[1]


def really(box: Box, module: bytes) -> str:
    """What the kernel answers when the module is really loaded; the errno's name, or ""."""
    try:
        box.insmod(module).unload()
    except ModuleLoadError as error:
        return errno.errorcode[error.errno]
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def test_the_verdict_is_the_kernel_s(case: tuple[SignatureCheck, Box, Maker]) -> None:
    check, box, maker = case
    odd = {name: append(maker.module, message) for name, message in messages(maker).items()}
    odd |= trailers(messages(maker)["plain"], maker.module)
    assert len(odd) > 120
    wrong, unlike = [], []
    for name, module in odd.items():
        answer = really(box, module)
        verdict = check.verdict(module)
        if (verdict.errno, verdict.valid is True) != (answer, answer == ""):
            wrong.append((name, answer, verdict.errno, verdict.reason))
        if not verdict.valid:
            assert verdict.reason, name
        shared = verify(module, [maker.mine[1], maker.ca[1]])
        if name not in OF_THE_KERNEL and (shared.errno, shared.valid is True) != (answer, answer == ""):
            unlike.append((name, answer, shared.errno, shared.reason))
    assert not wrong, "\n".join(map(str, wrong))
    assert not unlike, "\n".join(map(str, unlike))


def test_every_byte_of_a_message_changed(case: tuple[SignatureCheck, Box, Maker]) -> None:
    check, _, maker = case
    message = signature_of(maker.module, signer_from(*maker.mine))
    # One kernel is asked about all but the signature proper, the others about some.
    places = range(0, len(message) - 250, 1 if check.release.startswith("6.1.") else 7)
    chance = random.Random(11)
    unlike = []
    for place in places:
        changed = bytearray(message)
        changed[place] ^= 1 << chance.randrange(8)
        module = append(maker.module, bytes(changed))
        answer, shared = check.verdict(module), verify(module, [maker.mine[1], maker.ca[1]])
        if (answer.errno, answer.valid) != (shared.errno, shared.valid):
            unlike.append((place, answer.errno, shared.errno, shared.reason))
    assert not unlike, unlike


def test_a_certificate_that_a_kernel_has_no_code_for_is_named(debian_kernel: KernelImage) -> None:
    key = keys.generate("ecdsa:p256")
    certificate = keys.self_signed(key, "curve")
    module = BuiltTestModules(debian_kernel)("good").read_bytes()
    with SignatureCheck(debian_kernel, [certificate]) as check:  # Debian builds 6.1 without CONFIG_CRYPTO_ECDSA
        assert [one for one, _ in check.unsupported] == [certificate]
        verdict = check.verdict(append(module, signature_of(module, signer_from(key, certificate))))
    assert (verdict.valid, verdict.errno) == (False, "EKEYREJECTED")
    assert "no code for this certificate's kind of key" in verdict.reason
    assert verify(append(module, signature_of(module, signer_from(key, certificate))), [certificate]).valid


def test_the_command_asks_the_kernel_named(debian_kernel: KernelImage, sid_kernel: KernelImage, tmp_path: Path) -> None:
    key = keys.generate("rsa:2048")
    certificate = keys.self_signed(key, "mine")
    files = keys.write_pair(tmp_path, "mine", key, certificate)
    module = BuiltTestModules(debian_kernel)("good").read_bytes()
    made = Maker(module, *[(key, certificate)] * 4)  # type: ignore[arg-type]
    (tmp_path / "md5.ko").write_bytes(append(module, made.message(made.signer("md5"))))

    def verified(kernel: KernelImage) -> subprocess.CompletedProcess[str]:
        command = [KOBOX, "verify", "-k", kernel.name, "--cert", str(files.certificate), str(tmp_path / "md5.ko")]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = verified(debian_kernel)
    assert (done.returncode, done.stderr) == (0, "")
    assert "valid, signed by mine" in done.stdout
    done = verified(sid_kernel)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"kernel {sid_kernel.release} answers EKEYREJECTED" in done.stdout


def test_without_a_kernel_the_rules_that_all_share_answer(quiet_environment: Path, tmp_path: Path) -> None:
    key = keys.generate("rsa:2048")
    files = keys.write_pair(tmp_path, "mine", key, keys.self_signed(key, "mine"))
    content = b"\x7fELF" + bytes(100)
    signed = append(content, signature_of(content, signer_from(key, keys.load_certificates(files.certificate)[0])))
    (tmp_path / "m.ko").write_bytes(signed)
    command = [KOBOX, "verify", "--cert", str(files.certificate), str(tmp_path / "m.ko")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "rules that kernels share" in done.stderr
