"""Which kernel a file is: its release string, read without unpacking it.

A bzImage (Documentation/arch/x86/boot.rst) opens with the boot sector and the setup code:

    0x1fe  u16  0xaa55
    0x202  4    "HdrS"
    0x206  u16  boot protocol version
    0x20e  u16  offset of the version text, less 0x200: "6.1.0-56-amd64 (who@where) #1 SMP …", NUL
    0x236  u16  xloadflags; bit 0: there is a 64-bit entry point

An ELF vmlinux has the same text in `linux_banner`: "Linux version 6.1.0-56-amd64 (who@where) …".
"""

from __future__ import annotations

import mmap
import re
import struct
from pathlib import Path
from typing import NamedTuple

from kobox.errors import KernelImageError
from kobox.images.flat_image import image_architecture, is_flat_image, unpack_image
from kobox.images.zimage import is_zimage, unpack_zimage
from kobox.ko.binary import c_string

_EM_X86_64 = 62
X86_64, ARM = "x86_64", "armv7l"
_BANNER = re.compile(rb"Linux version ([^\s%]{1,128}) \(")
_HINT = (
    "Give a kernel for x86-64 (a bzImage such as /boot/vmlinuz-RELEASE, or an ELF vmlinux), "
    "an Image for arm64 or riscv64, or a zImage for armhf."
)


class Identity(NamedTuple):
    """What a kernel file says of itself. `form` is "bzImage", "vmlinux", "Image" or "zImage"; `architecture` is as
    `uname -m` says it."""

    release: str
    form: str
    architecture: str = X86_64


def identify(path: Path) -> Identity:
    """Read the release of a kernel image. Raises KernelImageError for any other file, OSError as open does."""
    with path.open("rb") as file:
        head = file.read(0x10000)
        if head[:4] == b"\x7fELF":
            return Identity(_release_of_elf(path, head), "vmlinux")
        if is_zimage(head):
            return Identity(_release_in(unpack_zimage(path.read_bytes(), str(path)), path), "zImage", ARM)
        if is_flat_image(head):
            return _identify_flat(path)
        return Identity(_release_of_bzimage(path, head), "bzImage")


def digest(path: Path) -> str:
    """The sha256 of a file, as hex."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _release_of_bzimage(path: Path, head: bytes) -> str:
    if len(head) < 0x238 or head[0x202:0x206] != b"HdrS":
        raise KernelImageError(f"{path}: not a Linux kernel image", hint=_HINT)
    (protocol,) = struct.unpack_from("<H", head, 0x206)
    (flags,) = struct.unpack_from("<H", head, 0x236)
    if protocol < 0x20C or not flags & 1:
        raise KernelImageError(f"{path}: a 32-bit x86 kernel; boxes are x86-64 machines", hint=_HINT)
    start = struct.unpack_from("<H", head, 0x20E)[0] + 0x200
    text = c_string(head[start : start + 128]).split(b" ")[0]
    if not re.fullmatch(rb"[!-.0-~]+", text):
        raise KernelImageError(f"{path}: the kernel image carries no version text; it looks damaged", hint=_HINT)
    return text.decode("ascii")


def _identify_flat(path: Path) -> Identity:
    image = unpack_image(path.read_bytes(), str(path))
    return Identity(_release_in(image, path), "Image", image_architecture(image))


def _release_in(image: bytes, path: Path) -> str:
    found = _BANNER.search(image)
    if found is None:
        raise KernelImageError(f"{path}: the kernel image carries no version text; it looks damaged", hint=_HINT)
    return found.group(1).decode("ascii", errors="replace")


def _release_of_elf(path: Path, head: bytes) -> str:
    if len(head) < 64 or head[4:6] != b"\2\1" or struct.unpack_from("<H", head, 18)[0] != _EM_X86_64:
        raise KernelImageError(f"{path}: an ELF file, but not for x86-64", hint=_HINT)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = _BANNER.search(content)
        release = found.group(1).decode("ascii", errors="replace") if found else ""
    if not release:
        raise KernelImageError(f"{path}: an ELF file without a Linux banner: no kernel", hint=_HINT)
    return release
