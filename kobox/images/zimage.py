"""The kernel image of 32-bit ARM: code that unpacks the kernel, and the packed kernel behind it.

    0x24  0x016F2818            0x28  where it starts        0x2C  where it ends

The kernel goes TEXT_OFFSET behind the beginning of RAM: its first instructions subtract that from where they find
themselves. It is unpacked here: on an emulated CPU that takes ten times as long as all the rest of the boot.

Source: Documentation/arch/arm/booting.rst, arch/arm/boot/compressed/head.S, arch/arm/kernel/head.S.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable, Iterator

from kobox.errors import KernelImageError
from kobox.images.vmlinux import ElfSegment, Vmlinux

_MAGIC, _MAGIC_AT = 0x016F2818, 0x24
_LARGEST = 128 << 20
_FIRST = 512  # bytes of the kernel in which TEXT_OFFSET stands
_SUBTRACT = 0xE2488000  # SUB of a constant from the register that holds where it is
_HINT = "Give the file that a distribution installs as /boot/vmlinuz-RELEASE."


def is_zimage(head: bytes) -> bool:
    """Whether a file that begins so is one."""
    return len(head) >= _MAGIC_AT + 12 and struct.unpack_from("<I", head, _MAGIC_AT)[0] == _MAGIC


def _zstd(data: bytes) -> bytes:
    import zstandard

    unpacker = zstandard.ZstdDecompressor().decompressobj()
    return _whole(unpacker.decompress(data), unpacker.eof)


def _gzip(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(31)
    return _whole(unpacker.decompress(data, _LARGEST), unpacker.eof)


def _xz(data: bytes, kind: int = lzma.FORMAT_XZ) -> bytes:
    unpacker = lzma.LZMADecompressor(kind)
    return _whole(unpacker.decompress(data, _LARGEST), unpacker.eof)


def _whole(unpacked: bytes, ended: bool) -> bytes:
    """What was unpacked. Raises `EOFError` where there should have been more."""
    if not ended:
        raise EOFError("it is cut off")
    return unpacked


# How each way of packing begins. lz4 and lzo are left: no distribution takes them for ARM.
_PACKED: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\xfd7zXZ\0", _xz),
    (b"\x1f\x8b\x08", _gzip),
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"\x5d\0\0", lambda data: _xz(data, lzma.FORMAT_ALONE)),
)


def unpack_zimage(data: bytes, name: str = "kernel image") -> bytes:
    """The kernel in a zImage. Raises `KernelImageError` when there is none that can be unpacked."""
    for image in _unpacked(data):
        if _text_offset(image) is not None:
            return image
    raise KernelImageError(
        f"{name}: the packed kernel in it is damaged, or packed in another way than with xz, gzip, zstd or lzma",
        hint=_HINT,
    )


def _unpacked(data: bytes) -> Iterator[bytes]:
    """What can be unpacked of the file: the code that unpacks the kernel knows the same marks."""
    for magic, unpack in _PACKED:
        at = -1
        while (at := data.find(magic, at + 1)) >= 0:
            try:
                yield unpack(data[at:])
            except Exception:  # of whatever kind each library raises: it was no such mark
                continue


def _text_offset(image: bytes) -> int | None:
    """How far behind the beginning of RAM the kernel goes; None for what is no kernel."""
    for at in range(0, min(_FIRST, len(image) - 3), 4):
        word = int.from_bytes(image[at : at + 4], "little")
        if word & 0xFFFFF000 == _SUBTRACT:
            value, by = word & 0xFF, 2 * (word >> 8 & 15)
            return value << (32 - by) % 32 & 0xFFFFFFFF
    return None


def zimage_kernel(image: bytes, name: str = "kernel image") -> Vmlinux:
    """Where an unpacked kernel goes in RAM, and where it starts. Raises `KernelImageError`."""
    at = _text_offset(image)
    if at is None or not 2 << 20 <= at <= 8 << 20:
        raise KernelImageError(
            f"{name}: the kernel wants to lie {at or 0:#x} behind the beginning of RAM; a box has room from 2 MiB on",
            hint="Debian's armmp kernels fit.",
        )
    return Vmlinux(at, (ElfSegment(at, memoryview(image), len(image)),))
