"""Several CPUs of a box: what the kernel makes of them, and who decides which of them runs."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

import kobox
from kobox.box.box import Box
from kobox.errors import BoxError, KernelPanicError, KoboxError
from kobox.images.store import KernelImage

CPU1 = "/sys/devices/system/cpu/cpu1/online"


@pytest.fixture(scope="module")
def room(debian_kernel: KernelImage) -> Iterator[Box]:
    with kobox.boot(debian_kernel, cpus=2) as box:
        yield box


@pytest.fixture
def two(room: Box) -> Box:
    room.reset()
    return room


def cpu_of(number: bytearray) -> int:
    return int.from_bytes(number, "little")


@pytest.mark.parametrize(("kernel", "cpus"), [("debian_kernel", 8), ("trixie_kernel", 2), ("sid_kernel", 3)])
def test_the_kernel_starts_every_cpu(request: pytest.FixtureRequest, kernel: str, cpus: int) -> None:
    with kobox.boot(request.getfixturevalue(kernel), cpus=cpus) as box:
        assert box.cpus == cpus
        assert box.read_text("/sys/devices/system/cpu/online").strip() == f"0-{cpus - 1}"
        assert int(box.run(["nproc"], text=True, capture_output=True).stdout) == cpus
        assert not box.findings
        for cpu in range(cpus):
            with box.process(cpu=cpu) as process:
                number = bytearray(4)
                process.syscall("getcpu", number, None, None)
                assert cpu_of(number) == cpu


@pytest.mark.parametrize("cpus", [0, -1, 9])
def test_a_number_of_cpus_that_no_box_has_is_refused(debian_kernel: KernelImage, cpus: int) -> None:
    with pytest.raises(KoboxError, match=f"cpus={cpus}: a box for x86-64 has 1 to 8 CPUs"):
        kobox.boot(debian_kernel, cpus=cpus)


def test_an_arm64_box_has_one_cpu(arm64_kernel: KernelImage) -> None:
    with pytest.raises(KoboxError, match="cpus=2: a box for AArch64 has one CPU"):
        kobox.boot(arm64_kernel, cpus=2)


def test_a_process_is_put_on_a_cpu_that_there_is(two: Box) -> None:
    with pytest.raises(ValueError, match=r"cpu=2: this box has 2 \(`kobox.boot\(cpus=...\)`\)"):
        two.process(cpu=2)


def test_a_cpu_goes_offline_and_comes_back(two: Box) -> None:
    two.path(CPU1).write_text("0")
    assert two.read_text("/sys/devices/system/cpu/online").strip() == "0"
    two.path(CPU1).write_text("1")
    assert two.read_text("/sys/devices/system/cpu/online").strip() == "0-1"
    assert not two.findings


def test_an_ipi_reaches_the_other_cpu(two: Box) -> None:
    def interrupts(name: str) -> list[int]:
        lines = two.read_text("/proc/interrupts").splitlines()
        words = next(line for line in lines if line.lstrip().startswith(f"{name}:")).split()
        return [int(words[1]), int(words[2])]

    before = interrupts("CAL")
    with two.process(cpu=1) as other:
        other.syscall("membarrier", 1 << 4, 0, 0)  # MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED
        other.syscall("getpid")
        two.syscall("membarrier", 2, 0, 0)  # MEMBARRIER_CMD_GLOBAL_EXPEDITED's kin: waits for all CPUs
        two.path(CPU1).write_text("0")
        two.path(CPU1).write_text("1")
    assert sum(interrupts("CAL")) > sum(before)
    assert min(interrupts("LOC")) > 0  # each has a timer of its own


def test_a_panic_stops_all_cpus(two: Box) -> None:
    with pytest.raises(KernelPanicError, match="sysrq triggered crash"):
        two.write_bytes("/proc/sysrq-trigger", b"c")
    two.reset()
    assert two.syscall("getpid") > 1


def test_an_nmi_makes_the_other_cpu_tell_where_it_is(two: Box) -> None:
    two.write_bytes("/proc/sysrq-trigger", b"l")
    two.sleep(0.1)
    lines = [record.text for record in two.log]
    assert any("Sending NMI from CPU 0 to CPUs 1" in line for line in lines)
    assert any("NMI backtrace for cpu 1" in line for line in lines)


def test_two_calls_run_at_the_same_moment_on_two_cpus(two: Box) -> None:
    with two.process(cpu=1) as other:
        numbers = bytearray(4), bytearray(4)
        before = two.machine.turns().switches
        two.schedule.turns(5)
        first, second = two.schedule.together(
            (other, "getcpu", numbers[0], None, None), (None, "getcpu", numbers[1], None, None)
        )
        assert (first.result(), second.result()) == (0, 0)
        assert [cpu_of(number) for number in numbers] == [1, 0]
        assert two.machine.turns().switches - before > 20


def test_a_call_that_waits_for_the_other_comes_back(two: Box) -> None:
    ends = bytearray(8)
    two.syscall("pipe2", ends, 0)
    reads, writes = (int.from_bytes(ends[n : n + 4], "little") for n in (0, 4))
    got = bytearray(5)
    with two.process(cpu=1) as other:
        read, write = two.schedule.together((other, "read", reads, got, 5), (None, "write", writes, b"hello", 5))
        assert (read.result(), write.result(), bytes(got)) == (5, 5, b"hello")


def test_calls_of_one_cpu_cannot_begin_together(two: Box) -> None:
    with two.process() as other, pytest.raises(ValueError, match="both calls are on CPU 0"):
        two.schedule.together((other, "getpid"), (None, "getppid"))
    assert two.syscall("getpid") > 1


def test_a_checkpoint_keeps_the_schedule(two: Box) -> None:
    two.schedule.turns(50, seed=3)
    with two.checkpoint():
        two.schedule.pct(9, depth=4, blocks=5000)
        assert two.schedule.id == "pct:5000:9:3"
    assert two.schedule.id == "random:50:3"
    two.reset()
    assert two.schedule.id == "turns:1000"


@pytest.mark.parametrize("name", ["turns:1000", "turns:7", "random:100:7", "pct:100000:5:2"])
def test_a_schedule_is_replayed_by_its_id(two: Box, name: str) -> None:
    two.schedule.replay(name)
    assert two.schedule.id == name


@pytest.mark.parametrize("text", ["", "turns", "turns:x", "turns:0", "random:5", "pct:1:2", "pct:5:1:99", "fast:1"])
def test_a_text_that_is_no_schedule_is_refused(two: Box, text: str) -> None:
    if text == "turns":
        two.schedule.replay(text)  # without a number: the turns of the boot
        assert two.schedule.id == "turns:1000"
        return
    with pytest.raises(KoboxError, match="is no schedule"):
        two.schedule.replay(text)


def test_a_held_cpu_stands_still_until_it_is_released(two: Box) -> None:
    two.schedule.hold(1)
    assert two.schedule.held == 1
    two.schedule.release()
    assert two.schedule.held is None
    with pytest.raises(ValueError, match="no CPU 5: this box has 2"):
        two.schedule.hold(5)


RUN = """
import sys, zlib, kobox
from kobox.errors import KoboxError
with kobox.boot(sys.argv[1], cpus=2) as box:
    box.schedule.replay(sys.argv[2])
    with box.process(cpu=1) as other:
        for n in range(5):
            box.schedule.together((other, "getrandom", bytearray(64), 64, 0), (None, "getrandom", bytearray(64), 64, 0))
    ram = zlib.crc32(box.machine.ram)
    print(box.machine.blocks, box.machine.time, ram, box.machine.turns(), box.machine.registers())
