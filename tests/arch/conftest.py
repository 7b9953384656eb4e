"""Kernels of every processor whose board a device tree announces.

KOBOX_TEST_BOARDS names some of them (`make test-riscv64`, `make test-armhf`).
"""

from __future__ import annotations

import os

import pytest

from kobox.images.store import KernelImage

BOARDS = os.environ.get("KOBOX_TEST_BOARDS", "arm64_kernel riscv64_kernel").split()


@pytest.fixture(scope="session", params=BOARDS)
def board_kernel(request: pytest.FixtureRequest) -> KernelImage:
    """A kernel with its modules, its headers and a cross compiler."""
    kernel: KernelImage = request.getfixturevalue(request.param)
    return kernel
