"""What a module does to the tables of its kernel stays in its box: nothing that lasts is derived from it."""

from __future__ import annotations

import resource
import shutil
import subprocess
from pathlib import Path

import pytest

from kobox.box.boot.bare_boot import boot, resume
from kobox.box.box import Box
from kobox.errors import BoxError, KoboxError, SnapshotError
from kobox.images.store import KernelImage
from tests.building import BuiltTestModules

NAMES = ("kfree", "__kmalloc", "kmem_cache_alloc", "ksys_read")


@pytest.fixture
def kernel(box: Box, tmp_path: Path) -> KernelImage:
    """The kernel with a snapshot of its own, of which nothing has been looked up yet."""
    place = box._place
    assert place is not None
    (tmp_path / "kernel/snapshots").mkdir(parents=True)
    subprocess.run(["cp", "-a", "--sparse=always", place, tmp_path / "kernel/snapshots"], check=True)
    for kept in (tmp_path / "kernel/snapshots").rglob("places"):
        kept.unlink()
    return box.image._replace(directory=tmp_path / "kernel")


@pytest.mark.parametrize("attack", ["kallsyms", "btf"])
def test_the_next_box_knows_nothing_of_it(
    box: Box, kernel: KernelImage, modules: BuiltTestModules, attack: str
) -> None:
    right = {name: box.inspect.symbols.address(name) for name in NAMES}
    member = box.inspect.layout.member("task_struct.pid")
    with boot(kernel) as hostile:
        try:
            hostile.insmod(modules("attacks"), attack=attack)
        except BoxError:
            assert attack == "btf"  # it oopses after that
        assert {name: hostile.inspect.symbols.address(name) for name in NAMES} == right
        assert hostile.inspect.layout.address("init_task") == box.inspect.symbols.address("init_task")
        assert hostile.inspect.layout.member("task_struct.pid") == member
        hostile.inspect.layout.keep()
    with boot(kernel) as after:
        assert {name: after.inspect.symbols.address(name) for name in NAMES} == right
        assert after.inspect.layout.member("task_struct.pid") == member
        assert after.inspect.layout.address("init_task") == box.inspect.symbols.address("init_task")


def test_a_box_that_is_saved_hands_on_the_tables_of_its_boot(
    kernel: KernelImage, modules: BuiltTestModules, tmp_path: Path, box: Box
) -> None:
    place = tmp_path / "kernel/snapshots/saved"
    with boot(kernel) as hostile:
        hostile.insmod(modules("attacks"), attack="kallsyms")
        hostile.save(place)
    again = resume(kernel, place)
    assert again is not None
    with again:
        assert again.inspect.symbols.address("kfree") == box.inspect.symbols.address("kfree")


@pytest.mark.parametrize("name", ["symbols", "btf"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_table_is_an_error_and_made_again(kernel: KernelImage, name: str, damage: str) -> None:
    (place,) = [path for path in (kernel.directory / "snapshots").iterdir() if path.name[0] != "."]
    data = bytearray((place / name).read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "gone":
        (place / name).unlink()
    else:
        (place / name).write_bytes(data if damage == "flip" else data[:-100])
    with boot(kernel) as damaged, pytest.raises(SnapshotError, match=name) as caught:
        damaged.inspect.symbols.address("kfree") if name == "symbols" else damaged.inspect.layout.member(
            "task_struct.pid"
        )
    assert "Boot again" in caught.value.hint
    assert not place.exists()
    shutil.rmtree(kernel.directory)


@pytest.mark.parametrize("count", [1, 0x7FFFFFFF, 0xFFFFFFFF, 10_000_000])
@pytest.mark.parametrize("attack", ["symbol_count", "symbol_count_no_table"])
def test_a_count_in_guest_memory_makes_nobody_allocate(
    box: Box, modules: BuiltTestModules, attack: str, count: int
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    box.limits.cpu = 1  # the kernel walks such a table, too
    with pytest.raises(KoboxError):
        box.insmod(modules("attacks"), attack=attack, number=count)
    assert box.inspect.symbols.find("attacks:nothing") is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


@pytest.mark.parametrize("size", [1 << 30, 100 << 30, 1 << 62, (1 << 64) - 1, -1])
def test_no_read_is_larger_than_ram(box: Box, size: int) -> None:
    with pytest.raises(ValueError, match="RAM has"):
        box.inspect.memory.read(0xFFFFFFFF81000000, size)
