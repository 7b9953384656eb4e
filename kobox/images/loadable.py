"""A kernel file of any architecture, as a machine loads it."""

from __future__ import annotations

from kobox.images.flat_image import flat_kernel, is_flat_image, unpack_image
from kobox.images.vmlinux import Vmlinux, extract_vmlinux, parse_vmlinux, setup_header
from kobox.images.zimage import is_zimage, unpack_zimage, zimage_kernel


def loadable_kernel(data: bytes, name: str) -> tuple[Vmlinux, bytes]:
    """The kernel in a file, and what its loader must know besides: a bzImage's setup header, else nothing.

    Raises `KernelImageError`.
    """
    if is_zimage(data):
        return zimage_kernel(unpack_zimage(data, name), name), b""
    if is_flat_image(data):
        return flat_kernel(unpack_image(data, name), name), b""
    return parse_vmlinux(extract_vmlinux(data, name), name), setup_header(data)


def unpacked_kernel(data: bytes, name: str) -> bytes | bytearray:
    """What a kernel file of any architecture holds, as it lies in memory or as an ELF file. Raises
    `KernelImageError`."""
    if is_zimage(data):
        return unpack_zimage(data, name)
    if is_flat_image(data):
        return unpack_image(data, name)
    return extract_vmlinux(data, name)
