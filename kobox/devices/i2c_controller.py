"""What controllers of an I2C bus have in common: the wires behind them."""

from __future__ import annotations

from typing import ClassVar

from kobox.devices.i2c import I2cBus
from kobox.devices.model import HardwareModel
from kobox.devices.pci import PciDevice


class I2cController(HardwareModel):
    """A controller: `wires` are the bus, `driver_module` is the module that drives it."""

    driver_module: ClassVar[str] = ""

    def __init__(self) -> None:
        self.wires = I2cBus()
        self.reset()

    def reset(self) -> None:
        """Power on."""

    @property
    def attached(self) -> list[HardwareModel]:
        return list(self.wires.devices.values())


class I2cCard(I2cController, PciDevice):
    """A controller that is a PCI card."""
