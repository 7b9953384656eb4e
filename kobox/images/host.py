"""The running kernel's own files, where distributions put them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kobox.errors import KernelNotFoundError


@dataclass(frozen=True, slots=True)
class HostKernel:
    """The files of one installed kernel; `modules` and `headers` are None where they are not installed."""

    release: str
    vmlinuz: Path
    modules: Path | None
    headers: Path | None


def host_kernel(root: Path = Path("/"), release: str | None = None) -> HostKernel:
    """The files of the kernel that runs (or of `release`) under `root`.

    Raises KernelNotFoundError when its image cannot be found or read.
    """
    release = release or os.uname().release
    places = [
        root / "boot" / f"vmlinuz-{release}",  # Debian, Fedora, openSUSE
        root / "usr/lib/modules" / release / "vmlinuz",  # Fedora, Arch, and Debian's split packages
        root / "lib/modules" / release / "vmlinuz",
        root / "boot" / f"kernel-{release}",  # Gentoo
    ]
    images = [place for place in places if place.is_file()]
    if not images:
        raise KernelNotFoundError(
            f"the running kernel {release} has no image in /boot or /lib/modules",
            hint="In a container or virtual machine that is usual: `kobox kernel add debian` fetches a kernel.",
        )
    readable = [image for image in images if os.access(image, os.R_OK)]
    if not readable:
        raise KernelNotFoundError(
            f"{images[0]}: may only be read by root",
            hint=f"`sudo cp {images[0]} . && sudo chmod 644 {images[0].name}`, then add that file.",
        )
    modules = root / "lib/modules" / release
    headers = modules / "build"
    return HostKernel(
        release=release,
        vmlinuz=readable[0],
        modules=modules if (modules / "kernel").is_dir() else None,
        headers=headers if (headers / "Makefile").exists() else None,
    )
