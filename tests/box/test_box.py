"""Booting, resuming, loading modules from every kind of source, time, and boxes beside each other."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import threading
from pathlib import Path

import pytest
import zstandard

import kobox
from kobox.box.boot.bare_boot import boot
from kobox.box.box import Box
from kobox.errors import KoboxError, ModuleFormatError, ModuleLoadError, ModuleUnloadError
from kobox.images.store import KernelImage
from kobox.kernel.interface import InitFlags
from tests.building import BuiltTestModules

SUITES = ["debian_kernel", "trixie_kernel", "sid_kernel"]
TOOK = re.compile(r"clocks: (\S+) took (\d+) ns, (\d+) jiffies at HZ (\d+)")


# Basic blocks that a box executes while it has nothing to do for an hour; a CPU that is busy executes more in a second.
IDLE_BLOCKS = 10_000_000


@pytest.fixture
def own_box(debian_kernel: KernelImage) -> Box:
    """A box of the test's own, which it closes."""
    return boot(debian_kernel)


def measured(box: Box, modules: BuiltTestModules, what: str, milliseconds: int) -> tuple[int, int, int, float]:
    """What clocks.ko says of one way to wait: (ns by ktime_get, jiffies, HZ), and seconds between its log records."""
    module = box.insmod(modules("clocks"), what=what, ms=milliseconds)
    begin, end = [record for record in module.log if record.text.startswith(("clocks: begin", f"clocks: {what}"))]
    found = TOOK.fullmatch(end.text)
    assert found, end.text
    module.unload()
    return int(found[2]), int(found[3]), int(found[4]), end.time - begin.time


# -- kernels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", SUITES)
def test_stock_kernels_boot_load_a_module_and_unload_it(suite: str, request: pytest.FixtureRequest) -> None:
    kernel: KernelImage = request.getfixturevalue(suite)
    build = BuiltTestModules(kernel)
    with boot(kernel) as box:
        assert box.release == kernel.release
        assert box.read_text("/proc/sys/kernel/osrelease").strip() == kernel.release
        good = box.insmod(build("good"), n=4)
        assert good.is_loaded
        assert good.parameters["n"] == "4"
        good.unload()
        assert [record.text for record in box.log.of("good")][-2:] == ["good: loaded with n=4", "good: unloaded"]
        box.sleep(30)  # nobody is in hand then: the next call must summon somebody
        nanoseconds, _, _, _ = measured(box, build, "delayed_work", 100)
        assert 100_000_000 <= nanoseconds < 120_000_000
        assert not box.findings


@pytest.mark.parametrize("suite", SUITES)
def test_modules_that_come_to_lie_where_others_were_run_their_own_code(
    suite: str, request: pytest.FixtureRequest
) -> None:
    kernel: KernelImage = request.getfixturevalue(suite)
    build = BuiltTestModules(kernel)
    with boot(kernel) as box:
        for names in (["params", "chardev", "workers"], ["chardev", "memories"], ["chardev"], ["chardev", "memories"]):
            box.reset()
            for name in names:
                box.insmod(build(name))
            box.sleep(5)
            box.write_bytes("/dev/chardev1", b"x")
            for name in (*reversed(names), "good", "kbase", "entries"):
                if name in names:
                    box.rmmod(name)
                else:
                    box.insmod(build(name)).unload()
            assert not box.findings


def test_a_snapshot_resumes_to_the_same_moment(debian_kernel: KernelImage) -> None:
    with boot(debian_kernel) as first, boot(debian_kernel) as second:
        assert first.time == second.time
        assert first.log.text() == second.log.text()


def test_the_command_line_is_extended_and_memory_is_as_asked(debian_kernel: KernelImage) -> None:
    with boot(debian_kernel, cmdline="kobox.test=1 loglevel=4", memory=192 << 20) as box:
        assert box.read_text("/proc/cmdline").strip().endswith("kobox.test=1 loglevel=4")
        total = int(re.findall(r"MemTotal:\s+(\d+) kB", box.read_text("/proc/meminfo"))[0])
        assert 100 << 10 < total < 192 << 10
        assert box.inspect.memory.size == 192 << 20


def test_a_closed_box_says_so(own_box: Box) -> None:
    own_box.close()
    own_box.close()
    assert not own_box.alive
    with pytest.raises(KoboxError, match="closed"):
        own_box.syscall("getpid")


