"""The signature appended to a module."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobox.errors import ModuleFormatError
from kobox.ko.modulefile import ModuleFile
from tests.kmod.module_maker import make_module


@pytest.fixture(scope="module")
def btrfs(cloud_package: Path) -> ModuleFile:
    return ModuleFile(next(cloud_package.rglob("btrfs.ko")))


def test_signature_fields(btrfs: ModuleFile) -> None:
    signature = btrfs.signature
    assert signature is not None
    assert signature.id_type == "PKCS#7"
    assert signature.hash_algorithm == "sha256"
    assert "kernel" in signature.signer
    assert len(signature.key_id) == 20
    assert btrfs.content[signature.content_size :].startswith(signature.der)


@settings(max_examples=200, deadline=None)
@given(tail=st.binary(max_size=300), size=st.integers(0, 2**32 - 1))
def test_any_signature_gives_only_the_one_error(tail: bytes, size: int) -> None:
    from kobox.ko.signature import MARKER

    trailer = bytes([0, 0, 2, 0, 0, 0, 0, 0])
    for claimed in (size, len(tail)):
        content = make_module() + tail + trailer + claimed.to_bytes(4, "big") + MARKER
        with contextlib.suppress(ModuleFormatError):
            _ = ModuleFile(content).signature


def test_a_signature_with_any_byte_changed_is_told_or_read(cloud_package: Path) -> None:
    """Whatever stands in the message, nothing but `ModuleFormatError` comes out."""
    from kobox.ko import signature

    module = ModuleFile(next(cloud_package.rglob("dummy.ko")))
    assert module.signature is not None
    whole = module.content[module.signature.content_size :]
    chance = random.Random(3)
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        with contextlib.suppress(ModuleFormatError):
            signature.parse(bytes(damaged))
