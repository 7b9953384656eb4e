"""PID 1 of a box, for ARMv7.

        mov   r8, sp           where the kernel has put the arguments
again:  udf   #0x6b0           the hypercall: undefined, the machine stops, Python has the CPU
        svc   #0               the system call whose registers Python has set
        mov   r9, r0           its result
        b     again
"""

from __future__ import annotations

import struct

from kobox.arch.init_program import InitProgram

INIT = InitProgram(
    code=struct.pack("<5I", 0xE1A0800D, 0xE7F06BF0, 0xEF000000, 0xE1A09000, 0xEAFFFFFB),
    hypercall=4,
    syscall=8,
    first_stack="r8",
    last_result="r9",
)
