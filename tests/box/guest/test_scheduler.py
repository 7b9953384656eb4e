"""More than one process in the box: calls that block, processes that die, limits, and Ctrl-C."""

from __future__ import annotations

import errno
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kobox.box.boot import snapshots
from kobox.box.boot.bare_boot import MEMORY
from kobox.box.boot.init_program import command_line
from kobox.box.box import Box
from kobox.box.guest.process import Limits
from kobox.errors import BoxHungError, BoxTimeoutError, ProcessDiedError
from tests.building import BuiltTestModules

ROOT = Path(__file__).parents[3]


def pipe(box: Box) -> tuple[int, int]:
    """A pipe of the box: (read end, write end)."""
    ends = bytearray(8)
    box.syscall("pipe2", ends, 0)
    return struct.unpack("<ii", ends)  # type: ignore[return-value]


def test_processes_have_their_own_pids_and_share_files(box: Box) -> None:
    with box.process() as one, box.process() as two:
        assert len({box.syscall("getpid"), one.syscall("getpid"), two.syscall("getpid")}) == 3
        assert one.pid == one.syscall("getpid")
        fd = one.syscall("open", "/tmp/shared", os.O_RDWR | os.O_CREAT, 0o600)
        assert two.syscall("write", fd, b"x", 1) == 1
        assert box.stat("/tmp/shared").st_size == 1


def test_a_blocked_read_returns_when_another_process_writes(box: Box) -> None:
    read_end, write_end = pipe(box)
    with box.process() as reader:
        buffer = bytearray(100)
        call = reader.start("read", read_end, buffer, 100)
        assert not call.done
        assert box.syscall("write", write_end, b"through the pipe", 16) == 16
        assert call.result() == 16
        assert buffer[:16] == b"through the pipe"


def test_many_processes_block_at_once(box: Box) -> None:
    read_end, write_end = pipe(box)
    readers = [box.process() for _ in range(20)]
    calls = [(reader.start("read", read_end, buffer, 1), buffer) for reader in readers for buffer in [bytearray(1)]]
    for n in range(20):
        assert sum(call.done for call, _ in calls) == n
        box.syscall("write", write_end, bytes([65 + n]), 1)
        box.sleep(0.001)
    assert sorted(bytes(buffer) for _, buffer in calls) == [bytes([65 + n]) for n in range(20)]


def test_processes_pass_a_token_around(box: Box) -> None:
    """Wakes and parks in every order: what one does lets the next go on."""
    pipes = [pipe(box) for _ in range(5)]
    workers = [box.process() for _ in range(5)]
    for turn in range(20):
        pending = [
            (worker.start("read", pipes[n][0], buffer, 1), buffer)
            for n, worker in enumerate(workers)
            for buffer in [bytearray(1)]
        ]
        for n in (3, 0, 4, 1, 2):
            box.syscall("write", pipes[n][1], bytes([turn]), 1)
            assert pending[n][0].result() == 1
            assert pending[n][1] == bytes([turn])
            if turn % 3 == 0:
                box.sleep(0.5)


def test_a_process_can_be_killed_while_it_blocks(box: Box) -> None:
    read_end, _ = pipe(box)
    reader = box.process()
    call = reader.start("read", read_end, bytearray(1), 1)
    assert reader.alive
    reader.kill()
    assert not reader.alive
    assert call.done
    with pytest.raises(ProcessDiedError) as caught:
        call.result()
    assert os.WTERMSIG(caught.value.status) == signal.SIGKILL
    assert box.syscall("getpid") > 1


def test_a_signal_interrupts_a_blocking_call(box: Box) -> None:
    read_end, _ = pipe(box)
    with box.process() as reader:
        call = reader.start("read", read_end, bytearray(1), 1)
        box.syscall("kill", reader.pid, signal.SIGTERM)
        with pytest.raises(ProcessDiedError) as caught:
            call.result()
        assert os.WTERMSIG(caught.value.status) == signal.SIGTERM


def test_a_process_that_blocks_cannot_take_another_call(box: Box) -> None:
    read_end, _ = pipe(box)
    with box.process() as reader:
        reader.start("read", read_end, bytearray(1), 1)
        with pytest.raises(RuntimeError, match="busy"):
            reader.syscall("getpid")


def test_exit_in_the_main_process_is_survived(box: Box) -> None:
    before = box.syscall("getpid")
    with pytest.raises(ProcessDiedError) as caught:
        box.syscall("exit_group", 3)
    assert os.waitstatus_to_exitcode(caught.value.status) == 3
    assert caught.value.box_lives
    assert box.syscall("getpid") != before


def test_hundreds_of_processes_come_and_go(box: Box) -> None:
    for _ in range(300):
        with box.process() as process:
            assert process.syscall("getpid") == process.pid


def test_a_call_of_its_own_limit(box: Box) -> None:
    read_end, _ = pipe(box)
    before = box.time
    with pytest.raises(BoxTimeoutError) as caught:
        box.syscall("read", read_end, bytearray(1), 1, limits=Limits(timeout=3))
    assert box.time - before == pytest.approx(3, abs=0.1)
    assert isinstance(caught.value, TimeoutError)
    assert "pipe_read" in caught.value.pc
    assert box.alive
    assert box.syscall("getpid") > 1