# -- loading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["path", "str", "bytes", "file object", "BytesIO"])
def test_a_module_is_taken_from(source: str, box: Box, modules: BuiltTestModules) -> None:
    path = modules("good")
    with path.open("rb") as file:
        given = {
            "path": path,
            "str": str(path),
            "bytes": path.read_bytes(),
            "file object": file,
            "BytesIO": io.BytesIO(path.read_bytes()),
        }[source]
        module = box.insmod(given)
    assert module.name == "good"
    assert module.is_loaded


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        (".gz", gzip.compress),
        (".xz", lzma.compress),
        (".zst", lambda data: zstandard.ZstdCompressor().compress(data)),
    ],
)
def test_a_compressed_module_is_loaded(
    suffix: str, pack: object, box: Box, modules: BuiltTestModules, tmp_path: Path
) -> None:
    packed = tmp_path / f"good.ko{suffix}"
    packed.write_bytes(pack(modules("good").read_bytes()))  # type: ignore[operator]
    assert box.insmod(packed, n=9).parameters["n"] == "9"
    packed.write_bytes(packed.read_bytes()[:1000])
    with pytest.raises(ModuleFormatError, match=re.escape(str(packed))):
        box.insmod(packed)


def test_what_the_kernel_cannot_read_is_the_kernel_s_own_refusal(box: Box, modules: BuiltTestModules) -> None:
    with pytest.raises(ModuleLoadError) as caught:
        box.insmod(bz2.compress(modules("good").read_bytes()))
    assert caught.value.errno == 8
    assert any("Invalid ELF header magic" in line for line in caught.value.log)


def test_finit_module_takes_flags(box: Box, modules: BuiltTestModules) -> None:
    box.init_module(modules("good").read_bytes(), "n=3", InitFlags.IGNORE_VERMAGIC)
    assert box.read_text("/sys/module/good/parameters/n") == "3\n"


def test_debian_s_own_modules_load_with_their_dependencies(box: Box, debian_kernel: KernelImage) -> None:
    tree = debian_kernel.modules
    assert tree is not None
    for name in ("net/802/garp", "net/802/mrp", "net/8021q/8021q", "drivers/block/loop", "fs/fuse/fuse"):
        for dependency in {"net/802/garp": ["net/llc/llc", "net/802/stp"]}.get(name, []):
            box.insmod(tree / f"kernel/{dependency}.ko")
        box.insmod(tree / f"kernel/{name}.ko")
    assert box.path("/dev/loop0").is_block_device()
    assert "Y" not in box.read_text("/proc/sys/kernel/tainted")
    box.rmmod("8021q")
    assert not box.findings


def test_modules_that_need_each_other(box: Box, modules: BuiltTestModules) -> None:
    with pytest.raises(ModuleLoadError) as caught:
        box.insmod(modules("kuser"))
    assert caught.value.errno == 2
    assert "kuser: Unknown symbol kbase_fn (err -2)" in caught.value.log
    assert "kuser: Unknown symbol kbase_gpl_fn (err -2)" in caught.value.log
    base = box.insmod(modules("kbase"))
    user = box.insmod(modules("kuser"))
    assert [r.text for r in box.log.of("kuser")][-1] == "kuser: kbase_fn(1) = 2, kbase_gpl_fn(21) = 42"
    assert base.holders == ["kuser"]
    assert base.refcount == 1
    for force in (False, True):
        with pytest.raises(ModuleUnloadError) as refused:
            box.rmmod("kbase", force=force)
        assert refused.value.errno == 11
        assert refused.value.module == "kbase"
    user.unload()
    base.unload()
    assert not base.is_loaded


def test_an_open_device_holds_its_module(box: Box, modules: BuiltTestModules) -> None:
    module = box.insmod(modules("chardev"))
    with box.open("/dev/chardev0", "rb"):
        assert module.refcount == 1
        with pytest.raises(ModuleUnloadError):
            module.unload()
    module.unload()
    assert not box.path("/dev/chardev0").exists()


# -- time ---------------------------------------------------------------------------------------------------------

WAYS = ["msleep", "usleep_range", "schedule_timeout", "wait_event_timeout", "busy", "timer", "hrtimer", "delayed_work"]


@pytest.mark.parametrize("what", [*WAYS, "mdelay", "udelay"])
@pytest.mark.parametrize("milliseconds", [20, 1000])
def test_clocks_agree_about(what: str, milliseconds: int, box: Box, modules: BuiltTestModules) -> None:
    nanoseconds, jiffies, hz, logged = measured(box, modules, what, milliseconds)
    tick = 1000 / hz
    # The timer wheel rounds up: to 8 jiffies from 64 on, to 64 from 512 on (kernel/time/timer.c, the table of levels).
    wanted = milliseconds / tick
    rounding = 1 if wanted < 63 else 8 if wanted < 504 else 64
    exact = what in ("usleep_range", "hrtimer", "mdelay", "udelay")
    late = 0.02 * milliseconds + 0.5 if exact else (rounding + 2) * tick
    # The first jiffy is never a whole one; and __const_udelay() counts with HZ / 4, which is 62 at 250 Hz, not 62.5.
    early = tick if what == "busy" else 0.008 * milliseconds if "delay" in what else 0
    assert milliseconds - early <= nanoseconds / 1e6 <= milliseconds + late
    assert abs(jiffies * tick - nanoseconds / 1e6) <= tick
    assert abs(logged - nanoseconds / 1e9) < 0.001


