"""Snapshots on disk, checkpoints in memory, and what happens when either is damaged or has no room."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobox.box.boot import snapshots
from kobox.box.boot.bare_boot import MEMORY, boot
from kobox.box.boot.init_program import command_line
from kobox.box.box import Box
from kobox.errors import KernelImageError, KoboxError, SnapshotError
from kobox.images.store import KernelImage
from tests.building import BuiltTestModules

ROOT = Path(__file__).parents[3]


@pytest.fixture
def kernel(box: Box, tmp_path: Path) -> Iterator[KernelImage]:
    """The kernel with a folder of its own for snapshots, and a copy of the default one in it, to be damaged."""
    made = snapshots.key(box.arch, box.image.digest, command_line(box.arch), MEMORY)
    source = box.image.directory / "snapshots" / made
    (tmp_path / "kernel/snapshots").mkdir(parents=True)
    subprocess.run(["cp", "-a", "--sparse=always", source, tmp_path / "kernel/snapshots"], check=True)
    yield box.image._replace(directory=tmp_path / "kernel")
    shutil.rmtree(tmp_path / "kernel")


def place_of(kernel: KernelImage) -> Path:
    (place,) = [path for path in (kernel.directory / "snapshots").iterdir() if not path.name.startswith(".")]
    return place


def is_whole(place: Path) -> bool:
    """Whether there is a snapshot that is as it was written."""
    try:
        found = snapshots.load(place)
    except SnapshotError as error:
        assert str(place) in str(error)  # noqa: PT017
        return False
    assert found is not None
    os.close(found.fd)
    return found.is_whole()


# -- checkpoints --------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_a_whole_state(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("good"), n=1)
    box.write_bytes("/tmp/file", b"before")
    file = box.open("/tmp/file", "rb")
    saved = box.checkpoint()
    moment, log = box.time, box.log.text()
    assert file.read(3) == b"bef"
    box.rmmod("good")
    box.insmod(modules("chardev"))
    box.write_bytes("/tmp/file", b"after")
    box.sleep(100)
    saved.restore()
    assert box.time == moment
    assert box.log.text() == log
    assert file.read(3) == b"bef"
    assert box.read_bytes("/tmp/file") == b"before"
    assert box.read_text("/sys/module/good/parameters/n") == "1\n"
    assert not box.exists("/sys/module/chardev")
    assert saved.size > 0
    saved.release()
    with pytest.raises(ValueError, match="released"):
        saved.restore()


def test_what_follows_a_restore_is_the_same_each_time(box: Box, modules: BuiltTestModules) -> None:
    saved = box.checkpoint()
    runs = []
    for _ in range(3):
        saved.restore()
        box.insmod(modules("workers"))
        box.sleep(10)
        box.rmmod("workers")
        runs.append((box.time, box.log.text()))
    assert runs[0] == runs[1] == runs[2]


def test_checkpoints_nest_and_are_restored_in_any_order(box: Box) -> None:
    states = []
    for n in range(4):
        box.write_bytes("/tmp/n", str(n).encode())
        states.append(box.checkpoint())
    for n in (2, 0, 3, 1, 3):
        states[n].restore()
        assert box.read_text("/tmp/n") == str(n)
    with box.checkpoint():
        box.write_bytes("/tmp/n", b"inside")
    assert box.read_text("/tmp/n") == "3"
    box.reset()
    assert not box.exists("/tmp/n")


def test_a_checkpoint_of_blocked_processes(box: Box) -> None:
    ends = bytearray(8)
    box.syscall("pipe2", ends, 0)
    read_end, write_end = int.from_bytes(ends[:4], "little"), int.from_bytes(ends[4:], "little")
    reader = box.process()
    call = reader.start("read", read_end, bytearray(1), 1)
    saved = box.checkpoint()
    box.syscall("write", write_end, b"x", 1)
    assert call.result() == 1
    saved.restore()
    assert box.syscall("write", write_end, b"y", 1) == 1
    box.sleep(1)
    assert reader.syscall("getpid") == reader.pid


def test_findings_go_back_too(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("faulty"), what="warn").unload()
    saved = box.checkpoint()
    assert len(box.findings) == 1
    box.insmod(modules("faulty"), what="sleep_atomic")
    assert len(box.findings) > 1
    saved.restore()
    assert len(box.findings) == 1
    box.reset()
    assert box.findings == []


def test_going_back_copies_only_what_was_written(debian_kernel: KernelImage, modules: BuiltTestModules) -> None:
    with boot(debian_kernel) as box:
        box.insmod(modules("good"))
        with box.checkpoint() as written:
            assert written.size < 8 << 20  # of 256 MiB: it is what makes going back a matter of milliseconds


# -- on disk ------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_resumed_not_made_again(kernel: KernelImage) -> None:
    place = place_of(kernel)
    before = (place / "ram").stat()
    with boot(kernel) as box:
        blocks = box.machine.blocks
        assert box.syscall("getpid") > 1
        assert box.machine.blocks - blocks < 1_000_000, "a boot takes a hundred million"
    assert (place / "ram").stat().st_mtime_ns == before.st_mtime_ns
    assert (place / "ram").stat().st_blocks * 512 < 128 << 20


def test_what_shapes_a_snapshot_is_in_its_key(debian_kernel: KernelImage) -> None:
    keys = {
        snapshots.key(debian_kernel.arch, digest, line, memory)
        for digest in ("a", "b")
        for line in ("", "quiet")
        for memory in (1 << 28, 1 << 29)
    }
    assert len(keys) == 8


def test_a_box_never_writes_to_its_snapshot(kernel: KernelImage, modules: BuiltTestModules) -> None:
    place = place_of(kernel)
    with boot(kernel) as box:
        box.insmod(modules("good"))
        box.write_bytes("/tmp/x", bytes(5 << 20))
    assert is_whole(place)


def damage_ram(place: Path) -> None:
    about = json.loads((place / "about").read_text())
    with (place / "ram").open("r+b") as ram:
        ram.seek(about["used"][len(about["used"]) // 2][0] * 4096 + 100)
        ram.write(b"\xff\x00damage")


def damage_state(place: Path) -> None:
    data = bytearray((place / "state").read_bytes())
    data[200] ^= 1
    (place / "state").write_bytes(data)


def wipe_ram(place: Path) -> None:
    size = (place / "ram").stat().st_size
    (place / "ram").write_bytes(b"\xff" * size)


DAMAGES = {
    "ram changed": damage_ram,
    "ram wiped": wipe_ram,
    "ram cut short": lambda place: os.truncate(place / "ram", 100 << 20),
    "ram missing": lambda place: (place / "ram").unlink(),
    "state changed": damage_state,
    "state empty": lambda place: (place / "state").write_bytes(b""),
    "about cut short": lambda place: os.truncate(place / "about", 500),
    "about empty": lambda place: (place / "about").write_bytes(b""),
    "about of something else": lambda place: (place / "about").write_text("[]"),
    "about of another format": lambda place: (place / "about").write_text('{"format": 99}'),
    "a field missing": lambda place: (place / "about").write_text(
        json.dumps({k: v for k, v in json.loads((place / "about").read_text()).items() if k != "ram_sum"})
    ),
    "a fact changed": lambda place: (place / "about").write_text(
        (place / "about").read_text().replace("SYMBOL(prb)", "SYMBOL(prc)")
    ),
    "a strange value": lambda place: (place / "about").write_text(
        json.dumps(json.loads((place / "about").read_text()) | {"used": "all", "memory": None})
    ),
    "nothing in it": lambda place: [path.unlink() for path in list(place.iterdir())],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed(damage: str, kernel: KernelImage) -> None:
    place = place_of(kernel)
    DAMAGES[damage](place)
    assert not is_whole(place)


def test_a_damaged_snapshot_is_made_again_once_by_two_at_a_time(kernel: KernelImage) -> None:
    place = place_of(kernel)
    left = place.with_name(f".{place.name}.12345")  # as a killed run leaves it
    left.mkdir()
    (left / "state").write_bytes(b"half of one")
    wipe_ram(place)
    workers = [multiprocessing.get_context("fork").Process(target=_boot_and_leave, args=(kernel,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert is_whole(place_of(kernel))
    assert not left.exists()


def _boot_and_leave(kernel: KernelImage) -> None:
    with boot(kernel) as box:
        os._exit(0 if box.syscall("getpid") > 1 else 1)


def _write_with_a_limit(kernel: KernelImage, limit: int) -> None:
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        boot(kernel, cmdline="kobox.no.room")
    except KoboxError as error:
        os._exit(0 if "cannot be written" in str(error) and "XDG_CACHE_HOME" in error.hint else 2)
    os._exit(3)


def test_no_room_for_the_snapshot_is_said_and_leaves_nothing(kernel: KernelImage) -> None:
    worker = multiprocessing.get_context("fork").Process(target=_write_with_a_limit, args=(kernel, 20 << 20))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    left = [path.name for path in (kernel.directory / "snapshots").iterdir() if not path.name.endswith(".lock")]
    assert left == [place_of(kernel).name]


def test_a_place_that_cannot_be_written(kernel: KernelImage) -> None:
    shutil.rmtree(kernel.directory / "snapshots")
    (kernel.directory / "snapshots").write_text("a file where a directory should be")
    with pytest.raises(KoboxError) as caught:
        boot(kernel)
    assert "snapshots" in str(caught.value)
    (kernel.directory / "snapshots").unlink()


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, b"\x7fELF" + bytes(100)])
def test_a_kernel_image_that_is_none(content: bytes, kernel: KernelImage, tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(content)
    with pytest.raises(KernelImageError) as caught:
        boot(kernel._replace(vmlinuz=image, digest=f"none {len(content)}"))
    assert str(image) in str(caught.value)
    assert [path for path in (kernel.directory / "snapshots").iterdir() if path.is_dir()] == [place_of(kernel)]


def test_a_box_is_the_same_in_a_new_process(kernel: KernelImage, debian_kernel: KernelImage) -> None:
    program = f"import kobox; b = kobox.boot({debian_kernel.name!r}); b.sleep(10); print(b.time, len(b.log.text()))"
    outputs = {
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT).stdout
        for _ in range(2)
    }
    assert len(outputs) == 1


def test_snapshots_that_nobody_uses_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_ROOM", 2 << 20)
    now = time.time()
    for name, hours, size in (("a0", 0, 1), ("a1", 0.5, 2), ("a2", 2, 1), ("a3", 3, 1), ("a4", 400, 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ram").write_bytes(b"x" * (size << 20))
        os.utime(tmp_path / name, (now, now - hours * 3600))
    (tmp_path / ".a9.123").mkdir()  # of a run that was killed while it made this one
    with snapshots.lock(tmp_path / "a9"):
        left = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert left == ["a0", "a1"]  # more than there is room for, but in use


def test_lock_files_do_not_pile_up(tmp_path: Path) -> None:
    for name in ("a1", "b2", "c3"):
        (tmp_path / f".{name}.lock").touch()
    (tmp_path / "b2").mkdir()
    with snapshots.lock(tmp_path / "d4"), snapshots.lock(tmp_path / "c3"):
        pass
    with snapshots.lock(tmp_path / "d4"):
        (tmp_path / "d4").mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b2.lock", ".d4.lock", "b2", "d4"]


def test_a_lock_file_that_somebody_removes_is_no_lock(tmp_path: Path) -> None:
    """Whoever waits for it finds that it has lost its name, and takes the one that has it now."""
    path, inside, together = tmp_path / ".a1.lock", [0], [0]

    def make(rounds: int = 60) -> None:
        for _ in range(rounds):
            with snapshots.lock(tmp_path / "a1"):
                inside[0] += 1
                together[0] = max(together[0], inside[0])
                time.sleep(0.0005)
                inside[0] -= 1

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        snapshots._remove_lock(path)
    assert together == [1]


# -- a stranger's box ---------------------------------------------------------------------------------------------

LIVES = """
import os, sys
from pathlib import Path
from kobox.box.boot.bare_boot import resume
from kobox.errors import KoboxError
from kobox.images.store import Store
try:
    box = resume(Store().get(sys.argv[1]), Path(sys.argv[2]))
    if box is None:
        os._exit(3)
    box.limits.cpu = 1
    box.syscall("getpid")
    box.machine.serial_input(0, b"x" * 2000)
    box.sleep(0.01)
