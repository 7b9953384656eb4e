"""Kernel images for arm64: plain, and in the EFI programs that some distributions make of them."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from kobox.errors import KernelImageError
from kobox.images import flat_image
from kobox.images.flat_image import is_flat_image, unpack_image
from kobox.images.identify import identify
from kobox.images.store import KernelImage, Store


def zboot(image: bytes, kind: bytes, pack: Callable[[bytes], bytes]) -> bytes:
    """An EFI program around an image, as drivers/firmware/efi/libstub/Makefile.zboot lays it out."""
    packed = pack(image)
    header = b"MZ\0\0zimg" + struct.pack("<II8x", 64, len(packed)) + kind.ljust(32, b"\0")
    return header.ljust(64, b"\0") + packed


@pytest.fixture(scope="module")
def image(arm64_kernel: KernelImage) -> bytes:
    return arm64_kernel.vmlinuz.read_bytes()


@pytest.mark.parametrize(
    ("kind", "pack"),
    [(b"gzip", lambda data: gzip.compress(data, 1)), (b"zstd22", zstandard.ZstdCompressor(1).compress), (b"", None)],
    ids=["gzip", "zstd", "plain"],
)
def test_what_is_packed_is_the_image(
    image: bytes, kind: bytes, pack: Callable[[bytes], bytes] | None, tmp_path: Path, arm64_kernel: KernelImage
) -> None:
    data = zboot(image, kind, pack) if pack else image
    assert is_flat_image(data)
    assert unpack_image(data) == image
    path = tmp_path / "vmlinuz"
    path.write_bytes(data)
    found = identify(path)
    assert (found.release, found.architecture) == (arm64_kernel.release, "aarch64")
    assert Store().get(str(path)).arch.debian == "arm64"


def test_where_it_goes_is_what_its_header_says(image: bytes) -> None:
    kernel = flat_image.flat_kernel(image)
    assert kernel.entry == kernel.segments[0].address == 2 << 20
    assert kernel.segments[0].size == struct.unpack_from("<Q", image, 16)[0] > len(image)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda image: image[:32], "not a kernel image for arm64"),
        (lambda image: b"", "not a kernel image for arm64"),
        (lambda image: zboot(b"x", b"gzip", lambda _: b"\x1f\x8bgarbage"), "is damaged"),
        (lambda image: zboot(b"x", b"zstd22", lambda _: b"garbage"), "is damaged"),
        (lambda image: b"MZ\0\0zimg", "is damaged"),
        (lambda image: image[:8] + b"\xff" * 16 + image[24:], "damaged"),
        (lambda image: image[:16] + bytes(8) + image[24:], "damaged"),
    ],
)
def test_a_damaged_image_is_an_error(image: bytes, damage: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(KernelImageError, match=message):
        flat_image.flat_kernel(unpack_image(damage(image)))
