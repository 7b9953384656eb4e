"""Kernel image formats: from the file a distribution ships to the ELF vmlinux inside it.

A bzImage (Documentation/arch/x86/boot.rst) holds the compressed vmlinux:

    0x1F1 setup_sects   0x202 "HdrS"   0x248 payload_offset   0x24C payload_length
    |<-- (setup_sects + 1) * 512 bytes of setup -->|<-- protected mode code; payload at payload_offset -->|

The payload's packer is known by its first bytes: gzip, xz, zstd, lz4 (legacy frame), bzip2, lzma; an ELF file as
it stands is taken too. All but gzip end in the size of what was packed, four bytes that are no part of the stream.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from kobox.errors import KernelImageError

_ELF = b"\x7fELF"
_MAX_VMLINUX = 1 << 30


@dataclass(frozen=True, slots=True)
class ElfSegment:
    """One loadable part of a vmlinux: `data` goes to physical address `address`, zeroes follow up to `size` bytes."""

    address: int
    data: memoryview
    size: int


@dataclass(frozen=True, slots=True)
class Vmlinux:
    """An x86-64 kernel ready to be put in RAM: its physical entry point and segments."""

    entry: int
    segments: tuple[ElfSegment, ...]


def setup_header(image: bytes) -> bytes:
    """The first sector pair of a bzImage, which carries the setup header; zeroes when the image is a bare ELF file."""
    return image[:4096] if is_bzimage(image) else bytes(4096)


def is_bzimage(image: bytes) -> bool:
    """Whether the bytes start as a bzImage does."""
    return len(image) > 0x260 and image[0x202:0x206] == b"HdrS"


def extract_vmlinux(image: bytes, name: str = "kernel image") -> bytes | bytearray:
    """The ELF vmlinux in a kernel image.

    Raises `KernelImageError` when `image` is neither a bzImage nor an ELF file, or its payload is damaged or packed
    in a way that kobox does not know.
    """
    if image.startswith(_ELF):
        return image
    if not is_bzimage(image):
        raise KernelImageError(
            f"{name}: neither a bzImage nor an ELF vmlinux",
            hint="Give the file that a distribution installs as /boot/vmlinuz-RELEASE (x86-64).",
        )
    version, setup_sects = struct.unpack_from("<H", image, 0x206)[0], image[0x1F1] or 4
    if version < 0x0208:
        raise KernelImageError(f"{name}: boot protocol {version >> 8}.{version & 255:02} is older than 2.08")
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sects + 1) * 512 + offset
    payload = image[start : start + length]
    if len(payload) < max(length, 16):
        raise KernelImageError(
            f"{name}: truncated: the payload should end at byte {start + length}, the file at {len(image)}"
        )
    unpack = next((unpack for magic, unpack in _PACKERS if payload.startswith(magic)), None)
    if unpack is None:
        raise KernelImageError(f"{name}: the payload at byte {start} is packed in an unknown way ({payload[:4].hex()})")
    try:
        vmlinux = unpack(payload)
    except Exception as error:
        raise KernelImageError(f"{name}: the payload at byte {start} is damaged: {error}") from error
    if not vmlinux.startswith(_ELF):
        raise KernelImageError(f"{name}: the payload at byte {start} holds no ELF file")
    return vmlinux


def parse_vmlinux(vmlinux: bytes | bytearray, name: str = "vmlinux") -> Vmlinux:
    """Read the program headers of an x86-64 vmlinux. Raises `KernelImageError`."""
    if len(vmlinux) < 64 or not vmlinux.startswith(_ELF):
        raise KernelImageError(f"{name}: not an ELF file")
    machine = struct.unpack_from("<H", vmlinux, 18)[0]
    if vmlinux[4:6] != b"\2\1" or machine != 62:
        raise KernelImageError(f"{name}: not an x86-64 kernel (ELF class {vmlinux[4]}, machine {machine})")
    entry, phoff = struct.unpack_from("<QQ", vmlinux, 24)
    phentsize, phnum = struct.unpack_from("<HH", vmlinux, 54)
    view = memoryview(vmlinux)
    segments = []
    for i in range(phnum):
        at = phoff + phentsize * i
        if at + 56 > len(vmlinux):
            raise KernelImageError(f"{name}: program header {i} lies beyond the end of the file")
        kind, _, offset, _, physical, filesz, memsz, _ = struct.unpack_from("<IIQQQQQQ", vmlinux, at)
        if kind == 1:
            if offset + filesz > len(vmlinux):
                raise KernelImageError(
                    f"{name}: segment {i} ends at byte {offset + filesz}, the file at {len(vmlinux)}"
                )
            segments.append(ElfSegment(physical, view[offset : offset + filesz], max(memsz, filesz)))
    if not segments:
        raise KernelImageError(f"{name}: no loadable segment")
    return Vmlinux(entry, tuple(segments))


class _Decompressor(Protocol):
    """What the standard library's decompressors and zstandard's have in common."""

    @property
    def eof(self) -> bool: ...


def _whole(decompressor: _Decompressor, out: bytes) -> bytes:
    """What was unpacked, if the stream has come to its end: one that is cut short unpacks without complaint."""
    if not decompressor.eof:
        raise ValueError(f"it ends early, after {len(out)} bytes")
    return out


def _gzip(data: bytes) -> bytes:
    import zlib

    unpacker = zlib.decompressobj(31)
    return _whole(unpacker, unpacker.decompress(data, _MAX_VMLINUX))


def _xz(data: bytes) -> bytes:
    import lzma

    unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_XZ)
    return _whole(unpacker, unpacker.decompress(data, _MAX_VMLINUX))


def _lzma(data: bytes) -> bytes:
    import lzma

    unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_ALONE)
    return _whole(unpacker, unpacker.decompress(data, _MAX_VMLINUX))


def _bzip2(data: bytes) -> bytes:
    import bz2

    unpacker = bz2.BZ2Decompressor()
    return _whole(unpacker, unpacker.decompress(data, _MAX_VMLINUX))


def _zstd(data: bytes) -> bytes:
    import zstandard

    unpacker = zstandard.ZstdDecompressor().decompressobj()
    return _whole(unpacker, unpacker.decompress(data))


def _lz4(data: bytes) -> bytearray:
    """The legacy frame: blocks of up to 8 MiB, each behind its packed size; the four bytes at the end are no block."""
    import lz4.block

    out, view, at, end = bytearray(), memoryview(data), 4, len(data) - 4
    while at < end:
        (size,) = struct.unpack_from("<I", data, at)
        out += lz4.block.decompress(view[at + 4 : at + 4 + size], uncompressed_size=8 << 20)
        at += 4 + size
    return out


_PACKERS: tuple[tuple[bytes, Callable[[bytes], bytes | bytearray]], ...] = (
    (b"\x1f\x8b", _gzip),
    (b"\xfd7zXZ\0", _xz),
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"\x02\x21\x4c\x18", _lz4),
    (b"BZh", _bzip2),
    (b"\x5d\0\0", _lzma),
    (_ELF, bytes),
)
