"""A box that trusts what it is told to: the kernel's own answers to signed, unsigned and tampered modules."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.errors import KoboxError, ModuleLoadError, SigningError
from kobox.images.store import KernelImage
from kobox.signing import keys
from kobox.signing.sign import append, signature_of, signer_from
from tests.building import BuiltTestModules

KOBOX = str(Path(sys.executable).with_name("kobox"))


class Pair(NamedTuple):
    """A key's files, and what it makes of a module."""

    files: keys.KeyFiles
    signer: object

    def signed(self, module: bytes, hash_name: str = "sha256") -> bytes:
        return append(module, signature_of(module, self.signer, hash_name=hash_name))  # type: ignore[arg-type]


def pair(room: Path, name: str, kind: str, **options: int) -> Pair:
    key = keys.generate(kind)
    certificate = keys.self_signed(key, name, **options)
    return Pair(keys.write_pair(room, name, key, certificate), signer_from(key, certificate))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    room = tmp_path_factory.mktemp("trusted")
    made = {"mine": pair(room, "mine", "rsa:2048"), "foreign": pair(room, "foreign", "rsa:2048")}
    return made | {"curve": pair(room, "curve", "ecdsa:p384")}


@pytest.fixture(scope="module")
def good(modules: BuiltTestModules) -> bytes:
    return modules("good").read_bytes()


@pytest.fixture(scope="module")
def kept(debian_kernel: KernelImage, pairs: dict[str, Pair]) -> Iterator[Box]:
    with boot(debian_kernel, trust=[pairs["mine"].files.certificate], enforce_signatures=True) as box:
        yield box


@pytest.fixture
def strict(kept: Box) -> Box:
    """A clean box that trusts `mine` and enforces signatures."""
    kept.reset()
    return kept


def refused(box: Box, module: bytes) -> tuple[str, list[str]]:
    with pytest.raises(ModuleLoadError) as caught:
        box.insmod(module)
    assert "good" not in box.modules
    return errno.errorcode[caught.value.errno], list(caught.value.log)


def test_what_a_trusted_key_signed_loads_and_taints_nothing_but_out_of_tree(
    strict: Box, good: bytes, pairs: dict[str, Pair]
) -> None:
    module = strict.insmod(pairs["mine"].signed(good))
    assert module.is_loaded
    assert int(strict.read_text("/proc/sys/kernel/tainted")) == 1 << 12  # TAINT_OOT_MODULE, and not UNSIGNED
    module.unload()
    assert not strict.findings


def test_everything_else_is_refused_in_the_kernel_s_own_words(strict: Box, good: bytes, pairs: dict[str, Pair]) -> None:
    for _ in range(2):  # reset() keeps the trust
        assert refused(strict, good) == ("EKEYREJECTED", ["Loading of unsigned module is rejected"])
        foreign = pairs["foreign"].signed(good)
        assert refused(strict, foreign) == ("EKEYREJECTED", ["Loading of module with unavailable key is rejected"])
        signed = pairs["mine"].signed(good)
        at = signed.index(b"license=GPL")
        assert refused(strict, signed[:at] + b"LICENSE=GPL" + signed[at + 11 :]) == ("EKEYREJECTED", [])
        assert refused(strict, append(good, b"no PKCS #7 message")) == ("EBADMSG", [])
        strict.reset()
        strict.insmod(signed).unload()


def test_modules_of_the_kernel_s_own_tree_go_on_loading(strict: Box) -> None:
    assert strict.modprobe("dummy").loaded == ("dummy",)


