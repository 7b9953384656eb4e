"""The PC below the kernel: running, time, memory, ports and state, with a few instructions of our own as the guest."""

from __future__ import annotations

import _thread
import struct
import threading

import pytest

from kobox.box.boot.bare_boot import boot
from kobox.box.box import Box
from kobox.errors import KernelImageError, KoboxError
from kobox.images.store import KernelImage
from kobox.images.vmlinux import ElfSegment, Vmlinux, extract_vmlinux, parse_vmlinux, setup_header
from kobox.machine.native_core import Event
from kobox.machine.pc import Machine, MachineClosedError

ENTRY = 0x1000000
RAM = 64 << 20


def machine_with(code: bytes) -> Machine:
    """A machine that is about to run these bytes in 64-bit mode."""
    machine = Machine(RAM)
    kernel = Vmlinux(ENTRY, (ElfSegment(ENTRY, memoryview(code), 1 << 20),))
    machine.load_linux(kernel, bytes(4096), b"initramfs", "a command line")
    return machine


def test_it_starts_as_the_boot_protocol_says() -> None:
    machine = machine_with(b"\xf4")
    registers = machine.registers()
    assert registers.rip == ENTRY
    assert registers.cpl == 0
    assert registers.cr0 & 0x80000001 == 0x80000001
    page = machine.read(registers.rsi, 4096)
    line = struct.unpack_from("<I", page, 0x228)[0]
    assert machine.read(line, 15) == b"a command line\0"
    at, size = struct.unpack_from("<II", page, 0x218)
    assert machine.read(at, size) == b"initramfs"
    assert page[0x1E8] == 3  # RAM below and above the BIOS, and the configuration space of PCI
    machine.close()


def test_a_halt_with_interrupts_off_ends_it() -> None:
    machine = machine_with(bytes.fromhex("b82a000000 f4"))  # mov eax, 42; hlt
    assert machine.run() is Event.HALTED
    assert machine.register("rax") == 42
    machine.close()


def test_blocks_are_counted_and_are_time() -> None:
    machine = machine_with(bytes.fromhex("ffc0 ebfc"))  # again: inc eax; jmp again
    assert machine.run(blocks=1000) is Event.SLICE
    assert (machine.blocks, machine.register("rax")) == (1000, 1000)
    assert machine.time == 8_000
    assert machine.run(blocks=500) is Event.SLICE
    assert (machine.blocks, machine.register("rax")) == (1500, 1500)
    assert machine.run(until=1_000_000) is Event.DEADLINE
    assert machine.time >= 1_000_000
    machine.close()


def test_who_never_rests_gets_less_done_in_the_same_time() -> None:
    """The first 125 million blocks without a rest take 8 ns each, the others 64: a lock-up is noticed soon."""
    machine = machine_with(bytes.fromhex("ffc0 ebfc"))  # again: inc eax; jmp again
    assert machine.run(until=990_000_000) is Event.DEADLINE
    assert machine.blocks == pytest.approx(990_000_000 / 8, abs=2)
    assert machine.run(until=1_640_000_000) is Event.DEADLINE
    assert machine.blocks == pytest.approx(125_000_000 + 640_000_000 / 64, abs=2)
    assert machine.time == pytest.approx(1_640_000_000, abs=64)
    machine.close()


@pytest.mark.parametrize("slices", [(30_000,), (1,) * 300 + (29_700,), (7_000, 23_000)])
def test_reading_the_clock_takes_time_and_no_blocks(slices: tuple[int, ...]) -> None:
    machine = machine_with(bytes.fromhex("0f31 ffc1 ebfa"))  # again: rdtsc; inc ecx; jmp again
    for blocks in slices:
        assert machine.run(blocks=blocks) is Event.SLICE
    assert machine.blocks == 30_000
    assert (machine.time, machine.register("rcx")) == (2_143_378, 30_000)
    machine.close()


def test_a_deadline_in_a_loop_that_waits_for_a_time_is_kept() -> None:
    machine = machine_with(bytes.fromhex("0f31 f390 ebfa"))  # again: rdtsc; pause; jmp again
    for until in range(1_000_000, 10_000_000, 1_000_000):
        assert machine.run(until=until) is Event.DEADLINE
        assert until <= machine.time < until + 200
    machine.close()


def test_an_exception_without_a_table_is_a_triple_fault() -> None:
    machine = machine_with(bytes.fromhex("0f0b"))  # ud2
    assert machine.run() is Event.TRIPLE_FAULT
    machine.close()


def test_a_reset_by_the_keyboard_controller() -> None:
    machine = machine_with(bytes.fromhex("b0fe e664 f4"))  # mov al, 0xfe; out 0x64, al
    assert machine.run() is Event.RESET
    machine.close()


def test_the_serial_console() -> None:
    code = bytes.fromhex("66baf803 b068 ee b069 ee f4")  # mov dx, 0x3f8; 'h'; 'i'
    machine = machine_with(code)
    machine.run()
    assert machine.console() == b"hi"
    assert machine.console() == b""
    machine.close()


