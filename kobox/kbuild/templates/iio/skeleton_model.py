"""The converter that skeleton.c drives, as Python plays it in a box: 50 microvolts a step."""

from kobox.devices.i2c import I2cRegisters


class Skeleton(I2cRegisters):
    device_name, address = "skeleton", 0x48
    size, width = 2, 2

    volts = (1.0, 2.0)

    def reading(self, register):
        steps = round(self.volts[register] * 1e6 / 50)
        self.memory[2 * register : 2 * register + 2] = steps.to_bytes(2, "big")
