"""Kernel images in every packing, made by a small bzImage writer from a real vmlinux; and files that are none."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable

import lz4.block
import pytest
import zstandard

from kobox.errors import KernelImageError
from kobox.images.store import KernelImage
from kobox.images.vmlinux import extract_vmlinux, is_bzimage, parse_vmlinux, setup_header

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1),
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32, preset=0),
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE, preset=0),
    "zstd": lambda data: zstandard.ZstdCompressor(level=1).compress(data),
    "lz4": lambda data: lz4_legacy(data),
    "bzip2": lambda data: bz2.compress(data, 1),
    "none": lambda data: data,
}


def lz4_legacy(data: bytes) -> bytes:
    """The frame that `lz4 -l` writes: blocks of 8 MiB, each behind its packed size."""
    out = [struct.pack("<I", 0x184C2102)]
    for start in range(0, len(data), 8 << 20):
        block = lz4.block.compress(data[start : start + (8 << 20)], store_size=False)
        out += [struct.pack("<I", len(block)), block]
    return b"".join(out)


def bzimage(payload: bytes, *, setup_sects: int = 27, version: int = 0x020F, tail: bytes = b"") -> bytes:
    """A bzImage around a payload: setup sectors with a header, 1000 bytes of code, the payload, more code."""
    setup = bytearray((setup_sects + 1) * 512)
    setup[0x1F1] = setup_sects
    setup[0x1FE:0x200] = b"\x55\xaa"
    setup[0x200:0x202] = b"\xeb\x66"
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, version)
    struct.pack_into("<II", setup, 0x248, 1000, len(payload))
    return bytes(setup) + bytes(1000) + payload + tail


@pytest.fixture(scope="session")
def vmlinux(debian_kernel: KernelImage) -> bytes:
    return extract_vmlinux(debian_kernel.vmlinuz.read_bytes())


@pytest.fixture(scope="session")
def small(vmlinux: bytes) -> bytes:
    """The first part of a real vmlinux, with program headers that fit it: enough to pack in every way, quickly."""
    part = bytearray(vmlinux[: 9 << 20])
    phoff, count = struct.unpack_from("<Q", part, 32)[0], struct.unpack_from("<H", part, 56)[0]
    for n in range(count):
        struct.pack_into("<QQQQQ", part, phoff + 56 * n + 8, 4096, 0, 0x1000000 * (n + 1), 4096, 8192)
    return bytes(part)


@pytest.mark.parametrize("suite", ["debian_kernel", "trixie_kernel", "sid_kernel"])
def test_distribution_kernels_are_taken_apart(suite: str, request: pytest.FixtureRequest) -> None:
    kernel: KernelImage = request.getfixturevalue(suite)
    image = kernel.vmlinuz.read_bytes()
    assert is_bzimage(image)
    parsed = parse_vmlinux(extract_vmlinux(image))
    assert parsed.entry >= 0x1000000
    assert any(s.address <= parsed.entry < s.address + s.size for s in parsed.segments)
    assert all(len(s.data) <= s.size for s in parsed.segments)
    assert setup_header(image)[0x202:0x206] == b"HdrS"


@pytest.mark.parametrize("packer", PACKERS)
def test_a_payload_is_unpacked(packer: str, small: bytes) -> None:
    small = small[: 2 << 20] if packer in ("xz", "lzma", "bzip2") else small  # those are slow; lz4 has blocks of 8 MiB
    payload = PACKERS[packer](small)
    # All but gzip and a bare ELF file are followed by the size of what was packed, as the kernel's Makefile writes it.
    if packer not in ("gzip", "none"):
        payload += struct.pack("<I", len(small))
    assert extract_vmlinux(bzimage(payload)) == small
    again = extract_vmlinux(bzimage(payload, setup_sects=15, tail=b"\xcc" * 5000))
    assert again == small
    assert len(parse_vmlinux(again).segments) > 0


def test_an_elf_vmlinux_is_taken_as_it_is(vmlinux: bytes) -> None:
    assert extract_vmlinux(vmlinux) is vmlinux
    assert setup_header(vmlinux) == bytes(4096)
    parsed = parse_vmlinux(vmlinux)
    assert parsed.entry == struct.unpack_from("<Q", vmlinux, 24)[0]


@pytest.mark.parametrize("packer", [name for name in PACKERS if name != "none"])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_payload_is_said_to_be_so(packer: str, damage: str, small: bytes) -> None:
    payload = PACKERS[packer](small[: 1 << 20])
    half = len(payload) // 2
    payload = payload[:half] if damage == "cut" else payload[:half] + b"\x5a" * 2000 + payload[half + 2000 :]
    image = bzimage(payload + struct.pack("<I", 1 << 20))
    with pytest.raises(KernelImageError) as caught:
        parse_vmlinux(extract_vmlinux(image, "broken"), "broken")
    assert "broken" in str(caught.value)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"", "neither a bzImage nor an ELF"),
        (b"garbage" * 1000, "neither a bzImage nor an ELF"),
        (bytes(1 << 20), "neither a bzImage nor an ELF"),
        (bzimage(gzip.compress(b"x" * 10000))[:14000], "truncated"),
        (bzimage(b"unknown packing of some kind"), "unknown way"),
        (bzimage(gzip.compress(b"no ELF file" * 100)), "no ELF file"),
        (bzimage(gzip.compress(b"x"), version=0x0204), "2.04 is older"),
        (bzimage(b""), "truncated"),
    ],
)
def test_what_is_no_kernel_is_refused(image: bytes, said: str) -> None:
    with pytest.raises(KernelImageError, match="some file") as caught:
        extract_vmlinux(image, "some file")
    assert said in str(caught.value)


def test_an_elf_file_that_is_no_x86_64_kernel(small: bytes) -> None:
    cases = {
        "class 1": small[:4] + b"\1" + small[5:],
        "machine 183": small[:18] + struct.pack("<H", 183) + small[20:],
        "no loadable segment": small[:56] + struct.pack("<H", 0) + small[58:],
        "beyond the end": small[:32] + struct.pack("<Q", 1 << 40) + small[40:],
        "not an ELF file": small[:40],
    }
    for said, image in cases.items():
        with pytest.raises(KernelImageError, match=said):
            parse_vmlinux(image)
    with pytest.raises(KernelImageError, match="segment 0 ends"):
        parse_vmlinux(small[:5000])