def test_sleeps_of_two_processes_overlap(box: Box) -> None:
    spec = struct.pack("<qq", 10, 0)
    before = box.time
    with box.process() as one, box.process() as two:
        calls = [process.start("nanosleep", spec, None) for process in (one, two)]
        assert [call.result() for call in calls] == [0, 0]
    assert box.time - before == pytest.approx(10, abs=0.1)


def test_threads_of_the_kernel_work_while_calls_wait(box: Box, modules: BuiltTestModules) -> None:
    module = box.insmod(modules("workers"))
    box.sleep(10.25)
    ticks = int(module.parameters["ticks"])
    assert ticks in (10, 11)
    assert module.parameters["worked"] == str(ticks)
    assert module.parameters["late"] == "1"
    assert "workers/1" in {box.read_text(f"/proc/{pid}/comm").strip() for pid in box.listdir("/proc") if pid.isdigit()}
    module.unload()
    said = [record.text for record in box.log.of("workers")]
    assert "workers: late work ran in a worker" in said
    assert said[-2:] == [f"workers: thread stops after {ticks + 1} ticks", "workers: thread returned 5"] or said[
        -2:
    ] == [
        f"workers: thread stops after {ticks} ticks",
        "workers: thread returned 5",
    ]


# -- Ctrl-C -------------------------------------------------------------------------------------------------------

LOOPING = """
import sys, time, kobox
box = kobox.boot({kernel!r})
box.insmod({good!r})
box.rmmod("good")
for what in {whats!r}:
    box.limits.cpu = 10000
    box.limits.timeout = 1e9
    print("ready", flush=True)
    started = time.monotonic()
    try:
        if what == "sleep":
            while True:
                box.sleep(0.001)
        elif what == "calls":
            while True:
                box.insmod({good!r}).unload()
        else:
            box.insmod({faulty!r}, what=what)
    except KeyboardInterrupt:
        print("interrupted", what, flush=True)
    try:
        box.limits.cpu, box.limits.timeout = 2, 10
        print("then", box.syscall("getpid") > 0, flush=True)
    except kobox.BoxError as error:
        print("then", type(error).__name__, flush=True)
    box.reset()
    if box.exists("/sys/module/good"):
        box.rmmod("good")
    box.insmod({good!r}, n=1).unload()
    print("fine again", flush=True)
"""


def test_ctrl_c_stops_what_runs_and_the_box_is_fine_after_a_reset(box: Box, modules: BuiltTestModules) -> None:
    whats = ["loop", "loop_irqoff", "spin_twice", "calls", "sleep", "calls", "sleep"]
    program = LOOPING.format(
        kernel=box.image.name, good=str(modules("good")), faulty=str(modules("faulty")), whats=whats
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    for n, what in enumerate(whats):
        assert child.stdout.readline() == "ready\n", what
        time.sleep(0.2 + 0.037 * n)
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == f"interrupted {what}\n"
        then = child.stdout.readline()
        assert then == ("then True\n" if what in ("calls", "sleep") else "then BoxHungError\n"), what
        assert child.stdout.readline() == "fine again\n"
    assert child.wait() == 0


FIRST_BOOT = """
import kobox, sys
print("ready", flush=True)
try:
    kobox.boot({kernel!r}, cmdline="kobox.interrupted=" + sys.argv[1])
    print("booted", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_in_the_first_boot_leaves_nothing_half_made(box: Box) -> None:
    line = command_line(box.arch, f"kobox.interrupted={os.getpid()}")
    place = box.image.directory / "snapshots" / snapshots.key(box.arch, box.image.digest, line, MEMORY)
    program = FIRST_BOOT.format(kernel=box.image.name)
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(os.getpid())], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(1.5)
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == "interrupted\n"
    assert child.wait() == 0
    assert not place.exists()
    assert not list(place.parent.glob(f".{place.name}.[0-9]*"))


def test_an_interrupted_call_is_left_behind_and_its_buffers_with_it(box: Box) -> None:
    read_end, write_end = pipe(box)
    box.limits.timeout = 1
    for _ in range(3):
        with pytest.raises(BoxTimeoutError):
            box.syscall("read", read_end, bytearray(4096), 4096)
    assert box.syscall("write", write_end, b"abc", 3) == 3
    assert box.syscall("write", write_end, b"def", 3) == 3
    box.sleep(1)
    with pytest.raises(OSError) as caught:
        box.syscall("close", 999)
    assert caught.value.errno == errno.EBADF


def test_an_endless_loop_is_given_up_after_its_cpu_time(box: Box, modules: BuiltTestModules) -> None:
    box.limits.cpu = 0.5
    with pytest.raises(BoxHungError, match=r"0\.5 s of CPU time") as caught:
        box.insmod(modules("faulty"), what="loop")
    assert caught.value.pc.startswith("faulty_loop+")
    assert not box.alive
    box.reset()
    assert box.alive
