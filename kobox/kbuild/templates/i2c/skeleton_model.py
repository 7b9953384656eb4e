"""The chip that skeleton.c drives, as Python plays it in a box."""

from kobox.devices.i2c import I2cRegisters


class Skeleton(I2cRegisters):
    device_name, address = "skeleton", 0x50
    size = 2
    initial = bytes([0x5A, 7])

    @property
    def level(self):
        return self.memory[1]
