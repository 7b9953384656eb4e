"""The native core's memory: what is taken is given back, and a list that is full loses nothing that matters."""

from __future__ import annotations

import ctypes
import gc
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.machine.native_core import Event
from kobox.machine.pc import Machine
from kobox.machine.watch import Watch
from tests.machine.test_pc import ENTRY, machine_with

LOOP = bytes.fromhex("90" * 32 + "ffc0 ebdc")  # again: 32 nops; inc eax; jmp again


class _Mallinfo(ctypes.Structure):
    """struct mallinfo2, malloc.h."""

    _fields_ = (
        ("arena_to_smblks", ctypes.c_size_t * 3),
        ("hblks", ctypes.c_size_t),
        ("hblkhd", ctypes.c_size_t),
        ("usmblks_to_fsmblks", ctypes.c_size_t * 2),
        ("uordblks", ctypes.c_size_t),
        ("fordblks_and_keepcost", ctypes.c_size_t * 2),
    )


def heap_in_use() -> int:
    """Bytes that this process has from malloc()."""
    gc.collect()
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _Mallinfo
    info = libc.mallinfo2()
    return int(info.uordblks + info.hblkhd)


def test_a_closed_machine_gives_back_what_it_took() -> None:
    def round_of_life() -> None:
        machine = machine_with(LOOP)
        watch = Watch(machine)
        watch.code(ENTRY, ENTRY + 64)
        watch.rule(ENTRY)
        watch.bounds([(ENTRY, ENTRY + 8, ENTRY + 4)])
        machine.add_probe(ENTRY + 5, lambda: None)
        machine.run(blocks=100)
        machine.checkpoint().release()
        machine.close()

    for _ in range(3):
        round_of_life()
    before = heap_in_use()
    for _ in range(40):
        round_of_life()
    assert heap_in_use() - before < 40 * 1024, "a context alone is 5.6 KiB"


def _probes_come_and_go(machine: Machine, watch: Watch, rounds: int) -> None:
    for n in range(rounds):
        address = ENTRY + 1 + n % 24
        machine.add_probe(address, print)
        machine.remove_probe(address, print)


def _watched_code_comes_and_goes(machine: Machine, watch: Watch, rounds: int) -> None:
    for _ in range(rounds):
        watch.code(ENTRY, ENTRY + 64)
        watch.leave()


def _both(machine: Machine, watch: Watch, rounds: int) -> None:
    _probes_come_and_go(machine, watch, rounds)
    _watched_code_comes_and_goes(machine, watch, 8)


@pytest.mark.parametrize("action", [_probes_come_and_go, _watched_code_comes_and_goes, _both])
def test_any_number_of_hooks_may_be_removed_in_one_callback(
    action: Callable[[Machine, Watch, int], None],
) -> None:
    machine = machine_with(LOOP)
    watch = Watch(machine)
    arrived: list[int] = []

    def act() -> None:
        if not arrived:
            action(machine, watch, 5000)
        arrived.append(machine.register("rax"))

    machine.add_probe(ENTRY + 3, act)
    assert machine.run(blocks=200) is Event.SLICE
    assert machine.register("rax") == 200
    assert len(arrived) == 200
    machine.close()


def test_a_probe_that_is_taken_away_in_its_own_callback() -> None:
    machine = machine_with(LOOP)
    arrived: list[int] = []

    def once() -> None:
        arrived.append(1)
        machine.remove_probe(ENTRY, once)

    machine.add_probe(ENTRY, once, entry=True)
    machine.run(blocks=50)
    assert arrived == [1]
    machine.close()