def test_memory_by_virtual_and_physical_address() -> None:
    machine = machine_with(b"\xf4")
    machine.write(0x2000000, b"here")
    assert machine.read(0x2000000, 4) == b"here"
    assert bytes(machine.ram[0x2000000:0x2000004]) == b"here"
    assert machine.translate(0x2000123) == 0x2000123
    assert machine.translate(1 << 40) is None
    with pytest.raises(ValueError, match="mapped"):
        machine.read(1 << 40, 4)
    with pytest.raises(ValueError, match="mapped"):
        machine.write(RAM - 2, b"four")
    machine.close()


def test_checkpoints_give_memory_and_cpu_back() -> None:
    machine = machine_with(bytes.fromhex("ffc0 89042500000002 ebf5"))  # inc eax; mov [0x2000000], eax; jmp
    machine.run(blocks=10)
    saved, registers, memory = machine.checkpoint(), machine.registers(), machine.read(0x2000000, 4)
    machine.run(blocks=100)
    assert machine.read(0x2000000, 4) != memory
    assert machine.restore(saved) > 0
    assert machine.registers() == registers
    assert machine.read(0x2000000, 4) == memory
    assert machine.blocks == 10
    state = machine.save_state()
    machine.run(blocks=5)
    machine.load_state(state)
    assert machine.registers() == registers
    with pytest.raises(ValueError, match="state"):
        machine.load_state(state[:-1])
    machine.close()


def test_probes_and_stops() -> None:
    machine = machine_with(bytes.fromhex("ffc0 ffc0 ffc0 ebf8"))
    seen: list[int] = []

    def count() -> None:
        seen.append(machine.register("rax") & 0xFFFFFFFF)
        if len(seen) == 3:
            machine.stop()

    machine.add_probe(ENTRY + 2, count)
    assert machine.run(blocks=100) is Event.STOPPED
    assert len(seen) == 3
    assert seen[1] == seen[0] + 3
    machine.remove_probe(ENTRY + 2, count)
    assert machine.run(blocks=10) is Event.SLICE
    assert len(seen) == 3
    machine.close()


def test_an_exception_of_a_probe_comes_out_of_run() -> None:
    machine = machine_with(bytes.fromhex("90 90 f4"))

    def fail() -> None:
        raise LookupError("from a probe")

    machine.add_probe(ENTRY + 1, fail)
    with pytest.raises(LookupError, match="from a probe"):
        machine.run()
    assert machine.register("rip") == ENTRY + 1
    machine.remove_probe(ENTRY + 1, fail)
    assert machine.run() is Event.HALTED
    machine.close()


def test_a_machine_too_small_for_the_kernel(debian_kernel: KernelImage) -> None:
    image = debian_kernel.vmlinuz.read_bytes()
    kernel = parse_vmlinux(extract_vmlinux(image))
    machine = Machine(32 << 20)
    with pytest.raises(KernelImageError, match="more memory"):
        machine.load_linux(kernel, setup_header(image), b"", "")
    with pytest.raises(KoboxError, match="2047"):
        machine_with(b"\xf4").load_linux(Vmlinux(ENTRY, ()), bytes(4096), b"", "x" * 3000)
    machine.close()
    machine.close()


def test_statistics_of_a_real_boot(box: Box) -> None:
    before = box.machine.statistics()
    box.syscall("getpid")
    after = box.machine.statistics()
    assert after.syscalls > before.syscalls
    assert after.blocks > before.blocks
    assert set(after.exceptions) >= {14}
    assert after.interrupts > 0


def test_machines_stand_side_by_side() -> None:
    machines = [machine_with(bytes.fromhex("ffc0 ebfc")) for _ in range(8)]
    for n, machine in enumerate(machines):
        machine.run(blocks=100 * (n + 1))
    assert [machine.blocks for machine in machines] == [100 * (n + 1) for n in range(8)]
    for machine in machines:
        machine.close()


def test_a_closed_machine_says_so(debian_kernel: KernelImage) -> None:
    machine = Machine(1 << 20)
    machine.close()
    machine.close()
    for asked in (machine.run, machine.registers, machine.console, machine.checkpoint, lambda: machine.read(0, 1)):
        with pytest.raises(MachineClosedError, match="closed"):
            asked()
    box = boot(debian_kernel)
    box.close()
    with pytest.raises(KoboxError, match="closed"):
        box.log.text()
    with pytest.raises(KoboxError, match="closed"):
        box.inspect.memory.read(0, 1)


@pytest.mark.parametrize("every", [1, 100, 10_000])
def test_ctrl_c_is_heard_in_a_callback_of_the_core(every: int) -> None:
    """Python looks for signals where a function begins: a Ctrl-C that comes while the CPU is at work is raised before
    the `try` of the callback that comes next."""
    loop = bytes.fromhex("ffc3 39cb 7cfa 31db ffc0 ebf4")  # again: until ++ebx == ecx; ebx = 0; ++eax; jmp again
    for _ in range(10):
        machine = machine_with(loop)
        machine.set_register("rcx", every)
        begun = threading.Event()

        def press(begun: threading.Event = begun) -> None:
            begun.wait()
            _thread.interrupt_main()

        machine.add_probe(ENTRY + 6, begun.set)
        thread = threading.Thread(target=press)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            _run_for_ever(machine)
        thread.join()
        machine.close()


def _run_for_ever(machine: Machine) -> None:
    while machine.run(blocks=2_000_000) is Event.SLICE:
        pass
