"""PCI devices that Python plays: a class with IDs, BARs and registers, and what happens when the driver touches them.

    driver                               box                                    model
    ioread32(regs + 0x04)     ->  configuration, BARs (machine/pci.py)  ->  reading(value), then its value
    iowrite32(1, regs)        ->                                        ->  control = 1, then written(control)
    pci_set_power_state()     ->  D0, D3hot                             ->  power_changed(state)
    pcie_flr()                ->  all registers as after power on       ->  reset()
    interrupt handler         <-  MSI-X, MSI or the wire                <-  interrupt()
    memory                    <-  bus master, inside RAM                <-  dma.read(), dma.write()

A model runs in the middle of the driver's instruction: it must not call the box.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING, ClassVar

from kobox.devices.errors import DeviceModelError, model_errors
from kobox.devices.model import HardwareModel
from kobox.devices.register_model import BarDeclaration, RegisterModel
from kobox.errors import KoboxError
from kobox.machine.pci_bridge import BridgeFunction
from kobox.machine.pci_capabilities import Capability, Express
from kobox.machine.pci_function import (
    MAX_VECTORS,
    BarKind,
    ErrorKind,
    PciFeatures,
    PciFunction,
    PciIdentity,
    VirtualFunction,
)

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
    by MSI and MSI-X; 0 leaves it the wire. `express` is its link, when it is a PCI Express device. `rom` is what its
    expansion ROM holds (`expansion_rom()` makes one), `vital` its vital product data, `serial_number` the number of the
    device (64 bits, PCI Express only). Plug one in with `box.plug`.
    """

    bus: ClassVar[str] = "PCI"
    vendor_id: ClassVar[int] = 0x1AF4
    device_id: ClassVar[int] = 0x10F0
    subsystem: ClassVar[tuple[int, int]] = (0, 0)
    class_code: ClassVar[int] = 0xFF0000
    revision: ClassVar[int] = 0
    vectors: ClassVar[int] = 1
    express: ClassVar[Express | None] = None
    rom: ClassVar[bytes] = b""
    vital: ClassVar[bytes] = b""
    serial_number: ClassVar[int | None] = None
    initial_command: ClassVar[int] = 0
    """What firmware has left in the command register: 1 for ports, 2 for memory, 4 for bus master."""
    own_capabilities: ClassVar[Sequence[Capability]] = ()
    """Capabilities whose content is its own (`pci_capabilities.own`)."""
    device_number: int = 0
    """The device number on bus 0 that it is plugged into; 0 for the next free one."""
    function_number: int = 0
    """Of another function of a card: its number; 0 for the next one."""
    virtual_functions: ClassVar[int] = 0
    """How many functions the driver can make it show (SR-IOV); `virtual_function` makes each."""

    _others: tuple[PciDevice, ...] | None = None
    _virtual: tuple[PciDevice, ...] | None = None
    _owner: PciDevice | None = None
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
        nothing: 0x40 to 0x9F and from 0xCC on; of a PCI Express device, 0x40 to 0x9F and from 0x1A0 on."""
        return value

    def write_configuration(self, register: int, size: int, value: int) -> None:
        """The driver writes configuration space where PCI defines nothing; what it writes is kept there."""

    def power_changed(self, state: int) -> None:
        """The driver has put it into D0 (0) or D3hot (3). In D3hot its registers do not answer."""

    def other_functions(self) -> Sequence[PciDevice]:
        """The other functions of the card, numbers 1 to 7. Asked once, when it is plugged in."""
        return ()

    def virtual_function(self, number: int) -> PciDevice:
        """A virtual function, from 0 on; their BARs are the same. Asked when the card is plugged in."""
        raise NotImplementedError(f"{type(self).__name__}.virtual_functions is {self.virtual_functions}")

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

    def set_link(self, speed: int, width: int) -> None:
        """Train the link of PCI Express anew: speed 1 to 5 (2.5 … 32 GT/s), and how many lanes."""
        self.function.set_link(speed, width)

    def report_error(self, kind: ErrorKind = ErrorKind.NONFATAL, bit: int = 20) -> None:
        """Report an error by advanced error reporting (AER), `bit` of the status register: the driver's
        error_detected() is called, for a fatal one its slot_reset(). The device must be behind a `PciRootPort`."""
        self.function.report_error(kind, bit)

    @property
    def power_state(self) -> int:
        """0 for D0, 3 for D3hot."""
        return self.function.power_state

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
    def attached(self) -> Sequence[HardwareModel]:
        return self.virtual_parts

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
        if self._owner is not None:
            self._owner.unplug()
            return
        if self._unplug is None or not self.plugged:
            raise KoboxError(f"{type(self).__name__} is not plugged in")
        self._unplug()

    # -- for the bus ---------------------------------------------------------------------------------------------

    @property
    def function(self) -> PciFunction:
        """Its function on the bus (`kobox.machine.pci_function`)."""
        if self._function is None:
            self._function = self._make_function(is_virtual=False)
        return self._function

    def _make_function(self, *, is_virtual: bool) -> PciFunction:
        virtual = tuple(one._virtual_part(self) for one in self.virtual_parts)
        bars = list(self.windows.values())
        return (VirtualFunction if is_virtual else PciFunction)(self, self._identity, bars, self._features(virtual))

    def _virtual_part(self, owner: PciDevice) -> PciFunction:
        self._function, self._owner = self._make_function(is_virtual=True), owner
        return self._function

    @property
    def _identity(self) -> PciIdentity:
        if not 0 <= self.vectors <= MAX_VECTORS:
            raise KoboxError(f"{type(self).__name__}.vectors is {self.vectors}; 0 to {MAX_VECTORS} are possible")
        return PciIdentity(self.vendor_id, self.device_id, self.class_code, self.revision, self.subsystem, self.vectors)

    def _features(self, virtual: Sequence[PciFunction] = ()) -> PciFeatures:
        return PciFeatures(
            self.express,
            len(self.rom),
            self.vital,
            self.serial_number,
            virtual,
            self.initial_command,
            self.own_capabilities,
        )

    @property
    def virtual_parts(self) -> Sequence[PciDevice]:
        """The models of its virtual functions."""
        if self._virtual is None:
            self._virtual = tuple(self.virtual_function(number) for number in range(self.virtual_functions))
        return self._virtual

    @property
    def other_parts(self) -> Sequence[PciDevice]:
        """The models of the card's other functions."""
        if self._others is None:
            self._others = tuple(self.other_functions())
            for one in self._others:
                one._owner = self
        return self._others

    @property
    def card_functions(self) -> Sequence[PciFunction]:
        """The card's other functions on the bus."""
        return [one.function for one in self.other_parts]

    @property
    def card_numbers(self) -> Sequence[int]:
        """Their numbers."""
        return [one.function_number or index for index, one in enumerate(self.other_parts, 1)]

    @property
    def parts(self) -> Sequence[PciDevice]:
        """All models that are plugged in with it, itself first."""
        return (self, *(part for one in (*self.virtual_parts, *self.other_parts) for part in one.parts))

    def rom_read(self, offset: int, size: int) -> int:
        """The driver reads the expansion ROM."""
        return int.from_bytes(self.rom[offset : offset + size].ljust(size, b"\xff"), "little")

    def configuration_read(self, register: int, size: int, value: int) -> int:
        """The driver reads configuration space where PCI defines nothing."""
        try:
            return index(self.read_configuration(register, size, value)) & (1 << 8 * size) - 1
        except KoboxError:
            raise
        except Exception as error:
            raise DeviceModelError(type(self).__name__, error) from error

    def configuration_written(self, register: int, size: int, value: int) -> None:
        """The driver has written configuration space where PCI defines nothing."""
        with model_errors(self):
            self.write_configuration(register, size, value)

    def power_written(self, state: int) -> None:
        """The driver has chosen another power state."""
        with model_errors(self):
            self.power_changed(state)

    def power_on(self) -> None:
        with model_errors(self):
            super().power_on()

    def shared_read(self, address: int, size: int, value: int) -> int:
        """The driver reads memory that the device may have written, at a bus address; only phantoms are asked."""
        return value


