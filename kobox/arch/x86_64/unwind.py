"""The stack: which calls have led to where the CPU is, by the kernel's own ORC tables in its memory.

    for frame in box.inspect.unwinder.walk(hit.registers):
        print(box.inspect.symbols.describe(frame.address))

ORC tells for every instruction where the caller's frame lies, in tables that objtool has made:

    orc_unwind_ip: s32 each, relative to its own place: the first instruction that the entry with its number is for
    orc_unwind:    struct orc_entry { s16 sp_offset, bp_offset; sp_reg:4, bp_reg:4, type:2 or 3, signal:1 or end:1 }
    orc_lookup:    u32 each: the entry for each 256 bytes of the kernel's text; modules have two tables of their own

Source: arch/x86/kernel/unwind_orc.c, arch/x86/include/asm/orc_types.h. Before 6.4 an entry has `end`, and types start
at "call"; since then "undefined" and "end of stack" come first. Registers have been numbered in two ways; the kernel's
own entry for a frame made with %rbp, `orc_fp_entry`, tells which. A kernel without ORC is walked by looking for return
addresses.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from kobox.arch.registers import Read, Registers
from kobox.arch.unwind import KernelView, StackFrame
from kobox.arch.x86_64.registers import X86Registers
from kobox.errors import KoboxError

_BLOCK = 256  # LOOKUP_BLOCK_SIZE
_UNDEFINED, _PREV_SP, _DX, _DI, _BP, _SP, _R10, _R13, _BP_INDIRECT, _SP_INDIRECT, _AX = range(11)
# ORC_REG_*, as they were numbered first, and since 2026.
_NUMBERINGS = (
    (_UNDEFINED, _PREV_SP, _DX, _DI, _BP, _SP, _R10, _R13, _BP_INDIRECT, _SP_INDIRECT),
    (_UNDEFINED, _AX, _DX, _SP, _BP, _DI, _R10, _R13, _PREV_SP, _SP_INDIRECT, _BP_INDIRECT),
)
_NONE, _END, _CALL, _REGS, _REGS_PARTIAL = range(5)  # ORC_TYPE_* since 6.4
_PT_BP, _PT_IP, _PT_CS, _PT_SP = 32, 128, 136, 152  # struct pt_regs
_PT_OTHERS = {_AX: 80, _DX: 96, _DI: 112, _R10: 56, _R13: 16}
_MODULES, _MODULES_END = 0xFFFFFFFFA0000000, 0xFFFFFFFFFF000000  # MODULES_VADDR, MODULES_END without KASLR
_KEPT_WALKS = 4096
_ASKED_WORDS = 1024  # of a stack that are looked through when there is no ORC


class OrcEntry(NamedTuple):
    """Where the caller's frame lies: `sp_reg` plus `sp_offset`, and where its frame pointer is kept."""

    sp_offset: int
    bp_offset: int
    sp_reg: int
    bp_reg: int
    type: int
    signal: bool


# What the kernel takes for code that has no entry (a trampoline): a frame made with %rbp. And for a call of NULL.
_FRAME_POINTER = OrcEntry(16, -16, _BP, _PREV_SP, _CALL, False)
_NULL_CALL = OrcEntry(8, 0, _SP, _UNDEFINED, _CALL, False)
_UNKNOWN = OrcEntry(0, 0, _UNDEFINED, _UNDEFINED, _NONE, False)


