"""The PCI card that skeleton.c drives, as Python plays it in a box."""

from kobox.devices import PciDevice, Register


class Skeleton(PciDevice):
    vendor_id, device_id = 0x1234, 0x5678
    bar0 = PciDevice.memory(0x1000)
    add = Register(bar0, 0x00)
    sum = Register(bar0, 0x04, read_only=True)
    status = Register(bar0, 0x08, bits={"done": 0}, clear_on_write=1)

    def written(self, register):
        if register is self.add:
            self.sum.value += register.value
            self.status.done = 1
        self.signal(bool(self.status.done))
