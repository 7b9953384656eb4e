"""The kernel's ORC entries as rules of DWARF's call frame information, which debuggers unwind by.

Sources: DWARF 4, section 6.4; System V ABI, AMD64 supplement, figure 3.36 (numbers of registers);
arch/x86/include/asm/ptrace.h (struct pt_regs).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kobox.arch.unwind import KernelView
from kobox.arch.x86_64 import unwind
from kobox.arch.x86_64.unwind import OrcEntry, OrcUnwinder
from kobox.leb128 import sleb, uleb

_DWARF = {
    unwind._AX: 0,
    unwind._DX: 1,
    unwind._DI: 5,
    unwind._BP: 6,
    unwind._SP: 7,
    unwind._R10: 10,
    unwind._R13: 13,
}
_RBX, _RBP, _RSP, _RETURN = 3, 6, 7, 16
_KEPT = (_RBX, 12, 13, 14, 15)
# In struct pt_regs: what was interrupted, by DWARF's numbers.
_PT_REGS = {
    15: 0,
    14: 8,
    13: 16,
    12: 24,
    _RBP: 32,
    _RBX: 40,
    11: 48,
    10: 56,
    9: 64,
    8: 72,
    0: 80,
    2: 88,
    1: 96,
    4: 104,
    5: 112,
}
_PT_IP, _PT_SP = 128, 152
# DW_CFA_*, DW_OP_*
_UNDEFINED, _SAME, _DEF_CFA, _CFA_EXPRESSION, _EXPRESSION, _OFFSET_SF = 0x07, 0x08, 0x0C, 0x0F, 0x10, 0x11
_DEREF, _BREG, _PLUS_UCONST = 0x06, 0x70, 0x23
_OUTERMOST = bytes((_DEF_CFA, _RSP, 8, _UNDEFINED, _RETURN))
# Where system calls enter the kernel: what they interrupt is a program, and not the debugger's.
_FROM_USER = ("entry_SYSCALL_64", "entry_SYSCALL_64_after_hwframe", "entry_SYSENTER_compat", "ret_from_fork")
_ENTRY_SIZE = 0x1000


def frame_rules(view: KernelView, functions: Sequence[int], end: int) -> Iterator[tuple[int, bytes]]:
    """(address, instructions): from this address of the kernel's code on, what tells a debugger the caller's frame.

    The instructions say all that an entry says, whatever held before.
    """
    known: dict[OrcEntry, bytes] = {}
    entries = [view.symbols.address(name) for name in _FROM_USER if name in view.symbols]
    for address, entry in OrcUnwinder(view).rows():
        if any(start <= address < start + _ENTRY_SIZE and _begins_at(view, address) in entries for start in entries):
            yield address, _OUTERMOST
            continue
        if entry not in known:
            known[entry] = _rules(entry)
        yield address, known[entry]


def _begins_at(view: KernelView, address: int) -> int:
    symbol = view.symbols.lookup(address)
    return symbol.address if symbol is not None else 0


def _rules(entry: OrcEntry) -> bytes:
    if entry.type <= unwind._END or entry.sp_reg == unwind._UNDEFINED:
        return _OUTERMOST
    if entry.type == unwind._CALL:
        kept = b"".join(bytes((_SAME, register)) for register in _KEPT)
        return _caller_sp(entry) + _offset(_RETURN, -8) + _frame_pointer(entry) + kept
    return _interrupted(entry)


def _caller_sp(entry: OrcEntry) -> bytes:
    if entry.sp_reg in _DWARF:
        return bytes((_DEF_CFA, _DWARF[entry.sp_reg])) + sleb(entry.sp_offset)
    if entry.sp_reg == unwind._SP_INDIRECT:
        return _block(_CFA_EXPRESSION, bytes((_BREG + _RSP, 0, _DEREF, _PLUS_UCONST)) + uleb(entry.sp_offset))
    return _block(_CFA_EXPRESSION, bytes((_BREG + _RBP,)) + sleb(entry.sp_offset) + bytes((_DEREF,)))


def _frame_pointer(entry: OrcEntry) -> bytes:
    if entry.bp_reg == unwind._PREV_SP:
        return _offset(_RBP, entry.bp_offset)
    if entry.bp_reg == unwind._BP:
        return bytes((_EXPRESSION, _RBP)) + _counted(bytes((_BREG + _RBP,)) + sleb(entry.bp_offset))
    return bytes((_SAME, _RBP))


def _interrupted(entry: OrcEntry) -> bytes:
    """What was interrupted is in a struct pt_regs, or in its last five words, at sp_reg + sp_offset."""
    at = bytes((_BREG + _DWARF.get(entry.sp_reg, _RSP),))
    full = entry.type == unwind._REGS
    base = entry.sp_offset - (0 if full else _PT_IP)
    out = _block(_CFA_EXPRESSION, at + sleb(base + _PT_SP) + bytes((_DEREF,)))
    out += bytes((_EXPRESSION, _RETURN)) + _counted(at + sleb(base + _PT_IP))
    for register, offset in _PT_REGS.items() if full else ():
        out += bytes((_EXPRESSION, register)) + _counted(at + sleb(base + offset))
    return out


def _offset(register: int, offset: int) -> bytes:
    """A register is kept at CFA + offset; DWARF counts it in units of -8 (the data alignment factor)."""
    return bytes((_OFFSET_SF, register)) + sleb(offset // -8)


def _block(operation: int, expression: bytes) -> bytes:
    return bytes((operation,)) + _counted(expression)


def _counted(expression: bytes) -> bytes:
    return uleb(len(expression)) + expression
