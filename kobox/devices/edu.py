"""The `edu` device of QEMU, which courses on drivers use: it computes factorials, inverts a number, and copies memory.

    0x00 identification 0x010000ED    0x04 what was written, inverted    0x08 factorial    0x20 status
    0x24 interrupt status             0x60 raise interrupt               0x64 acknowledge interrupt
    0x80 DMA source  0x88 destination  0x90 count  0x98 command: 1 start, 2 from the device to memory, 4 interrupt

Source: QEMU, docs/specs/edu.rst.
"""

from __future__ import annotations

import math

from kobox.devices.computer import Timer
from kobox.devices.pci import PciDevice
from kobox.devices.register import Register, RegisterValue

_BUFFER_AT, _BUFFER_SIZE = 0x40000, 4096
_COMPUTING_NS, _DMA_NS = 1_000, 100_000_000


class Edu(PciDevice):
    """QEMU's edu: a device for learning. A factorial takes a virtual microsecond, a DMA transfer 100 ms as in QEMU."""

    vendor_id, device_id, class_code, revision = 0x1234, 0x11E8, 0x00FF00, 0x10
    bar0 = PciDevice.memory(0x100000)
    identification = Register(bar0, 0x00, read_only=True, reset=0x010000ED)
    liveness = Register(bar0, 0x04)
    factorial = Register(bar0, 0x08)
    status = Register(bar0, 0x20, bits={"computing": 0, "interrupt": 7})
    interrupt_status = Register(bar0, 0x24, read_only=True)
    interrupt_raise = Register(bar0, 0x60)
    interrupt_acknowledge = Register(bar0, 0x64)
    dma_source = Register(bar0, 0x80, size=8)
    dma_destination = Register(bar0, 0x88, size=8)
    dma_count = Register(bar0, 0x90, size=8)
    dma_command = Register(bar0, 0x98, size=8, bits={"run": 0, "to_memory": 1, "interrupt": 2})

    def __init__(self) -> None:
        self.buffer = bytearray(_BUFFER_SIZE)
        self.computation = Timer(self, self._computed)
        self.transfer = Timer(self, self._transferred)

    def written(self, register: RegisterValue) -> None:
        if register is self.liveness:
            self.liveness.value = ~register.value
        elif register is self.factorial:
            self.status.computing = 1
            self.computation.start(_COMPUTING_NS)
        elif register is self.interrupt_raise:
            self._raise(register.value)
        elif register is self.interrupt_acknowledge:
            self.interrupt_status.value &= ~register.value
            self.set_interrupt_level(bool(self.interrupt_status.value))
        elif register is self.dma_command and register.run:
            self.transfer.start(_DMA_NS)

    def _computed(self) -> None:
        value = self.factorial.value
        self.factorial.value = math.factorial(value) if value < 35 else 0  # 2^32 divides every later one
        self.status.computing = 0
        if self.status.interrupt:
            self._raise(1)

    def _transferred(self) -> None:
        command, count = self.dma_command, self.dma_count.value
        ours = (self.dma_source if command.to_memory else self.dma_destination).value - _BUFFER_AT
        if 0 <= ours <= _BUFFER_SIZE - count:
            if command.to_memory:
                self.dma.write(self.dma_destination.value, bytes(self.buffer[ours : ours + count]))
            else:
                self.buffer[ours : ours + count] = self.dma.read(self.dma_source.value, count)
        command.run = 0
        if command.interrupt:
            self._raise(0x100)

    def _raise(self, bits: int) -> None:
        self.interrupt_status.value |= bits
        self.signal(bool(self.interrupt_status.value))
