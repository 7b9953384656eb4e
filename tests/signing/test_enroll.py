"""Enrolling a key: what is done, and what is said where it cannot be done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from kobox.errors import SigningError
from kobox.signing import efi, enroll, keys
from kobox.signing.mok_status import machine_keys
from tests.signing.machines import certificate, der, put, set_variable, signature_list, uefi_machine

KOBOX = str(Path(sys.executable).with_name("kobox"))


@pytest.fixture
def mokutil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mokutil that writes down what it was called with: a real one would ask this machine's firmware."""
    program = put(tmp_path / "bin/mokutil", f'#!/bin/sh\necho "$@" > {tmp_path}/called\n[ ! -e {tmp_path}/refuse ]\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return tmp_path / "called"


def test_a_certificate_in_pem_is_converted_and_handed_to_mokutil(mokutil: Path, tmp_path: Path) -> None:
    key = keys.generate()
    one = keys.self_signed(key, "mine")
    pem = put(tmp_path / "mine.crt", one.public_bytes(serialization.Encoding.PEM))
    what = enroll.plan(pem, machine_keys(uefi_machine(tmp_path / "root")))
    assert (what.done, what.obstacle) == ("", "")
    assert enroll.write_der(what) is True
    assert enroll.write_der(what) is False
    assert (tmp_path / "mine.der").read_bytes() == der(one)
    enroll.carry_out(what)
    assert mokutil.read_text() == f"--import {tmp_path}/mine.der\n"
    (tmp_path / "refuse").touch()
    with pytest.raises(SigningError, match="mokutil --import"):
        enroll.carry_out(what)


def test_a_file_of_that_name_with_another_certificate_stays(tmp_path: Path) -> None:
    pem = put(tmp_path / "mine.crt", certificate("mine").public_bytes(serialization.Encoding.PEM))
    other = put(tmp_path / "mine.der", der(certificate("another's")))
    before = other.read_bytes()
    with pytest.raises(SigningError, match="already, with another certificate"):
        enroll.write_der(enroll.plan(pem, machine_keys(tmp_path)))
    assert other.read_bytes() == before


def test_a_key_that_needs_nothing_and_one_that_cannot_be_had(mokutil: Path, tmp_path: Path) -> None:
    one = certificate("mine")
    path = put(tmp_path / "mine.der", der(one))
    root = uefi_machine(tmp_path / "root", one)
    assert enroll.plan(path, machine_keys(root)).done == "mine is enrolled: nothing to do"
    set_variable(root, "MokListRT", efi.SHIM, b"")
    set_variable(root, "MokNew", efi.SHIM, signature_list(one))
    assert "pending until the next boot" in enroll.plan(path, machine_keys(root)).done
    set_variable(root, "MokNew", efi.SHIM, b"")
    set_variable(root, "dbx", efi.IMAGE_SECURITY, signature_list(one))
    assert "forbidden" in enroll.plan(path, machine_keys(root, [path])).obstacle
    assert "not booted by UEFI" in enroll.plan(path, machine_keys(tmp_path / "nowhere")).obstacle
    several = put(tmp_path / "two.pem", one.public_bytes(serialization.Encoding.PEM) * 2)
    with pytest.raises(SigningError, match="2 certificates"):
        enroll.plan(several, machine_keys(root))


def test_without_mokutil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = put(tmp_path / "mine.der", der(certificate("mine")))
    assert "apt-get install mokutil" in enroll.plan(path, machine_keys(uefi_machine(tmp_path / "root"))).obstacle


def test_the_command_says_every_step(mokutil: Path, tmp_path: Path) -> None:
    pem = put(tmp_path / "mine.crt", certificate("mine").public_bytes(serialization.Encoding.PEM))
    root = uefi_machine(tmp_path / "root")

    def kobox(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [KOBOX, "keys", "enroll", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = kobox("--root", root, pem)
    assert done.returncode == 0, done.stderr
    steps = done.stdout.splitlines()[1:]
    assert steps[0].strip() == f"1. openssl x509 -in {pem} -outform DER -out {tmp_path}/mine.der"
    assert steps[1].strip().startswith(f"2. As root: mokutil --import {tmp_path}/mine.der")
    assert "MokManager" in steps[2]
    assert not mokutil.exists()
    assert not (tmp_path / "mine.der").exists()
    done = kobox("--root", tmp_path / "nowhere", "--hash-file", "h", pem)
    assert done.returncode == 1
    assert done.stdout.startswith("cannot be enrolled here: this machine was not booted by UEFI")
    assert f"mokutil --import {tmp_path}/mine.der --hash-file h" in done.stdout
    done = kobox(tmp_path / "nothing.crt")
    assert (done.returncode, done.stderr) == (
        1,
        f"kobox keys: error: {tmp_path}/nothing.crt: No such file or directory\n",
    )