@pytest.mark.parametrize("pages", [1, 300, 20_000])
def test_code_that_a_device_changes_is_translated_anew_however_much_it_is(pages: int) -> None:
    """20,000 pages are more than the list of stale pages holds: then all translations go."""
    machine = Machine(160 << 20)
    # Each page: `jmp` to the next one; the last one: mov eax, 1; hlt.
    start = 0x1000000
    for n in range(pages):
        machine.ram[start + n * 4096 : start + n * 4096 + 5] = b"\xe9" + struct.pack("<i", 4096 - 5)
    end = start + pages * 4096
    machine.ram[end : end + 6] = bytes.fromhex("b801000000 f4")
    rest = machine_with(b"")  # for its tables only
    machine.ram[0x10000:0x51000] = rest.ram[0x10000:0x51000]
    rest.close()
    machine._core.kobox_start_at(machine.handle, start, 0x10000, 0x40000, 0x30000)
    assert machine.run() is Event.HALTED
    assert machine.register("rax") == 1
    for n in range(0, pages, max(1, pages // 7)):  # each changed page ends it: mov eax, 2; hlt
        machine.ram[start + n * 4096 : start + n * 4096 + 6] = bytes.fromhex("b802000000 f4")
    machine._core.kobox_device_wrote(machine.handle, start, pages * 4096)
    machine.set_register("rip", start)
    assert machine.run() is Event.HALTED
    assert machine.register("rax") == 2
    machine.close()


def _blind(machine: Machine) -> None:
    """Make /proc/self/pagemap unreadable for a machine: its descriptor leads to /dev/null."""
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(entry).endswith("/pagemap"):
                null = os.open("/dev/null", os.O_RDONLY)
                os.dup2(null, int(entry.name))
                os.close(null)
        except FileNotFoundError:
            continue


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize("from_file", [False, True])
def test_checkpoints_need_no_pagemap(tmp_path: Path, blind: bool, from_file: bool) -> None:
    image = tmp_path / "ram"
    size = 8 << 20
    image.write_bytes(b"\x11" * size)
    fd = os.open(image, os.O_RDONLY)
    machine = Machine(size, ram_fd=fd) if from_file else Machine(size)
    os.close(fd)
    if blind:
        _blind(machine)
    start = bytes(machine.ram)
    machine.ram[0x5000:0x5005] = b"first"
    machine.ram[0x9000:0x9005] = b"early"
    first = machine.checkpoint()
    machine.ram[0x9000:0x9005] = start[0x9000:0x9005]  # as at the snapshot, but not as at the checkpoint
    machine.ram[0x7000:0x7006] = b"second"
    second = machine.checkpoint()
    assert machine.restore(first) == 2
    assert bytes(machine.ram[0x5000:0x5005]) == b"first"
    assert bytes(machine.ram[0x9000:0x9005]) == b"early"
    assert machine.ram[0x7000:0x7006] == start[0x7000:0x7006]
    assert machine.restore(second) == 2
    assert bytes(machine.ram[0x7000:0x7006]) == b"second"
    assert machine.restore(machine.checkpoint_of(machine.save_state())) == 2
    assert bytes(machine.ram) == start
    assert machine.restore(first) == 2
    with (tmp_path / "saved").open("w+b") as saved:
        used = machine.save_ram(saved.fileno(), 0)
        assert saved.read() == machine.ram
    assert used.count(1) == (size // 4096 if from_file else 2)
    machine.close()


def test_a_machine_is_refused_that_cannot_be() -> None:
    from kobox.machine.pc import MachineError

    for size in (0, 4095, 0xFEA00000, 1 << 40):
        with pytest.raises(MachineError, match="cannot"):
            Machine(size)


def translations_in_ram() -> int:
    """MiB of this process's memory that are writable and executable: Unicorn's translations."""
    kib, now = 0, ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, _, rest = line.partition(" ")
        if "-" in first and not first.endswith(":"):
            now = rest[:4]
        elif first == "Rss:" and now == "rwxp":
            kib += int(rest.split()[0])
    return kib >> 10


def test_translations_of_code_that_is_gone_do_not_pile_up() -> None:
    """As 2,000 loads of a module make them: code that is changed, and translated, half a million times."""
    machine = machine_with(bytes.fromhex("fe0501000000 b000 ebf6"))  # again: inc byte [rip + 1]; mov al, 0; jmp again
    before, heap, grown = translations_in_ram(), heap_in_use(), []
    for _ in range(5):
        machine.run(blocks=80_000)
        grown.append(translations_in_ram() - before)
        assert heap_in_use() - heap < 16 << 20, "what goes with them goes too"
    assert max(grown) <= 34
    assert grown[-1] == grown[-3], "it ends flat"
    machine.close()
