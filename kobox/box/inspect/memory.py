"""A box's memory by address, virtual and physical."""

from __future__ import annotations

from kobox.machine.pc import Machine


class GuestMemory:
    """A box's memory by address. Virtual addresses are the kernel's and those of whatever process runs now."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def read(self, address: int, size: int) -> bytes:
        """Virtual memory. Raises `ValueError` where none is mapped."""
        return self._machine.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Virtual memory, where it is mapped writable."""
        self._machine.write(address, data)

    def read_physical(self, address: int, size: int) -> bytes:
        """Physical memory. Raises `ValueError` beyond the end of RAM."""
        if address < 0 or address + size > self._machine.ram_size:
            raise ValueError(f"physical memory ends at {self._machine.ram_size:#x}")
        return bytes(self._machine.ram[address : address + size])

    def write_physical(self, address: int, data: bytes) -> None:
        """Physical memory."""
        if address < 0 or address + len(data) > self._machine.ram_size:
            raise ValueError(f"physical memory ends at {self._machine.ram_size:#x}")
        self._machine.ram[address : address + len(data)] = data

    def translate(self, address: int) -> int | None:
        """Virtual to physical, None where nothing is mapped."""
        return self._machine.translate(address)

    @property
    def size(self) -> int:
        """Bytes of RAM."""
        return self._machine.ram_size
