"""The device on the board that skeleton.c drives, as Python plays it in a box."""

from kobox.devices import PlatformDevice, Register


class Skeleton(PlatformDevice):
    compatible = "acme,skeleton"
    regs = PlatformDevice.memory(0x100)
    step = Register(regs, 0x00)
    count = Register(regs, 0x04, read_only=True)
    status = Register(regs, 0x08, bits={"done": 0}, clear_on_write=1)
    interrupts = 1
    properties = {"acme,limit": 100}

    def written(self, register):
        if register is self.step:
            self.count.value += register.value
            self.status.done = 1
        self.set_interrupt_level(bool(self.status.done))
