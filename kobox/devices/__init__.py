"""Hardware models: devices that Python plays, for drivers in a box.

from kobox.devices import PciDevice, Register

class Counter(PciDevice):
    vendor_id, device_id = 0x1234, 0x11E8
    bar0 = PciDevice.memory(0x1000)
    control = Register(bar0, 0x00, bits={"run": 0, "irq": 1})
    value = Register(bar0, 0x04, read_only=True)

    def written(self, register):
        if register is self.control and self.control.run:
            self.value.value += 1
            self.interrupt()

with kobox.boot() as box:
    card = box.plug(Counter())
"""

from kobox.devices.computer import Timer
from kobox.devices.gpio_line import GpioLine
from kobox.devices.pci import PciBridge, PciDevice, PciRootPort, expansion_rom
from kobox.devices.platform import PlatformDevice
from kobox.devices.register import Register, RegisterValue
from kobox.machine.pci_capabilities import Express
from kobox.machine.pci_function import ErrorKind

__all__ = [
    "ErrorKind",
    "Express",
    "GpioLine",
    "PciBridge",
    "PciDevice",
    "PciRootPort",
    "PlatformDevice",
    "Register",
    "RegisterValue",
    "Timer",
    "expansion_rom",
]
