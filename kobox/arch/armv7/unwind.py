"""The stack of an ARM kernel by its tables for unwinding (CONFIG_ARM_UNWIND; arch/arm/kernel/unwind.c).

    index    { function, what to do } ...         in order of functions; each module has its own (module.arch)
    function   31 bits, relative to their own place
    what       1: the calls end here; upper bit: three instructions; else a place with more of them

An instruction adds to the stack pointer, takes it from a register, or pops registers. No symbol tells where the index
of the kernel's own functions is: its unwinder does, which uses its address and that of its end. A kernel without one is
walked by what on the stack looks like a return address.

Source: Exception Handling ABI for the Arm Architecture, sections 5 to 10.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import combinations

from kobox.arch.armv7.code import A32Code
from kobox.arch.armv7.registers import Armv7Registers
from kobox.arch.registers import Registers
from kobox.arch.unwind import KernelView, StackFrame
from kobox.errors import KoboxError

_THREAD_SIZE = 8 << 10
_MODULES, _LAST = 0xBF000000, 0xFFFF0000
_BL, _BLX = 0x0B000000, 0x012FFF30
_CONTEXT = 40  # struct cpu_context_save { r4 … r9, sl, fp, sp, pc }
_SP, _LR, _PC = 13, 14, 15
_WORD = (1 << 32) - 1
_USERS = ("unwind_frame", "unwind_find_idx")
_USER_SIZE = 2048  # bytes of such a function that are looked at
_SAMPLES = 64
_CANNOT = 1  # EXIDX_CANTUNWIND
_MOST_TABLES = 4096

Frame = dict[int, int]  # of the registers that are known, by their numbers
_Word = Callable[[int], int]


class ArmUnwinder:
    """Walks the stacks of one kernel."""

    def __init__(self, kernel: KernelView) -> None:
        self._view = kernel

    @property
    def reliable(self) -> bool:
        """Whether the kernel has an index: else a word of the stack may be left from an earlier call."""
        return self._index is not None

    def walk(self, registers: Registers | None = None, *, limit: int = 64) -> tuple[StackFrame, ...]:
        """The calls at this moment, or where `registers` are, the innermost first; `limit` of them at most. Empty in
        user space."""
        now = registers or self._view.registers()
        assert isinstance(now, Armv7Registers)
        if now.user_mode:
            return ()
        return tuple(self._calls(dict(enumerate(now[:16])), True, limit))

    def asleep_sp(self, task: int) -> int:
        """The stack pointer of a task that does not run."""
        return struct.unpack("<10I", self._view.read(self._context(task), _CONTEXT))[8]  # type: ignore[no-any-return]

    def asleep(self, task: int, *, limit: int = 64) -> tuple[StackFrame, ...]:
        """The calls of a task that does not run: from where __switch_to() goes on."""
        try:
            *saved, sp, pc = struct.unpack("<10I", self._view.read(self._context(task), _CONTEXT))
        except ValueError:
            return ()
        return tuple(self._calls({**dict(enumerate(saved, 4)), _SP: sp, _LR: pc, _PC: pc}, False, limit))

    def _context(self, task: int) -> int:
        return task + self._view.symbols.btf.offset("thread_info", "cpu_context")

    def _calls(self, frame: Frame, exact: bool, limit: int) -> Iterator[StackFrame]:
        if self._index is None:
            yield from self._guessed(frame, exact, limit)
            return
        for _ in range(limit):
            pc, sp = frame[_PC], frame[_SP]
            try:
                outer = self._outer(frame, exact)
            except (ValueError, KeyError, KoboxError):  # what lies there may be anything
                outer = None
            if outer is None:
                yield StackFrame(pc, sp, exact)
                return
            yield StackFrame(pc, outer[_SP], exact)
            interrupted = outer.pop(_INTERRUPTED, 0)
            if not self._is_code(outer[_PC]) or (outer[_SP] <= sp and not interrupted and outer[_PC] == pc):
                return
            frame, exact = outer, bool(interrupted)

    def _outer(self, frame: Frame, exact: bool) -> Frame | None:
        """The registers that the caller has after the return; None where the calls end."""
        pc = frame[_PC]
        found = self._entry(pc if exact else pc - 1)
        if found is None:
            return None
        start, place = found
        if exact and pc == start:  # nothing was pushed yet
            return {**frame, _PC: frame[_LR]}
        code = self._instructions(place)
        return None if code is None else _executed(code, frame, self._word)

    # -- the index --------------------------------------------------------------------------------------------

    def _entry(self, address: int) -> tuple[int, int] | None:
        """(where the function begins, where the index says what to do) for code at an address."""
        table = self._index if address >= 0xC0000000 else self._index_of_module(address)
        if table is None:
            return None
        low, high = 0, (table[1] - table[0]) // 8
        while high - low > 1:
            middle = (low + high) // 2
            if self._relative(table[0] + 8 * middle) <= address:
                low = middle
            else:
                high = middle
        start = self._relative(table[0] + 8 * low)
        return (start, table[0] + 8 * low + 4) if start <= address else None

    @cached_property
    def _index(self) -> tuple[int, int] | None:
        """Where the kernel's own index begins and ends."""
        symbols = self._view.symbols
        for name in _USERS:
            if name not in symbols:
                continue
            start = symbols.address(name)
            try:
                known = sorted(A32Code().references(self._view.read(start, _USER_SIZE), start))
            except ValueError:
                continue
            pairs = [pair for pair in combinations(known, 2) if self._is_index(*pair)]
            if pairs:
                return max(pairs, key=lambda pair: pair[1] - pair[0])
        return None

    def _is_index(self, start: int, end: int) -> bool:
        if start & 3 or (end - start) & 7 or not 8 * _SAMPLES <= end - start <= 1 << 22 or start < 0xC0000000:
            return False
        step = (end - start) // 8 // _SAMPLES
        places = [*(start + 8 * step * n for n in range(_SAMPLES)), end - 8]
        try:
            functions = [self._relative(place) for place in places]
            if functions != sorted(functions) or functions[0] < 0xC0000000:
                return False
            return all(
                self._word(place + 4) == _CANNOT or self._instructions(place + 4) is not None for place in places
            )
        except ValueError:
            return False

    def _index_of_module(self, address: int) -> tuple[int, int] | None:
        symbols = self._view.symbols
        btf = symbols.btf
        module = next((module for module in symbols.modules() if address in module), None)
        if module is None:
            return None
        head = module.address + btf.offset("module", "arch") + btf.offset("mod_arch_specific", "unwind_list")
        at = self._word(head)
        for _ in range(_MOST_TABLES):
            if at == head:
                return None
            table = at - btf.offset("unwind_table", "mod_list")
            start, end, first, last = (
                self._word(table + btf.offset("unwind_table", name))
                for name in ("start", "stop", "begin_addr", "end_addr")
            )
            if first <= address < last:
                return start, end
            at = self._word(at)
        return None

    def _instructions(self, place: int) -> Sequence[int] | None:
        """The instructions for a function; None where the calls end, or it has instructions of its own language's."""
        word = self._word(place)
        if word == _CANNOT:
            return None
        if not word >> 31:
            place = self._relative(place)
            word = self._word(place)
        kind = word >> 24
        if kind == 0x80:
            return word.to_bytes(4, "big")[1:]
        if kind != 0x81:
            return None
        more = word >> 16 & 0xFF
        rest = b"".join(self._word(place + 4 * n).to_bytes(4, "big") for n in range(1, more + 1))
        return word.to_bytes(4, "big")[2:] + rest

    def _relative(self, at: int) -> int:
        word = self._word(at) & 0x7FFFFFFF
        return at + word - (word >> 30 << 31) & _WORD

    def _word(self, address: int) -> int:
        return int.from_bytes(self._view.read(address, 4), "little")

    # -- without an index -----------------------------------------------------------------------------------------

    def _guessed(self, frame: Frame, exact: bool, limit: int) -> Iterator[StackFrame]:
        """What lies between the stack pointer and the stack's end, as far as it follows a call."""
        sp = frame[_SP]
        yield StackFrame(frame[_PC], sp, exact)
        end = (sp & -_THREAD_SIZE) + _THREAD_SIZE
        try:
            words = struct.unpack(f"<{(end - sp) // 4}I", self._view.read(sp, (end - sp) // 4 * 4))
        except ValueError:
            return
        places = [(frame[_LR], sp)] if exact else []
        places += [(word, sp + 4 * n + 4) for n, word in enumerate(words)]
        found = [StackFrame(word, place) for word, place in places if self._follows_a_call(word)]
        yield from found[: limit - 1]

    def _follows_a_call(self, address: int) -> bool:
        """Whether an address is that of an instruction of the kernel's behind BL or BLX."""
        if not self._is_code(address):
            return False
        try:
            word = self._word(address - 4)
        except ValueError:
            return False
        return (word & 0x0F000000 == _BL and word >> 28 != 15) or word & 0x0FFFFFF0 == _BLX

    def _is_code(self, address: int) -> bool:
        return not address & 3 and _MODULES <= address < _LAST


_INTERRUPTED = -1  # in a Frame: the program counter was popped, as an exception had pushed it


def _executed(code: Sequence[int], frame: Frame, word: _Word) -> Frame | None:
    """The registers after the instructions; None for some that are reserved."""
    registers, given = dict(frame), iter(code)
    at, stack, popped = frame[_SP], 0, False
    for byte in given:
        names: list[int] = []
        if byte == 0xB0:
            break
        if byte < 0x80:
            at += (1 if byte < 0x40 else -1) * ((byte & 0x3F) * 4 + 4)
        elif byte < 0x90:
            mask = (byte & 15) << 8 | next(given, 0)
            if not mask:
                return None
            names = [n + 4 for n in range(12) if mask >> n & 1]
        elif byte < 0xA0:
            at = registers[byte & 15]
        elif byte < 0xB0:
            names = [*range(4, 5 + (byte & 7)), *([_LR] if byte & 8 else [])]
        elif byte == 0xB1:
            mask = next(given, 0)
            names = [n for n in range(4) if mask >> n & 1]
        elif byte == 0xB2:
            at += 0x204 + (_uleb(given) << 2)
        else:
            return None
        for name in names:
            registers[name] = word(at)
            at += 4
        stack = registers[_SP] if _SP in names else stack
        popped |= _PC in names
    registers[_SP] = stack or at & _WORD
    if popped:
        return {**registers, _INTERRUPTED: 1}
    return {**registers, _PC: registers[_LR]}


def _uleb(given: Iterator[int]) -> int:
    value = shift = 0
    for byte in given:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    return value
