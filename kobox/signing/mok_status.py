"""The keys of a machine that modules are signed with, and which of them it trusts.

    DKMS          /var/lib/dkms/mok.pub, or what /etc/dkms/framework.conf names       Debian, Fedora, Arch …
    Ubuntu        /var/lib/shim-signed/mok/MOK.der                                    DKMS's there
    akmods        /etc/pki/akmods/certs/public_key.der                                Fedora
    shim          the certificate of the distribution, in shimx64.efi
    kernel        the certificates built into the kernel's image
    MOK list      MokListRT: what the machine's owner enrolled, and shim's own        UEFI
    firmware      db                                                                  UEFI

A kernel under Secure Boot takes a module that one of the last four signed. A certificate that merely lies on the disk
is not trusted until it is enrolled: `mokutil --import`, a reboot, and a confirmation in shim's MokManager.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kobox.errors import KoboxError
from kobox.ko.modulefile import ModuleFile
from kobox.signing import efi
from kobox.signing.builtin_certs import certificates_in
from kobox.signing.certificates import read_certificate, serial_number
from kobox.signing.kernel_keyrings import KernelKey, running_keys
from kobox.signing.keys import load_certificates
from kobox.signing.verify import SignatureVerdict, common_name, key_identifier, verify

# (owner, certificate, private key), below the root directory
PLACES = (
    ("DKMS", "var/lib/dkms/mok.pub", "var/lib/dkms/mok.key"),
    ("Ubuntu", "var/lib/shim-signed/mok/MOK.der", "var/lib/shim-signed/mok/MOK.priv"),
    ("akmods", "etc/pki/akmods/certs/public_key.der", "etc/pki/akmods/private/private_key.priv"),
)
_SHIMS = ("boot/efi/EFI/*/shimx64.efi", "usr/lib/shim/shimx64.efi.signed", "usr/lib/shim/shimx64.efi")
_DKMS_SETTING = re.compile(r"^\s*(mok_certificate|mok_signing_key)=[\"']?([^\"'\s#]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class MachineKey:
    """A certificate and its state on this machine.

    `owner` is one of the names above, or `yours` for one that was given; `path` is where it was found ("" in the
    firmware), `private` where its private key lies, if it is there. `enrolled`: in MokListRT; `firmware`: in db;
    `built_in`: in the kernel's image; `pending`: in MokNew, so that the next boot asks; `forbidden`: in dbx or
    MokListXRT. `keyrings` are the running kernel's that hold it; `loaded` is true when it knows the key at all.
    """

    owner: str
    certificate: x509.Certificate
    path: str = ""
    private: str = ""
    enrolled: bool = False
    firmware: bool = False
    built_in: bool = False
    pending: bool = False
    forbidden: bool = False
    loaded: bool = False
    keyrings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The certificate's common name."""
        return common_name(self.certificate.subject)

    @property
    def trusted(self) -> bool:
        """Whether a kernel that enforces signatures takes a module signed with it, as far as is known."""
        return (self.enrolled or self.firmware or self.built_in or bool(self.keyrings)) and not self.forbidden

    @property
    def state(self) -> str:
        """Its state in words."""
        words = [("forbidden", self.forbidden), ("enrolled", self.enrolled), ("in the firmware's db", self.firmware)]
        words += [("built into the kernel", self.built_in), ("enrolment pending until the next boot", self.pending)]
        said = [word for word, holds in words if holds] or ["not enrolled"]
        if self.keyrings:
            said.append(f"in the kernel's {' and '.join(self.keyrings)}")
        elif self.loaded:
            said.append("known to the running kernel")
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class MachineKeys:
    """The state of Secure Boot on a machine, and its keys.

    `uefi` is false when it was not booted by UEFI, `secure_boot` None when that is unknown. `shim_disabled`: shim
    does not verify. `unread` names what could not be read, and why.
    """

    root: Path
    uefi: bool
    secure_boot: bool | None
    shim_disabled: bool
    keys: tuple[MachineKey, ...]
    unread: tuple[str, ...] = ()

    def find(self, certificate: x509.Certificate) -> MachineKey | None:
        """The machine's key that has this certificate, or None."""
        return next((key for key in self.keys if key.certificate == certificate), None)

    def signer_of(self, module: bytes, *, path: str = "") -> tuple[SignatureVerdict, MachineKey | None]:
        """Who signed a module: the verdict on its signature, and the key if it is one of this machine's."""
        for key in self.keys:
            verdict = verify(module, [key.certificate], path=path)
            if verdict.valid is not None:
                return verdict, key if verdict.valid or _names(key.certificate, verdict) else None
        return verify(module, [], path=path), None


def _names(certificate: x509.Certificate, verdict: SignatureVerdict) -> bool:
    return verdict.signer == common_name(certificate.subject)


