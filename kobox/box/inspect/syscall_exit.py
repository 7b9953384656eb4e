"""Where a system call is over and has left the CPU as it is: before the kernel turns interrupts off to return."""

from __future__ import annotations

from kobox.arch.code import Flow
from kobox.box.booted import BootedKernel

_LONGEST = 4096  # bytes of the function that is looked through


def syscall_exit(kernel: BootedKernel) -> int | None:
    """The address in a kernel that every system call comes to when it is over; None where it is not known."""
    symbols, ends = kernel.inspect.symbols, kernel.arch.syscalls.ends
    if len(ends) == 1:
        return symbols.find(ends[0])
    callee = symbols.find(ends[1])
    for name in symbols.matching(ends[0]):
        start = symbols.address(name)
        code = kernel.machine.read(start, min(symbols.extent(name), _LONGEST))
        for found in kernel.arch.code.instructions(code, 0, len(code)):
            if found.flow is Flow.CALL and found.target is not None and start + found.target == callee:
                return start + found.end
    return None
