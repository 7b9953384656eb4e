"""PID 1 of a box, for x86-64.

        mov   r13, rsp         where the kernel has put the arguments
again:  mov   eax, 'kobo'
        cpuid                  the hypercall: the machine stops, Python has the CPU
        jmp   call             (a stop lands at the start of the next block: here)
call:   syscall                the system call whose registers Python has set
        mov   r14, rax         its result, kept where CPUID does not reach
        jmp   again
"""

from __future__ import annotations

from kobox.arch.init_program import InitProgram

INIT = InitProgram(
    code=bytes.fromhex("4989e5 b86f626f6b 0fa2 eb00 0f05 4989c6 ebf0"),
    hypercall=8,
    syscall=12,
    first_stack="r13",
    last_result="r14",
)
