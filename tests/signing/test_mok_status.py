"""Whose key signed a module, and whether the machine trusts it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kobox.errors import SigningError
from kobox.signing import efi, keys
from kobox.signing.builtin_certs import built_in_certificates
from kobox.signing.mok_status import machine_keys
from kobox.signing.sign import append, signature_of, signer_from
from kobox.signing.verify import common_name, key_identifier
from tests.building import BuiltTestModules
from tests.debian import Suite
from tests.signing.machines import certificate, der, put, set_variable, signature_list, uefi_machine

KOBOX = str(Path(sys.executable).with_name("kobox"))
PLACES = {
    "DKMS": "var/lib/dkms/mok.pub",
    "Ubuntu": "var/lib/shim-signed/mok/MOK.der",
    "akmods": "etc/pki/akmods/certs/public_key.der",
}


@pytest.mark.parametrize("owner", PLACES)
def test_the_keys_of_each_tool_are_told_apart(owner: str, tmp_path: Path) -> None:
    for other, path in PLACES.items():
        put(tmp_path / path, der(certificate(f"{other}'s")))
    mine = keys.load_certificates(tmp_path / PLACES[owner])[0]
    found = {key.owner: key for key in machine_keys(uefi_machine(tmp_path, mine)).keys}
    assert set(found) == set(PLACES)
    assert {name for name, key in found.items() if key.enrolled} == {owner}
    assert found[owner].path == str(tmp_path / PLACES[owner])
    assert found[owner].name == f"{owner}'s"
    assert found[owner].state == "enrolled"
    assert {key.state for name, key in found.items() if name != owner} == {"not enrolled"}


def test_the_key_that_dkms_is_told_to_take(tmp_path: Path) -> None:
    put(tmp_path / "etc/dkms/framework.conf", '# mok_certificate=/no\nmok_signing_key="/root/own.key"\n')
    put(tmp_path / "etc/dkms/framework.conf.d/own.conf", "mok_certificate=/root/own.crt\n")
    one = certificate("my own")
    put(tmp_path / "root/own.crt", one.public_bytes(serialization.Encoding.PEM))
    put(tmp_path / "root/own.key", "secret")
    (key,) = machine_keys(tmp_path).keys
    assert (key.owner, key.name, key.private) == ("DKMS", "my own", str(tmp_path / "root/own.key"))


def test_every_state_of_a_key(tmp_path: Path) -> None:
    names = ("enrolled", "waiting", "forbidden", "firmware", "plain")
    all_of = {name: certificate(name) for name in names}
    paths = [put(tmp_path / f"{name}.der", der(one)) for name, one in all_of.items()]
    uefi_machine(tmp_path, all_of["enrolled"], all_of["forbidden"])
    set_variable(tmp_path, "MokNew", efi.SHIM, signature_list(all_of["waiting"]))
    set_variable(tmp_path, "MokListXRT", efi.SHIM, signature_list(all_of["forbidden"]))
    set_variable(tmp_path, "db", efi.IMAGE_SECURITY, signature_list(all_of["firmware"], certificate("the maker's")))
    identifier = key_identifier(all_of["plain"]).hex()
    line = f"asymmetri plain: {identifier}: X509.rsa {identifier[-8:]} []\n"
    put(tmp_path / "proc/keys", "349a622d I------     1 perm 1f030000     0     0 " + line)
    found = machine_keys(tmp_path, paths)
    states = {key.name: (key.state, key.trusted) for key in found.keys}
    assert states == {
        "enrolled": ("enrolled", True),
        "waiting": ("enrolment pending until the next boot", False),
        "forbidden": ("forbidden, enrolled", False),
        "firmware": ("in the firmware's db", True),
        "plain": ("not enrolled, known to the running kernel", False),
        "the maker's": ("in the firmware's db", True),
    }
    assert [key.owner for key in found.keys] == ["yours"] * 5 + ["firmware"]
    assert (found.uefi, found.secure_boot) == (True, True)


def test_the_distribution_s_key_is_the_one_in_its_shim(tmp_path: Path) -> None:
    shim = (Suite("bookworm").package("shim-unsigned") / "usr/lib/shim/shimx64.efi").read_bytes()
    put(tmp_path / "boot/efi/EFI/debian/shimx64.efi", shim)
    (vendor,) = machine_keys(tmp_path).keys
    assert (vendor.owner, vendor.name, vendor.state) == ("shim", "Debian Secure Boot CA", "not enrolled")
    uefi_machine(tmp_path, vendor.certificate)  # shim itself puts it there
    assert [(key.owner, key.state) for key in machine_keys(tmp_path).keys] == [("shim", "enrolled")]


def test_what_cannot_be_read_is_told_and_the_rest_is_not_lost(tmp_path: Path) -> None:
    one = certificate("fine")
    put(tmp_path / PLACES["DKMS"], der(one))
    put(tmp_path / PLACES["akmods"], "no certificate")
    uefi_machine(tmp_path)
    set_variable(tmp_path, "MokListRT", efi.SHIM, signature_list(one)[:-1])
    found = machine_keys(tmp_path)
    assert [key.name for key in found.keys] == ["fine"]
    assert "MokListRT" in found.unread[0]
    assert "akmods" in found.unread[1]
    with pytest.raises(SigningError):
        machine_keys(tmp_path, [tmp_path / PLACES["akmods"]])


def kobox(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [KOBOX, "keys", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_who_signed_a_module_and_is_it_trusted(modules: BuiltTestModules, tmp_path: Path) -> None:
    unsigned = modules("good").read_bytes()
    files = {}
    for name in ("dkms", "akmods", "stranger"):
        key = keys.generate("ecdsa:p256")
        made = keys.self_signed(key, f"{name} key")
        files[name] = (
            made,
            put(tmp_path / f"{name}.ko", append(unsigned, signature_of(unsigned, signer_from(key, made)))),
        )
    root = uefi_machine(tmp_path / "root", files["akmods"][0])
    put(root / PLACES["DKMS"], der(files["dkms"][0]))
    put(root / PLACES["akmods"], der(files["akmods"][0]))
    kernel = modules.kernel
    assert kernel.modules is not None
    put(root / f"boot/vmlinuz-{kernel.release}", kernel.vmlinuz.read_bytes())
    own = kernel.modules / "kernel/net/llc/llc.ko"

    done = kobox("status", "--root", root, files["akmods"][1], own)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "Secure Boot: on"
    assert lines[-2] == f"{files['akmods'][1]}: signed by akmods key (akmods: {root}/{PLACES['akmods']}), enrolled"
    (built_in,) = built_in_certificates(kernel)
    assert f"signed by {common_name(built_in.subject)} (kernel: " in lines[-1]
    assert lines[-1].endswith(", built into the kernel")

    done = kobox("status", "--root", root, files["dkms"][1])
    assert done.returncode == 1
    assert f"signed by dkms key (DKMS: {root}/{PLACES['DKMS']}), not enrolled" in done.stdout
    assert f"`kobox keys enroll {root}/{PLACES['DKMS']}`" in done.stdout
    done = kobox("status", "--root", root, files["stranger"][1], modules("good"))
    assert "signed by stranger key, whose certificate is not on this machine" in done.stdout
    assert f"{modules('good')}: not signed" in done.stdout

    damaged = bytearray(files["dkms"][1].read_bytes())
    damaged[2000] ^= 1
    report = json.loads(kobox("list", "--json", "--root", root, put(tmp_path / "damaged.ko", bytes(damaged))).stdout)
    assert [(row["valid"], row["errno"]) for row in report["modules"]] == [(False, "EKEYREJECTED")]
    assert {row["owner"]: row["trusted"] for row in report["keys"]} == {"DKMS": False, "akmods": True, "kernel": True}


def test_a_machine_without_uefi(tmp_path: Path) -> None:
    put(tmp_path / PLACES["DKMS"], der(certificate("DKMS module signing key")))
    done = kobox("status", "--root", tmp_path)
    assert done.stdout.splitlines() == [
        "Secure Boot: none (not booted by UEFI)",
        f"DKMS module signing key  DKMS  {tmp_path}/{PLACES['DKMS']}  not enrolled",
    ]


def test_this_machine_is_looked_at_without_error() -> None:
    done = kobox("status")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Secure Boot: ")


def test_a_certificate_that_is_read_back_is_the_same(tmp_path: Path) -> None:
    one = certificate("x")
    (key,) = machine_keys(uefi_machine(tmp_path, one)).keys
    assert isinstance(key.certificate, x509.Certificate)
    assert key.certificate == one
    assert key.path == ""
