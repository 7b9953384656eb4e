"""Memory in the box for the arguments of system calls: a small heap in PID 1's shared, locked pages."""

from __future__ import annotations

import bisect

from kobox.box.boot.init_program import ARENA, ARENA_SIZE
from kobox.machine.pc import PAGE, Machine

# The first page is kept for the words that processes sleep on, and for PID 1's own calls.
RESERVED = PAGE


class ArenaFullError(Exception):
    """The heap has no block of that size: ask the kernel for memory instead."""


class Arena:
    """Allocates guest virtual addresses; reads and writes them whatever address space the CPU is in."""

    def __init__(self, machine: Machine, space: int) -> None:
        self._machine = machine
        self._space = space
        self._free: list[tuple[int, int]] = [(ARENA + RESERVED, ARENA_SIZE - RESERVED)]  # (address, size), in order
        self._sizes: dict[int, int] = {}

    def allocate(self, size: int) -> int:
        """A block of at least `size` bytes, aligned to 64. Raises `ArenaFullError`."""
        size = max(size + 63 & -64, 64)
        for n, (address, room) in enumerate(self._free):
            if room >= size:
                if room == size:
                    del self._free[n]
                else:
                    self._free[n] = (address + size, room - size)
                self._sizes[address] = size
                return address
        raise ArenaFullError

    def release(self, address: int) -> None:
        """Give a block back."""
        size = self._sizes.pop(address)
        n = bisect.bisect(self._free, (address, 0))
        if n < len(self._free) and self._free[n][0] == address + size:
            size += self._free.pop(n)[1]
        if n and sum(self._free[n - 1]) == address:
            address, before = self._free.pop(n - 1)
            size += before
            n -= 1
        self._free.insert(n, (address, size))

    def write(self, address: int, data: bytes) -> None:
        """Copy bytes into the box, anywhere in PID 1's address space that is present."""
        self._machine.write(address, data, self._space)

    def read(self, address: int, size: int) -> bytes:
        """Copy bytes out of the box."""
        return self._machine.read(address, size, self._space)
