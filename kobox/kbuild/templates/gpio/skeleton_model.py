"""The GPIO controller that skeleton.c drives, as Python plays it in a box."""

from kobox.devices import PlatformDevice, Register


class Skeleton(PlatformDevice):
    hid = "KOBX0010"
    regs = PlatformDevice.memory(0x10)
    inputs = Register(regs, 0x00, read_only=True)
    outputs = Register(regs, 0x04)
    direction = Register(regs, 0x08)

    wires = 0  # the levels that others drive

    def reading(self, register):
        if register is self.inputs:
            driven = self.direction.value
            register.value = self.outputs.value & driven | self.wires & ~driven
