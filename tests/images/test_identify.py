"""Reading a kernel's release off its file."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kobox.errors import KernelImageError
from kobox.images.identify import digest, identify
from kobox.images.store import KernelImage


def bzimage(version: bytes = b"9.8.7-test (me@here) #1 SMP", *, flags: int = 1, protocol: int = 0x20F) -> bytes:
    """The start of a bzImage: boot sector, setup header, version text."""
    head = bytearray(0x4000)
    struct.pack_into("<H", head, 0x1FE, 0xAA55)
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, protocol)
    struct.pack_into("<H", head, 0x20E, 0x3000 - 0x200)
    struct.pack_into("<H", head, 0x236, flags)
    head[0x3000 : 0x3000 + len(version) + 1] = version + b"\0"
    return bytes(head)


def vmlinux(banner: bytes = b"Linux version 9.8.7-test (me@here) (gcc) #1", *, machine: int = 62) -> bytes:
    """An ELF header for an executable, and a banner somewhere behind it."""
    return b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack("<HH", 2, machine) + b"\0" * 5000 + banner


def test_a_debian_kernel_tells_its_release(debian_kernel: KernelImage) -> None:
    found = identify(debian_kernel.vmlinuz)
    assert (found.release, found.form) == (debian_kernel.release, "bzImage")
    assert digest(debian_kernel.vmlinuz) == debian_kernel.digest


def test_an_elf_vmlinux_tells_its_release(tmp_path: Path) -> None:
    # The format string of /proc/version lies in a kernel as well, and is no banner.
    (tmp_path / "vmlinux").write_bytes(vmlinux(b"Linux version %s (%s)\0Linux version 9.8.7-test (me@here) (gcc) #1"))
    assert identify(tmp_path / "vmlinux").release == "9.8.7-test"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a Linux kernel image"),
        (b"MZ" + b"\0" * 5000, "not a Linux kernel image"),
        (bzimage()[:0x210], "not a Linux kernel image"),
        (bzimage(flags=0), "32-bit"),
        (bzimage(protocol=0x20A), "32-bit"),
        (bzimage(b"\xff\xfe"), "no version text"),
        (b"\0" * 0x38 + b"ARMd" + b"\0" * 5000, "arm64"),
        (vmlinux(machine=183), "not for x86-64"),
        (vmlinux(b"nothing"), "without a Linux banner"),
        (b"\x7fELF", "not for x86-64"),
    ],
)
def test_what_is_no_kernel_is_refused_with_the_reason(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(KernelImageError, match=words) as caught:
        identify(tmp_path / "file")
    assert str(tmp_path / "file") in str(caught.value)
