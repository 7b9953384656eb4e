"""Files that are copied into a box when they are opened."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import kobox
from kobox.box.boot import bare_boot
from kobox.box.box import Box
from kobox.images.kernel_image import KernelImage

PLACE = "/srv/copy"
SIZES = {"small": 5, "page": 4096, "kernel/long": 300_001, "kernel/empty": 0, "kernel/net/other": 200_000}


def content(name: str) -> bytes:
    return random.Random(name).randbytes(SIZES[name])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in SIZES:
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(name))
        os.utime(path, ns=(1_700_000_000_123_456_789, 1_600_000_000_987_654_321))
    (tmp_path / "tree/kernel/link").symlink_to("long")
    (tmp_path / "tree/small").chmod(0o640)
    return tmp_path / "tree"


@pytest.fixture(params=["debian_kernel", "sid_kernel"])
def box(request: pytest.FixtureRequest, directory: Path) -> Iterator[Box]:
    kernel: KernelImage = request.getfixturevalue(request.param)
    with kobox.boot(kernel) as box:
        box.files.copy_when_opened(directory, PLACE)
        yield box


def blocks(box: Box, name: str) -> int:
    return box.stat(f"{PLACE}/{name}").st_blocks


def test_what_is_opened_is_there_and_nothing_else_is_copied(box: Box) -> None:
    modules = box.read_text("/proc/modules")
    assert sorted(box.listdir(f"{PLACE}/kernel")) == ["empty", "link", "long", "net"]
    facts = box.stat(f"{PLACE}/small")
    assert (facts.st_size, oct(facts.st_mode & 0o777)) == (5, "0o640")
    assert sum(blocks(box, name) for name in SIZES) == 0
    assert box.read_bytes(f"{PLACE}/kernel/link") == content("kernel/long")
    assert [name for name in SIZES if blocks(box, name)] == ["kernel/long"]
    for name in SIZES:
        assert box.read_bytes(f"{PLACE}/{name}") == content(name)
        assert box.stat(f"{PLACE}/{name}").st_mtime_ns == 1_600_000_000_987_654_321
    assert box.read_text("/proc/modules") == modules
    assert "fuse" not in modules


def test_programs_of_the_box_and_the_kernel_itself_open_files(directory: Path, debian_kernel: KernelImage) -> None:
    with kobox.boot(debian_kernel) as box:
        box.files.copy_when_opened(directory, PLACE)
        box.files.copy_when_opened(debian_kernel.modules or "", "/srv/modules")
        name = next((debian_kernel.modules or Path()).rglob("dummy.ko")).relative_to(debian_kernel.modules or "")
        fd = box.syscall("open", f"/srv/modules/{name}", os.O_RDONLY, 0)
        box.syscall("finit_module", fd, "", 0)  # which refuses a file that somebody may write to
        assert "dummy" in box.read_text("/proc/modules")
        reader = box.process()
        fd = reader.syscall("open", f"{PLACE}/page", os.O_RDONLY, 0)
        buffer = bytearray(4096)
        assert reader.syscall("read", fd, buffer, 4096) == 4096
        assert bytes(buffer) == content("page")


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_APPEND])
def test_what_the_box_writes_stays(flags: int, box: Box) -> None:
    fd = box.syscall("open", f"{PLACE}/page", flags, 0)
    box.syscall("write", fd, b"mine", 4)
    box.syscall("close", fd)
    old = b"" if flags & os.O_TRUNC else content("page")
    new = old + b"mine" if flags & os.O_APPEND else b"mine" + old[4:]
    assert box.read_bytes(f"{PLACE}/page") == new
    box.write_bytes(f"{PLACE}/kernel/new", b"new")
    box.syscall("rename", f"{PLACE}/kernel/new", f"{PLACE}/small")
    box.syscall("truncate", f"{PLACE}/kernel/long", 3)
    assert [box.read_bytes(f"{PLACE}/{name}") for name in ("small", "kernel/long")] == [b"new", bytes(3)]


def test_a_box_that_goes_back_fills_a_file_again(box: Box) -> None:
    before = box.checkpoint()
    for _ in range(2):
        assert box.read_bytes(f"{PLACE}/kernel/long") == content("kernel/long")
        before.restore()
        assert blocks(box, "kernel/long") == 0


def test_a_box_that_was_saved_goes_on(directory: Path, debian_kernel: KernelImage, tmp_path: Path) -> None:
    with kobox.boot(debian_kernel) as box:
        box.files.copy_when_opened(directory, PLACE, most=300_000)
        assert box.read_bytes(f"{PLACE}/kernel/net/other") == content("kernel/net/other")
        box.save(tmp_path / "saved")
    resumed = bare_boot.resume(debian_kernel, tmp_path / "saved")
    assert resumed is not None
    with resumed as box:
        for name in SIZES:
            assert box.read_bytes(f"{PLACE}/{name}") == content(name)


def test_files_that_hold_too_much_memory_lose_their_content(directory: Path, debian_kernel: KernelImage) -> None:
    with kobox.boot(debian_kernel) as box:
        box.files.copy_when_opened(directory, PLACE, most=310_000)
        page = box.syscall("open", f"{PLACE}/page", os.O_RDONLY, 0)
        fd = box.syscall("open", f"{PLACE}/kernel/long", os.O_RDONLY, 0)
        assert box.read_bytes(f"{PLACE}/kernel/net/other") == content("kernel/net/other")
        assert (blocks(box, "page"), blocks(box, "kernel/long")) == (0, 0)
        assert sorted(box.listdir(f"{PLACE}/kernel")) == ["empty", "link", "long", "net"]
        buffer = bytearray(4096)
        for descriptor, name in ((page, "page"), (fd, "kernel/long")):  # who has it open keeps it
            assert box.syscall("pread64", descriptor, buffer, 4096, 0) == 4096
            assert bytes(buffer) == content(name)[:4096]
        box.write_bytes(f"{PLACE}/kernel/net/other", b"mine")
        for name in ("kernel/long", "page", "small", "kernel/long"):
            assert box.read_bytes(f"{PLACE}/{name}") == content(name)
        assert box.read_bytes(f"{PLACE}/kernel/net/other") == b"mine"


@pytest.mark.parametrize("change", ["gone", "longer", "newer", "link"])
def test_what_is_no_longer_as_it_was_cannot_be_opened(change: str, box: Box, directory: Path) -> None:
    path = directory / "page"
    if change in ("gone", "link"):
        path.unlink()
    if change == "link":
        path.symlink_to("/etc/passwd")
    elif change != "gone":
        path.write_bytes(content("page") + b"more" * (change == "longer"))
    with pytest.raises(PermissionError) as caught:
        box.read_bytes(f"{PLACE}/page")
    assert caught.value.errno == errno.EPERM
    assert box.read_bytes(f"{PLACE}/small") == content("small")


def test_the_kernel_is_not_tainted_by_it(box: Box) -> None:
    """Newer kernels taint themselves when somebody asks for these permissions."""
    assert box.read_text("/proc/sys/kernel/tainted") == "0\n"
