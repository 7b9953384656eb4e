"""A PC: RAM, one CPU or several, and the few devices that a Linux kernel wants, driven from Python.

    machine = Machine(256 << 20)
    machine.load_linux(vmlinux, setup_header, initramfs, "console=ttyS0 …")
    machine.run()            # -> Event: why it came back

RAM as `load_linux` lays it out (physical addresses):

    0x10000 zero page   0x20000 command line   0x30000 page tables (first GiB, identity)   0x40000 GDT
    0x50000 seed of the random number generator          0xE0000 ACPI tables
    0x1000000 kernel, where its program headers say        initramfs at the top, below the last MiB
"""

from __future__ import annotations

import ctypes
import enum
import os
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from kobox.arch.arch import Arch
from kobox.arch.registers import Registers
from kobox.arch.x86_64.registers import X86Registers
from kobox.arch.x86_64.x86_64 import X86_64
from kobox.errors import KernelImageError, KoboxError
from kobox.machine.acpi import ECAM, ECAM_SIZE
from kobox.machine.card_memory import CardMemory
from kobox.machine.devices import Bus, Device, DeviceWork, Restore
from kobox.machine.native_core import (
    FOREVER,
    PROBE_ENTRY,
    STOP_WHEN_IDLE,
    DeviceCallback,
    Event,
    PciCallback,
    ProbeCallback,
    core,
    core_of,
    unicorn_library,
)
from kobox.machine.pci import PciBus
from kobox.machine.pci_function import PciFunction
from kobox.machine.platform import LINES, PlatformBus

PAGE = 4096
ZERO_PAGE, COMMAND_LINE, PAGE_TABLES, GDT, SEED = 0x10000, 0x20000, 0x30000, 0x40000, 0x50000
# 2026-01-01 00:00:00 UTC: what the clock of every machine shows at power on, so that two runs are equal.
EPOCH = 1767225600
KERNEL_BASE = 0xFFFFFFFF80000000  # __START_KERNEL_map: physical address 0 of the kernel's image
APIC_BASE_MSR, APIC_BASE, APIC_BASE_BSP = 0x1B, 0xFEE00800, 0x100  # enabled; this is the boot CPU

_GENERAL = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
_ALL = (*_GENERAL, "rip", "rflags", "cr0", "cr2", "cr3", "cr4", "cs", "ss", "gs_base", "fs_base", "cpl")
_NUMBER = {name: n for n, name in enumerate((*_ALL[:17], "fs_base"))}


class MachineError(KoboxError):
    """The emulator itself failed: a bug of kobox or Unicorn, never the guest's doing."""


class MachineClosedError(KoboxError):
    """The machine was closed, and something is still asked of it."""


class LoadSegment(Protocol):
    """One part of a kernel: `data` goes to physical address `address`, zeroes follow up to `size` bytes."""

    @property
    def address(self) -> int: ...
    @property
    def data(self) -> memoryview: ...
    @property
    def size(self) -> int: ...


class LoadableKernel(Protocol):
    """What `Machine.load_linux` needs of a kernel: its physical entry point and its segments."""

    @property
    def entry(self) -> int: ...
    @property
    def segments(self) -> Sequence[LoadSegment]: ...


_WHOLE = (1 << 64) - 1
_READ, _WRITE, _EXECUTE = 0, 1, 3  # enum access, native/x86_64/cpu.h, native/risc.h
# What kobox_guards() answers, and which bits count: PE, WP, PG; UMIP, LA57, SMEP, SMAP; SCE, LME, NXE (Intel SDM 3A,
# sections 2.5 and 2.2.1). Others change with the task, or are switched on by honest modules (VMXE).
_GUARDS = (
    ("CR0", 1 << 31 | 1 << 16 | 1),
    ("CR4", 1 << 21 | 1 << 20 | 1 << 12 | 1 << 11),
    ("EFER", 1 << 11 | 1 << 8 | 1),
    *((name, _WHOLE) for name in ("STAR", "LSTAR", "CSTAR", "SFMASK", "SYSENTER_EIP", "IDTR")),
    *((name, _WHOLE) for name in ("DR0", "DR1", "DR2", "DR3", "DR7")),
)
_REGISTERS = struct.Struct(f"<{len(X86Registers._fields)}Q")


class Turns(enum.IntEnum):
    """How the CPUs of a machine take turns (enum turns in machine.h)."""

    ROUND = 0
    RANDOM = 1
    PRIORITY = 2


