"""PID 1 of a box, for AArch64.

        mov   x19, sp          where the kernel has put the arguments
again:  hlt   #0x6b6f          the hypercall: undefined at EL0, the machine stops, Python has the CPU
        svc   #0               the system call whose registers Python has set
        mov   x20, x0          its result
        b     again
"""

from __future__ import annotations

import struct

from kobox.arch.init_program import InitProgram

INIT = InitProgram(
    code=struct.pack("<5I", 0x910003F3, 0xD44D6DE0, 0xD4000001, 0xAA0003F4, 0x17FFFFFD),
    hypercall=4,
    syscall=8,
    first_stack="x19",
    last_result="x20",
)
