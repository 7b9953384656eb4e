"""The stack of an RV64 kernel, by frame pointers (arch/riscv/kernel/stacktrace.c).

    S0 -> where the caller's frame ends; below it { S0 of the caller, return address }

Where a function begins, and until it has set S0, RA is where it returns to. A function that calls no other keeps S0
alone. Where a trap has come into the kernel, `struct pt_regs` stands on the stack.
"""

from __future__ import annotations

import struct

from kobox.arch.registers import Registers
from kobox.arch.riscv64.registers import RiscvRegisters
from kobox.arch.unwind import KernelView, StackFrame

_PROLOGUE = 64  # bytes of a function in which S0 is set, if at all
_SETS_FRAME, _SETS_FRAME_MASK = 0x00010413, 0x000FFFFF  # addi s0, sp, n
_SETS_FRAME_SHORT, _SHORT_MASK = 0x0000, 0xE01F  # c.addi4spn s0, sp, n
_FROM_SUPERVISOR = 1 << 8  # SPP of sstatus
_ENTRY, _ENTRY_END = "handle_exception", "ret_from_exception_end"  # arch/riscv/kernel/entry.S
_ENTRY_SIZE = 0x200  # of kernels that do not name its end


class RiscvUnwinder:
    """Walks the stacks of one kernel."""

    def __init__(self, kernel: KernelView) -> None:
        self._view = kernel
        self._trap: tuple[int, int] | None = None

    @property
    def reliable(self) -> bool:
        """Kernels for RV64 are built with frame pointers."""
        return True

    def walk(self, registers: Registers | None = None, *, limit: int = 64) -> tuple[StackFrame, ...]:
        """The calls at this moment, or where `registers` are, the innermost first; `limit` of them at most. Empty in
        user space."""
        now = registers or self._view.registers()
        assert isinstance(now, RiscvRegisters)
        if now.user_mode:
            return ()
        return tuple(self._from(now.pc, now.sp, now.s0, now.ra, limit)[:limit])

    def _from(self, pc: int, sp: int, frame: int, link: int, limit: int) -> list[StackFrame]:
        """The calls from an instruction that is executed next on: with the registers there."""
        if not self._has_frame(pc):
            found = [StackFrame(pc, sp, True), StackFrame(link, frame)]
            return self._frames(found, frame, limit) if self._is_code(link) else found[:1]
        found = [StackFrame(pc, frame, True)]
        _, address = self._record(frame)
        if self._is_code(address):
            return self._frames(found, frame, limit)
        # It calls no other function: S0 of its caller stands where others keep the return address.
        if address & 7 or not self._is_code(link):
            return found
        return self._frames([*found, StackFrame(link, address)], address, limit)

    def asleep_sp(self, task: int) -> int:
        """The stack pointer of a task that does not run."""
        return int.from_bytes(self._view.read(self._context(task) + 8, 8), "little")

    def _context(self, task: int) -> int:
        """struct thread_struct { ra, sp, s[12] … } of a task."""
        return task + self._view.symbols.btf.offset("task_struct", "thread")

    def asleep(self, task: int, *, limit: int = 64) -> tuple[StackFrame, ...]:
        """The calls of a task that does not run: from where __switch_to() goes on."""
        try:
            address, _, frame = struct.unpack("<3Q", self._view.read(self._context(task), 24))
        except ValueError:
            return ()
        return tuple(self._frames([StackFrame(address, frame)], frame, limit)[:limit])

    def _frames(self, found: list[StackFrame], frame: int, limit: int) -> list[StackFrame]:
        """The calls outside of `found`, whose outermost has its frame below `frame`."""
        seen: set[int] = set()
        while len(found) < limit and frame and not frame & 7 and frame not in seen:
            seen.add(frame)
            following, address = self._record(frame)
            if not self._is_code(address):
                break
            if self._is_entry(address):
                found.append(StackFrame(address, frame + self._view.symbols.btf.size("pt_regs")))
                return found + self._interrupted(frame, limit - len(found))
            found.append(StackFrame(address, following))
            frame = following
        return found

    def _interrupted(self, at: int, limit: int) -> list[StackFrame]:
        """The calls of the kernel that a trap has interrupted, whose `struct pt_regs` is at `at`."""
        btf = self._view.symbols.btf
        names = ("epc", "status", "sp", "s0", "ra")
        try:
            pc, status, sp, frame, link = (
                int.from_bytes(self._view.read(at + btf.offset("pt_regs", name), 8), "little") for name in names
            )
        except ValueError:
            return []
        return self._from(pc, sp, frame, link, limit) if status & _FROM_SUPERVISOR and limit > 0 else []

    def _record(self, frame: int) -> tuple[int, int]:
        """(S0 of the caller, return address) below where a frame ends; 0 where nothing is mapped."""
        try:
            following, address = struct.unpack("<2Q", self._view.read(frame - 16, 16))
        except ValueError:
            return 0, 0
        return following, address

    def _is_code(self, address: int) -> bool:
        return address >> 31 == 0x1FFFFFFFF or address >> 31 == 0x1FFFFFFFE  # the image, or modules below it

    def _is_entry(self, address: int) -> bool:
        """Whether an address is in the code through which traps come into the kernel."""
        if self._trap is None:
            symbols = self._view.symbols
            start = symbols.address(_ENTRY) if _ENTRY in symbols else 0
            self._trap = (start, symbols.address(_ENTRY_END) if _ENTRY_END in symbols else start + _ENTRY_SIZE)
        return self._trap[0] <= address < self._trap[1]

    def _has_frame(self, pc: int) -> bool:
        """Whether the function at `pc` has set S0: behind the instruction in its beginning that does."""
        symbol = self._view.symbols.lookup(pc)
        if symbol is None or symbol.address == pc:
            return False
        try:
            code = self._view.read(symbol.address, min(pc - symbol.address, _PROLOGUE))
        except ValueError:
            return True
        at = 0
        while at + 2 <= len(code):
            word = int.from_bytes(code[at : at + 4], "little")
            length = 4 if word & 3 == 3 else 2
            if (length == 4 and word & _SETS_FRAME_MASK == _SETS_FRAME) or (
                length == 2 and word & _SHORT_MASK == _SETS_FRAME_SHORT and word & 0x1FE0
            ):
                return True
            at += length
        return len(code) == _PROLOGUE
