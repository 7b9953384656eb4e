"""ARMv7's registers in gdb's order (feature org.gnu.gdb.arm.core)."""

from __future__ import annotations

import struct
from types import MappingProxyType

from kobox.arch.debugger import DebuggerRegister, DebuggerTarget
from kobox.arch.registers import Read
from kobox.arch.unwind import StructureLayout

_NAMES = (*(f"r{n}" for n in range(11)), "fp", "ip")


def _asleep(layout: StructureLayout, read: Read, task: int) -> dict[str, int]:
    """struct cpu_context_save { r4 … sl, fp, sp, pc } (arch/arm/include/asm/thread_info.h)."""
    at = task + layout.offset("thread_info", "cpu_context")
    names = (*(f"r{n}" for n in range(4, 11)), "fp", "sp", "pc")
    return dict(zip(names, struct.unpack("<10I", read(at, 40)), strict=True))


TARGET = DebuggerTarget(
    architecture="arm",
    features=(
        (
            "org.gnu.gdb.arm.core",
            (
                *(DebuggerRegister(f"r{n}", 32, "int32", name) for n, name in enumerate(_NAMES)),
                DebuggerRegister("sp", 32, "data_ptr", "sp"),
                DebuggerRegister("lr", 32, "code_ptr", "lr"),
                DebuggerRegister("pc", 32, "code_ptr", "pc"),
                DebuggerRegister("cpsr", 32, "int32", "cpsr"),
            ),
        ),
    ),
    asleep=_asleep,
    frame_rules=None,
    return_column=14,
    os_abi="none",
    core=(*_NAMES, "sp", "lr", "pc", "cpsr", ""),  # struct pt_regs: the last is ORIG_r0
    variables=MappingProxyType({}),
)
