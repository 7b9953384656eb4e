"""The processor seam: everything that differs between processors, as one value that code above it asks.

    box.arch.calls.return_address(hit.registers, hit.read)      # x86-64: on the stack; AArch64: X30
    box.arch.addresses.is_kernel(pointer)

An `Arch` is made of small pieces, each in a file of its own under `kobox/arch/NAME/`. What needs a running machine gets
it as an argument, by narrow protocols: nothing here knows of boxes. docs/adding-an-architecture.md
says what a new one brings.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from kobox.arch.abi import GuestAbi
from kobox.arch.boot import BootDetails
from kobox.arch.code import Code
from kobox.arch.debugger import DebuggerTarget
from kobox.arch.init_program import InitProgram
from kobox.arch.oops import OopsWords
from kobox.arch.registers import CallingConvention
from kobox.arch.relocations import Relocations
from kobox.arch.syscalls import SyscallTable
from kobox.arch.unwind import KernelView, Unwinder

_LAST_PAGE = 4096  # its size: MAX_ERRNO is 4095 (include/linux/err.h)


class AddressSpace(NamedTuple):
    """Where the kernel and its modules are, in virtual memory."""

    kernel_start: int
    """The first address of the kernel's half."""

    bits: int
    """How many bits of an address count: those above are copies of the highest."""

    image_start: int
    """The first address that the kernel's own code and data may have (KIMAGE_VADDR, __START_KERNEL_map)."""

    modules: tuple[int, int]
    """(start, end) of where modules are loaded (MODULES_VADDR, MODULES_END)."""

    modules_size: int
    """How much room modules have there (MODULES_LEN)."""

    thread_size: int
    """THREAD_SIZE: bytes of a task's kernel stack, which is aligned to as many."""

    hostile: tuple[int, ...]
    """Addresses that a module must not trust when user space hands them over: NULL's page, the ends of the halves, the
    direct map, the last page."""

    word: int = 8
    """Bytes of a pointer, and of `long`."""

    @property
    def mask(self) -> int:
        """The largest address."""
        return (1 << 8 * self.word) - 1

    def number(self, data: bytes, at: int = 0) -> int:
        """The pointer, or the unsigned long, at an offset of some bytes."""
        return int.from_bytes(data[at : at + self.word], "little")

    def numbers(self, data: bytes) -> tuple[int, ...]:
        """The pointers that bytes are, one behind the other. Raises `struct.error` where one is not complete."""
        return struct.unpack(f"<{len(data) // self.word}{'Q' if self.word == 8 else 'I'}", data)

    def packed(self, *values: int) -> bytes:
        """The same as bytes."""
        return b"".join((value & self.mask).to_bytes(self.word, "little") for value in values)

    def call_result(self, value: int) -> int:
        """What a register holds when a system call has returned: an errno as a negative number, or any other number."""
        value &= self.mask
        return value - (self.mask + 1) if value > self.mask - _LAST_PAGE else value

    def is_kernel(self, address: int) -> bool:
        """Whether an address lies in the kernel's half."""
        return address >= self.kernel_start

    def is_pointer(self, address: int) -> bool:
        """Whether a value can be a pointer to something of the kernel's: in its half, and no ERR_PTR()."""
        return self.kernel_start <= address <= self.mask - _LAST_PAGE

    def is_canonical_kernel(self, address: int) -> bool:
        """Whether an address lies in the part of the kernel's half that page tables can map."""
        return address >> self.bits - 1 == (1 << 8 * self.word + 1 - self.bits) - 1

    def is_module(self, address: int) -> bool:
        """Whether an address lies where modules are loaded."""
        return self.modules[0] <= address < self.modules[1]

    def stack_of(self, sp: int) -> int:
        """The lowest address of the kernel stack that a stack pointer points into."""
        return sp & -self.thread_size


Variable = Callable[[str], int]
"""Reads a variable of the kernel, of 64 bits, by its name."""


class KernelAreas(NamedTuple):
    """Where areas of the kernel's virtual memory begin."""

    direct_map: int
    """All RAM in one piece: the address of its first byte."""

    pages: int
    """One `struct page` for each page of RAM (vmemmap)."""

    vmalloc: int


class Arch(NamedTuple):
    """One architecture of Linux."""

    name: str
    """As `uname -m` says it: "x86_64"."""

    title: str
    """As people write it: "x86-64"."""

    elf_machine: int
    """EM_* of the ELF header."""

    debian: str
    """The name of Debian's port: "amd64"."""

    gnu: str
    """GNU's triplet, without vendor: "x86_64-linux-gnu"."""

    calls: CallingConvention
    addresses: AddressSpace
    syscalls: SyscallTable
    abi: GuestAbi
    code: Code
    relocations: Relocations
    init: InitProgram
    boot: BootDetails
    oops: OopsWords
    watched: bool
    """Whether the native core can watch its instructions and what they do to memory: `kobox check` rests on that."""

    interrupt_entries: tuple[str, ...]
    """How the names begin of the code through which interrupts and exceptions come into the kernel."""

    unwinder: Callable[[KernelView], Unwinder]
    """Makes what walks the stacks of a kernel of this architecture."""

    debugger: DebuggerTarget
    """The processor as gdb sees it."""

    direct_map: Callable[[Variable], int]
    """The address of RAM's first byte, where the kernel has all RAM in one piece. Raises what reading a variable
    does."""

    areas: Callable[[Variable, Variable], KernelAreas]
    """Where areas are, by the kernel's variables and the numbers that its vmcoreinfo publishes. Raises what reading
    either does."""

    elf_name: str = ""
    """What ELF's machine is called where several levels of the processor share it: "arm"."""
