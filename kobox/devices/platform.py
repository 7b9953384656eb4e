"""Devices on the board that Python plays: platform devices, which ACPI announces by a hardware ID or as compatible.

    class Blinker(PlatformDevice):
        hid = "KOBX0001"                              acpi_match_table; or compatible = "acme,blinker", of_match_table
        regs = PlatformDevice.memory(0x100)           platform_get_resource(), devm_platform_ioremap_resource()
        control = Register(regs, 0x00, bits={"on": 0})
        interrupts = 1                                platform_get_irq()
        properties = {"acme,period-ms": 20}           device_property_read_u32()

    box.plug(Blinker())

Source: ACPI specification 6.4, chapters 6.1 and 6.4; Documentation/firmware-guide/acpi/enumeration.rst.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, TypeAlias, Union

from kobox.devices.gpio_line import HasLines
from kobox.devices.model import HostedModel, ModelHost
from kobox.devices.register_model import BarDeclaration, RegisterModel
from kobox.errors import KoboxError
from kobox.machine import aml
from kobox.machine.pci_function import BarKind

Property: TypeAlias = Union[aml.Value, "PlatformDevice", Sequence["int | str | PlatformDevice"]]
"""The value of a property."""


class PlatformHost(ModelHost, Protocol):
    """The box's side of a device on the board."""

    @property
    def reads_on_bus(self) -> int: ...

    def set_level(self, interrupt: int, high: bool) -> None: ...

    def dma_read(self, address: int, size: int) -> bytes: ...

    def dma_write(self, address: int, data: bytes) -> None: ...


class PlatformDma:
    """The box's memory as a device on the board reaches it: physical addresses, only RAM (`KoboxError` otherwise)."""

    def __init__(self, host: PlatformHost) -> None:
        self._host = host

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at a physical address."""
        return self._host.dma_read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Bytes to a physical address."""
        self._host.dma_write(address, data)


class PlatformDevice(HasLines, HostedModel, RegisterModel):
    """A device on the board: subclass it, declare windows and registers, and say what happens in `written`.

    `hid` is its ACPI hardware ID, such as "KOBX0001"; with `compatible` it is known by that ("PRP0001"). `properties`
    are what device_property_read_*() finds: numbers, strings, or sequences of them; in a device tree also True for one
    without a value, and other devices, which are plugged in before. `interrupts` is how many lines it has.
    """

    bus: ClassVar[str] = "platform"
    hid: ClassVar[str] = ""
    compatible: ClassVar[str] = ""
    interrupts: ClassVar[int] = 0
    properties: Mapping[str, Property] = {}
    primecell: ClassVar[bool] = False
    """Whether it is one of Arm's PrimeCells, whose drivers go by a number in its registers (devices/primecell.py)."""

    host: PlatformHost | None = None

    @staticmethod
    def memory(size: int) -> BarDeclaration:
        """A window of memory, `size` bytes (a power of two)."""
        return BarDeclaration(size, BarKind.MEMORY, False)

    @staticmethod
    def ports(size: int) -> BarDeclaration:
        """A window of I/O ports, at most 256."""
        return BarDeclaration(size, BarKind.PORTS, False)

    # -- what it can do ------------------------------------------------------------------------------------------

    def set_interrupt_level(self, high: bool, interrupt: int = 0) -> None:
        """Hold an interrupt line high, until the driver has made the device let go, or low."""
        self._plugged_host.set_level(interrupt, high)

    @property
    def dma(self) -> PlatformDma:
        """The box's memory."""
        return PlatformDma(self._plugged_host)

    # -- in a box ------------------------------------------------------------------------------------------------

    @property
    def _plugged_host(self) -> PlatformHost:
        if self.host is None or not self.host.plugged:
            raise KoboxError(f"{type(self).__name__} is not plugged in")
        return self.host

    # -- for the board -------------------------------------------------------------------------------------------

    def description(self, symbol: str, number: int, resources: Sequence[bytes], more: Mapping[str, aml.Value]) -> bytes:
        """Its object in ACPI's namespace, in AML, with `more` properties. Raises `KoboxError` when it has no name."""
        if not self.hid and not self.compatible:
            raise KoboxError(
                f"{type(self).__name__} has neither `hid` nor `compatible`",
                hint='Set hid = "ABCD0001", as in the acpi_match_table of its driver.',
            )
        parts = [aml.name("_HID", self.hid or "PRP0001"), aml.name("_UID", number)]
        if resources:
            parts.append(aml.name("_CRS", aml.resources(*resources)))
        properties: dict[str, aml.Value] = {"compatible": self.compatible} if self.compatible else {}
        for key, value in self.properties.items():
            parts_of = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else (value,)
            if any(isinstance(one, PlatformDevice) for one in parts_of):
                who = type(self).__name__
                raise KoboxError(f"{who}.properties[{key!r}] refers to a device, and ACPI announces this board's")
            properties[key] = value  # type: ignore[assignment]
        properties.update(more)
        if properties:
            parts.append(aml.properties(properties))
        return aml.device(symbol, *parts)
