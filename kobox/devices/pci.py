"""PCI devices that Python plays: a class with IDs, BARs and registers, and what happens when the driver touches them.

    driver                               box                                    model
    ioread32(regs + 0x04)     ->  configuration, BARs (machine/pci.py)  ->  reading(value), then its value
    iowrite32(1, regs)        ->                                        ->  control = 1, then written(control)
    interrupt handler         <-  MSI-X, MSI or the wire                <-  interrupt()
    memory                    <-  bus master, inside RAM                <-  dma.read(), dma.write()

A model runs in the middle of the driver's instruction: it must not call the box.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING, ClassVar

from kobox.devices.errors import DeviceModelError
from kobox.devices.register_model import BarDeclaration, RegisterModel
from kobox.errors import KoboxError
from kobox.machine.pci import MAX_VECTORS, BarKind, PciFunction, PciIdentity

if TYPE_CHECKING:
    from collections.abc import Callable


class Dma:
    """The box's memory as a device reaches it: physical addresses, only as a bus master, only RAM (`DmaError`)."""

    def __init__(self, function: PciFunction) -> None:
        self._function = function

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at a bus address."""
        return self._function.dma_read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Bytes to a bus address."""
        self._function.dma_write(address, data)


class PciDevice(RegisterModel):
    """A PCI device: subclass it, declare BARs and registers, and say what happens in `written` and `reading`.

    `class_code` has 24 bits (class, subclass, programming interface). `vectors` is how many interrupts it has
    by MSI and MSI-X; 0 leaves it the wire. Plug one in with `box.plug`.
    """

    bus: ClassVar[str] = "PCI"
    vendor_id: ClassVar[int] = 0x1AF4
    device_id: ClassVar[int] = 0x10F0
    subsystem: ClassVar[tuple[int, int]] = (0, 0)
    class_code: ClassVar[int] = 0xFF0000
    revision: ClassVar[int] = 0
    vectors: ClassVar[int] = 1

    _function: PciFunction | None = None
    _unplug: Callable[[], None] | None = None
    _look: Callable[[], str | None] | None = None
    address: str = ""

    # -- what a class declares -----------------------------------------------------------------------------------

    @staticmethod
    def memory(size: int, *, prefetchable: bool = False, wide: bool = False) -> BarDeclaration:
        """A BAR of memory, `size` bytes (a power of two); `wide`: of 64 bits, which takes two of the six."""
        return BarDeclaration(size, BarKind.MEMORY_64 if wide else BarKind.MEMORY, prefetchable)

    @staticmethod
    def ports(size: int) -> BarDeclaration:
        """A BAR of I/O ports, at most 256."""
        return BarDeclaration(size, BarKind.PORTS, False)

    # -- what a subclass says ------------------------------------------------------------------------------------

    def read_configuration(self, register: int, size: int, value: int) -> int:
        """The driver reads configuration space, where `value` stands. What this returns is the answer where PCI defines
        nothing: 0x40 to 0x9F and from 0xCC on."""
        return value

    # -- what it can do ------------------------------------------------------------------------------------------

    def interrupt(self, vector: int = 0) -> None:
        """Interrupt the driver by whatever it has chosen: MSI-X, MSI, or the wire, which is pulsed."""
        self.function.interrupt(vector)

    def signal(self, high: bool, vector: int = 0) -> None:
        """What a device with a status register does when that changes: `high`, a message if the driver has chosen
        MSI-X or MSI, else the wire is held high; not `high`, the wire is let go."""
        if high and self.function.uses_messages:
            self.function.interrupt(vector)
        self.function.set_level(high)

    def set_interrupt_level(self, high: bool) -> None:
        """Hold the interrupt wire high or low, as long as the driver uses it (INTx)."""
        self.function.set_level(high)

    @property
    def dma(self) -> Dma:
        """The box's memory."""
        return Dma(self.function)

    # -- in a box ------------------------------------------------------------------------------------------------

    @property
    def plugged(self) -> bool:
        """Whether it is in a box now."""
        return self._function is not None and self._function.place >= 0

    @property
    def sysfs(self) -> Sequence[str]:
        return (f"/sys/bus/pci/devices/{self.address}",) if self.plugged else ()

    @property
    def driver(self) -> str | None:
        """The name of the driver that has it, as in /sys/bus/pci/drivers; None while none has."""
        return self._look() if self._look is not None and self.plugged else None

    @property
    def modalias(self) -> str:
        """Its alias, as modules name theirs: pci:v00001234d…"""
        vendor, device = self.subsystem
        base, sub, interface = self.class_code >> 16, self.class_code >> 8 & 255, self.class_code & 255
        return (
            f"pci:v{self.vendor_id:08X}d{self.device_id:08X}sv{vendor:08X}sd{device:08X}"
            f"bc{base:02X}sc{sub:02X}i{interface:02X}"
        )

    def unplug(self) -> None:
        """Take it out by surprise: reads give ones from now on, and then the kernel is told."""
        if self._unplug is None or not self.plugged:
            raise KoboxError(f"{type(self).__name__} is not plugged in")
        self._unplug()

    # -- for the bus ---------------------------------------------------------------------------------------------

    @property
    def function(self) -> PciFunction:
        """Its function on the bus (`kobox.machine.pci`)."""
        if self._function is None:
            if not 0 <= self.vectors <= MAX_VECTORS:
                raise KoboxError(f"{type(self).__name__}.vectors is {self.vectors}; 0 to {MAX_VECTORS} are possible")
            identity = PciIdentity(
                self.vendor_id, self.device_id, self.class_code, self.revision, self.subsystem, self.vectors
            )
            self._function = PciFunction(self, identity, list(self.windows.values()))
        return self._function

    def configuration_read(self, register: int, size: int, value: int) -> int:
        """The driver reads configuration space where PCI defines nothing."""
        try:
            return index(self.read_configuration(register, size, value)) & (1 << 8 * size) - 1
        except KoboxError:
            raise
        except Exception as error:
            raise DeviceModelError(type(self).__name__, error) from error

    def shared_read(self, address: int, size: int, value: int) -> int:
        """The driver reads memory that the device may have written, at a bus address; only phantoms are asked."""
        return value
