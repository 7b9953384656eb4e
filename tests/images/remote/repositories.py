"""Repositories as distributions lay them out, of a kernel that is here, signed with the test's own keys by gpg(1)."""

from __future__ import annotations

import base64
import gzip
import hashlib
import lzma
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import createrepo_c as cr
import zstandard
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.images.test_package_file import Files, cpio_of, deb_of, tar_of


class Signer:
    """A key pair in a gpg home of its own."""

    def __init__(self) -> None:
        self._home = tempfile.mkdtemp(prefix="gpg-")  # the agent's socket has a short path
        self._gpg("--quick-generate-key", "Test <test@example.org>", "rsa2048", "sign", "never")
        self.public = self._gpg("--armor", "--export")
        self.apk = rsa.generate_private_key(65537, 2048)
        self.apk_public = self.apk.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def __enter__(self) -> Signer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["gpgconf", "--homedir", self._home, "--kill", "all"], check=False)
        shutil.rmtree(self._home, ignore_errors=True)

    def detached(self, content: bytes) -> bytes:
        """A binary signature."""
        return self._gpg("--detach-sign", content=content)

    def inline(self, content: bytes) -> bytes:
        """The content with a signature in it."""
        return self._gpg("--clearsign", content=content)

    def fingerprints(self) -> list[str]:
        """Of the keys."""
        listed = self._gpg("--with-colons", "--list-keys").decode()
        return [line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:")]

    def apk_member(self, content: bytes) -> bytes:
        """The signature member of an .apk, or of its index."""
        signature = self.apk.sign(content, padding.PKCS1v15(), hashes.SHA256())
        return gzip.compress(unended_tar({".SIGN.RSA256.test.rsa.pub": signature}))

    def _gpg(self, *words: str, content: bytes = b"") -> bytes:
        line = ["gpg", "--homedir", self._home, "--batch", "--quiet", "--pinentry-mode", "loopback"]
        return subprocess.run(
            [*line, "--passphrase", "", *words], input=content, capture_output=True, check=True
        ).stdout


Repository = Callable[[Path, dict[str, Files], Signer], None]
"""Makes a repository below a directory: packages by name, what they hold, who signs."""
VERSION, RELEASE = "6.1.192", "2"


def unended_tar(files: Files) -> bytes:
    """A tar archive without the zeros at its end, as apk-tools write all but the last."""
    made = tar_of(files)
    return made[: len(made.rstrip(b"\0")) + -len(made.rstrip(b"\0")) % 512]


def ubuntu(root: Path, packages: dict[str, Files], signer: Signer, suite: str = "noble") -> None:
    """A suite with one component."""
    entries = []
    (root / "pool").mkdir(parents=True, exist_ok=True)
    for name, files in packages.items():
        content = deb_of(files, zstandard.compress, "data.tar.zst")
        (root / f"pool/{name}.deb").write_bytes(content)
        entries.append(
            f"Package: {name}\nVersion: {VERSION}-{RELEASE}\nArchitecture: amd64\nFilename: pool/{name}.deb\n"
            f"Size: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\nDescription: a kernel\n"
        )
    index = lzma.compress("\n".join(entries).encode())
    place = root / "dists" / suite
    (place / "main/binary-amd64").mkdir(parents=True)
    (place / "main/binary-amd64/Packages.xz").write_bytes(index)
    release = (
        f"Suite: {suite}\nSHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} main/binary-amd64/Packages.xz\n"
        "Acquire-By-Hash: yes\n"
    )
    (place / "InRelease").write_bytes(signer.inline(release.encode()))


def fedora(root: Path, packages: dict[str, Files], signer: Signer) -> None:
    """Fedora's two trees; the packages lie in updates."""
    _rpm_tree(root / "releases/41/Everything/x86_64/os", {}, signer)
    _rpm_tree(root / "updates/41/Everything/x86_64", packages, signer)


def rocky(root: Path, packages: dict[str, Files], signer: Signer) -> None:
    """BaseOS with the kernel, AppStream with what builds modules."""
    for tree, names in (("BaseOS", list(packages)[:-1]), ("AppStream", list(packages)[-1:])):
        _rpm_tree(root / f"9/{tree}/x86_64/os", {name: packages[name] for name in names}, signer)


def opensuse(root: Path, packages: dict[str, Files], signer: Signer) -> None:
    """Tumbleweed, with a signed repomd.xml."""
    place = root / "tumbleweed/repo/oss"
    _rpm_tree(place, packages, signer)
    repomd = (place / "repodata/repomd.xml").read_bytes()
    (place / "repodata/repomd.xml.asc").write_bytes(signer.detached(repomd))


def archlinux(root: Path, packages: dict[str, Files], signer: Signer) -> None:
    """core.db as repo-add writes it (alpm-repo-db(7)); the first package's signature is in it, others lie beside."""
    place = root / "core/os/x86_64"
    place.mkdir(parents=True)
    descriptions: Files = {}
    for number, (name, files) in enumerate(packages.items()):
        content, file = zstandard.compress(tar_of(files)), f"{name}-{VERSION}-1-x86_64.pkg.tar.zst"
        (place / file).write_bytes(content)
        signature = signer.detached(content)
        fields = {"FILENAME": file, "NAME": name, "VERSION": f"{VERSION}-1", "CSIZE": str(len(content))}
        fields["SHA256SUM"] = hashlib.sha256(content).hexdigest()
        if number:
            (place / f"{file}.sig").write_bytes(signature)
        else:
            fields["PGPSIG"] = base64.b64encode(signature).decode()
        text = "".join(f"%{field}%\n{value}\n\n" for field, value in fields.items())
        descriptions[f"{name}-{VERSION}-1/desc"] = text.encode()
    (place / "core.db").write_bytes(gzip.compress(tar_of(descriptions)))


def alpine(root: Path, packages: dict[str, Files], signer: Signer) -> None:
    """A branch's main, signed."""
    place = root / "v3.20/main/x86_64"
    place.mkdir(parents=True)
    index = ""
    for name, files in packages.items():
        data = gzip.compress(tar_of(files))
        about = f"pkgname = {name}\npkgver = {VERSION}-r0\ndatahash = {hashlib.sha256(data).hexdigest()}\n"
        control = gzip.compress(unended_tar({".PKGINFO": about.encode()}))
        content = signer.apk_member(control) + control + data
        (place / f"{name}-{VERSION}-r0.apk").write_bytes(content)
        index += f"C:Q1x\nP:{name}\nV:{VERSION}-r0\nA:x86_64\nS:{len(content)}\n\n"
    body = gzip.compress(tar_of({"DESCRIPTION": b"main", "APKINDEX": index.encode()}))
    (place / "APKINDEX.tar.gz").write_bytes(signer.apk_member(body) + body)


def _rpm_tree(place: Path, packages: dict[str, Files], signer: Signer) -> None:
    """Packages, and what createrepo_c says of them."""
    (place / "repodata").mkdir(parents=True)
    primary = cr.PrimaryXmlFile(str(place / "repodata/primary.xml.gz"))
    primary.set_num_of_pkgs(len(packages))
    for name, files in packages.items():
        path = place / f"{name}.rpm"
        path.write_bytes(signed_rpm(name, files, signer))
        package = cr.package_from_rpm(str(path), location_href=path.name)
        primary.add_pkg(package)
    primary.close()
    record = cr.RepomdRecord("primary", str(place / "repodata/primary.xml.gz"))
    record.fill(cr.SHA256)
    repomd = cr.Repomd()
    repomd.set_record(record)
    (place / "repodata/repomd.xml").write_text(repomd.xml_dump())


def signed_rpm(name: str, files: Files, signer: Signer) -> bytes:
    """A package of format 4 with its regions, its payload's digest in the header, and a signature over that."""
    payload = zstandard.compress(cpio_of(files))
    digest = hashlib.sha256(payload).hexdigest()
    header = _rpm_header(
        63,
        {
            1000: name,
            1001: VERSION,
            1002: RELEASE,
            1021: "linux",
            1022: "x86_64",
            1125: "zstd",
            5092: [digest],
            5093: 8,
        },
    )
    signatures = _rpm_header(62, {268: signer.detached(header), 273: hashlib.sha256(header).hexdigest()})
    lead = struct.pack(">4sBBhh66shh16s", b"\xed\xab\xee\xdb", 3, 0, 0, 1, name.encode(), 1, 5, b"")
    return lead + signatures + bytes(-len(signatures) % 8) + header + payload


def _rpm_header(region: int, tags: dict[int, str | list[str] | bytes | int]) -> bytes:
    """A header with a region tag over all of it (RPM's docs/manual/format_header.md)."""
    entries, store = [], b""
    for tag, value in sorted(tags.items()):
        kind, count = 6, 1
        if isinstance(value, int):
            store += bytes(-len(store) % 4)
            kind, data = 4, struct.pack(">I", value)
        elif isinstance(value, bytes):
            kind, count, data = 7, len(value), value
        elif isinstance(value, list):
            kind, count, data = 8, len(value), b"".join(one.encode() + b"\0" for one in value)
        else:
            data = value.encode() + b"\0"
        entries.append((tag, kind, len(store), count))
        store += data
    trailer = struct.pack(">IIiI", region, 7, -16 * (len(entries) + 1), 16)
    entries = [(region, 7, len(store), 16), *entries]
    store += trailer
    index = b"".join(struct.pack(">IIII", *entry) for entry in entries)
    return b"\x8e\xad\xe8\x01" + bytes(4) + struct.pack(">II", len(entries), len(store)) + index + store


MAKERS: dict[str, tuple[str, Repository, tuple[str, ...]]] = {
    # source: (key file, maker, packages: image, modules, headers)
    "ubuntu/24.04": ("key.asc", ubuntu, ("linux-image-{r}", "linux-modules-{r}", "linux-headers-{r}")),
    "fedora/41": ("key.asc", fedora, ("kernel-core", "kernel-modules", "kernel-devel")),
    "rocky/9": ("key.asc", rocky, ("kernel-core", "kernel-modules", "kernel-devel")),
    "opensuse": ("key.asc", opensuse, ("kernel-default", "kernel-default-devel")),
    "archlinux": ("key.asc", archlinux, ("linux", "linux-headers")),
    "alpine/3.20": ("test.rsa.pub", alpine, ("linux-virt", "linux-virt-dev")),
}


def below(root: Path) -> list[Path]:
    """Every file of a repository."""
    return sorted(Path(room, name) for room, _, names in os.walk(root) for name in names)
