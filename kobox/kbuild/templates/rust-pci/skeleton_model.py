"""The PCI card that skeleton.rs drives, as Python plays it in a box."""

from kobox.devices import PciDevice, Register


class Skeleton(PciDevice):
    vendor_id, device_id = 0x1B36, 0x5678
    bar0 = PciDevice.memory(0x1000)
    add = Register(bar0, 0x00)
    sum = Register(bar0, 0x04, read_only=True)

    def written(self, register):
        if register is self.add:
            self.sum.value += register.value
