"""Kernels by name, from repositories of every layout; and repositories that somebody has tampered with."""

from __future__ import annotations

import functools
import hashlib
import http.server
import lzma
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobox.errors import FetchError, KernelNotFoundError
from kobox.images.remote.distributions import DISTRIBUTIONS, wanted_kernel
from kobox.images.remote.openpgp import Keyring, dearmored
from kobox.images.store import KernelImage, Store
from tests.images.remote.repositories import MAKERS, VERSION, Signer, below
from tests.images.test_package_file import Files


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    """A distribution's keys."""
    with Signer() as made:
        yield made


@pytest.fixture(scope="module")
def stranger() -> Iterator[Signer]:
    """Somebody else's keys."""
    with Signer() as made:
        yield made


def packages_of(source: str, release: str, vmlinuz: bytes) -> dict[str, Files]:
    """The files of a kernel, split as a distribution splits them."""
    names = [name.format(r=release) for name in MAKERS[source][2]]
    image = f"boot/vmlinuz-{release}" if source[0] in "ua" else f"usr/lib/modules/{release}/vmlinuz"
    tree = "lib/modules" if source.startswith(("ubuntu", "alpine")) else "usr/lib/modules"
    modules: Files = {f"{tree}/{release}/kernel/a.ko": b"a" * 100}
    headers: Files = {f"usr/src/linux-headers-{release}/Makefile": b"all:\n"}
    if len(names) == 2:
        return {names[0]: {image: vmlinuz, **modules}, names[1]: headers}
    return {names[0]: {image: vmlinuz}, names[1]: modules, names[2]: headers}


@pytest.fixture(scope="module")
def repositories(
    tmp_path_factory: pytest.TempPathFactory, signer: Signer, debian_kernel: KernelImage
) -> dict[str, Path]:
    """One of each, with the kernel that is here."""
    root, vmlinuz = tmp_path_factory.mktemp("repositories"), debian_kernel.vmlinuz.read_bytes()
    (root / "key.asc").write_bytes(signer.public)
    (root / "test.rsa.pub").write_bytes(signer.apk_public)
    places = {}
    for source, (_, make, _) in MAKERS.items():
        places[source] = root / source.replace("/", "-")
        make(places[source], packages_of(source, debian_kernel.release, vmlinuz), signer)
    return places


def key_of(repositories: dict[str, Path], source: str) -> Path:
    """The file with a repository's keys."""
    return repositories[source].parent / MAKERS[source][0]


