"""How a compressed module comes to the kernel, and whether it is taken there.

kmod unpacks a module itself and hands it over with init_module(2): any stream that liblzma, zlib and zstd take is fine.
From version 31 on it hands over a file as it is (finit_module(2) with MODULE_INIT_COMPRESSED_FILE) where
/sys/module/compression names the file's compression: the kernel was built with CONFIG_MODULE_DECOMPRESS. There lib/xz
knows no integrity check but CRC32, and of the filters only LZMA2 and those for code that were built in.

    .xz:  fd '7zXZ' 00 | 00 check | crc32 || size/4-1  flags  [sizes]  {id  size  properties}…  | …
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kobox.ko.compression import recognise
from kobox.ko.signature import MARKER

_CHECKS = {0: "no check", 1: "CRC32", 4: "CRC64", 10: "SHA-256"}
_LARGEST_CHECK = 1  # XZ_CHECK_CRC32
# Filter: (its name, the option that the kernel needs for it)
_FILTERS = {
    0x03: ("delta", ""),
    0x04: ("x86", "XZ_DEC_X86"),
    0x05: ("powerpc", "XZ_DEC_POWERPC"),
    0x06: ("ia64", "XZ_DEC_IA64"),
    0x07: ("arm", "XZ_DEC_ARM"),
    0x08: ("armthumb", "XZ_DEC_ARMTHUMB"),
    0x09: ("sparc", "XZ_DEC_SPARC"),
    0x0A: ("arm64", "XZ_DEC_ARM64"),
    0x0B: ("riscv", "XZ_DEC_RISCV"),
}
_LZMA2 = 0x21
_OPTIONS = {"gzip": "MODULE_COMPRESS_GZIP", "xz": "MODULE_COMPRESS_XZ", "zstd": "MODULE_COMPRESS_ZSTD"}


def unpacked_by_the_kernel(data: bytes, config: Mapping[str, str]) -> bool:
    """Whether kmod 31 and newer hand over these bytes as they are, to a kernel with this configuration."""
    option = _OPTIONS.get(recognise(data), "")
    return bool(option) and config.get("MODULE_DECOMPRESS") == "y" and config.get(option) == "y"


def kernel_objections(data: bytes, config: Mapping[str, str]) -> Iterator[str]:
    """What the kernel's own decompressor has against a stream that it is to unpack."""
    if recognise(data) != "xz":
        return
    check = data[7] & 0x0F if len(data) > 7 else 0
    if check > _LARGEST_CHECK:
        yield f"its integrity check is {_CHECKS.get(check, f'number {check}')}, and the kernel knows only CRC32"
    for one in _xz_filters(data[12:]):
        name, option = _FILTERS.get(one, (f"number {one:#x}", ""))
        if one != _LZMA2 and config.get(option) != "y":
            needs = f" (CONFIG_{option} is off)" if option else ""
            yield f"it uses the filter {name}, for which the kernel has no code{needs}"


def _xz_filters(block: bytes) -> list[int]:
    """The filters of the first block's header; none where it is damaged."""
    try:
        flags, at = block[1], 2
        for present in (flags & 0x40, flags & 0x80):
            if present:
                _, at = _vli(block, at)
        found = []
        for _ in range((flags & 3) + 1):
            one, at = _vli(block, at)
            size, at = _vli(block, at)
            at += min(size, len(block))
            found.append(one)
    except IndexError:
        return []
    return found


def _vli(block: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where it ends."""
    value = 0
    for number in range(9):
        byte = block[at + number]
        value |= (byte & 0x7F) << (7 * number)
        if not byte & 0x80:
            return value, at + number + 1
    raise IndexError


def signature_is_outside(data: bytes) -> bool:
    """Whether a signature was appended to the compressed file: it belongs to the module inside."""
    return bool(recognise(data)) and data.rstrip(b"\r\n\0").endswith(MARKER.rstrip(b"\n"))