def test_an_hour_s_sleep_is_no_work(box: Box, modules: BuiltTestModules) -> None:
    before, blocks = box.time, box.machine.blocks
    nanoseconds, jiffies, hz, _ = measured(box, modules, "msleep", 3_600_000)
    assert box.machine.blocks - blocks < IDLE_BLOCKS
    # The timer wheel rounds an hour up to a multiple of 131 s, or of 262 at 1000 Hz (kernel/time/timer.c).
    assert 3600 <= nanoseconds / 1e9 < 3870
    assert abs(jiffies / hz - nanoseconds / 1e9) <= 1 / hz
    assert abs(box.time - before - nanoseconds / 1e9) < 1


def test_the_log_the_clock_and_the_box_show_one_time(box: Box, modules: BuiltTestModules) -> None:
    box.sleep(17)
    spec = bytearray(16)
    box.syscall("clock_gettime", 1, spec)
    monotonic = int.from_bytes(spec[:8], "little") + int.from_bytes(spec[8:], "little") / 1e9
    assert abs(monotonic - box.time) < 0.001
    assert abs(float(box.read_text("/proc/uptime").split()[0]) - box.time) < 0.02
    first = box.insmod(modules("good"))
    between = box.log.records()[-1].time - box.time
    box.sleep(1000)
    first.unload()
    assert box.log.records()[-1].time - box.time == pytest.approx(between, abs=0.01)


def test_sleeping_in_the_box_passes_virtual_time_only(box: Box) -> None:
    before, blocks = box.time, box.machine.blocks
    box.sleep(1000)
    assert box.time - before == pytest.approx(1000, abs=0.01)
    assert box.machine.blocks - blocks < IDLE_BLOCKS


def test_two_runs_give_byte_identical_logs(debian_kernel: KernelImage, modules: BuiltTestModules) -> None:
    def run() -> str:
        with boot(debian_kernel) as box:
            for name in ("params", "chardev", "workers", "memories", "asyncprobe"):
                box.insmod(modules(name))
            box.sleep(5)
            box.write_bytes("/dev/chardev1", b"x" * 40)
            box.insmod(modules("faulty"), what="warn")
            for name in ("workers", "params"):
                box.rmmod(name)
            return box.log.text()

    first = run()
    assert "workers: late work ran" in first
    assert first == run()


# -- boxes beside each other --------------------------------------------------------------------------------------


def test_boxes_are_independent(debian_kernel: KernelImage, modules: BuiltTestModules) -> None:
    with boot(debian_kernel) as one, boot(debian_kernel) as other:
        one.insmod(modules("good"), n=1)
        assert not other.path("/sys/module/good").exists()
        other.insmod(modules("good"), n=2)
        one.write_bytes("/tmp/file", b"one")
        assert one.read_text("/sys/module/good/parameters/n") == "1\n"
        assert other.read_text("/sys/module/good/parameters/n") == "2\n"
        assert not other.exists("/tmp/file")
        one.close()
        other.rmmod("good")


def test_a_box_works_in_threads_by_turns(debian_kernel: KernelImage, modules: BuiltTestModules) -> None:
    turn = threading.Lock()
    seen: list[str] = []
    with boot(debian_kernel) as box:

        def work(number: int) -> None:
            with turn:
                module = box.insmod(modules("good"), n=number)
                seen.append(module.parameters["n"])
                module.unload()

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(seen) == ["0", "1", "2", "3"]


def test_a_forked_child_goes_on_with_a_box_of_its_own(debian_kernel: KernelImage, modules: BuiltTestModules) -> None:
    with boot(debian_kernel) as box:
        box.insmod(modules("good"), n=1)
        saved = box.checkpoint()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                box.rmmod("good")
                box.insmod(modules("kbase"))
                gone = not box.exists("/sys/module/good")
                saved.restore()
                back = box.exists("/sys/module/good") and not box.exists("/sys/module/kbase")
                box.reset()
                status = 0 if gone and back and not box.exists("/sys/module/good") else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert box.exists("/sys/module/good")
        assert not box.exists("/sys/module/kbase")
        box.rmmod("good")


def test_the_package_gives_the_names(debian_kernel: KernelImage) -> None:
    assert kobox.boot.__module__ == "kobox.box.boot.boot"
    assert kobox.Box is Box
    assert "boot" in dir(kobox)


@pytest.mark.parametrize("kernel", ["debian_kernel", "trixie_kernel", "sid_kernel"])
def test_a_filter_of_ftrace_is_set_without_a_warning(kernel: str, request: pytest.FixtureRequest) -> None:
    """Weak functions that the linker has left out are known as such: ftrace_match_record(), kernel/trace/ftrace.c."""
    with boot(request.getfixturevalue(kernel)) as box:
        filters = box.path("/sys/kernel/tracing/set_ftrace_filter")
        for pattern in ("vfs_read", "vfs_*", "*"):
            filters.write_text(pattern)
        assert "vfs_read" in filters.read_text().split()
        assert not box.findings
