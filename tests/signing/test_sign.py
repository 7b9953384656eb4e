"""Signatures, against the kernel's own sign-file, openssl, and a real module."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from kobox.errors import ModuleFormatError, SigningError
from kobox.images.store import KernelImage
from kobox.ko.signature import MARKER, parse
from kobox.signing import keys
from kobox.signing.sign import append_raw, sign_file, signature_of, signer_from, strip_file
from kobox.signing.verify import verify

KOBOX = str(Path(sys.executable).with_name("kobox"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, keys.KeyFiles]:
    """One pair of files of each kind of key."""
    room = tmp_path_factory.mktemp("keys")
    made = {}
    for kind in keys.KINDS:
        key = keys.generate(kind)
        certificate = keys.self_signed(key, f"key {kind}", organization="Örg & Sons")
        made[kind] = keys.write_pair(room, kind.replace(":", "-"), key, certificate)
    return made


@pytest.fixture
def module(debian_kernel: KernelImage, tmp_path: Path) -> Path:
    """A real module, without a signature."""
    assert debian_kernel.modules is not None
    path = tmp_path / "loop.ko"
    path.write_bytes((debian_kernel.modules / "kernel/drivers/block/loop.ko").read_bytes())
    strip_file(path)
    return path


def sign_file_of(kernel: KernelImage) -> str:
    (found,) = kernel.directory.glob("usr/lib/linux-kbuild-*/scripts/sign-file")
    return str(found)


def signed(module: Path, files: keys.KeyFiles, **options: object) -> bytes:
    certificate = keys.load_certificates(files.certificate)[0]
    signer = signer_from(keys.load_key(files.key), certificate)
    out = sign_file(module, signer, destination=module.with_name("signed.ko"), **options)  # type: ignore[arg-type]
    return out.read_bytes()


@pytest.mark.parametrize("suite", ["debian_kernel", "trixie_kernel", "sid_kernel"])
@pytest.mark.parametrize("hash_name", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("options", [[], ["-k"]])
def test_rsa_signatures_are_those_of_sign_file_byte_for_byte(
    module: Path,
    pairs: dict[str, keys.KeyFiles],
    suite: str,
    hash_name: str,
    options: list[str],
    request: pytest.FixtureRequest,
) -> None:
    files = pairs["rsa:2048"]
    reference = module.with_name("reference.ko")
    tool = sign_file_of(request.getfixturevalue(suite))
    subprocess.run([tool, *options, hash_name, files.key, files.der, module, reference], check=True)
    assert signed(module, files, hash_name=hash_name, by_key_id=bool(options)) == reference.read_bytes()


@pytest.mark.parametrize("kind", keys.KINDS)
@pytest.mark.parametrize("hash_name", ["sha256", "sha384", "sha512"])
def test_openssl_and_kobox_find_every_kind_of_signature_valid(
    module: Path, pairs: dict[str, keys.KeyFiles], kind: str, hash_name: str
) -> None:
    files = pairs[kind]
    data = signed(module, files, hash_name=hash_name)
    found = parse(data)
    assert found is not None
    (module.parent / "p7s").write_bytes(found.der)
    certificate = str(files.certificate)
    subprocess.run(
        ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", str(module.parent / "p7s")]
        + ["-content", str(module), "-certfile", certificate, "-CAfile", certificate, "-purpose", "any"]
        + ["-nointern", "-out", "/dev/null"],
        check=True,
        capture_output=True,
    )
    verdict = verify(data, keys.load_certificates(files.der))
    assert (verdict.valid, verdict.signer, verdict.hash_name) == (True, f"key {kind}", hash_name)
    assert verdict.scheme == kind.split(":")[0]


def test_what_sign_file_signs_is_valid(
    module: Path, pairs: dict[str, keys.KeyFiles], debian_kernel: KernelImage
) -> None:
    files = pairs["ecdsa:p384"]
    subprocess.run([sign_file_of(debian_kernel), "sha384", files.key, files.certificate, module], check=True)
    assert verify(module.read_bytes(), keys.load_certificates(files.certificate)).valid is True


def test_a_signature_is_replaced_and_taken_off(module: Path, pairs: dict[str, keys.KeyFiles]) -> None:
    plain = module.read_bytes()
    for kind in ("rsa:2048", "ecdsa:p256"):
        files = pairs[kind]
        sign_file(module, signer_from(keys.load_key(files.key), keys.load_certificates(files.certificate)[0]))
        assert module.read_bytes().count(MARKER) == 1
        assert verify(module.read_bytes(), keys.load_certificates(files.certificate)).valid is True
    assert strip_file(module) is True
    assert module.read_bytes() == plain
    assert strip_file(module) is False


def test_a_signed_module_as_sign_file_treats_it_and_replaced_when_asked(
    module: Path, pairs: dict[str, keys.KeyFiles], debian_kernel: KernelImage
) -> None:
    tool, files, other = sign_file_of(debian_kernel), pairs["rsa:2048"], pairs["ecdsa:p256"]
    once = signed(module, files)
    module.write_bytes(once)
    words: list[str | Path] = ["sha512", files.key, files.certificate, module]
    subprocess.run([tool, *words, module.with_name("reference.ko")], check=True)
    twice = module.with_name("reference.ko").read_bytes()
    kobox = str(Path(sys.executable).with_name("kobox"))
    subprocess.run([kobox, "sign", *words, module.with_name("twice.ko")], check=True)
    assert module.with_name("twice.ko").read_bytes() == twice
    assert twice.count(MARKER) == 2
    assert verify(twice, keys.load_certificates(files.certificate)).valid is True

    words[1:3] = [other.key, other.certificate]
    subprocess.run([kobox, "sign", "--replace", *words], check=True)
    assert module.read_bytes().count(MARKER) == 1
    assert verify(module.read_bytes(), keys.load_certificates(other.certificate)).valid is True

    raw = module.with_name("raw.p7s")
    raw.write_bytes(b"\x30\x03raw")
    for option, reference in (([], module), (["--replace"], strip_copy(module))):
        words = ["-s", raw, "sha512", files.certificate]
        subprocess.run([kobox, "sign", *option, *words, module, module.with_name("made.ko")], check=True)
        subprocess.run([tool, *words, reference, module.with_name("reference.ko")], check=True)
        assert module.with_name("made.ko").read_bytes() == module.with_name("reference.ko").read_bytes()


def strip_copy(module: Path) -> Path:
    strip_file(module, destination=module.with_name("stripped.ko"))
    return module.with_name("stripped.ko")


def test_a_raw_signature_is_appended_as_it_is(module: Path, pairs: dict[str, keys.KeyFiles]) -> None:
    files = pairs["rsa:2048"]
    expected = signed(module, files)
    signer = signer_from(keys.load_key(files.key), keys.load_certificates(files.certificate)[0])
    (module.parent / "raw").write_bytes(signature_of(module.read_bytes(), signer))
    append_raw(module, module.parent / "raw")
    assert module.read_bytes() == expected
    with pytest.raises(SigningError, match="not a PKCS #7 message"):
        append_raw(module, files.key)


def test_no_change_to_what_is_signed_goes_unnoticed(module: Path, pairs: dict[str, keys.KeyFiles]) -> None:
    """Of the message, the kernel looks neither at the list of digests nor at the parameters of an algorithm."""
    files = pairs["rsa:2048"]
    trusted = keys.load_certificates(files.certificate)
    data = signed(module, files)
    size = module.stat().st_size
    signature = len(data) - 40 - 256
    unseen = [*range(size + 26, size + 41), signature - 6]
    for place in [0, 1, size // 2, size - 1, *range(size, len(data))]:
        if place in unseen:
            continue
        changed = bytearray(data)
        changed[place] ^= 0x41
        verdict = verify(bytes(changed), trusted)
        assert verdict.valid is not True, place
        assert verdict.errno in ("EKEYREJECTED", "EBADMSG", "EINVAL"), place


def test_the_reasons_are_told_apart(module: Path, pairs: dict[str, keys.KeyFiles]) -> None:
    files, stranger = pairs["rsa:2048"], pairs["rsa:3072"]
    trusted = keys.load_certificates(files.certificate)
    data = signed(module, files)
    assert verify(module.read_bytes(), trusted).reason == "not signed"
    foreign = verify(data, keys.load_certificates(stranger.certificate))
    assert (foreign.valid, foreign.issuer) == (None, "key rsa:2048")
    assert "not trusted" in foreign.reason
    changed = verify(b"\x7fELG" + data[4:], trusted)
    assert (changed.valid, changed.errno) == (False, "EKEYREJECTED")
    garbage = module.read_bytes() + bytes(64) + data[-40:-32] + (64).to_bytes(4) + MARKER
    assert (verify(garbage, trusted).valid, verify(garbage, trusted).errno) == (False, "EBADMSG")
    assert verify(MARKER, trusted).errno == "EBADMSG"


def test_signed_attributes_are_refused_as_kernels_do(module: Path, pairs: dict[str, keys.KeyFiles]) -> None:
    """A message as `openssl cms -sign` makes it: the signature covers attributes, these the module."""
    files = pairs["rsa:2048"]
    message = module.with_name("p7s")
    subprocess.run(
        ["openssl", "cms", "-sign", "-binary", "-outform", "DER", "-in", str(module), "-out", str(message)]
        + ["-signer", str(files.certificate), "-inkey", str(files.key), "-nocerts", "-nosmimecap", "-md", "sha256"],
        check=True,
    )
    trusted = keys.load_certificates(files.certificate)
    append_raw(module, message)
    verdict = verify(module.read_bytes(), trusted)
    assert (verdict.valid, verdict.errno, verdict.signer) == (False, "EKEYREJECTED", "key rsa:2048")
    assert "signed attributes" in verdict.reason


def test_an_ended_certificate_is_noted_but_kernels_do_not_mind(module: Path) -> None:
    key = keys.generate("ecdsa:p256")
    certificate = keys.self_signed(key, "old", days=0)
    sign_file(module, signer_from(key, certificate))
    verdict = verify(module.read_bytes(), [certificate])
    assert verdict.valid is True
    assert "ended on" in verdict.note


def test_the_certificate_is_fit_for_modules_only(pairs: dict[str, keys.KeyFiles]) -> None:
    (certificate,) = keys.load_certificates(pairs["rsa:4096"].certificate)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert keys.MODULE_SIGNING_ONLY in list(purposes)


def test_the_private_key_is_its_owner_s_alone(pairs: dict[str, keys.KeyFiles], tmp_path: Path) -> None:
    assert stat.S_IMODE(pairs["rsa:2048"].key.stat().st_mode) == 0o600
    key = keys.generate("ecdsa:p256")
    certificate = keys.self_signed(key, "again")
    keys.write_pair(tmp_path, "again", key, certificate)
    with pytest.raises(SigningError, match="exists already"):
        keys.write_pair(tmp_path, "again", key, certificate)


@pytest.mark.parametrize("size", [1750, 1200, 900, 100])
def test_a_disk_that_fills_leaves_all_of_a_key_set_or_none(tmp_path: Path, size: int) -> None:
    limited = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}));"
    code = limited + "os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", code, KOBOX, "keys", "new", "full", "-o", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    names = sorted(os.listdir(tmp_path))
    if done.returncode:
        assert "full." in done.stderr
        assert "File too large" in done.stderr
        assert names == []
    else:
        assert names == ["full.crt", "full.der", "full.key"]
    assert done.returncode or size == 1750


def test_bad_keys_and_certificates_are_told_apart(pairs: dict[str, keys.KeyFiles], tmp_path: Path) -> None:
    files = pairs["rsa:2048"]
    key = keys.generate("ecdsa:p256")
    locked = keys.write_pair(tmp_path, "locked", key, keys.self_signed(key, "locked"), passphrase="secret")
    with pytest.raises(SigningError, match=r"locked[\s\S]*KBUILD_SIGN_PIN"):
        keys.load_key(locked.key)
    with pytest.raises(SigningError, match="wrong passphrase"):
        keys.load_key(locked.key, "wrong")
    assert keys.load_key(locked.key, "secret").key_size == 256
    assert keys.load_key(files.key, "not needed").key_size == 2048
    with pytest.raises(SigningError, match="a certificate, where a private key"):
        keys.load_key(files.certificate)
    with pytest.raises(SigningError, match="a private key, where an X"):
        keys.load_certificates(files.key)
    other = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "ed.pem").write_bytes(
        other.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with pytest.raises(SigningError, match="Ed25519"):
        keys.load_key(tmp_path / "ed.pem")
    with pytest.raises(SigningError, match="belongs to another key"):
        keys.check_pair(key, keys.load_certificates(files.certificate)[0], files.certificate)
    for kind in ("rsa:1024", "rsa:x", "dsa:2048", "ecdsa:p521"):
        with pytest.raises(SigningError, match="with this kind of key"):
            keys.generate(kind)
    with pytest.raises(SigningError):
        keys.self_signed(key, "x" * 100)


def test_what_is_no_module_is_not_signed(pairs: dict[str, keys.KeyFiles], tmp_path: Path) -> None:
    key = keys.generate("ecdsa:p256")
    signer = signer_from(key, keys.self_signed(key, "x"))
    for content, words in (
        (b"", "not an ELF file"),
        (b"text", "not an ELF file"),
        (b"\xfd7zXZ\0", "compressed with xz"),
    ):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(ModuleFormatError, match=words):
            sign_file(tmp_path / "file", signer)
        assert (tmp_path / "file").read_bytes() == content


def test_a_disk_that_fills_while_signing_leaves_the_module_whole(module: Path) -> None:
    key = keys.generate("ecdsa:p256")
    signer = signer_from(key, keys.self_signed(key, "x"))
    before = module.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            sign_file(module, signer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert module.read_bytes() == before
    assert [path.name for path in module.parent.iterdir()] == [module.name]


def test_permissions_and_links_stay_as_they_were(module: Path) -> None:
    key = keys.generate("ecdsa:p256")
    signer = signer_from(key, keys.self_signed(key, "x"))
    module.chmod(0o640)
    link = module.with_name("link.ko")
    link.symlink_to(module.name)
    sign_file(link, signer)
    assert link.is_symlink()
    assert stat.S_IMODE(module.stat().st_mode) == 0o640
    assert parse(module.read_bytes()) is not None


def kobox(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [KOBOX, *map(str, arguments)],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_commands_make_a_key_sign_and_verify(module: Path, tmp_path: Path, debian_kernel: KernelImage) -> None:
    made = kobox("keys", "new", "mine", "-o", tmp_path, "--cn", "My key", "--passphrase", KBUILD_SIGN_PIN="a secret")
    assert made.returncode == 0, made.stderr
    assert "PRIVATE" not in made.stdout
    key, certificate = tmp_path / "mine.key", tmp_path / "mine.crt"
    reference = tmp_path / "reference.ko"
    pin = {"KBUILD_SIGN_PIN": "a secret"}
    command = [sign_file_of(debian_kernel), "sha512", str(key), str(certificate), str(module), str(reference)]
    subprocess.run(command, check=True, env={**os.environ, **pin})
    locked = kobox("sign", "--key", key, "--cert", certificate, module)
    assert (locked.returncode, "Traceback" in locked.stderr) == (1, False)
    assert "the key is encrypted" in locked.stderr
    assert kobox("sign", "sha512", key, certificate, module, tmp_path / "as.ko", **pin).returncode == 0
    assert (tmp_path / "as.ko").read_bytes() == reference.read_bytes()
    assert kobox("sign", "-d", "sha512", key, certificate, module, **pin).returncode == 0
    raw = kobox("sign", "-s", f"{module}.p7s", "sha512", certificate, module, tmp_path / "raw.ko")
    assert raw.returncode == 0, raw.stderr
    assert (tmp_path / "raw.ko").read_bytes() == reference.read_bytes()
    done = kobox("sign", "--key", key, "--cert", certificate, "--hash", "sha512", module, **pin)
    assert done.returncode == 0, done.stderr
    assert module.read_bytes() == reference.read_bytes()
    good = kobox("verify", module, "--cert", tmp_path / "mine.der")
    assert good.returncode == 0
    assert good.stdout.startswith(f"{module}: valid, signed by My key (key ")
    assert kobox("verify", module).returncode == 1
    assert kobox("sign", "--strip", module).returncode == 0
    assert kobox("verify", module, "--cert", certificate).stdout.startswith(f"{module}: not signed")


@pytest.mark.parametrize("suite", ["debian_kernel", "trixie_kernel", "sid_kernel"])
def test_debian_s_modules_are_valid_by_what_is_built_into_debian_s_kernels(
    suite: str, request: pytest.FixtureRequest
) -> None:
    kernel: KernelImage = request.getfixturevalue(suite)
    assert kernel.modules is not None
    module = next(kernel.modules.rglob("loop.ko*"))
    done = kobox("verify", module, "--kernel", kernel.name)
    assert done.returncode == 0, done.stdout
    assert "valid, signed by Build time autogenerated kernel key" in done.stdout


def test_usage_errors_are_two(tmp_path: Path) -> None:
    assert kobox("sign").returncode == 2
    assert kobox("sign", "sha256", "key").returncode == 2
    assert kobox("sign", "--key", "k", "m.ko").returncode == 2
    assert kobox("verify").returncode == 2
    missing = kobox("sign", "--key", tmp_path / "k", "--cert", tmp_path / "c", tmp_path / "m.ko")
    assert missing.returncode == 1
    assert "No such file" in missing.stderr


def test_a_directory_that_may_not_be_written_is_named(module: Path, tmp_path: Path) -> None:
    made = kobox("keys", "new", "k", "-o", "/proc/self")
    assert made.returncode == 1
    assert "/proc/self" in made.stderr
    assert "Traceback" not in made.stderr