def machine_keys(root: Path = Path("/"), given: Sequence[Path] = (), releases: Sequence[str] = ()) -> MachineKeys:
    """Look at a machine, whose root directory is `root`. `given` are more certificates to report; from the kernels of
    `releases` the built-in certificates are read. Raises SigningError for a given file without a certificate, OSError.
    """
    unread: list[str] = []
    lists = {name: _list(root, name, guid, unread) for name, guid in _VARIABLES}
    try:
        running = running_keys(root)
    except OSError as error:
        unread.append(f"/proc/keys: {error.strerror}")
        running = []
    found: dict[bytes, MachineKey] = {}
    for key in _candidates(root, given, releases, lists, unread):
        der = _der(key.certificate)
        known = found.get(der)
        # The first place found names the owner; later ones add where it is trusted.
        found[der] = key if known is None else replace(known, built_in=known.built_in or key.built_in)
    keys = tuple(_judged(key, lists, running) for key in found.values())
    uefi = (root / "sys/firmware/efi").exists()
    try:
        secure, disabled = efi.secure_boot(root), efi.validation_disabled(root)
    except (OSError, KoboxError) as error:
        unread.append(f"SecureBoot: {error}")
        secure, disabled = None, False
    return MachineKeys(root, uefi, secure, disabled, keys, tuple(unread))


_VARIABLES = (
    ("MokListRT", efi.SHIM),
    ("MokNew", efi.SHIM),
    ("MokListXRT", efi.SHIM),
    ("db", efi.IMAGE_SECURITY),
    ("dbx", efi.IMAGE_SECURITY),
)


def _list(root: Path, name: str, guid: str, unread: list[str]) -> list[bytes]:
    try:
        return efi.certificates(root, name, guid) or []
    except (OSError, KoboxError) as error:
        unread.append(f"{name}: {error.strerror if isinstance(error, OSError) and error.strerror else error}")
        return []


def _candidates(
    root: Path, given: Sequence[Path], releases: Sequence[str], lists: dict[str, list[bytes]], unread: list[str]
) -> Iterator[MachineKey]:
    """Every certificate found, those in files first."""
    for owner, path, private in [*_places(root), *(("yours", path, _beside(path)) for path in given)]:
        if owner != "yours" and not path.exists():
            continue
        try:
            for certificate in load_certificates(path):
                yield MachineKey(owner, certificate, str(path), str(private) if private and private.exists() else "")
        except (OSError, KoboxError) as error:
            if owner == "yours":
                raise
            unread.append(f"{path}: {error}")
    yield from _vendors(root, unread)
    for release in releases:
        yield from _of_the_image(root, release)
    for owner, name in (("MOK list", "MokListRT"), ("MOK list", "MokNew"), ("firmware", "db")):
        for der in lists[name]:
            try:
                yield MachineKey(owner, read_certificate(der))
            except ValueError as error:
                unread.append(f"{name}: a certificate in it cannot be read: {error}")


def _places(root: Path) -> Iterator[tuple[str, Path, Path]]:
    """The usual places of keys, and those named in the configuration of DKMS."""
    for owner, certificate, private in PLACES:
        yield owner, root / certificate, root / private
    settings: dict[str, str] = {}
    for path in [root / "etc/dkms/framework.conf", *sorted((root / "etc/dkms/framework.conf.d").glob("*.conf"))]:
        if path.exists():
            settings |= dict(_DKMS_SETTING.findall(path.read_text(errors="replace")))
    if "mok_certificate" in settings:
        private = settings.get("mok_signing_key", "")
        yield "DKMS", root / settings["mok_certificate"].lstrip("/"), root / private.lstrip("/")


def _beside(certificate: Path) -> Path | None:
    """The private key of a certificate, by the names that `kobox keys new` gives."""
    path = certificate.with_suffix(".key")
    return path if path != certificate and path.exists() else None


def _vendors(root: Path, unread: list[str]) -> Iterator[MachineKey]:
    for pattern in _SHIMS:
        try:
            for path in sorted(root.glob(pattern)):
                for der in efi.vendor_certificates(path.read_bytes(), path=str(path)):
                    yield MachineKey("shim", read_certificate(der), str(path))
        except (OSError, KoboxError, ValueError) as error:
            unread.append(f"{pattern}: {error}")


def _of_the_image(root: Path, release: str) -> Iterator[MachineKey]:
    from kobox.images.loadable import unpacked_kernel

    for name in (f"boot/vmlinuz-{release}", f"usr/lib/modules/{release}/vmlinuz", f"lib/modules/{release}/vmlinuz"):
        path = root / name
        if path.exists():
            for certificate in certificates_in(unpacked_kernel(path.read_bytes(), str(path))):
                yield MachineKey("kernel", certificate, str(path), built_in=True)
            return


def _judged(key: MachineKey, lists: dict[str, list[bytes]], running: Sequence[KernelKey]) -> MachineKey:
    """A key with its state in the firmware and in the running kernel."""
    der = _der(key.certificate)
    identifier = (key_identifier(key.certificate) or _serial(key.certificate)).hex()
    same = [one for one in running if one.identifier == identifier]
    return replace(
        key,
        enrolled=der in lists["MokListRT"],
        pending=der in lists["MokNew"],
        firmware=der in lists["db"],
        forbidden=der in lists["dbx"] or der in lists["MokListXRT"],
        loaded=bool(same),
        keyrings=tuple(dict.fromkeys(ring for one in same for ring in one.keyrings)),
    )


def _serial(certificate: x509.Certificate) -> bytes:
    number = serial_number(certificate)
    return number.to_bytes(number.bit_length() // 8 + 1)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def release_of(module: Path) -> str:
    """The release that a module was built for, "" when it names none or is not a module."""
    try:
        return ModuleFile(module).vermagic.release
    except KoboxError:
        return ""
