"""Signing with keys in a token: SoftHSM, unpacked from Debian's packages, as the token."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.errors import SigningError
from kobox.images.debian.archive import Archive
from kobox.images.store import KernelImage
from kobox.signing import keys
from kobox.signing.pkcs11 import parse_uri
from kobox.signing.verify import verify

KOBOX = str(Path(sys.executable).with_name("kobox"))


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A token called Build, PIN 1234: the environment in which it is found. Its keys are `rsa` and `ecdsa`."""
    room = tmp_path_factory.mktemp("hsm")
    archive = Archive.of_suite("bookworm", room / "apt")
    archive.update(lambda stage, done, total: None)
    packages = [
        one for one in archive.needed_by("softhsm2") if one.name.startswith(("softhsm", "libsofthsm", "libbotan"))
    ]
    archive.unpack(archive.download(packages, lambda *_: None), room, lambda *_: None)
    (room / "tokens").mkdir()
    (room / "softhsm2.conf").write_text(f"directories.tokendir = {room}/tokens\nlog.level = ERROR\n")
    library = str(next(room.glob("usr/lib/*/softhsm/libsofthsm2.so")))
    environment = {
        **os.environ,
        "SOFTHSM2_CONF": str(room / "softhsm2.conf"),
        "LD_LIBRARY_PATH": str(room / "usr/lib/x86_64-linux-gnu"),
        "PKCS11_MODULE_PATH": library,
        "KBUILD_SIGN_PIN": "1234",
        "ROOM": str(room),
    }
    tool = [str(room / "usr/bin/softhsm2-util"), "--module", library, "--pin", "1234"]
    quiet = {"env": environment, "check": True, "capture_output": True}
    subprocess.run([*tool, "--init-token", "--free", "--label", "Build", "--so-pin", "5678"], **quiet)  # type: ignore[call-overload]
    for number, kind in enumerate(("rsa:2048", "ecdsa:p256"), 1):
        name = kind.split(":")[0]
        key = keys.generate(kind)
        files = keys.write_pair(room, name, key, keys.self_signed(key, f"token {name}"))
        ask = ["--import", str(files.key), "--token", "Build", "--label", name, "--id", f"A{number}"]
        subprocess.run([*tool, *ask], **quiet)  # type: ignore[call-overload]
    return environment


@pytest.fixture
def module(debian_kernel: KernelImage, tmp_path: Path) -> Path:
    assert debian_kernel.modules is not None
    path = tmp_path / "loop.ko"
    path.write_bytes((debian_kernel.modules / "kernel/drivers/block/loop.ko").read_bytes())
    return path


def sign(token: dict[str, str], uri: str, certificate: str, module: Path) -> subprocess.CompletedProcess[str]:
    command = [KOBOX, "sign", "sha256", uri, f"{token['ROOM']}/{certificate}", str(module)]
    return subprocess.run(command, env=token, capture_output=True, text=True, check=False)


def test_an_rsa_key_in_a_token_signs_as_the_key_file_does(token: dict[str, str], module: Path) -> None:
    by_token, by_file = module.with_name("token.ko"), module.with_name("file.ko")
    for path in (by_token, by_file):
        path.write_bytes(module.read_bytes())
    assert sign(token, "pkcs11:token=Build;object=rsa;type=private", "rsa.crt", by_token).returncode == 0
    assert sign(token, f"{token['ROOM']}/rsa.key", "rsa.crt", by_file).returncode == 0
    assert by_token.read_bytes() == by_file.read_bytes()


def test_an_ecdsa_key_in_a_token_gives_a_valid_signature(token: dict[str, str], module: Path) -> None:
    uri = f"pkcs11:token=Build;id=%A2?module-path={token['PKCS11_MODULE_PATH']}&pin-value=1234"
    done = sign({**token, "KBUILD_SIGN_PIN": "", "PKCS11_MODULE_PATH": ""}, uri, "ecdsa.crt", module)
    assert done.returncode == 0, done.stderr
    assert verify(module.read_bytes(), keys.load_certificates(Path(token["ROOM"], "ecdsa.crt"))).valid is True


@pytest.mark.parametrize(
    ("uri", "certificate", "changes", "words"),
    [
        ("pkcs11:token=Build;object=rsa", "rsa.crt", {"KBUILD_SIGN_PIN": "9999"}, "PinIncorrect"),
        ("pkcs11:token=Other;object=rsa", "rsa.crt", {}, "No token matching"),
        ("pkcs11:token=Build;object=none", "rsa.crt", {}, "gives no such key"),
        ("pkcs11:token=Build;object=rsa", "rsa.crt", {"PKCS11_MODULE_PATH": "/nonexistent.so"}, "/nonexistent.so"),
        ("pkcs11:token=Build;object=rsa", "other.crt", {}, "belongs to another key"),
        ("pkcs11:nonsense", "rsa.crt", {}, "not a PKCS #11 URI"),
    ],
)
def test_what_goes_wrong_is_told_apart(
    token: dict[str, str], module: Path, uri: str, certificate: str, changes: dict[str, str], words: str
) -> None:
    other = keys.generate("rsa:2048")
    keys.write_pair(Path(token["ROOM"]), "other", other, keys.self_signed(other, "other"), overwrite=True)
    before = module.read_bytes()
    done = sign({**token, **changes}, uri, certificate, module)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert module.read_bytes() == before


def test_uris_are_taken_apart_as_rfc_7512_says() -> None:
    path, query = parse_uri("pkcs11:token=My%20Token;id=%01%ff;object=a%3Bb?pin-value=1%26&module-path=/x")
    assert path == {"token": b"My Token", "id": b"\x01\xff", "object": b"a;b"}
    assert query == {"pin-value": "1&", "module-path": "/x"}
    with pytest.raises(SigningError):
        parse_uri("pkcs11:token")
