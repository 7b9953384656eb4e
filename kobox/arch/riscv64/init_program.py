"""PID 1 of a box, for RV64.

        mv    s2, sp           where the kernel has put the arguments
again:  .word 0x6b6f00ff       the hypercall: no instruction, the machine stops, Python has the CPU
        ecall                  the system call whose registers Python has set
        mv    s3, a0           its result
        j     again
"""

from __future__ import annotations

import struct

from kobox.arch.init_program import InitProgram

INIT = InitProgram(
    code=struct.pack("<5I", 0x00010913, 0x6B6F00FF, 0x00000073, 0x00050993, 0xFF5FF06F),
    hypercall=4,
    syscall=8,
    first_stack="s2",
    last_result="s3",
)
