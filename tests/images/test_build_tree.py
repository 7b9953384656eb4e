"""A kernel in the directory where it was built."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kobox.errors import KernelImageError
from kobox.images.kernel_config import read_config
from kobox.images.store import KernelImage, Store


@pytest.fixture
def tree(debian_kernel: KernelImage, tmp_path: Path) -> Path:
    """What `make O=DIR bzImage modules` leaves of the kernel that is here."""
    root = tmp_path / "out"
    assert debian_kernel.modules is not None
    for directory in ("arch/x86/boot", "scripts/mod", "drivers/net", "fs"):
        (root / directory).mkdir(parents=True)
    shutil.copyfile(debian_kernel.vmlinuz, root / "arch/x86/boot/bzImage")
    for name, place in (("dummy", "drivers/net"), ("loop", "fs")):
        shutil.copyfile(next(debian_kernel.modules.rglob(f"{name}.ko")), root / place / f"{name}.ko")
    (root / "modules.order").write_text("drivers/net/dummy.ko\nfs/loop.o\n")
    (root / "modules.builtin").write_text("kernel/drivers/tty/serial.ko\n")
    (root / "Makefile").write_text("include ../Makefile\n")
    (root / "scripts/mod/modpost").write_text("")
    (root / ".config").write_text("CONFIG_HZ=250\nCONFIG_MODULES=y\n")
    return root


def test_image_modules_and_headers_come_from_where_they_were_built(
    tree: Path, debian_kernel: KernelImage, tmp_path: Path
) -> None:
    kernel = Store(tmp_path / "cache").add_build(tree)
    assert (kernel.name, kernel.origin) == (debian_kernel.release, str(tree))
    assert kernel.digest == debian_kernel.digest
    assert kernel.headers == tree
    assert kernel.modules is not None
    assert (kernel.modules / "kernel/drivers/net/dummy.ko").is_file()
    assert (kernel.modules / "modules.order").read_text() == "kernel/drivers/net/dummy.ko\nkernel/fs/loop.ko\n"
    assert (kernel.modules / "modules.builtin").is_file()
    assert read_config(kernel)["HZ"] == "250"


def test_a_kernel_without_modules_or_headers_has_none(tree: Path, tmp_path: Path) -> None:
    (tree / "modules.order").write_text("")
    (tree / "scripts/mod/modpost").unlink()
    kernel = Store(tmp_path / "cache").add_build(tree)
    assert (kernel.modules, kernel.headers) == (None, None)


@pytest.mark.parametrize(
    ("order", "match"),
    [
        ("drivers/net/none.ko", r"names drivers/net/none\.ko, which is not there"),
        ("../../etc/passwd", "which is not there"),
        ("/etc/passwd", "which is not there"),
    ],
)
def test_modules_that_are_not_there_are_named_and_nothing_is_kept(
    order: str, match: str, tree: Path, tmp_path: Path
) -> None:
    (tree / "modules.order").write_text(order)
    store = Store(tmp_path / "cache")
    with pytest.raises(KernelImageError, match=match) as error:
        store.add_build(tree)
    assert "make modules" in error.value.hint
    assert store.list() == []


def test_a_directory_without_a_kernel_says_how_to_build_one(tmp_path: Path) -> None:
    with pytest.raises(KernelImageError, match="no kernel was built there") as error:
        Store(tmp_path / "cache").add_build(tmp_path)
    assert "make bzImage modules" in error.value.hint