class TurnsNow(NamedTuple):
    """How the CPUs take turns: `blocks` a turn (with `PRIORITY`, in all), the `seed`, how many `changes` of priority,
    the CPU that is `held` (-1: none), and how often another CPU has got the engine since power on: `switches`."""

    turns: Turns
    blocks: int
    seed: int
    changes: int
    held: int
    switches: int


class Statistics(NamedTuple):
    """Counts since power on; `exceptions` by vector."""

    exceptions: dict[int, int]
    interrupts: int
    syscalls: int
    blocks: int


class Checkpoint:
    """A state of one machine, kept in memory; only pages written since the snapshot take space."""

    def __init__(
        self,
        handle: int,
        devices: dict[int, tuple[Device, Restore]],
        pci: dict[int, tuple[PciFunction, Restore]],
        platform: Restore,
    ) -> None:
        self._handle: int | None = handle
        self.devices = devices
        self.pci = pci
        self.platform = platform
        self.size: int = core().kobox_checkpoint_size(handle)

    @property
    def handle(self) -> int:
        if self._handle is None:
            raise ValueError("the checkpoint was released")
        return self._handle

    def release(self) -> None:
        """Give its memory back; it cannot be restored any more."""
        if self._handle is not None:
            core().kobox_checkpoint_free(self._handle)
            self._handle = None

    def __del__(self) -> None:
        self.release()