"""


@pytest.mark.parametrize("name", ["turns:13", "random:40:11", "pct:20000:4:3"])
def test_the_same_schedule_gives_the_same_run_in_every_process(debian_kernel: KernelImage, name: str) -> None:
    def run(schedule: str) -> str:
        command = [sys.executable, "-c", RUN, debian_kernel.name, schedule]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert run(name) == run(name)


def test_one_cpu_knows_no_turns(box: Box) -> None:
    assert box.cpus == 1
    before = hashlib.sha256(box.machine.save_state()).hexdigest()
    box.schedule.hold(0)
    assert box.schedule.held is None
    assert box.machine.turns().switches == 0
    assert hashlib.sha256(box.machine.save_state()).hexdigest() == before


def test_a_cpu_that_halts_for_good_leaves_the_others_running(two: Box) -> None:
    """stop_this_cpu() halts with interrupts disabled; only the others then run (arch/x86/kernel/process.c)."""
    with two.process(cpu=1) as other:
        other.syscall("getpid")
        two.path(CPU1).write_text("0")  # CPU 1 plays dead: play_dead() halts it with interrupts disabled
        assert two.syscall("getpid") > 1
        two.sleep(0.5)
    with pytest.raises((BoxError, OSError)):
        two.process(cpu=1)
