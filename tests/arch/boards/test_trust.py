"""Signatures of modules and their enforcement, as the kernel of each processor sees them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.errors import ModuleLoadError
from kobox.images.store import KernelImage
from tests.building import built_module

ENFORCE = "/sys/module/module/parameters/sig_enforce"


@pytest.fixture(scope="module")
def booted(board_kernel: KernelImage) -> Iterator[Box]:
    with boot(board_kernel) as box:
        yield box


@pytest.fixture
def box(booted: Box) -> Box:
    booted.reset()
    return booted


def test_a_module_without_a_signature_taints(box: Box, board_kernel: KernelImage) -> None:
    loaded = box.insmod(built_module(board_kernel, "hello"))
    assert any("module verification failed" in record.text for record in box.log.since(loaded))


def test_where_signatures_are_enforced_it_is_refused(box: Box, board_kernel: KernelImage) -> None:
    box.write_bytes(ENFORCE, b"1")
    with pytest.raises(ModuleLoadError) as caught:
        box.insmod(built_module(board_kernel, "hello"))
    assert caught.value.errno == errno.EKEYREJECTED


def test_the_distributions_own_modules_are_taken_then_too(box: Box, board_kernel: KernelImage) -> None:
    assert board_kernel.modules is not None
    box.write_bytes(ENFORCE, b"1")
    loaded = box.insmod(next(board_kernel.modules.rglob("dummy.ko*")))
    assert not any("verification failed" in record.text for record in box.log.since(loaded))
    loaded.unload()


def test_a_signature_that_does_not_fit_is_refused(box: Box, board_kernel: KernelImage, tmp_path: Path) -> None:
    from kobox.ko.compression import decompress

    assert board_kernel.modules is not None
    whole = bytearray(decompress(next(board_kernel.modules.rglob("dummy.ko*")).read_bytes()))
    at = whole.index(b"dummy")
    whole[at] ^= 1
    damaged = tmp_path / "dummy.ko"
    damaged.write_bytes(whole)
    with pytest.raises(ModuleLoadError) as caught:
        box.insmod(damaged)
    assert caught.value.errno in (errno.EKEYREJECTED, errno.ENOEXEC)