except (KoboxError, ValueError, OSError):
    pass
os._exit(0)
"""


@pytest.mark.parametrize("value", [0x7F, 0x80, 0xFF])
def test_a_state_whose_indices_are_none_harms_nobody(kernel: KernelImage, box: Box, value: int) -> None:
    """A state ends with devices, CPUs and their turns, and 56 bytes about the hypercall (checkpoint.c)."""
    place = place_of(kernel)
    state, about = bytearray((place / "state").read_bytes()), json.loads((place / "about").read_bytes())
    tail = len(state) - 56
    for first, last in ((tail - 500, tail), (tail - 600, tail - 400), (tail - 200, tail - 8)):
        damaged = state[:first] + bytes([value]) * (last - first) + state[last:]
        (place / "state").write_bytes(damaged)
        (place / "about").write_text(json.dumps(about | {"state_sum": snapshots._sum_bytes(bytes(damaged))}))
        done = subprocess.run(
            [sys.executable, "-c", LIVES, box.image.name, str(place)], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "odd",
    [
        {"used": [[-100000, 5]]},
        {"used": [[5, -100000]]},
        {"used": [[0, 1 << 62]]},
        {"used": [[1]]},
        {"used": 5},
        {"used": [["a", 1.5]]},
        {"memory": 1 << 40},
        {"cpus": "x"},
        {"cpus": -1},
        {"format": None},
        {"box": []},
        {"state_sum": None},
    ],
    ids=str,
)
def test_a_description_that_lies_is_no_snapshot(kernel: KernelImage, box: Box, odd: dict[str, object]) -> None:
    place = place_of(kernel)
    about = json.loads((place / "about").read_bytes()) | odd
    if "box" in odd:
        about["box_sum"] = snapshots._sum_bytes(json.dumps(odd["box"]).encode())
    (place / "about").write_text(json.dumps(about))
    done = subprocess.run([sys.executable, "-c", LIVES, box.image.name, str(place)], capture_output=True, check=False)
    assert done.returncode in ((0, 3) if "cpus" in odd or "box" in odd else (3,)), done.stderr


def test_a_description_that_is_nested_without_an_end_is_no_snapshot(kernel: KernelImage) -> None:
    (place_of(kernel) / "about").write_text("[" * 100_000)
    assert not is_whole(place_of(kernel))
