"""x86-64's registers in gdb's order (features org.gnu.gdb.i386.core and .segments)."""

from __future__ import annotations

import struct
from types import MappingProxyType

from kobox.arch.debugger import DebuggerRegister, DebuggerTarget
from kobox.arch.registers import Read
from kobox.arch.unwind import StructureLayout
from kobox.arch.x86_64.frame_rules import frame_rules

_GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)))
_POINTERS = {"rbp": "data_ptr", "rsp": "data_ptr", "rip": "code_ptr"}


def _asleep(layout: StructureLayout, read: Read, task: int) -> dict[str, int]:
    """struct inactive_task_frame { r15, r14, r13, r12, bx, bp, return address } (arch/x86/include/asm/switch_to.h)."""
    at = task + layout.offset("task_struct", "thread") + layout.offset("thread_struct", "sp")
    sp = int.from_bytes(read(at, 8), "little")
    names = ("r15", "r14", "r13", "r12", "rbx", "rbp", "rip")
    return {**dict(zip(names, struct.unpack("<7Q", read(sp, 56)), strict=True)), "rsp": sp + 56}


TARGET = DebuggerTarget(
    architecture="i386:x86-64",
    features=(
        (
            "org.gnu.gdb.i386.core",
            (
                *(DebuggerRegister(name, 64, _POINTERS.get(name, "int64"), name) for name in _GENERAL),
                DebuggerRegister("rip", 64, "code_ptr", "rip"),
                DebuggerRegister("eflags", 32, "int32", "rflags"),
                DebuggerRegister("cs", 32, "int32", "cs"),
                DebuggerRegister("ss", 32, "int32", "ss"),
                *(DebuggerRegister(name, 32, "int32") for name in ("ds", "es", "fs", "gs")),
                *(DebuggerRegister(f"st{n}", 80, "i387_ext") for n in range(8)),
                *(
                    DebuggerRegister(name, 32, "int32")
                    for name in ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop")
                ),
            ),
        ),
        (
            "org.gnu.gdb.i386.segments",
            (DebuggerRegister("fs_base", 64, "int64", "fs_base"), DebuggerRegister("gs_base", 64, "int64", "gs_base")),
        ),
    ),
    asleep=_asleep,
    frame_rules=frame_rules,
    return_column=16,
    core=(
        *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "rax"),
        *("rip", "cs", "rflags", "rsp", "ss", "fs_base", "gs_base", "", "", "", ""),
    ),  # struct user_regs_struct, arch/x86/include/asm/user_64.h
    variables=MappingProxyType(
        {
            "idt_table": "gate_desc [256]",
            **dict.fromkeys(("vmemmap_base", "page_offset_base", "vmalloc_base", "phys_base"), "unsigned long"),
        }
    ),
)
