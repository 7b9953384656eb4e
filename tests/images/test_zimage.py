"""Kernel images of 32-bit ARM: the kernel in them is found behind marks that are none, however it is packed."""

from __future__ import annotations

import gzip
import lzma
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from kobox.errors import KernelImageError
from kobox.images.identify import identify
from kobox.images.loadable import loadable_kernel
from kobox.images.zimage import is_zimage

BANNER = b"Linux version 6.1.0-9-armmp (who@where) #1 SMP"
NOP, SUBTRACT = 0xE1A00000, 0xE2488982  # SUB R8, R8, #0x208000
MARKS = b"\xfd7zXZ\0 \x1f\x8b\x08 \x28\xb5\x2f\xfd"  # as the code that unpacks has them


def kernel(subtract: int = SUBTRACT) -> bytes:
    return struct.pack("<20I", *[NOP] * 19, subtract) + bytes(4096) + BANNER + bytes(100)


def zimage(packed: bytes) -> bytes:
    head = struct.pack("<9I", *[NOP] * 9) + struct.pack("<3I", 0x016F2818, 0, 4096)
    return head + MARKS + packed + struct.pack("<I", len(packed))


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "xz": lzma.compress,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
}


@pytest.mark.parametrize("how", PACKED)
def test_a_kernel_is_unpacked_and_named(how: str, tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz"
    path.write_bytes(zimage(PACKED[how](kernel())))
    found = identify(path)
    assert (found.release, found.form, found.architecture) == ("6.1.0-9-armmp", "zImage", "armv7l")
    loaded, header = loadable_kernel(path.read_bytes(), str(path))
    assert (loaded.entry, loaded.segments[0].address, header) == (0x208000, 0x208000, b"")
    assert bytes(loaded.segments[0].data) == kernel()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (zimage(b""), "damaged, or packed in another way"),
        (zimage(lzma.compress(kernel())[:-40]), "damaged, or packed in another way"),
        (zimage(lzma.compress(b"no kernel")), "damaged, or packed in another way"),
        (zimage(lzma.compress(kernel(0xE2488902))), "wants to lie 0x8000 behind"),
    ],
    ids=["nothing packed", "cut off", "no kernel in it", "too low"],
)
def test_what_is_no_such_kernel_is_refused(content: bytes, why: str) -> None:
    assert is_zimage(content)
    with pytest.raises(KernelImageError, match=why) as caught:
        loadable_kernel(content, "x/vmlinuz")
    assert "x/vmlinuz" in str(caught.value)
    assert caught.value.hint
