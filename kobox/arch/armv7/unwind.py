"""The stack of an ARM kernel without frame pointers: what on it looks like a return address.

Debian's kernels are built with tables for unwinding (CONFIG_ARM_UNWIND) whose place no symbol tells. So a chain may
have calls in it that have returned since.
"""

from __future__ import annotations

import struct

from kobox.arch.armv7.registers import Armv7Registers
from kobox.arch.registers import Registers
from kobox.arch.unwind import KernelView, StackFrame

_THREAD_SIZE = 8 << 10
_BL, _BLX = 0x0B000000, 0x012FFF30
_CONTEXT_SP, _CONTEXT_PC = 32, 36  # of struct cpu_context_save { r4 … r9, sl, fp, sp, pc }


class StackScanner:
    """Walks the stacks of one kernel."""

    def __init__(self, kernel: KernelView) -> None:
        self._view = kernel

    @property
    def reliable(self) -> bool:
        """No: a word of the stack may be left from an earlier call."""
        return False

    def walk(self, registers: Registers | None = None, *, limit: int = 64) -> tuple[StackFrame, ...]:
        """The calls at this moment, or where `registers` are, the innermost first; `limit` of them at most. Empty in
        user space."""
        now = registers or self._view.registers()
        assert isinstance(now, Armv7Registers)
        if now.user_mode:
            return ()
        found = [StackFrame(now.pc, now.sp, True)]
        if self._follows_a_call(now.lr):
            found.append(StackFrame(now.lr, now.sp))
        return self._scan(found, now.sp, limit)

    def asleep_sp(self, task: int) -> int:
        """The stack pointer of a task that does not run."""
        return self._word(self._context(task) + _CONTEXT_SP)

    def asleep(self, task: int, *, limit: int = 64) -> tuple[StackFrame, ...]:
        """The calls of a task that does not run: from where __switch_to() goes on."""
        try:
            sp, pc = self.asleep_sp(task), self._word(self._context(task) + _CONTEXT_PC)
        except ValueError:
            return ()
        return self._scan([StackFrame(pc, sp)], sp, limit)

    def _context(self, task: int) -> int:
        return task + self._view.symbols.btf.offset("thread_info", "cpu_context")

    def _scan(self, found: list[StackFrame], sp: int, limit: int) -> tuple[StackFrame, ...]:
        """What lies between the stack pointer and the stack's end, as far as it follows a call."""
        end = (sp & -_THREAD_SIZE) + _THREAD_SIZE
        try:
            words = struct.unpack(f"<{(end - sp) // 4}I", self._view.read(sp, (end - sp) // 4 * 4))
        except ValueError:
            return tuple(found)
        for n, word in enumerate(words):
            if len(found) >= limit:
                break
            if self._follows_a_call(word):
                found.append(StackFrame(word, sp + 4 * n + 4))
        return tuple(found)

    def _follows_a_call(self, address: int) -> bool:
        """Whether an address is that of an instruction of the kernel's behind BL or BLX."""
        if address & 3 or not 0xBF000000 <= address < 0xFFFF0000:
            return False
        try:
            word = self._word(address - 4)
        except ValueError:
            return False
        return (word & 0x0F000000 == _BL and word >> 28 != 15) or word & 0x0FFFFFF0 == _BLX

    def _word(self, address: int) -> int:
        return int.from_bytes(self._view.read(address, 4), "little")
