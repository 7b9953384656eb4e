"""The running kernel's files, in the places where distributions put them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kobox.errors import KernelNotFoundError
from kobox.images.host import host_kernel


@pytest.mark.parametrize("place", ["boot/vmlinuz-9.1", "usr/lib/modules/9.1/vmlinuz", "lib/modules/9.1/vmlinuz"])
def test_the_image_is_found_where_it_is(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).touch()
    found = host_kernel(tmp_path, "9.1")
    assert (found.vmlinuz, found.modules, found.headers) == (tmp_path / place, None, None)


def test_modules_and_headers_come_along_when_installed(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/vmlinuz-9.1").touch()
    (tmp_path / "lib/modules/9.1/kernel").mkdir(parents=True)
    (tmp_path / "usr/src/linux").mkdir(parents=True)
    (tmp_path / "usr/src/linux/Makefile").touch()
    (tmp_path / "lib/modules/9.1/build").symlink_to("../../../usr/src/linux")
    found = host_kernel(tmp_path, "9.1")
    assert (found.modules, found.headers) == (tmp_path / "lib/modules/9.1", tmp_path / "lib/modules/9.1/build")


def test_no_image_is_said_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(KernelNotFoundError, match=r"no image in /boot[\s\S]*kobox kernel add debian") as caught:
        host_kernel(tmp_path)
    assert os.uname().release in str(caught.value)
