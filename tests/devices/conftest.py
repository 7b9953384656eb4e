"""Boxes of Debian's full kernel, which has the drivers that its cloud kernel lacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.images.store import KernelImage
from tests.debian import EXT4, Programs


@pytest.fixture(scope="session")
def full_kernel_box(full_kernel: KernelImage) -> Iterator[Box]:
    """A box of the full kernel for the whole session; `full_box` gives it out clean."""
    with boot(full_kernel) as box:
        yield box


@pytest.fixture
def full_box(full_kernel_box: Box) -> Box:
    """A box of the full kernel as it was when booted."""
    full_kernel_box.reset()
    full_kernel_box.limits.timeout, full_kernel_box.limits.cpu = 86400.0, 60.0
    return full_kernel_box


@pytest.fixture(scope="session")
def ext4_programs() -> Programs:
    return Programs(*EXT4)


@pytest.fixture
def ext4(tmp_path: Path, ext4_programs: Programs) -> Path:
    image = tmp_path / "ext4.img"
    with image.open("wb") as file:
        file.truncate(24 << 20)
    ext4_programs.run("mkfs.ext4", "-q", "-F", image)
    return image