class OrcUnwinder:
    """Walks the stacks of one kernel. Entries are remembered by address, so a walk takes some tens of microseconds."""

    def __init__(self, kernel: KernelView) -> None:
        self._view = kernel
        self._read = kernel.read
        self._symbols = kernel.symbols
        self._kernel: dict[int, OrcEntry | None] = {}
        self._modular: dict[int, OrcEntry | None] = {}
        self._modular_at: tuple[int, int] | None = None
        self._walks: dict[tuple[int, int, int, int], _KeptWalk | None] = {}
        self._tables = self._find_tables()
        self._tree = self._address("mod_tree")
        self._text = (self._address("_stext") or 0, self._address("_etext") or 0)

    @property
    def reliable(self) -> bool:
        """Whether this kernel has ORC tables; without them a chain holds whatever on the stack looks like a return
        address."""
        return self._tables is not None

    def walk(self, registers: Registers | None = None, *, limit: int = 64) -> tuple[StackFrame, ...]:
        """The calls at this moment, or where `registers` are, the innermost first; `limit` of them at most.

        Ends where the kernel was entered from user space, or where the thread began. Empty in user space.
        """
        now = registers or self._view.registers()
        assert isinstance(now, X86Registers)
        if now.user_mode:
            return ()
        if self._tables is None:
            return self._guess(now, limit)
        self._look_for_modules()
        key = (now.rip, now.rsp, now.rbp, limit)
        known = self._walks.get(key)
        if known is not None and self._is_still_so(known):
            return known.frames
        walk = _Walk(self, now)
        frames = tuple(walk.frames(limit))
        if walk.by_stack_alone:
            self._keep(key, walk.seen, frames)
        return frames

    def _keep(self, key: tuple[int, int, int, int], seen: dict[int, int], frames: tuple[StackFrame, ...]) -> None:
        """Remember a walk, if it is made for the second time: most are made once."""
        if len(self._walks) >= _KEPT_WALKS:
            self._walks.clear()
        self._walks[key] = _KeptWalk.of(seen, frames) if key in self._walks else None

    def _is_still_so(self, known: _KeptWalk) -> bool:
        try:
            return known.words.unpack(self._read(known.start, known.words.size)) == known.values
        except ValueError:
            return False

    def asleep_sp(self, task: int) -> int:
        """The stack pointer of a task that does not run."""
        btf = self._symbols.btf
        return self._u64(task + btf.offset("task_struct", "thread") + btf.offset("thread_struct", "sp"))

    def asleep(self, task: int, *, limit: int = 64) -> tuple[StackFrame, ...]:
        """The calls of a task that does not run: from where it gave the CPU away (struct inactive_task_frame {
        r15, r14, r13, r12, bx, bp, return address }, arch/x86/include/asm/switch_to.h)."""
        at = self.asleep_sp(task)
        try:
            r13, _, _, bp, address = struct.unpack("<5Q", self._read(at + 16, 40))
        except ValueError:
            return ()
        nothing = X86Registers(*[0] * len(X86Registers._fields))
        return self.walk(nothing._replace(rip=address, rsp=at + 56, rbp=bp, r13=r13), limit=limit)

    def entry(self, address: int) -> OrcEntry | None:
        """The ORC entry for an instruction; None for code that has none."""
        known = self._kernel if self._text[0] <= address < self._text[1] else self._modular
        if address not in known:
            known[address] = self._in_kernel(address) if known is self._kernel else self._in_module(address)
        return known[address]

    def rows(self) -> Iterator[tuple[int, OrcEntry]]:
        """All entries of the kernel's own code, in order of the address from which on each holds."""
        if self._tables is None:
            return
        ips, entries, _, _ = self._tables
        end = self._address("__stop_orc_unwind_ip") or ips
        data, known = self._read(entries, (end - ips) // 4 * self._size), dict[bytes, OrcEntry]()
        for n, (offset,) in enumerate(struct.iter_unpack("<i", self._read(ips, end - ips))):
            entry = data[n * self._size : (n + 1) * self._size]
            if entry not in known:
                known[entry] = self._decode(entry)
            yield ips + 4 * n + offset, known[entry]

    # -- the tables --------------------------------------------------------------------------------------------

    def _find_tables(self) -> tuple[int, int, int, int] | None:
        """(orc_unwind_ip, orc_unwind, orc_lookup, how many blocks)."""
        names = ("__start_orc_unwind_ip", "__start_orc_unwind", "orc_lookup", "lookup_num_blocks")
        ip, unwind, lookup, count = (self._address(name) for name in names)
        if ip is None or unwind is None or lookup is None or count is None:
            return None
        btf = self._symbols.btf
        try:
            self._type_at = btf.bits("orc_entry", "type")
            self._first_type = _CALL if btf.has("orc_entry", "end") else _NONE
            self._signal_at = btf.bits("orc_entry", "signal") if btf.has("orc_entry", "signal") else (0, 0)
            self._size = btf.size("orc_entry")
            self._registers = self._numbering()
        except KoboxError:
            return None
        return ip, unwind, lookup, self._u32(count)

    def _numbering(self) -> tuple[int, ...]:
        """Which registers the numbers in entries mean. Raises `KoboxError` when it is neither of the known ways."""
        known = self._address("orc_fp_entry")
        for numbering in _NUMBERINGS:
            self._registers = numbering
            if known is None or self._decode(self._read(known, self._size)) == _FRAME_POINTER:
                return numbering
        raise KoboxError("this kernel numbers the registers of its ORC entries in a way that kobox does not know")

    def _in_kernel(self, address: int) -> OrcEntry | None:
        assert self._tables is not None
        ips, entries, lookup, count = self._tables
        block = (address - self._text[0]) // _BLOCK
        if block >= count - 1:
            return None
        first, last = struct.unpack("<II", self._read(lookup + 4 * block, 8))
        return self._among(ips + 4 * first, entries + self._size * first, last - first + 1, address)

    def _in_module(self, address: int) -> OrcEntry | None:
        btf = self._symbols.btf
        if not btf.has("mod_arch_specific", "num_orcs"):
            return None
        for module in self._symbols.modules():
            if address in module:
                arch = module.address + btf.offset("module", "arch")
                count = self._u32(arch + btf.offset("mod_arch_specific", "num_orcs"))
                ips = self._u64(arch + btf.offset("mod_arch_specific", "orc_unwind_ip"))
                entries = self._u64(arch + btf.offset("mod_arch_specific", "orc_unwind"))
                return self._among(ips, entries, count, address) if count else None
        return None

    def _among(self, ips: int, entries: int, count: int, address: int) -> OrcEntry | None:
        """The entry for `address` in a stretch of the tables that begins at these places."""
        offsets = struct.unpack(f"<{count}i", self._read(ips, 4 * count))
        n = bisect_right(range(count), address, key=lambda n: ips + 4 * n + offsets[n]) - 1
        return None if n < 0 else self._decode(self._read(entries + self._size * n, self._size))

    def _decode(self, data: bytes) -> OrcEntry:
        sp_offset, bp_offset = struct.unpack_from("<hh", data)
        number = int.from_bytes(data, "little")
        kind = _bits(number, self._type_at) + self._first_type
        signal = bool(_bits(number, self._signal_at))
        try:
            sp_reg, bp_reg = self._registers[number >> 32 & 15], self._registers[number >> 36 & 15]
        except IndexError:
            return _UNKNOWN
        return OrcEntry(sp_offset, bp_offset, sp_reg, bp_reg, kind, signal)

    def _look_for_modules(self) -> None:
        """Forget entries of modules when one has come or gone: `mod_tree` counts it (kernel/module/tree_lookup.c)."""
        now = None if self._tree is None else (self._view.generation(), self._u32(self._tree))
        if now is None or now != self._modular_at:
            self._modular.clear()
            self._walks.clear()
            self._modular_at = now

    # -- without tables ----------------------------------------------------------------------------------------

    def _guess(self, now: X86Registers, limit: int) -> tuple[StackFrame, ...]:
        """Every word of the stack that follows a call instruction in kernel text: the kernel's own "guess" unwinder."""
        words = _Words(self._read)
        found = [StackFrame(now.rip, now.rsp, True)]
        for at in range(now.rsp, now.rsp + 8 * _ASKED_WORDS, 8):
            try:
                value = words.at(at)
            except ValueError:
                break
            if len(found) < limit and self._follows_call(value):
                found.append(StackFrame(value, at + 8))
        return tuple(found)

    def _follows_call(self, address: int) -> bool:
        if not (self._text[0] <= address < self._text[1] or _MODULES <= address < _MODULES_END):
            return False
        try:
            before = self._read(address - 5, 5)
        except ValueError:
            return False
        return before[0] == 0xE8 or (before[3] == 0xFF and before[4] & 0x38 == 0x10)

    def _address(self, name: str) -> int | None:
        return int(self._symbols.address(name)) if name in self._symbols else None

    def _u64(self, address: int) -> int:
        return int.from_bytes(self._read(address, 8), "little")

    def _u32(self, address: int) -> int:
        return int.from_bytes(self._read(address, 4), "little")


class _KeptWalk(NamedTuple):
    """A walk that need not be made again while the words that it went by are what they were: the same calls on the same
    stack, as in a loop. `words` picks them from the stretch of memory at `start`."""

    start: int
    words: struct.Struct
    values: tuple[int, ...]
    frames: tuple[StackFrame, ...]

    @classmethod
    def of(cls, seen: dict[int, int], frames: tuple[StackFrame, ...]) -> _KeptWalk | None:
        """`seen`: the words by their addresses. None when they lie on several stacks."""
        places = sorted(seen)
        if not places or places[-1] - places[0] > 4088:
            return None
        gaps = [place - before - 8 for before, place in pairwise((places[0] - 8, *places))]
        if min(gaps) < 0:
            return None
        layout = "<" + "".join(f"{gap}xQ" if gap else "Q" for gap in gaps)
        return cls(places[0], struct.Struct(layout), tuple(seen[place] for place in places), frames)


class _Words:
    """Words of stacks, a page at a time."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._pages: dict[int, bytes] = {}

    def at(self, address: int) -> int:
        """The 64-bit word there. Raises `ValueError` where nothing is mapped."""
        page = self._pages.get(address >> 12)
        if page is None:
            page = self._pages[address >> 12] = self._read(address & -4096, 4096)
        if address & 7:
            return int.from_bytes(self._read(address, 8), "little")
        return int.from_bytes(page[address & 4095 : (address & 4095) + 8], "little")


class _Walk:
    """One walk up a stack: what unwind_next_frame() keeps in struct unwind_state."""

    def __init__(self, unwinder: OrcUnwinder, now: X86Registers) -> None:
        self._entry = unwinder.entry
        self._words = _Words(unwinder._read)
        self.seen: dict[int, int] = {}  # the words that it went by
        self.by_stack_alone = True  # and by rip, rsp and rbp; by nothing else
        self._ip, self._sp, self._bp = now.rip, now.rsp, now.rbp
        self._exact = True
        # Registers besides these are known only where all were saved: now, and above an interrupt's frame.
        self._others: dict[int, int] = {_AX: now.rax, _DX: now.rdx, _DI: now.rdi, _R10: now.r10, _R13: now.r13}

    def frames(self, limit: int) -> list[StackFrame]:
        """All frames, up to where something is not as the tables say."""
        found: list[StackFrame] = []
        try:
            while len(found) < limit:
                ip, exact, before = self._ip, self._exact, self._sp
                more = self._next()
                found.append(StackFrame(ip, self._cfa, exact))
                if not more or not self._ip >> 63 or 0 <= before - self._sp < 0x4000:
                    break
        except ValueError:  # the stack is not what the tables say: it was overwritten, or the code has no tables
            self.by_stack_alone = False
            found.append(StackFrame(ip, before, exact))
        return found

    def _word(self, address: int) -> int:
        value = self.seen[address] = self._words.at(address)
        return value

    def _next(self) -> bool:
        """Go to the caller; False at the end of the stack."""
        orc = self._entry(self._ip if self._exact else self._ip - 1) if self._ip else _NULL_CALL
        if orc is None:
            orc = _FRAME_POINTER
        self._cfa = self._sp
        if orc.type <= _END or orc.sp_reg == _UNDEFINED:
            return False
        sp = self._cfa = self._caller_sp(orc)
        if orc.type == _CALL:
            self._ip, self._sp, self._exact = self._word(sp - 8), sp, orc.signal
            self._others.clear()
        elif not self._leave_interrupt(sp, full=orc.type == _REGS):
            return False
        if orc.bp_reg == _PREV_SP:
            self._bp = self._word(sp + orc.bp_offset)
        elif orc.bp_reg == _BP:
            self._bp = self._word(self._bp + orc.bp_offset)
        elif orc.type == _REGS:
            self._bp = self._word(sp + _PT_BP)
        return True

    def _leave_interrupt(self, regs: int, *, full: bool) -> bool:
        """Go to what was interrupted: struct pt_regs at `regs`, or only its last five words, which the CPU has
        pushed."""
        frame = regs + _PT_IP if full else regs
        if self._word(frame + _PT_CS - _PT_IP) & 3:
            return False
        self._ip, self._sp, self._exact = self._word(frame), self._word(frame + _PT_SP - _PT_IP), True
        if full:
            self._others = {number: self._word(regs + at) for number, at in _PT_OTHERS.items()}
        return True

    def _caller_sp(self, orc: OrcEntry) -> int:
        reg = orc.sp_reg
        if reg == _SP:
            return self._sp + orc.sp_offset
        if reg == _BP:
            return self._bp + orc.sp_offset
        if reg == _SP_INDIRECT:
            return self._word(self._sp) + orc.sp_offset
        if reg == _BP_INDIRECT:
            return self._word(self._bp + orc.sp_offset)
        self.by_stack_alone = False
        if reg in self._others:
            return self._others[reg]
        raise ValueError("a register that was not saved")


def _bits(number: int, place: tuple[int, int]) -> int:
    return number >> place[0] & (1 << place[1]) - 1
