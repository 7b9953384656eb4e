"""What all tests share: a cache of kernels of the session's own, filled through apt once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobox.images.store import KernelImage, Store


@pytest.fixture(scope="session")
def kernel_store() -> Store:
    """The user's own cache: kernels are fetched once and kept; xdist's workers share it through its lock."""
    return Store()


@pytest.fixture(scope="session")
def debian_kernel(kernel_store: Store) -> KernelImage:
    """Debian bookworm's newest cloud kernel, with its modules and headers."""
    return _suite_kernel(kernel_store, "bookworm")


@pytest.fixture(scope="session")
def trixie_kernel(kernel_store: Store) -> KernelImage:
    """Debian trixie's newest cloud kernel, with its modules and headers."""
    return _suite_kernel(kernel_store, "trixie")


@pytest.fixture(scope="session")
def sid_kernel(kernel_store: Store) -> KernelImage:
    """Debian sid's newest cloud kernel, with its modules and headers."""
    return _suite_kernel(kernel_store, "sid")


@pytest.fixture
def quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A cache of the test's own, in XDG_CACHE_HOME."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / "cache")


def _suite_kernel(store: Store, suite: str) -> KernelImage:
    """The kernel of a suite that the cache has, or the newest, fetched: an offline run needs no network."""
    have = [
        kernel for kernel in store.list() if kernel.origin.startswith(f"debian/{suite} ") and "cloud" in kernel.name
    ]
    return have[-1] if have else store.add(f"debian/{suite}")
