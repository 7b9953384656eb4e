"""System calls by name, as an architecture has them."""

from __future__ import annotations

import pytest

from kobox.arch.registry import ARCHITECTURES, architecture
from kobox.arch.syscalls import SyscallTable
from kobox.box.box import Box
from kobox.errors import KoboxError


def test_a_call_that_an_architecture_never_had_is_made_by_another() -> None:
    table = SyscallTable(
        "an architecture",
        {"openat": 56},
        lambda value: ("nothing", (value,)),
        lambda flags, pointer: (flags, pointer),
        "do_syscall",
        "__sys_",
        ("over",),
        {"open": lambda arguments: ("openat", (-100, *arguments))},
    )
    assert table.resolve("open", (1, 2, 3)) == table.resolve("openat", (-100, 1, 2, 3)) == (56, (-100, 1, 2, 3))
    assert "open" in table
    with pytest.raises(ValueError, match="no system call 'fork' on an architecture"):
        table.resolve("fork", ())


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_every_architecture_has_the_calls_that_boxes_rest_on(arch: object) -> None:
    table = architecture(arch.name).syscalls  # type: ignore[attr-defined]
    for name in ("open", "read", "write", "close", "ioctl", "mmap", "poll", "clone", "futex", "init_module", "wait4"):
        assert name in table


def test_a_box_says_which_architecture_lacks_a_call(box: Box) -> None:
    assert box.arch is architecture("amd64")
    with pytest.raises(ValueError, match=r"no system call 'nonsense' on x86-64"):
        box.syscall("nonsense")
    with pytest.raises(KoboxError, match="vax: no architecture"):
        architecture("vax")
