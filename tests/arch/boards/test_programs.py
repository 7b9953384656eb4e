"""Programs of Debian's in a box of their architecture: its own user space, pipes, signals, the kmod tools."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kobox.apps.rootfs import shell_box
from kobox.box.box import Box
from kobox.images.store import KernelImage
from tests.building import built_module


@pytest.fixture(scope="module")
def box(board_kernel: KernelImage) -> Iterator[Box]:
    with shell_box(board_kernel) as made:
        yield made


@pytest.mark.parametrize(
    ("script", "output"),
    [
        ("sleep 0; echo $((6 * 7))", "42\n"),
        ("seq 3 | sort -r | tr '\\n' ' '", "3 2 1 "),
        ("kill -9 $$", ""),
        ("trap 'echo caught' USR1; kill -USR1 $$; echo on", "caught\non\n"),
        ("(exit 7); echo $?", "7\n"),
        ("sleep 5 & wait; echo woken", "woken\n"),
        ("echo x > /tmp/f; mv /tmp/f /tmp/g; cat /tmp/g", "x\n"),
        ("bash -c 'for n in {1..3}; do echo -n $n; done'", "123"),
        ("modprobe dummy && grep -c ^dummy /proc/modules; modprobe -r dummy", "1\n"),
    ],
)
def test_scripts_run(box: Box, script: str, output: str) -> None:
    assert box.run(["sh", "-c", script], capture_output=True, text=True).stdout == output


def test_they_are_the_processors_own(box: Box) -> None:
    assert box.run(["uname", "-m"], capture_output=True, text=True).stdout == f"{box.arch.name}\n"


def test_a_module_of_ours_is_loaded_by_the_real_insmod(box: Box, board_kernel: KernelImage) -> None:
    box.files.copy_in(built_module(board_kernel, "hello"), "/tmp/hello.ko")
    shown = box.run(["sh", "-c", "insmod /tmp/hello.ko greeting=moin && rmmod hello && dmesg"], capture_output=True)
    assert shown.returncode == 0
    assert b"moin" in shown.stdout
