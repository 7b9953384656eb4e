"""The memory of a virtual machine as a file: what is saved comes back, and nothing else does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kobox.errors import SnapshotError
from kobox.vm.memory import WINDOW, VmMemory

SIZE = 32 << 20


def filled() -> VmMemory:
    memory = VmMemory(SIZE)
    os.pwrite(memory.fd, b"first", 0)
    os.pwrite(memory.fd, b"last", SIZE - 4)
    return memory


def test_what_was_used_comes_back_and_the_rest_stays_a_hole(tmp_path: Path) -> None:
    memory, again = filled(), VmMemory(SIZE)
    total = memory.save(tmp_path / "ram")
    facts = (tmp_path / "ram").stat()
    assert (facts.st_size, facts.st_blocks * 512 < 1 << 20) == (SIZE + WINDOW, True)
    file = os.open(tmp_path / "ram", os.O_RDONLY)
    again.load(file, total)
    os.close(file)
    assert os.pread(again.fd, 5, 0) + os.pread(again.fd, 4, SIZE - 4) == b"firstlast"
    assert os.pread(again.fd, SIZE - 9, 5) == bytes(SIZE - 9)


@pytest.mark.parametrize("damage", ["a byte", "the size"])
def test_a_damaged_file_is_refused(damage: str, tmp_path: Path) -> None:
    total = filled().save(tmp_path / "ram")
    if damage == "a byte":
        with (tmp_path / "ram").open("r+b") as file:
            file.write(b"F")
    else:
        os.truncate(tmp_path / "ram", SIZE)
    with (tmp_path / "ram").open("rb") as file, pytest.raises(SnapshotError):
        VmMemory(SIZE).load(file.fileno(), total)


def test_the_window_is_behind_what_the_kernel_has() -> None:
    memory = VmMemory(SIZE)
    assert memory.argument == "memmap=16M$0x2000000"
    assert memory.window is not None
    memory.window[:5] = b"there"
    assert os.pread(memory.fd, 5, SIZE) == b"there"
    assert VmMemory(3 << 30).argument == ""  # above 2 GiB, a machine's addresses are others
