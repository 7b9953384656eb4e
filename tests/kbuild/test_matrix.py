"""Builds for several kernels, interface by interface."""

from __future__ import annotations

from pathlib import Path

from kobox.errors import BuildError
from kobox.images.store import KernelImage
from kobox.kbuild.matrix import matrix, refused_interfaces

_TIMER = "a.c:1:2: error: implicit declaration of function 'del_timer'\n"
_HEADER = "a.c:1:2: fatal error: linux/genhd.h: No such file or directory\n"
_MEMBER = "a.c:3:2: error: 'struct inode' has no member named 'i_ctime'\n"


def kernel(name: str) -> KernelImage:
    return KernelImage(name, name, Path("vmlinuz"), None, None, "test", Path("/none"), name)


def test_each_interface_has_a_row_and_each_kernel_a_cell() -> None:
    results = [
        (kernel("1"), BuildError("no", output=_MEMBER)),
        (kernel("2"), BuildError("no", output=_MEMBER + _TIMER)),
        (kernel("3"), BuildError("no", output=_HEADER)),
    ]
    assert matrix(results) == {
        "inode.i_ctime": {"1": "refused", "2": "refused", "3": "?"},
        "del_timer": {"1": "ok", "2": "refused", "3": "?"},
        "linux/genhd.h": {"1": "ok", "2": "ok", "3": "refused"},
    }
    assert refused_interfaces(BuildError("no", output=_MEMBER + _TIMER)) == ["inode.i_ctime", "del_timer"]
    assert matrix([]) == {}