class PciBridge(PciDevice):
    """A bridge, and the devices behind it: `PciBridge(first, second)`, at most eight. With `express` it is a root
    port with one device. The kernel gives the bus behind it a number, and windows."""

    vendor_id, device_id, class_code, vectors = 0x1B36, 0x0001, 0x060400, 0

    def __init__(self, *devices: PciDevice) -> None:
        self._behind = devices
        for device in devices:
            device._owner = self

    @property
    def behind(self) -> Sequence[PciDevice]:
        """The devices behind it."""
        return self._behind

    def _make_function(self, *, is_virtual: bool) -> PciFunction:
        for one in self.behind:
            if one.other_parts:
                raise KoboxError(f"{type(one).__name__}: a card of several functions cannot be behind a bridge yet")
        return BridgeFunction(self, self._identity, self._features(), [one.function for one in self.behind])

    @property
    def parts(self) -> Sequence[PciDevice]:
        return (self, *(part for one in self.behind for part in one.parts))

    @property
    def attached(self) -> Sequence[HardwareModel]:
        return self.behind


class PciRootPort(PciBridge):
    """A root port of PCI Express, and the device in its slot: `PciRootPort(device)`."""

    device_id, vectors = 0x000C, 1
    express = Express(speed=4, width=16)


def expansion_rom(content: bytes, vendor_id: int, device_id: int, class_code: int = 0xFF0000) -> bytes:
    """An expansion ROM with one image: its header, its PCI data structure, then `content` (PCI Firmware Specification
    3.2, 5.1). The length is a multiple of 512 bytes."""
    head, data = 0x1C, 0x18
    length = (head + data + len(content) + 511) // 512
    header = struct.pack("<2s22xHxx", b"\x55\xaa", head)
    structure = struct.pack(
        "<4sHHHHB3sHHBBH",
        b"PCIR",
        vendor_id,
        device_id,
        0,
        data,
        3,
        class_code.to_bytes(3, "little"),
        length,
        0,
        0,
        0x80,
        0,
    )
    return (header + structure + content).ljust(512 * length, b"\0")
