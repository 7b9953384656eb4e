"""The kernel image of arm64 and riscv64, plain or packed.

Source: Documentation/arch/arm64/booting.rst, Documentation/arch/riscv/boot-image-header.rst.

    0x00  u32 x2  code            0x10  u64  image_size: room that it needs, .bss included
    0x08  u64     text_offset     0x18  u64  flags
    0x38  "ARM\\x64", or "RSC\\x05"

It goes to `text_offset` behind the beginning of RAM, aligned to 2 MiB. Some distributions pack it into an EFI program
that unpacks itself (drivers/firmware/efi/libstub/zboot-header.S):

    0x00  "MZ"    0x04  "zimg"    0x08  u32 x2  offset and size of what is packed    0x18  its kind, a string
"""

from __future__ import annotations

import struct
import zlib

from kobox.errors import KernelImageError
from kobox.images.vmlinux import ElfSegment, Vmlinux
from kobox.ko.binary import c_string

_PLACE = 2 << 20
_MAGIC_AT = 0x38
_MAGICS = {b"ARM\x64": "aarch64", b"RSC\x05": "riscv64"}
_GZIP = b"\x1f\x8b"
_LARGEST = 512 << 20
_HINT = "Give the file that a distribution installs as /boot/vmlinuz-RELEASE (arm64) or vmlinux-RELEASE (riscv64)."


def is_flat_image(head: bytes) -> bool:
    """Whether a file that begins so is an Image, plain or in an EFI program that unpacks it."""
    return head[_MAGIC_AT : _MAGIC_AT + 4] in _MAGICS or _is_zboot(head)


def image_architecture(image: bytes) -> str:
    """The processor of a plain Image, as `uname -m` says it."""
    return _MAGICS[image[_MAGIC_AT : _MAGIC_AT + 4]]


def _is_zboot(head: bytes) -> bool:
    return head[:2] == b"MZ" and head[4:8] == b"zimg"


def unpack_image(data: bytes, name: str = "kernel image") -> bytes:
    """The plain Image in a file. Raises `KernelImageError` when there is none, or it is damaged."""
    try:
        if _is_zboot(data):
            offset, size = struct.unpack_from("<II", data, 8)
            packed, kind = data[offset : offset + size], c_string(data[0x18:0x38])
            if kind.startswith(b"zstd"):
                import zstandard

                data = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
            else:
                data = packed
        if data[:2] == _GZIP:
            data = zlib.decompressobj(31).decompress(data, _LARGEST)
    except Exception as error:
        raise KernelImageError(f"{name}: the packed kernel in it is damaged: {error}") from error
    if len(data) < 0x40 or data[_MAGIC_AT : _MAGIC_AT + 4] not in _MAGICS:
        raise KernelImageError(f"{name}: not a kernel image for arm64 or riscv64", hint=_HINT)
    return data


def flat_kernel(image: bytes, name: str = "kernel image") -> Vmlinux:
    """Where a plain Image goes in RAM, and where it starts. Raises `KernelImageError`."""
    text_offset, size = struct.unpack_from("<QQ", image, 8)
    if text_offset > _PLACE or not len(image) <= size <= _LARGEST:
        raise KernelImageError(f"{name}: says that it needs {size} bytes, and has {len(image)}: damaged", hint=_HINT)
    at = text_offset if text_offset == _PLACE else _PLACE + text_offset
    return Vmlinux(at, (ElfSegment(at, memoryview(image), size),))
