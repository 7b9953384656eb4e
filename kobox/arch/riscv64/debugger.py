"""RV64's registers in gdb's order (feature org.gnu.gdb.riscv.cpu)."""

from __future__ import annotations

import struct
from types import MappingProxyType

from kobox.arch.debugger import DebuggerRegister, DebuggerTarget
from kobox.arch.registers import Read
from kobox.arch.riscv64.frame_rules import frame_rules
from kobox.arch.riscv64.registers import NAMES
from kobox.arch.unwind import StructureLayout

_POINTERS = {"sp": "data_ptr", "ra": "code_ptr"}


def _asleep(layout: StructureLayout, read: Read, task: int) -> dict[str, int]:
    """struct thread_struct { ra, sp, s[12] … } (arch/riscv/include/asm/processor.h); it goes on at ra."""
    at = task + layout.offset("task_struct", "thread")
    names = ("ra", "sp", *(f"s{n}" for n in range(12)))
    found = dict(zip(names, struct.unpack("<14Q", read(at, 112)), strict=True))
    return {**found, "pc": found["ra"]}


TARGET = DebuggerTarget(
    architecture="riscv:rv64",
    features=(
        (
            "org.gnu.gdb.riscv.cpu",
            (
                *(DebuggerRegister(name, 64, _POINTERS.get(name, "int64"), name) for name in NAMES),
                DebuggerRegister("pc", 64, "code_ptr", "pc"),
            ),
        ),
    ),
    asleep=_asleep,
    frame_rules=frame_rules,
    return_column=1,
    os_abi="none",
    core=("pc", *NAMES[1:]),  # struct user_regs_struct
    variables=MappingProxyType({}),
)