@pytest.mark.parametrize("source", list(MAKERS))
def test_a_kernel_comes_by_name_with_its_modules_and_headers(
    source: str, repositories: dict[str, Path], debian_kernel: KernelImage, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    flavour = ":cloud-amd64" if source.startswith("ubuntu") else ""
    kernel = store.add(source + flavour, mirror=str(repositories[source]), keyring=key_of(repositories, source))
    assert kernel.vmlinuz.read_bytes() == debian_kernel.vmlinuz.read_bytes()
    assert (kernel.modules is not None, kernel.headers is not None) == (True, True)
    assert kernel.origin.startswith(f"{source} ")
    assert VERSION in kernel.origin
    assert [one.name for one in store.list()] == [debian_kernel.release]


def test_over_http_with_the_mirror_from_the_environment(
    repositories: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(repositories["fedora/41"]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("KOBOX_FEDORA_MIRROR", f"http://127.0.0.1:{server.server_port}/")
        seen: set[str] = set()
        kernel = Store(tmp_path).add(
            "fedora/41", keyring=key_of(repositories, "fedora/41"), progress=lambda stage, *_: seen.add(stage)
        )
        assert "downloading kernel-core.rpm" in seen
        with pytest.raises(FetchError, match=r"fedora.*no keys|404|not found"):
            Store(tmp_path).add("fedora/42", keyring=key_of(repositories, "fedora/41"))
        server.shutdown()
    assert kernel.modules is not None


def flip(path: Path, at: float) -> None:
    """Change one byte, at a part of a file's length."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 0x20
    path.write_bytes(content)


def replaced(path: Path, old: bytes, new: bytes) -> None:
    """Replace text in a file."""
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


INDEXES = {
    "ubuntu/24.04": ("dists/noble/InRelease", "dists/noble/main/binary-amd64/Packages.xz"),
    "fedora/41": ("updates/41/Everything/x86_64/repodata/primary.xml.gz",),
    "rocky/9": ("9/BaseOS/x86_64/os/repodata/primary.xml.gz",),
    "opensuse": ("tumbleweed/repo/oss/repodata/repomd.xml", "tumbleweed/repo/oss/repodata/primary.xml.gz"),
    "archlinux": ("core/os/x86_64/core.db",),
    "alpine/3.20": ("v3.20/main/x86_64/APKINDEX.tar.gz",),
}
CASES = [
    *((source, f"packages/{at}") for source in MAKERS for at in (0.2, 0.5, 0.999)),
    *((source, index) for source, indexes in INDEXES.items() for index in indexes),
]


@pytest.mark.parametrize(("source", "what"), CASES)
def test_a_changed_byte_is_refused_and_nothing_is_kept(
    source: str, what: str, repositories: dict[str, Path], signer: Signer, tmp_path: Path
) -> None:
    make = MAKERS[source][1]
    root = tmp_path / "repository"
    make(root, packages_of(source, "6.1.0-1-generic", b"no kernel" * 100), signer)
    if what.startswith("packages"):
        for path in below(root):
            if path.suffix in (".deb", ".rpm", ".zst", ".apk"):
                flip(path, float(what.partition("/")[2]))
    else:
        flip(root / what, 0.5)
    store = Store(tmp_path / "cache")
    with pytest.raises(FetchError) as error:
        store.add(source, mirror=str(root), keyring=key_of(repositories, source))
    assert error.value.hint
    assert store.list() == []
    assert not list((tmp_path / "cache" / "staging").glob("*"))


@pytest.mark.parametrize("source", list(MAKERS))
def test_what_a_stranger_has_signed_is_refused(
    source: str, repositories: dict[str, Path], stranger: Signer, tmp_path: Path
) -> None:
    root = tmp_path / "repository"
    MAKERS[source][1](root, packages_of(source, "6.1.0-1-generic", b"x"), stranger)
    with pytest.raises(FetchError, match=r"signature"):
        Store(tmp_path / "cache").add(source, mirror=str(root), keyring=key_of(repositories, source))


@pytest.mark.parametrize("source", list(MAKERS))
def test_without_the_distributions_keys_it_says_what_installs_them(
    source: str, repositories: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(FetchError, match="no keys") as error:
        Store(tmp_path).add(source, mirror=str(repositories[source]), keyring=tmp_path / "none")
    assert DISTRIBUTIONS[source.partition("/")[0]].package in error.value.hint


def unsigned_rpm(root: Path) -> None:
    """No signature tag in any package."""
    for path in below(root):
        if path.suffix == ".rpm":
            replaced(path, (268).to_bytes(4, "big"), (998).to_bytes(4, "big"))


def test_a_package_without_a_signature_is_refused(
    repositories: dict[str, Path], signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "repository"
    MAKERS["fedora/41"][1](root, packages_of("fedora/41", "6.1.0", b"x"), signer)
    unsigned_rpm(root)
    # Whoever controls the mirror can make the index fit: Fedora does not sign it.
    monkeypatch.setattr("kobox.images.remote.rpm_repository.require_digest", lambda *_: None)
    with pytest.raises(FetchError, match=r"it is not signed|signature is not good"):
        Store(tmp_path / "cache").add("fedora/41", mirror=str(root), keyring=key_of(repositories, "fedora/41"))


def test_a_payload_that_was_exchanged_is_refused(
    repositories: dict[str, Path], signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "repository"
    MAKERS["fedora/41"][1](root, packages_of("fedora/41", "6.1.0", b"x" * 1000), signer)
    for path in below(root):
        if path.suffix == ".rpm":
            flip(path, 0.999)
    monkeypatch.setattr("kobox.images.remote.rpm_repository.require_digest", lambda *_: None)
    with pytest.raises(FetchError, match="payload is not the one that was signed"):
        Store(tmp_path / "cache").add("fedora/41", mirror=str(root), keyring=key_of(repositories, "fedora/41"))


def test_a_key_that_was_revoked_counts_no_more(signer: Signer, tmp_path: Path) -> None:
    (tmp_path / "keys.gpg").write_bytes(dearmored(signer.public))
    signature = signer.detached(b"data")
    ring = Keyring((tmp_path / "keys.gpg",))
    ring.check_detached(b"data", signature, "x")
    with pytest.raises(FetchError):
        ring.check_detached(b"other", signature, "x")
    with pytest.raises(FetchError, match="revoked"):
        Keyring((tmp_path / "keys.gpg",), frozenset(signer.fingerprints())).check_detached(b"data", signature, "x")


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("fedora", "which release"),
        ("archlinux/2024", "no releases"),
        ("ubuntu/23.17", "no release that kobox knows"),
        ("archlinux:linux-nope", "no package linux-nope"),
        ("ubuntu/24.04:nope", "no kernel nope"),
        ("alpine/3.20:nope", "no package linux-nope"),
        ("fedora/41:9.9", "no kernel-core 9.9"),
    ],
)
def test_a_name_that_means_nothing_says_what_there_is(
    spec: str, match: str, repositories: dict[str, Path], tmp_path: Path
) -> None:
    source = next(one for one in MAKERS if one.partition("/")[0] == spec.partition("/")[0].partition(":")[0])
    with pytest.raises((KernelNotFoundError, FetchError), match=match):
        Store(tmp_path).add(spec, mirror=str(repositories[source]), keyring=key_of(repositories, source))


@pytest.mark.parametrize("spec", ["debian", "nosuch/1", "Fedora/41", "fedora/41/x", "./fedora", "fedora/", ""])
def test_other_words_name_no_distribution(spec: str) -> None:
    assert wanted_kernel(spec) is None


def test_an_index_whose_path_leads_elsewhere_is_refused(
    repositories: dict[str, Path], signer: Signer, tmp_path: Path
) -> None:
    root = tmp_path / "repository"
    packages = packages_of("ubuntu/24.04", "6.1.0-1-generic", b"x")
    MAKERS["ubuntu/24.04"][1](root, packages, signer)
    index = root / "dists/noble/main/binary-amd64/Packages.xz"
    text = lzma.decompress(index.read_bytes()).replace(b"Filename: pool/", b"Filename: ../pool/")
    index.write_bytes(lzma.compress(text))
    packed = index.read_bytes()
    release = f"SHA256:\n {hashlib.sha256(packed).hexdigest()} {len(packed)} main/binary-amd64/Packages.xz\n"
    (root / "dists/noble/InRelease").write_bytes(signer.inline(release.encode()))
    with pytest.raises(FetchError, match="leads elsewhere"):
        Store(tmp_path / "cache").add("ubuntu/24.04", mirror=str(root), keyring=key_of(repositories, "ubuntu/24.04"))
