"""AArch64's registers in gdb's order (feature org.gnu.gdb.aarch64.core)."""

from __future__ import annotations

import struct
from types import MappingProxyType

from kobox.arch.arm64.frame_rules import frame_rules
from kobox.arch.debugger import DebuggerRegister, DebuggerTarget
from kobox.arch.registers import Read
from kobox.arch.unwind import StructureLayout


def _asleep(layout: StructureLayout, read: Read, task: int) -> dict[str, int]:
    """struct cpu_context { x19 … x28, fp, sp, pc } (arch/arm64/include/asm/processor.h)."""
    at = task + layout.offset("task_struct", "thread") + layout.offset("thread_struct", "cpu_context")
    names = (*(f"x{n}" for n in range(19, 30)), "sp", "pc")
    return dict(zip(names, struct.unpack("<13Q", read(at, 104)), strict=True))


TARGET = DebuggerTarget(
    architecture="aarch64",
    features=(
        (
            "org.gnu.gdb.aarch64.core",
            (
                *(DebuggerRegister(f"x{n}", 64, "int64", f"x{n}") for n in range(31)),
                DebuggerRegister("sp", 64, "data_ptr", "sp"),
                DebuggerRegister("pc", 64, "code_ptr", "pc"),
                DebuggerRegister("cpsr", 32, "int32", "pstate"),
            ),
        ),
    ),
    asleep=_asleep,
    frame_rules=frame_rules,
    return_column=30,
    os_abi="none",
    core=(*(f"x{n}" for n in range(31)), "sp", "pc", "pstate"),  # struct user_pt_regs
    variables=MappingProxyType({"memstart_addr": "s64"}),
)