class Machine:
    """One PC. Not for two threads at once; any number may exist side by side.

    `ram_size` is in bytes, a multiple of 4096. With `ram_fd`, RAM starts as a private view of that file
    from `ram_offset`; the file is never written. `cpus` CPUs take turns (`Schedule`); registers and virtual memory are
    those of the one that has its turn.
    """

    arch: Arch = X86_64
    platform_lines: Sequence[int] = LINES
    most_cpus = 8  # MAX_CPUS in native/machine.h
    _fields: tuple[str, ...] = X86Registers._fields
    _guards: tuple[tuple[str, int], ...] = _GUARDS
    _numbers: Mapping[str, int] = _NUMBER
    _settable: frozenset[str] = frozenset(_NUMBER)
    # Registers by role, as the core numbers them.
    _pc, _sp, _result, _thread = "rip", "rsp", "rax", "fs_base"

    def __init__(
        self, ram_size: int, *, ram_fd: int = -1, ram_offset: int = 0, epoch: int = EPOCH, cpus: int = 1
    ) -> None:
        if not 1 <= cpus <= self.most_cpus:
            raise MachineError(f"{cpus} CPUs: a machine for {self.arch.title} has 1 to {self.most_cpus}")
        self._core = core_of(self.arch.name)
        self.cpus = cpus
        self._open: int | None = None
        reason = ctypes.create_string_buffer(256)
        handle = self._core.kobox_open(unicorn_library().encode(), ram_fd, ram_offset, ram_size, epoch, cpus, reason)
        if not handle:
            raise MachineError(f"cannot make a machine: {reason.value.decode(errors='replace')}")
        self._open = handle
        self.ram_size = ram_size
        address = self._core.kobox_ram(handle)
        self.ram = memoryview((ctypes.c_ubyte * ram_size).from_address(address)).cast("B")
        self._registers = (ctypes.c_uint64 * len(self._fields))()
        scratch = (ctypes.c_ubyte * PAGE)()
        self._scratch, self._scratch_at = memoryview(scratch).cast("B"), ctypes.addressof(scratch)
        self._probes: dict[int, list[Callable[[], None]]] = {}
        self._raised: BaseException | None = None
        self._outer_hook = sys.unraisablehook
        self._hook = self._escaped
        self._work = ctypes.c_uint64.from_address(self._core.kobox_work(handle))
        self._on_probe = ProbeCallback(self._probe_hit)  # kept: the core holds a bare pointer to it
        self._core.kobox_on_probe(handle, self._on_probe)
        self.device_work = DeviceWork()
        self.devices = Bus(
            self.ram,
            lambda: self._core.kobox_device_interrupt(self.handle),
            lambda: self._core.kobox_device_event(self.handle),
            lambda address, size: self._core.kobox_device_wrote(self.handle, address, size),
            lambda: self.time,
            self.device_work,
        )
        self.pci = PciBus(
            self.ram,
            lambda address, data: self._core.kobox_pci_message(self.handle, address, data),
            lambda irq: self._core.kobox_pci_pulse(self.handle, irq),
            lambda irq, high: self._core.kobox_pci_line(self.handle, irq, high),
            lambda address, size: self._core.kobox_device_wrote(self.handle, address, size),
            self.device_work,
            CardMemory(
                lambda at, size, bytes_: self._core.kobox_pci_store(self.handle, at, size, bytes_) == 0,
                lambda: self._core.kobox_pci_forget_stores(self.handle),
            ),
            lambda wanted: self._core.kobox_pci_all_ports(self.handle, wanted),
        )
        self.platform = PlatformBus(
            lambda irq, high: self._core.kobox_pci_line(self.handle, irq, high), self.platform_lines
        )
        self._power_on = self.pci.save(), self.platform.save()
        self._on_pci = PciCallback(self._pci_access)
        self._core.kobox_on_pci(handle, self._on_pci)
        self._on_device = DeviceCallback(self._device_access)
        self._core.kobox_on_device(handle, self._on_device)
        self._console_read = 0

    def close(self) -> None:
        """Free everything. Whatever is asked of the machine afterwards raises `MachineClosedError`."""
        if getattr(self, "_open", None) is not None:  # __init__ may have raised
            self.devices.load({})
            for function in self.pci.functions.values():
                self.pci.detach(function)
            self.ram = self.devices.ram = self.pci.ram = memoryview(b"")
            self._core.kobox_close(self._open)
            self._open = None

    @property
    def handle(self) -> int:
        """The core's machine: never a null pointer, which the core would follow."""
        if self._open is None:
            raise MachineClosedError("the machine is closed: its memory, log and devices are gone")
        return self._open

    def __del__(self) -> None:
        self.close()

    # -- start ---------------------------------------------------------------------------------------------

    def load_linux(self, vmlinux: LoadableKernel, setup_header: bytes, initramfs: bytes, command_line: str) -> None:
        """Put a kernel in RAM and the CPU at its 64-bit entry point (boot.rst, "64-bit boot protocol")."""
        from kobox.machine import acpi

        for segment in vmlinux.segments:
            if segment.address + segment.size > self.ram_size:
                raise KernelImageError(
                    f"the kernel needs RAM up to {segment.address + segment.size >> 20} MiB, "
                    f"the machine has {self.ram_size >> 20} MiB",
                    hint="Give the box more memory.",
                )
            self.ram[segment.address : segment.address + len(segment.data)] = segment.data
        line = command_line.encode() + b"\0"
        if len(line) > 2048:
            raise KoboxError(f"the kernel command line has {len(line) - 1} bytes; 2047 is the most an x86 kernel takes")
        at = self.ram_size - len(initramfs) - 0x100000 & -PAGE
        self.ram[at : at + len(initramfs)] = initramfs
        self.ram[COMMAND_LINE : COMMAND_LINE + len(line)] = line
        self.ram[ZERO_PAGE : ZERO_PAGE + PAGE] = self._zero_page(setup_header, at, len(initramfs), acpi.RSDP)
        struct.pack_into("<Q", self.ram, PAGE_TABLES, PAGE_TABLES + 0x1007)
        struct.pack_into("<Q", self.ram, PAGE_TABLES + 0x1000, PAGE_TABLES + 0x2007)
        struct.pack_into("<512Q", self.ram, PAGE_TABLES + 0x2000, *(n << 21 | 0x87 for n in range(512)))
        struct.pack_into("<5Q", self.ram, GDT, 0, 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0)
        acpi_tables = acpi.tables(self.cpus)
        self.ram[acpi.RSDP : acpi.RSDP + len(acpi_tables)] = acpi_tables
        # A seed makes the random number generator ready at once, and the same in every run (setup_data, boot.rst).
        struct.pack_into("<QII32s", self.ram, SEED, 0, 9, 32, b"kobox: every run is the same run")
        self._core.kobox_start_at(self.handle, vmlinux.entry, ZERO_PAGE, GDT, PAGE_TABLES)
        if self.cpus > 1:
            self._answer_apic_base(vmlinux)

    def _answer_apic_base(self, vmlinux: LoadableKernel) -> None:
        """Unicorn's RDMSR gives 0 for IA32_APICBASE. Kernels since 6.9 take a CPU without its bit for the boot CPU to
        be that of a crash kernel, and start no other (topology.c, check_for_real_bsp()). So the result is put right
        behind each RDMSR of that register: `mov $0x1b,%ecx; rdmsr`, and `mov %edi,%ecx; rdmsr` of native_read_msr()."""
        for segment in vmlinux.segments:
            data = bytes(segment.data)
            for code in (b"\xb9\x1b\x00\x00\x00\x0f\x32", b"\x89\xf9\x0f\x32"):
                at = data.find(code)
                while at >= 0:
                    behind = KERNEL_BASE + segment.address + at + len(code)
                    self.add_probe(behind, self._give_apic_base)
                    at = data.find(code, at + 1)

    def _give_apic_base(self) -> None:
        if self.register("rcx") & 0xFFFFFFFF == APIC_BASE_MSR:
            first = APIC_BASE_BSP if self.cpu == 0 else 0
            self.set_register("rax", self.register("rax") | APIC_BASE | first)

    def _zero_page(self, header: bytes, initramfs_at: int, initramfs_size: int, rsdp: int) -> bytes:
        page = bytearray(PAGE)
        end = 0x202 + header[0x201]
        page[0x1F1:end] = header[0x1F1:end]
        page[0x210] = 0xFF  # type_of_loader: unassigned
        page[0x211] |= 1  # loadflags: LOADED_HIGH
        struct.pack_into("<II", page, 0x218, initramfs_at, initramfs_size)
        struct.pack_into("<I", page, 0x228, COMMAND_LINE)
        struct.pack_into("<Q", page, 0x250, SEED)  # setup_data
        struct.pack_into("<Q", page, 0x70, rsdp)
        map_e820 = ((0, 0x9FC00, 1), (0x100000, self.ram_size - 0x100000, 1), (ECAM, ECAM_SIZE, 2))
        page[0x1E8] = len(map_e820)
        for i, row in enumerate(map_e820):
            struct.pack_into("<QQI", page, 0x2D0 + 20 * i, *row)
        return bytes(page)

    # -- running -------------------------------------------------------------------------------------------

    def run(self, *, until: int = FOREVER, blocks: int = 1 << 62, stop_when_idle: bool = False) -> Event:
        """Run until something happens: a hypercall, idleness, virtual time `until` (ns), `blocks` basic blocks, a
        device that rings, death.

        An exception raised by a probe is raised here, with the CPU at the instruction that was probed.
        """
        hook, sys.unraisablehook = sys.unraisablehook, self._hook
        self._outer_hook = hook
        try:
            event = Event(self._core.kobox_run(self.handle, until, blocks, STOP_WHEN_IDLE if stop_when_idle else 0))
        finally:
            sys.unraisablehook = hook
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised
        if event is Event.ERROR:
            raise MachineError(f"{self._core.kobox_error(self.handle).decode()} at {self.pc:#x}")
        return event

    @property
    def time(self) -> int:
        """Virtual nanoseconds since power on."""
        return int(self._core.kobox_time(self.handle))

    def pass_time(self, nanoseconds: int) -> None:
        """Between two runs, or in a probe: let virtual time pass as if the CPU had been taken away, so that
        timers are due before the next instruction (in a probe: the next basic block)."""
        self._core.kobox_pass(self.handle, nanoseconds)

    @property
    def blocks(self) -> int:
        """Basic blocks executed since power on."""
        return int(self._core.kobox_blocks(self.handle))

    @property
    def work(self) -> int:
        """What the machine has done, in basic blocks: those that it executed, and for whatever else the guest has made
        it do (exceptions, wake-ups, callbacks, memory looked at), as many as take this computer about as long."""
        return self._work.value if self._open is not None else 0

    @property
    def cpu(self) -> int:
        """The number of the CPU that has its turn: whose registers and virtual memory are seen."""
        return int(self._core.kobox_cpu(self.handle))

    def schedule(self, turns: Turns, blocks: int, seed: int = 0, changes: int = 0) -> None:
        """How the CPUs take turns from now on: see `kobox_schedule` in native/cpus.c."""
        self._core.kobox_schedule(self.handle, turns, blocks, seed & FOREVER, changes)

    def hold(self, cpu: int, blocks: int) -> None:
        """Let a CPU stand still until the others have executed so many blocks or all wait; -1 ends that."""
        self._core.kobox_hold(self.handle, cpu, blocks)

    def turns(self) -> TurnsNow:
        """How the CPUs take turns."""
        out = (ctypes.c_int64 * 6)()
        self._core.kobox_turns(self.handle, out)
        return TurnsNow(Turns(out[0]), out[1], out[2] & FOREVER, out[3], out[4], out[5])

    @property
    def next_timer(self) -> int:
        """When the next timer interrupt is due, in virtual nanoseconds; `FOREVER` when none is armed."""
        return int(self._core.kobox_due(self.handle))

    @property
    def address_space(self) -> int:
        """The address space that the CPU is in: the physical address of its page tables."""
        return int(self._core.kobox_cr3(self.handle))

    @property
    def system_calls(self) -> int:
        """How many system calls were made since power on."""
        return int(self._core.kobox_syscalls(self.handle))

    def progress(self) -> int:
        """A number that changes whenever a program has made a system call, or runs code of its own."""
        return int(self._core.kobox_progress(self.handle))

    def statistics(self) -> Statistics:
        """What has happened since power on."""
        out = (ctypes.c_uint64 * 35)()
        self._core.kobox_statistics(self.handle, out)
        seen = {vector: out[vector] for vector in range(32) if out[vector]}
        return Statistics(seen, out[32], out[33], out[34])

    # -- CPU and memory ------------------------------------------------------------------------------------

    def registers(self) -> Registers:
        """All registers at once."""
        self._core.kobox_registers(self.handle, self._registers)
        return X86Registers._make(_REGISTERS.unpack_from(self._registers))

    def guards(self) -> dict[str, int]:
        """What the kernel guards itself with, by the names that the processor's manual has: the bits that switch
        protection on, where system calls and interrupts lead, hardware breakpoints. An honest module changes none."""
        out = (ctypes.c_uint64 * 32)()
        count = self._core.kobox_guards(self.handle, out, len(out))
        return {name: out[n] & mask for n, (name, mask) in enumerate(self._guards) if n < count}

    def register(self, name: str) -> int:
        """One general register, rip or fs_base."""
        return int(self._core.kobox_register(self.handle, self._numbers[name]))

    def set_register(self, name: str, value: int) -> None:
        """Set a general register, the program counter or the thread pointer. Raises `MachineError` for another."""
        if name not in self._settable:
            raise MachineError(f"the register {name} cannot be set")
        self._core.kobox_set_register(self.handle, self._numbers[name], value & FOREVER)

    @property
    def pc(self) -> int:
        """The program counter: the address of the instruction that is executed next."""
        return self.register(self._pc)

    @pc.setter
    def pc(self, address: int) -> None:
        self.set_register(self._pc, address)

    @property
    def sp(self) -> int:
        """The stack pointer."""
        return self.register(self._sp)

    @sp.setter
    def sp(self, address: int) -> None:
        self.set_register(self._sp, address)

    @property
    def result(self) -> int:
        """The register that holds a function's result when it has returned."""
        return self.register(self._result)

    @result.setter
    def result(self, value: int) -> None:
        self.set_register(self._result, value)

    @property
    def thread_pointer(self) -> int:
        """The register by which a program of user space knows its thread."""
        return self.register(self._thread)

    @thread_pointer.setter
    def thread_pointer(self, value: int) -> None:
        self.set_register(self._thread, value)

    def argument(self, number: int) -> int:
        """At a function's first instruction: one of its first six arguments, counted from 0."""
        return self.register(self.arch.calls.argument_registers[number])

    def set_argument(self, number: int, value: int) -> None:
        """Change one of the first six arguments of the function that begins here."""
        self.set_register(self.arch.calls.argument_registers[number], value)

    def set_syscall(self, address: int, call: tuple[int, ...]) -> None:
        """Leave the CPU at the SYSCALL instruction at `address`, with number and six arguments in its registers."""
        self._core.kobox_set_syscall(self.handle, address, (ctypes.c_uint64 * 7)(*call))

    def set_hypercall(self, address: int) -> None:
        """Take CPUID for a hypercall at this address only, in the address space that the CPU is in, and in others
        where the same code stands there and cannot be written."""
        self._core.kobox_set_hypercall(self.handle, address)

    def translate(self, address: int, *, write: bool = False, execute: bool = False) -> int | None:
        """Virtual to physical by the current page tables; None where nothing (writable, executable by the kernel) is
        mapped."""
        access = _WRITE if write else _EXECUTE if execute else _READ
        physical = self._core.kobox_translate(self.handle, address, access)
        return None if physical == FOREVER else int(physical)

    def read(self, address: int, size: int, space: int | None = None) -> bytes:
        """Read virtual memory, of the current address space or that of `space`.

        Raises `ValueError` when part of it is not mapped, or when it is more than all RAM: a guest may have said how
        much it is, and nothing is allocated by its word.
        """
        if not 0 <= size <= self.ram_size:
            raise ValueError(f"{size} bytes at {address:#x}: RAM has {self.ram_size}")
        if size <= PAGE:  # by far the most: no new buffer for these
            if self._copy(address, self._scratch_at, size, 0, space):
                return bytes(self._scratch[:size])
        else:
            buffer = ctypes.create_string_buffer(size)
            if self._copy(address, buffer, size, 0, space):
                return buffer.raw
        raise ValueError(f"virtual memory {address:#x}..{address + size:#x} is not all mapped")

    def write(self, address: int, data: bytes, space: int | None = None) -> None:
        """Write virtual memory, of the current address space or that of `space`.

        Raises `ValueError` when part of it is not mapped writable.
        """
        if not self._copy(address, ctypes.c_char_p(bytes(data)), len(data), 1, space):
            raise ValueError(f"virtual memory {address:#x}..{address + len(data):#x} is not all mapped writable")

    def _copy(
        self,
        address: int,
        buffer: int | ctypes.Array[ctypes.c_char] | ctypes.c_char_p,
        size: int,
        write: int,
        space: int | None,
    ) -> bool:
        if space is None:
            return bool(self._core.kobox_copy(self.handle, address, buffer, size, write))
        return bool(self._core.kobox_copy_space(self.handle, space, address, buffer, size, write))

    # -- devices -------------------------------------------------------------------------------------------

    def console(self) -> bytes:
        """What the serial console printed since the last call (the last MiB of it at most)."""
        total = self._core.kobox_console(self.handle, 0, None, 0)
        size = min(total - self._console_read, 1 << 20)
        if size <= 0:
            self._console_read = total
            return b""
        buffer = ctypes.create_string_buffer(size)
        self._core.kobox_console(self.handle, total - size, buffer, size)
        self._console_read = total
        return buffer.raw

    def serial_input(self, port: int, data: bytes) -> int:
        """Bytes arrive at serial port 0 or 1; returns how many its buffer took."""
        return int(self._core.kobox_uart_input(self.handle, port, data, len(data)))

    def device_name(self, slot: int) -> str:
        """What the kernel calls a place for devices that Python models: its name on the platform bus."""
        return f"LNRO0005:{slot:02x}"

    def interrupt_cells(self, line: int, *, edge: bool = False) -> Sequence[int]:
        """How a device tree describes an input of the interrupt controller; nothing where ACPI announces devices."""
        return ()

    # -- probes --------------------------------------------------------------------------------------------

    def add_probe(self, address: int, callback: Callable[[], None], *, entry: bool = False, when: int = 0) -> None:
        """Call `callback()` whenever the CPU is about to execute the instruction at virtual `address`.

        `entry` says that only jumps, calls and returns lead there: such a probe is found by the hook that counts
        blocks, and costs nothing to set or take away. `when`, of `native.PROBE_…`, names the arrivals that are told
        of, where not all are wanted; another callback at the address may want more.
        """
        callbacks = self._probes.setdefault(address, [])
        if self._core.kobox_probe_add(self.handle, address, (PROBE_ENTRY if entry else 0) | when):
            if not callbacks:
                del self._probes[address]
            raise MachineError(f"no room for a probe at {address:#x}")
        callbacks.append(callback)

    def remove_probe(self, address: int, callback: Callable[[], None]) -> None:
        """Undo `add_probe`."""
        callbacks = self._probes[address]
        callbacks.remove(callback)
        if not callbacks:
            del self._probes[address]
            self._core.kobox_probe_remove(self.handle, address)

    def set_patcher(self, address: int) -> None:
        """Say where the kernel's __text_poke() is: what it changes is translated anew."""
        if self._core.kobox_set_patcher(self.handle, address):
            raise MachineError("no room for a probe at __text_poke()")

    def return_from_function(self, value: int) -> None:
        """In a probe at a function's first instruction: leave it at once with `value` in RAX."""
        if not self._core.kobox_return(self.handle, value & FOREVER):
            raise MachineError("no return address on the stack")

    def keep_link(self, entry: int) -> None:
        """In a probe at a function's first instruction, before another one is called in its place: remember where it
        returns to, until it is met again."""
        self._core.kobox_keep_link(self.handle, entry)

    def stop(self) -> None:
        """In a probe: make `run` come back with Event.STOPPED before the instruction is executed."""
        self._core.kobox_stop(self.handle)

    def _device_access(self, offset: int, size: int, value: int, write: int) -> int:
        self.device_work.begin()
        self.pci.reads += not write
        try:
            return self.devices.access(offset, size, value, write)
        except BaseException as error:
            self._raised = error
            self._core.kobox_device_event(self.handle)
            return 0
        finally:
            self.charge_work()

    def _pci_access(self, space: int, at: int, size: int, value: int, write: int) -> int:
        self.device_work.begin()
        try:
            if self.platform.windows and (found := self.platform.find(space, at)) is not None:
                self.pci.reads += not write
                answer = self.platform.access(*found, size, value, write)
            else:
                answer = self.pci.access(space, at, size, value, write)
            return answer
        except BaseException as error:
            self._raised = error
            self._core.kobox_device_event(self.handle)
            return 0
        finally:
            self.charge_work()

    def charge_work(self) -> None:
        """Charge what devices have done to the run's CPU time."""
        if self.device_work.blocks:
            self._core.kobox_spend(self.handle, self.device_work.take())

    def _probe_hit(self, address: int) -> None:
        try:
            for callback in tuple(self._probes.get(address, ())):
                callback()
        except BaseException as error:
            self.raise_from_callback(error)

    def _escaped(self, unraisable: sys.UnraisableHookArgs) -> None:
        """An exception that a callback of the core could not catch: Ctrl-C, which Python looks for where a function
        begins, before any `try` of it. ctypes would only print it."""
        error, where = unraisable.exc_value, unraisable.err_msg or ""
        if error is not None and (isinstance(error, KeyboardInterrupt) or "ctypes callback" in where):
            self.raise_from_callback(error)
        else:
            self._outer_hook(unraisable)

    def raise_from_callback(self, error: BaseException) -> None:
        """In a callback of the core: stop, and let `run` raise this."""
        self._raised = error
        self.stop()

    # -- state ---------------------------------------------------------------------------------------------

    def save_state(self) -> bytes:
        """CPU and devices as bytes, for `load_state` of a machine with the same RAM."""
        buffer = ctypes.create_string_buffer(self._core.kobox_state_size(self.handle))
        self._core.kobox_state_save(self.handle, buffer)
        return buffer.raw

    def load_state(self, state: bytes) -> None:
        """Undo `save_state`. Raises `ValueError` when the state is of another build."""
        if len(state) != self._core.kobox_state_size(self.handle):
            raise ValueError(
                f"a machine state of {len(state)} bytes, this build has {self._core.kobox_state_size(self.handle)}"
            )
        self._core.kobox_state_load(self.handle, state)

    def save_ram(self, fd: int, offset: int) -> bytes:
        """Write RAM to a file, leaving holes where it is zero. Returns one byte a page, 1 where the file holds data.

        Raises `OSError`, as when the disk is full.
        """
        used = ctypes.create_string_buffer(self.ram_size // PAGE)
        count = self._core.kobox_ram_save(self.handle, fd, offset, used)
        if count < 0:
            raise OSError(-count, os.strerror(-count))
        return used.raw

    def checkpoint(self) -> Checkpoint:
        """Remember RAM, CPU and devices as they are now."""
        handle = self._core.kobox_checkpoint(self.handle)
        if not handle:
            raise MemoryError("no memory for a checkpoint")
        return Checkpoint(handle, self.devices.save(), self.pci.save(), self.platform.save())

    def checkpoint_of(self, state: bytes) -> Checkpoint:
        """A checkpoint of RAM as its file has it, with CPU and devices as `save_state` gave them."""
        handle = self._core.kobox_checkpoint_of(self.handle, state)
        if not handle:
            raise MemoryError("no memory for a checkpoint")
        return Checkpoint(handle, {}, *self._power_on)

    def restore(self, checkpoint: Checkpoint) -> int:
        """Go back to a checkpoint of this machine. Returns how many pages had changed."""
        pages = int(self._core.kobox_restore(self.handle, checkpoint.handle))
        if pages < 0:
            raise MemoryError("no memory to restore a checkpoint")
        self.devices.load(checkpoint.devices)
        self.pci.load(checkpoint.pci)
        checkpoint.platform()
        self._console_read = min(self._console_read, self._core.kobox_console(self.handle, 0, None, 0))
        return pages