@pytest.mark.parametrize("suite", ["debian_kernel", "trixie_kernel", "sid_kernel"])
def test_every_kernel_trusts_rsa_keys_and_the_curves_that_it_knows(
    suite: str, pairs: dict[str, Pair], request: pytest.FixtureRequest
) -> None:
    kernel: KernelImage = request.getfixturevalue(suite)
    module = BuiltTestModules(kernel)("good").read_bytes()
    trusted = [pairs["mine"].files.der, pairs["curve"].files.certificate]
    has_curves = suite != "debian_kernel"  # Debian builds 6.1 without CONFIG_CRYPTO_ECDSA
    if not has_curves:
        with pytest.raises(SigningError, match="no code for this certificate's kind of key"):
            boot(kernel, trust=trusted)
        trusted = trusted[:1]
    with boot(kernel, trust=trusted, enforce_signatures=True) as box:
        box.insmod(pairs["mine"].signed(module, "sha512")).unload()
        if has_curves:
            box.insmod(pairs["curve"].signed(module, "sha384")).unload()
        assert refused(box, module)[0] == "EKEYREJECTED"
        assert refused(box, pairs["foreign"].signed(module))[0] == "EKEYREJECTED"
        assert not box.findings


def test_lockdown_takes_only_what_is_signed(debian_kernel: KernelImage, good: bytes, pairs: dict[str, Pair]) -> None:
    with boot(debian_kernel, trust=[pairs["mine"].files.certificate], lockdown="integrity") as box:
        answer, log = refused(box, good)
        assert answer == "EPERM"
        assert "unsigned module loading is restricted; see man kernel_lockdown.7" in log[-1]
        assert refused(box, pairs["foreign"].signed(good))[0] == "EPERM"
        box.insmod(pairs["mine"].signed(good)).unload()
        box.reset()
        assert refused(box, good)[0] == "EPERM"


def test_the_kernel_does_not_look_at_a_certificate_s_dates(
    debian_kernel: KernelImage, good: bytes, tmp_path: Path
) -> None:
    ended = pair(tmp_path, "ended", "rsa:2048", days=1)
    with boot(debian_kernel, trust=[ended.files.certificate], enforce_signatures=True) as box:
        box.syscall("clock_settime", 0, (2_000_000_000).to_bytes(8, "little") + bytes(8))  # the year 2033
        box.insmod(ended.signed(good)).unload()


def test_a_box_without_trust_is_what_it_was(box: Box, good: bytes, pairs: dict[str, Pair]) -> None:
    box.insmod(pairs["mine"].signed(good))
    assert int(box.read_text("/proc/sys/kernel/tainted")) == 1 << 12 | 1 << 13
    assert box.read_text("/sys/module/module/parameters/sig_enforce") == "N\n"


def test_certificates_come_in_any_form(debian_kernel: KernelImage, pairs: dict[str, Pair], tmp_path: Path) -> None:
    (certificate,) = keys.load_certificates(pairs["mine"].files.certificate)
    forms = [certificate, certificate.public_bytes(Encoding.PEM), str(pairs["foreign"].files.der)]
    with boot(debian_kernel, trust=forms) as box:
        rows = box.read_text("/proc/keys")
        assert " mine: " in rows
        assert " foreign: " in rows
    (tmp_path / "no.pem").write_text("-----BEGIN CERTIFICATE-----\nnothing\n")
    for wrong in (tmp_path / "no.pem", b"junk"):
        with pytest.raises(SigningError, match=r"no X\.509 certificate"):
            boot(debian_kernel, trust=[wrong])
    with pytest.raises(FileNotFoundError):
        boot(debian_kernel, trust=[tmp_path / "absent"])
    with pytest.raises(KoboxError, match="integrity, confidentiality"):
        boot(debian_kernel, lockdown="total")


def test_run_enforces(debian_kernel: KernelImage, good: bytes, pairs: dict[str, Pair], tmp_path: Path) -> None:
    def run(module: bytes) -> subprocess.CompletedProcess[str]:
        (tmp_path / "good.ko").write_bytes(module)
        command = [KOBOX, "run", "-k", debian_kernel.name, "--enforce", "--trust", str(pairs["mine"].files.certificate)]
        return subprocess.run([*command, str(tmp_path / "good.ko")], capture_output=True, text=True, check=False)

    done = run(pairs["mine"].signed(good))
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(good)
    assert done.returncode == 1
    assert "Loading of unsigned module is rejected" in done.stdout
    assert "EKEYREJECTED" in done.stdout
