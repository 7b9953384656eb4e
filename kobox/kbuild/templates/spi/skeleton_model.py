"""The chip that skeleton.c drives, as Python plays it in a box."""

from kobox.devices.spi import SpiDevice


class Skeleton(SpiDevice):
    hid = "KOBX0020"
    identity = 0x5A

    def __init__(self):
        self.registers = {0: self.identity, 1: 7}
        self.chosen = None

    def select(self):
        self.chosen = None

    def exchange(self, word):
        if self.chosen is None:
            self.chosen = word
        elif self.chosen & 0x80:
            return self.registers.get(self.chosen & 0x7F, 0)
        else:
            self.registers[self.chosen] = word
        return 0
