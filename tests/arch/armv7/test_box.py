"""A box of 32 bits: Debian's armhf kernel boots, loads modules, changes its code, and says where it crashed.

`make test-armhf` runs the tests of all boards with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kobox.box.boot.bare_boot import boot
from kobox.box.box import Box
from kobox.box.inspect import registries
from kobox.box.inspect.objects import Objects
from kobox.box.inspect.registries import Registered
from kobox.box.symbol_file.kernel_symbol_file import symbol_file
from kobox.debug.gdb_session import GdbSession
from kobox.errors import BoxError, KoboxError
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import built_module


@pytest.fixture(scope="module")
def booted(armhf_kernel: KernelImage) -> Iterator[Box]:
    with boot(armhf_kernel) as box:
        yield box


@pytest.fixture
def box(booted: Box) -> Box:
    booted.reset()
    return booted


def test_a_module_is_built_loaded_used_and_unloaded(box: Box, armhf_kernel: KernelImage) -> None:
    assert "ARMv7" in box.read_text("/proc/cpuinfo")
    hello = box.insmod(built_module(armhf_kernel, "hello"), greeting="hi")
    assert any(record.text == "hi" for record in box.log.since(hello))
    symbols = box.inspect.symbols
    assert [module.name for module in symbols.modules()] == ["hello"]
    assert symbols.describe(symbols.address("hello:hello_read")).startswith("hello_read+0x0/")
    hello.unload()
    assert not box.exists("/sys/module/hello")
    assert not box.findings


def test_numbers_of_64_bits_go_to_files_and_come_back(box: Box) -> None:
    far = 5 << 32 | 6
    with box.open("/tmp/large", "w+b") as file:
        file.truncate(far + 4)
        assert box.stat("/tmp/large").st_size == far + 4
        assert file.pwrite(b"far", far) == 3
        assert file.pread(4, far) == b"far\0"
        assert file.seek(far) == far
        assert file.read(3) == b"far"
        assert file.seek(0, os.SEEK_END) == far + 4
        with file.mmap(4096) as view:
            assert view[:4] == bytes(4)
    box.syscall("utimensat", -100, "/tmp/large", b"".join(n.to_bytes(8, "little") for n in (3 << 30, 1, 3 << 30, 2)), 0)
    assert box.stat("/tmp/large").st_mtime_ns == (3 << 30) * 10**9 + 2  # behind the year 2038


def test_code_that_the_kernel_changes_is_executed_as_it_is_now(box: Box) -> None:
    """ICIMVAU: a kprobe is put into code that was executed before, and taken out again."""
    events, directory = "/sys/kernel/tracing/kprobe_events", "/sys/kernel/tracing/events/kprobes/changed"

    def hits() -> int:
        box.syscall("getpgid", 0)
        return int(box.read_text("/sys/kernel/tracing/kprobe_profile").split()[1])

    box.syscall("getpgid", 0)
    box.write_bytes(events, b"p:kprobes/changed sys_getpgid+12")  # behind what ftrace has there
    box.write_bytes(f"{directory}/enable", b"1")
    assert [hits(), hits()] == [1, 2]
    box.write_bytes(f"{directory}/enable", b"0")
    before = box.machine.statistics().exceptions.get(1)  # undefined instructions: a kprobe's is one
    assert hits() == 2
    assert box.machine.statistics().exceptions.get(1) == before


def test_a_crash_is_reported_with_its_calls_and_the_box_goes_on(box: Box, armhf_kernel: KernelImage) -> None:
    with pytest.raises(BoxError) as caught:
        box.insmod(built_module(armhf_kernel, "faulty"), what="null")
    assert caught.value.pc.startswith("faulty_null+0x")
    (finding,) = box.findings
    assert finding.message.startswith("Unable to handle kernel NULL pointer")
    assert [place.partition("+")[0] for place in finding.calls[:2]] == ["faulty_act", "faulty_init"]
    box.reset()
    assert box.syscall("getpid") > 1


def test_types_come_from_the_headers(box: Box) -> None:
    btf = box.inspect.symbols.btf
    assert btf.size("list_head") == 8
    assert btf.offset("module", "name") == 12
    assert btf.has("task_struct", "comm")


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        (registries.character_devices, "character device number 1 (mem)"),
        (registries.block_devices, "block device number 259 (blkext)"),
        (registries.workqueues, "workqueue events"),
        (registries.proc_entries, "/proc/meminfo"),
        (registries.debugfs_entries, "/sys/kernel/debug/bdi"),
        (registries.file_systems, "file system tmpfs"),
    ],
    ids=["character devices", "block devices", "workqueues", "proc", "debugfs", "file systems"],
)
def test_what_is_registered_is_found_without_the_kernels_own_types(
    box: Box, registry: Callable[[Objects], Iterator[Registered]], name: str
) -> None:
    assert name in {found for _, found in registry(box.inspect.objects)}


def test_calls_are_found_by_the_tables_for_unwinding(box: Box) -> None:
    """Also where an interrupt has come in: the kernel's own words for it are in tests/arch/boards/test_unwind.py."""
    unwinder, seen = box.inspect.unwinder, []
    with box.probe("vfs_write", lambda hit: seen.append([f.address for f in unwinder.walk(hit.registers)])):
        box.write_bytes("/tmp/x", b"12345")
    assert unwinder.reliable
    names = [box.inspect.symbols.describe(address).partition("+")[0] for address in seen[0]]
    assert names == ["vfs_write", "ksys_write", "ret_fast_syscall"]


def test_functions_of_the_kernel_are_called_in_the_box(box: Box) -> None:
    seen: list[tuple[int, ...]] = []
    with box.probe("vfs_write", lambda hit: seen.append((*hit.args[2:3], hit.argument(2)))):
        box.write_bytes("/tmp/x", b"12345")
    assert seen[0] == (5, 5)


def test_debuggers_say_that_they_see_no_kernel_of_32_bits(box: Box, armhf_kernel: KernelImage, tmp_path: Path) -> None:
    file = ModuleFile(built_module(armhf_kernel, "hello"))
    for begin in (
        lambda: GdbSession(box, lambda: None, [file]),
        lambda: box.save_core(tmp_path / "core"),
        lambda: symbol_file(box),
    ):
        with pytest.raises(KoboxError, match="kernels of 64 bits only, and this one is for ARMv7") as caught:
            begin()
        assert caught.value.hint
    assert not list(tmp_path.iterdir())
