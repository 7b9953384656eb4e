"""A function of the kernel, called in a box: in the place of a system call that does nothing else.

getpid(2) of the box's process -> its first instruction: the registers are made those of a call -> the function
-> it returns to getpid's first instruction: the result is taken, and getpid goes on
"""

from __future__ import annotations

from kobox.box.booted import BootedKernel
from kobox.box.inspect.probes import Hit
from kobox.errors import BoxError

_MASK = (1 << 64) - 1


def call_kernel(box: BootedKernel, function: str, *arguments: int) -> int:
    """Call a function, which may sleep, with arguments that are numbers and addresses; what it returns, unsigned.

    Raises `SymbolNotFoundError` when the kernel has no such function, `BoxError` as system calls do.
    """
    symbols, machine = box.inspect.symbols, box.machine
    address, place = symbols.address(function), f"{box.arch.syscalls.prefix}getpid"
    results: list[int] = []
    entered: list[tuple[int, ...]] = []

    def reached(hit: Hit) -> None:
        if entered:
            results.append(machine.result)
            for number, value in enumerate(entered.pop()):
                machine.set_argument(number, value)
            return
        if results:
            return
        entered.append(hit.args)
        for number, value in enumerate(arguments):
            machine.set_argument(number, value & _MASK)
        assert hit.probe.address is not None
        machine.arch.calls.call(machine, address, hit.registers.sp, returns_to=hit.probe.address)

    probe = box.inspect.probes.add(place, reached)
    try:
        box.syscall("getpid")
    finally:
        probe.remove()
    if not results:
        raise BoxError(f"{function}() did not return", box_lives=box.alive)
    return results[0]
