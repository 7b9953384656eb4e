"""A box whose board a device tree announces: a stock Debian kernel boots, makes system calls, loads modules."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import Any

import pytest

from kobox.box.boot.bare_boot import boot
from kobox.box.boot.boot import boot as boot_with_modules
from kobox.box.box import Box
from kobox.errors import BoxError, ModuleLoadError
from kobox.images.store import KernelImage
from tests.building import built_module


@pytest.fixture(scope="module")
def booted(board_kernel: KernelImage) -> Iterator[Box]:
    with boot(board_kernel) as box:
        yield box


@pytest.fixture
def box(booted: Box) -> Box:
    booted.reset()
    return booted


CPUS = {"aarch64": "CPU architecture: 8", "riscv64": "rv64imafdc", "armv7l": "ARMv7"}

BEHIND_FTRACE = {"armv7l": 12}  # where a kprobe can be, behind what ftrace has at a function's beginning; else 8
BREAKPOINT = {"aarch64": 7, "riscv64": 3, "armv7l": 1}


def test_it_has_the_kernels_processor(box: Box, board_kernel: KernelImage) -> None:
    assert box.arch is board_kernel.arch
    assert CPUS[box.arch.name] in box.read_text("/proc/cpuinfo")
    assert box.read_bytes("/proc/device-tree/model") == b"kobox\0"
    assert box.read_text("/proc/version").startswith(f"Linux version {box.image.release} ")


@pytest.mark.parametrize(
    ("call", "arguments", "result"),
    [
        ("getpid", (), None),
        ("mkdir", ("/tmp/d", 0o755), 0),
        ("access", ("/proc/version", os.R_OK), 0),
        ("symlink", ("/proc", "/tmp/link"), 0),
        ("link", ("/proc/version", "/tmp/hard"), -errno.EXDEV),
        ("chmod", ("/tmp", 0o1777), 0),
        ("chown", ("/tmp", 0, 0), 0),
        ("mknod", ("/tmp/null", stat.S_IFCHR | 0o666, 0x103), 0),
        ("rmdir", ("/nosuch",), -errno.ENOENT),
        ("unlink", ("/nosuch",), -errno.ENOENT),
        ("rename", ("/nosuch", "/nosuch2"), -errno.ENOENT),
        ("open", ("/proc/version", os.O_RDONLY | os.O_DIRECTORY, 0), -errno.ENOTDIR),
        ("open", ("/dev/stdin", os.O_RDONLY | os.O_NOFOLLOW, 0), -errno.ELOOP),
        ("creat", ("/tmp/new", 0o600), None),
        ("pipe", (bytearray(8),), 0),
        ("dup2", (99, 77), -errno.EBADF),
        ("epoll_create", (1,), None),
        ("eventfd", (0,), None),
    ],
)
def test_old_calls_are_made_by_those_that_the_processor_has(
    box: Box, call: str, arguments: tuple[Any, ...], result: int | None
) -> None:
    try:
        got = box.syscall(call, *arguments)
    except OSError as error:
        got = -(error.errno or 0)
    assert got == result if result is not None else got >= 0


def test_files_are_read_and_written_by_the_guests_layouts(box: Box) -> None:
    directory = box.path("/tmp/d")
    directory.mkdir()
    (directory / "x").write_bytes(b"hello")
    assert [path.name for path in directory.iterdir()] == ["x"]
    found = box.stat("/tmp/d/x")
    assert (found.st_size, stat.S_ISREG(found.st_mode), found.st_nlink) == (5, True, 1)
    assert os.major(box.stat("/dev/null").st_rdev) == 1
    (directory / "x").rename("/tmp/y")
    assert box.read_bytes("/tmp/y") == b"hello"
    with box.open("/dev/zero", "rb") as zero:
        assert zero.poll() == 1
        assert zero.read(4) == bytes(4)


def test_a_module_is_built_loaded_used_and_unloaded(box: Box, board_kernel: KernelImage) -> None:
    hello = box.insmod(built_module(board_kernel, "hello"), greeting="hi")
    assert any(record.text == "hi" for record in box.log.since(hello))
    assert box.path("/sys/module/hello/parameters/greeting").read_text() == "hi\n"
    assert box.path("/dev/hello").is_char_device()
    hello.unload()
    assert not box.exists("/sys/module/hello")
    assert not box.findings


def test_modules_of_the_kernels_own_tree_load(box: Box, board_kernel: KernelImage) -> None:
    assert board_kernel.modules is not None
    for name in ("raid6_pq", "dummy", "nbd", "zstd_compress"):
        found = next(iter(board_kernel.modules.rglob(f"{name}.ko*")), None)
        if found is not None:
            box.insmod(found).unload()
    assert not box.findings


def test_what_is_for_another_processor_is_refused(box: Box, debian_kernel: KernelImage) -> None:
    assert debian_kernel.modules is not None
    with pytest.raises(ModuleLoadError) as caught:
        box.insmod(next(debian_kernel.modules.rglob("dummy.ko*")))
    assert caught.value.errno == errno.ENOEXEC


def test_time_passes_when_nobody_has_anything_to_do(box: Box) -> None:
    before, blocks = box.machine.time, box.machine.blocks
    box.sleep(3600)
    assert box.machine.time - before >= 3600 * 10**9
    assert box.machine.blocks - blocks < 40_000_000  # a kernel that idles, not one that looks at the clock


def test_a_reset_gives_everything_back(box: Box, board_kernel: KernelImage) -> None:
    box.insmod(built_module(board_kernel, "hello"))
    box.path("/tmp/x").write_bytes(b"x" * 100_000)
    box.reset()
    assert not box.exists("/tmp/x")
    assert not box.exists("/sys/module/hello")
    box.insmod(built_module(board_kernel, "hello")).unload()


def test_two_boxes_say_the_same(board_kernel: KernelImage) -> None:
    said = []
    for _ in range(2):
        with boot(board_kernel) as box:
            loaded = box.insmod(built_module(board_kernel, "hello"))
            box.sleep(1)
            loaded.unload()
            said.append([str(record) for record in box.log.since(loaded)])
    assert said[0] == said[1]
    assert said[0]


def test_probes_see_and_change_arguments_and_results(box: Box) -> None:
    seen: list[tuple[int, int]] = []
    with box.probe(f"{box.arch.syscalls.prefix}getpid", lambda hit: None, lambda hit: hit.set_result(4711)):
        assert box.syscall("getpid") == 4711
    with box.probe("ksys_sync", lambda hit: hit.skip()) as probe:
        box.syscall("sync")
        assert probe.hits == 1
    with box.probe("vfs_write", lambda hit: seen.append((hit.args[2], hit.caller)), None):
        box.write_bytes("/tmp/x", b"12345")
    assert seen[0][0] == 5
    assert box.arch.addresses.is_kernel(seen[0][1])
    assert "write" in box.inspect.symbols.describe(seen[0][1])


@pytest.mark.parametrize(
    ("what", "text", "where"),
    [
        # RV64 calls it "access to user memory without uaccess routines", as the address is in the user's half.
        ("null", "Unable to handle kernel ", "faulty_null"),
        ("bug", "kernel BUG at ", "faulty_bug"),
    ],
)
def test_a_crash_is_reported_and_the_box_goes_on(
    box: Box, board_kernel: KernelImage, what: str, text: str, where: str
) -> None:
    with pytest.raises(BoxError) as caught:
        box.insmod(built_module(board_kernel, "faulty"), what=what)
    assert any(text in line for line in caught.value.log)
    assert caught.value.pc.startswith(f"{where}+0x")
    assert any(text in finding.message for finding in box.findings)
    box.reset()
    assert box.syscall("getpid") > 1


def test_code_that_gathers_entropy_from_the_clock_finds_some(board_kernel: KernelImage) -> None:
    with boot_with_modules(board_kernel) as box:
        box.modprobe("jitterentropy_rng")
        assert "driver       : jitterentropy_rng" in box.read_text("/proc/crypto")


def test_a_device_and_a_file_are_mapped_and_written(board_kernel: KernelImage) -> None:
    with boot(board_kernel) as box:
        box.insmod(built_module(board_kernel, "chardev"))
        with box.open("/dev/chardev0", "r+b") as device:
            device.write(b"from write")
            with device.mmap(4096) as view:
                assert view[:10] == b"from write"
                view[5:10] = b"a map"
            assert device.pread(10, 0) == b"from a map"
        box.write_bytes("/tmp/file", bytes(range(256)) * 64)
        with box.open("/tmp/file", "r+b") as file, file.mmap(16384) as view:
            view[4094:4098] = b"over"
            assert box.read_bytes("/tmp/file")[4094:4098] == b"over"


def test_code_that_the_kernel_changes_is_executed_as_it_is_now(box: Box) -> None:
    """IC IVAU, or FENCE.I: kprobes are put into code that was executed before, and taken out again."""
    events, directory = "/sys/kernel/tracing/kprobe_events", "/sys/kernel/tracing/events/kprobes/changed"
    function = f"{box.arch.syscalls.prefix}getpgid"

    def hits() -> int:
        box.syscall("getpgid", 0)
        return int(box.read_text("/sys/kernel/tracing/kprobe_profile").split()[1])

    box.syscall("getpgid", 0)
    place = f"{function}+{BEHIND_FTRACE.get(box.arch.name, 8)}"
    box.write_bytes(events, f"p:kprobes/changed {place}".encode())
    box.write_bytes(f"{directory}/enable", b"1")
    assert [hits(), hits()] == [1, 2]
    box.write_bytes(f"{directory}/enable", b"0")
    before = box.machine.statistics().exceptions
    assert hits() == 2
    assert box.machine.statistics().exceptions.get(BREAKPOINT[box.arch.name]) == before.get(BREAKPOINT[box.arch.name])


def test_modules_at_one_place_run_their_own_code(box: Box, board_kernel: KernelImage) -> None:
    said = []
    for name, word in [("hello", "hello"), ("good", "loaded with n="), ("hello", "hello")]:
        loaded = box.insmod(built_module(board_kernel, name))
        said.append(any(word in record.text for record in box.log.since(loaded)))
        loaded.unload()
    assert said == [True] * 3
