"""I2C and SMBus devices that Python plays.

    class Sensor(I2cRegisters):
        device_name, address = "lm75", 0x48

    box.plug(Sensor())          a controller is plugged in with the first one (`kobox.devices.i801`, or, for
                                plain messages, `kobox.devices.designware_i2c`)

    start(read) -> write_byte(byte) ... -> start(read=True) -> read_byte() ... -> stop()

A device that does not acknowledge raises `NakError`; so does the bus for an address that nobody has.

Source: NXP, UM10204 I2C-bus specification 7.0; System Management Bus (SMBus) Specification 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NoReturn

from kobox.devices.errors import model_errors
from kobox.devices.gpio_line import HasLines
from kobox.devices.model import NO_STATE, HostedModel
from kobox.devices.state import Restore, save_state
from kobox.errors import KoboxError
from kobox.machine import aml


class NakError(Exception):
    """A device does not acknowledge its address or a byte."""


class ClientModel(HostedModel):
    """A device on a bus that a controller makes."""

    def reset(self) -> None:
        """Power on."""

    def save(self) -> Restore:
        """For a checkpoint: a function that gives the attributes back as they are now."""
        return save_state(self, NO_STATE)


class I2cDevice(HasLines, ClientModel):
    """A device on an I2C bus: subclass it and answer bytes.

    `device_name` is what the driver's table of IDs calls it ("lm75", "24c02"), `address` its seven-bit address. With
    `hid` or `compatible` ACPI tells the kernel of it instead, with `properties` as a platform device has them.
    With `plain_messages` the controller does any sequence of messages, as i2c_transfer() wants it
    (`kobox.devices.designware_i2c`), without it SMBus transfers (`kobox.devices.i801`).
    """

    bus: ClassVar[str] = "I2C"
    device_name: ClassVar[str] = ""
    hid: ClassVar[str] = ""
    compatible: ClassVar[str] = ""
    properties: ClassVar[Mapping[str, aml.Value]] = {}
    plain_messages: ClassVar[bool] = False
    address: int = 0x50

    def elsewhere(self, address: int) -> I2cDevice | None:
        """What answers at another address that nobody has: a chip with several addresses returns something."""
        return None

    def start(self, *, read: bool) -> None:
        """A (repeated) start condition with the device's address. Raise `NakError` to be absent."""

    def write_byte(self, byte: int) -> None:
        """The driver writes a byte. Raise `NakError` to refuse it."""
        raise NakError

    def read_byte(self) -> int:
        """The driver reads a byte."""
        return 0xFF

    def stop(self) -> None:
        """The transfer is over."""

    def refuse(self) -> NoReturn:
        """Do not acknowledge: raise `NakError`."""
        raise NakError


class I2cRegisters(I2cDevice):
    """A device with registers: the first bytes written choose one, those that follow are written to it and the next.

    `width` is the size of a register in bytes (big-endian); `pointer_bytes` is how many bytes choose it. `memory` has
    the registers one after the other; override `reading` and `written` to make them live.
    """

    size: ClassVar[int] = 256
    width: ClassVar[int] = 1
    pointer_bytes: ClassVar[int] = 1
    initial: ClassVar[bytes] = b""

    def __init__(self, address: int | None = None) -> None:
        if address is not None:
            self.address = address
        self.memory = bytearray(self.size * self.width)
        self._pointer = self._chosen = self._within = 0
        self.reset()

    def reset(self) -> None:
        self.memory[: len(self.initial)] = self.initial

    def reading(self, register: int) -> None:
        """The driver begins to read a register: put its value into `memory` here."""

    def written(self, register: int) -> None:
        """The driver has written a register, which has its new value in `memory`."""

    def start(self, *, read: bool) -> None:
        self._within = 0
        if not read:
            self._chosen = 0

    def write_byte(self, byte: int) -> None:
        if self._chosen < self.pointer_bytes:
            before = self._pointer if self._chosen else 0
            self._pointer = (before << 8 | byte) % self.size
            self._chosen += 1
            return
        self.memory[self._pointer * self.width + self._within] = byte
        if self._step():
            self.written(self._before)

    def read_byte(self) -> int:
        if not self._within:
            self.reading(self._pointer)
        value = self.memory[self._pointer * self.width + self._within]
        self._step()
        return value

    def _step(self) -> bool:
        """Go to the next byte; whether that was a register's last."""
        self._within += 1
        if self._within < self.width:
            return False
        self._before, self._within = self._pointer, 0
        self._pointer = self.following(self._pointer)
        return True

    def following(self, register: int) -> int:
        """The register that comes after one."""
        return (register + 1) % self.size

    _before = 0


class I2cBus:
    """The wires behind a controller, with the devices on them by their addresses."""

    def __init__(self) -> None:
        self.devices: dict[int, I2cDevice] = {}

    def attach(self, device: I2cDevice) -> None:
        """Put a device on the bus. Raises `KoboxError` when its address is taken or no seven-bit address."""
        if not 3 <= device.address <= 0x77:
            raise KoboxError(
                f"{type(device).__name__}.address is {device.address:#x}",
                hint="A seven-bit address is needed, from 0x03 to 0x77.",
            )
        if device.address in self.devices:
            other = type(self.devices[device.address]).__name__
            raise KoboxError(
                f"address {device.address:#04x} of the I2C bus is taken by {other}", hint="Choose another."
            )
        self.devices[device.address] = device

    def detach(self, device: ClientModel) -> None:
        """Take a device off."""
        self.devices = {address: other for address, other in self.devices.items() if other is not device}

    def at(self, address: int) -> I2cDevice | None:
        """What answers at an address."""
        if (device := self.devices.get(address)) is not None:
            return device
        others = (device.elsewhere(address) for device in self.devices.values())
        return next((other for other in others if other is not None), None)

    def start(self, address: int, *, read: bool) -> I2cDevice:
        """Address a device. Raises `NakError`."""
        device = self.at(address)
        if device is None:
            raise NakError
        with nak_passes(device):
            device.start(read=read)
        return device

    def write(self, address: int, data: bytes) -> None:
        """Address a device and write bytes to it, without a stop condition. Raises `NakError`."""
        device = self.start(address, read=False)
        with nak_passes(device):
            for byte in data:
                device.write_byte(byte)

    def read(self, address: int, size: int) -> bytes:
        """Address a device and read bytes from it, without a stop condition. Raises `NakError`."""
        device = self.start(address, read=True)
        with nak_passes(device):
            return bytes(device.read_byte() & 0xFF for _ in range(size))

    def stop(self, address: int) -> None:
        """End the transfer."""
        if (device := self.at(address)) is not None:
            with nak_passes(device):
                device.stop()

    def save(self) -> Restore:
        """For a checkpoint: a function that brings back the devices and their state."""
        devices = dict(self.devices)
        undo = [device.save() for device in devices.values()]

        def restore() -> None:
            self.devices = dict(devices)
            for one in undo:
                one()

        return restore


class nak_passes(model_errors):  # noqa: N801  a context manager, used as a function
    """`model_errors`, but `NakError` is no error of the model's."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, NakError):
            super().__exit__(kind, error, trace)
