"""Rust for a kernel: what several processes do that ask for it at once. The build itself: `make check-rust`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kobox.errors import BuildError
from kobox.images.kernel_image import KernelImage, Progress
from kobox.images.store import Store
from kobox.kbuild.rust import RustSupport, add_rust


def a_kernel(place: Path, config: str) -> KernelImage:
    headers = place / "usr/src/linux-headers-9.9"
    headers.mkdir(parents=True)
    (headers / ".config").write_text(config)
    return KernelImage("9.9", "9.9", place / "vmlinuz", None, headers, "debian/sid linux-image-9.9 9.9-1", place, "")


class WaitingStore(Store):
    """A store whose lock another process has: while it is waited for, that process makes the Rust support."""

    made: Path

    @contextmanager
    def locked(self, progress: Progress | None = None) -> Iterator[None]:
        self.made.parent.mkdir(parents=True)
        self.made.touch()
        yield


CONFIG = 'CONFIG_RUST=y\nCONFIG_RUSTC_VERSION_TEXT="rustc 1.97.1 (8bab26f4f 2026-07-14)"\n'


def test_one_process_makes_it_and_the_others_take_it(tmp_path: Path) -> None:
    kernel = a_kernel(tmp_path / "kernel", CONFIG)
    store = WaitingStore(tmp_path / "cache")
    store.made = RustSupport(kernel).headers / "rust/libkernel.rmeta"
    assert not RustSupport(kernel).exists
    assert add_rust(store, kernel, lambda *_: None).exists  # nothing was fetched: there is no such kernel


@pytest.mark.parametrize(
    ("config", "words"),
    [("", "CONFIG_RUST is not set"), ("CONFIG_RUST=y\n", "does not say which rustc built it")],
)
def test_kernels_that_it_cannot_be_made_for(config: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=words):
        add_rust(Store(tmp_path / "cache"), a_kernel(tmp_path / "kernel", config), lambda *_: None)
