"""What all tests share: a cache of kernels of the session's own, filled through apt once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobox.box.boot.bare_boot import boot
from kobox.box.box import Box
from kobox.images.store import KernelImage, Store
from tests.building import BuiltTestModules

# A shell starts what it puts in the background with SIGINT ignored, and children inherit that: Ctrl-C is tested here.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def kernel_store() -> Store:
    """The user's own cache: kernels are fetched once and kept; xdist's workers share it through its lock."""
    return Store()


@pytest.fixture(scope="session")
def debian_kernel(kernel_store: Store) -> KernelImage:
    """Debian bookworm's newest cloud kernel, with its modules and headers."""
    return _suite_kernel(kernel_store, "bookworm")


@pytest.fixture(scope="session")
def full_kernel(kernel_store: Store, debian_kernel: KernelImage) -> KernelImage:
    """Debian bookworm's full kernel, of the release that the cloud kernel has."""
    name = debian_kernel.name.replace("-cloud", "")
    have = [kernel for kernel in kernel_store.list() if kernel.name == name]
    return have[0] if have else kernel_store.add(f"debian/bookworm:{name}")


@pytest.fixture(scope="session")
def trixie_kernel(kernel_store: Store) -> KernelImage:
    """Debian trixie's newest cloud kernel, with its modules and headers."""
    return _suite_kernel(kernel_store, "trixie")


@pytest.fixture(scope="session")
def sid_kernel(kernel_store: Store) -> KernelImage:
    """Debian sid's newest cloud kernel, with its modules and headers."""
    return _suite_kernel(kernel_store, "sid")


@pytest.fixture(scope="session")
def modules(debian_kernel: KernelImage) -> BuiltTestModules:
    """The modules of tests/modules, built for the default kernel: `modules("good")` is a path."""
    return BuiltTestModules(debian_kernel)


@pytest.fixture(scope="session")
def faulty_paths(debian_kernel: KernelImage) -> BuiltTestModules:
    """The modules of tests/modules/faults: what goes wrong when a call fails, and NAME_right, which does not."""
    return BuiltTestModules(debian_kernel, "faults")


@pytest.fixture(scope="session")
def machine_room(debian_kernel: KernelImage) -> Iterator[dict[str, Box]]:
    """Booted boxes by what was added to their command line: booted once, given out clean by `box` and its kin."""
    boxes: dict[str, Box] = {}
    yield boxes
    for box in boxes.values():
        box.close()


@pytest.fixture
def box(machine_room: dict[str, Box], debian_kernel: KernelImage) -> Box:
    """A clean box of the default kernel."""
    return clean_box(machine_room, debian_kernel)


def clean_box(room: dict[str, Box], kernel: KernelImage, cmdline: str = "") -> Box:
    """The box of a command line as it was when booted, and with the limits of a new one."""
    if cmdline not in room:
        room[cmdline] = boot(kernel, cmdline=cmdline, cpus=int(os.environ.get("KOBOX_TEST_CPUS", "1")))
    found = room[cmdline]
    found.reset()
    found.limits.timeout, found.limits.cpu = 86400.0, 20.0
    found.inspect.probes.clear()
    return found


@pytest.fixture
def quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A cache of the test's own, in XDG_CACHE_HOME."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / "cache")


@pytest.fixture(scope="session")
def arm64_kernel(kernel_store: Store) -> KernelImage:
    """Debian bookworm's newest cloud kernel for arm64, with its modules and headers, and a cross compiler."""
    return _suite_kernel(kernel_store, "bookworm", "arm64")


@pytest.fixture(scope="session")
def riscv64_kernel(kernel_store: Store) -> KernelImage:
    """Debian trixie's newest kernel for riscv64, with its modules and headers, and a cross compiler."""
    return _suite_kernel(kernel_store, "trixie", "riscv64")


@pytest.fixture(scope="session")
def armhf_kernel(kernel_store: Store) -> KernelImage:
    """Debian bookworm's newest kernel for ARMv7, with its modules and headers, and a cross compiler."""
    return _suite_kernel(kernel_store, "bookworm", "armhf")


def _suite_kernel(store: Store, suite: str, port: str = "amd64") -> KernelImage:
    """The kernel of a suite that the cache has, or the newest, fetched: an offline run needs no network."""
    have = [
        kernel
        for kernel in store.list()
        if kernel.origin.startswith((f"debian/{suite} ", f"debian/{suite}:"))
        and ("cloud" in kernel.name or port not in ("amd64", "arm64"))
        and kernel.arch.debian == port
    ]
    return have[-1] if have else store.add(f"debian/{suite}:{port}")
