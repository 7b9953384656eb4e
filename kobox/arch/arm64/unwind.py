"""The stack of an AArch64 kernel, by frame pointers (arch/arm64/kernel/stacktrace.c).

    X29 -> { X29 of the caller, return address } -> { … } -> { 0, 0 }

Where a function begins, and until it has made its frame, X30 is where it returns to.
"""

from __future__ import annotations

import struct
from functools import cached_property

from kobox.arch.arm64.registers import Arm64Registers
from kobox.arch.registers import Registers
from kobox.arch.unwind import KernelView, StackFrame
from kobox.errors import KoboxError

_MAKES_FRAME = 0xA9807BFD  # stp x29, x30, [sp, #-n]!
_PUTS_RECORD = 0xA9007BFD  # stp x29, x30, [sp, #n]
_MAKES_ROOM = 0xD10003FF  # sub sp, sp, #n
_FRAME_MASK = 0xFFC07FFF
_PROLOGUE = 4096  # bytes in front of an instruction where its function begins
_MODULES = (0xFFFF800000000000, 0xFFFF800080000000)  # as in arm64.py
_BEFORE_FRAME = (0xD503233F, 0xD503245F, 0xD503201F, 0xAA1E03E9)  # paciasp, bti c, nop, mov x9, x30 (ftrace's)
_LOOKED_AT = 6  # instructions
_CALLEE_SAVED = 10  # x19 to x28, before fp, sp and pc in struct cpu_context


class FramePointerUnwinder:
    """Walks the stacks of one kernel."""

    def __init__(self, kernel: KernelView) -> None:
        self._view = kernel

    @cached_property
    def _text(self) -> tuple[int, int]:
        """Where the code of the kernel's own image begins and ends: in front of modules' area, or in it."""
        try:
            return self._view.symbols.address("_stext"), self._view.symbols.address("_etext")
        except KoboxError:
            return 0, 0

    @property
    def reliable(self) -> bool:
        """Kernels for AArch64 are built with frame pointers."""
        return True

    def walk(self, registers: Registers | None = None, *, limit: int = 64) -> tuple[StackFrame, ...]:
        """The calls at this moment, or where `registers` are, the innermost first; `limit` of them at most. Empty in
        user space."""
        now = registers or self._view.registers()
        assert isinstance(now, Arm64Registers)
        if now.user_mode:
            return ()
        if self._has_no_frame(now.pc):
            found = [StackFrame(now.pc, now.sp, True), StackFrame(now.x30, self._cfa(now.x30, now.x29))]
        else:
            found = [StackFrame(now.pc, self._cfa(now.pc, now.x29), True)]
        return tuple(self._frames(found, now.x29, limit))

    def asleep_sp(self, task: int) -> int:
        """The stack pointer of a task that does not run."""
        return int.from_bytes(self._view.read(self._context(task) + 8 * _CALLEE_SAVED + 8, 8), "little")

    def _context(self, task: int) -> int:
        """struct cpu_context { x19 … x28, fp, sp, pc } of a task."""
        btf = self._view.symbols.btf
        return task + btf.offset("task_struct", "thread") + btf.offset("thread_struct", "cpu_context")

    def asleep(self, task: int, *, limit: int = 64) -> tuple[StackFrame, ...]:
        """The calls of a task that does not run: from cpu_switch_to()'s struct cpu_context."""
        try:
            frame, sp, pc = struct.unpack("<3Q", self._view.read(self._context(task) + 8 * _CALLEE_SAVED, 24))
        except ValueError:
            return ()
        return tuple(self._frames([StackFrame(pc, sp)], frame, limit))

    def _frames(self, found: list[StackFrame], frame: int, limit: int) -> list[StackFrame]:
        seen: set[int] = set()
        while len(found) < limit and frame and not frame & 7 and frame not in seen:
            seen.add(frame)
            try:
                following, address = struct.unpack("<2Q", self._view.read(frame, 16))
            except ValueError:
                break
            if not address:
                break
            found.append(StackFrame(address, self._cfa(address, following)))
            frame = following
        return found[:limit]

    def _cfa(self, address: int, frame: int) -> int:
        """Where the stack ended before the function that `address` is in was called; `frame` is its own record. Exact
        for modules: by the instructions in front of `address` that made the frame."""
        if not _MODULES[0] <= address < _MODULES[1] or self._text[0] <= address < self._text[1]:
            return frame + 16
        record: int | None = None  # where the record stands in a frame that was made before
        for word in reversed(self._words_before(address & -4)):
            if word & _FRAME_MASK == _MAKES_FRAME:
                return frame + 8 * (0x80 - (word >> 15 & 0x7F))
            if word & _FRAME_MASK == _PUTS_RECORD:
                record = 8 * (word >> 15 & 0x7F)
            elif record is not None and word & 0xFFC003FF == _MAKES_ROOM:
                return frame - record + (word >> 10 & 0xFFF)
        return frame + 16

    def _words_before(self, address: int) -> tuple[int, ...]:
        """The instructions in front of an address, as far as memory is mapped there."""
        for start in (address - _PROLOGUE, address & -4096):
            try:
                return struct.unpack(f"<{(address - start) // 4}I", self._view.read(start, address - start))
            except ValueError:
                continue
        return ()

    def _has_no_frame(self, pc: int) -> bool:
        """Whether a function begins, or is about to make its frame."""
        symbol = self._view.symbols.lookup(pc)
        if symbol is not None and symbol.address == pc:
            return True
        try:
            words = struct.unpack(f"<{_LOOKED_AT}I", self._view.read(pc, 4 * _LOOKED_AT))
        except ValueError:
            return False
        for word in words:
            if word & _FRAME_MASK == _MAKES_FRAME:
                return True
            if word not in _BEFORE_FRAME:
                return False
        return False
