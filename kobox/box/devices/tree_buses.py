"""I2C and SPI devices of a box whose board a device tree announces.

    clock -> controller, plugged in with a node of its own -> /sys/bus/i2c/devices/i2c-N/new_device
    clock -> controller, whose node has the device in it -> /sys/bus/i2c/devices/N-0048, /sys/bus/spi/devices/spiN.0

A device with `compatible` has a controller of its own, since the kernel reads a controller's node when it finds it.
"""

from __future__ import annotations

from typing import TypeVar

from kobox.box.booted import BootedKernel
from kobox.box.devices.card import plugged_models
from kobox.box.devices.computer import BoxComputer
from kobox.box.devices.device_tree import described, plug_node
from kobox.box.devices.wired import WiredPlace
from kobox.devices.designware_i2c import BoardI2c
from kobox.devices.i2c import I2cDevice
from kobox.devices.primecell import FixedClock
from kobox.devices.sifive_spi import SifiveSpi
from kobox.devices.spi import SpiDevice
from kobox.errors import KoboxError
from kobox.machine.device_tree import Value

_BoardI2c = TypeVar("_BoardI2c", bound=I2cDevice)
_BoardSpi = TypeVar("_BoardSpi", bound=SpiDevice)
_CLOCK = 100_000_000
_I2C = "/sys/bus/i2c/devices"
_CELLS: dict[str, Value] = {"#address-cells": 1, "#size-cells": 0}


def plug_tree_i2c(box: BootedKernel, device: _BoardI2c) -> _BoardI2c:
    """Put a device on an I2C bus of the board, and tell the kernel that it is there: by its node where it has
    `compatible`, else by `device_name`.

    Raises `KoboxError` when it is plugged in already, its address is taken, or the kernel has no driver for the
    controller.
    """
    if device.plugged:
        raise KoboxError(f"{type(device).__name__} is plugged in already", hint="Make another object for another box.")
    if device.hid and not device.compatible:
        raise KoboxError(f"{type(device).__name__}: `hid` is ACPI's", hint="Give the class `compatible` as well.")
    controller = _i2c_controller(box, device)
    controller.wires.attach(device)
    try:
        device.computer = BoxComputer(box)
        device.host = place = WiredPlace(
            box,
            controller,
            device,
            lambda: f"{_I2C}/{bus_of(box, controller, 'i2c-')}-{device.address:04x}",
            told_by="" if device.compatible else f"{_I2C}/i2c-{bus_of(box, controller, 'i2c-')}",
        )
        device.reset()
        if device.compatible:
            node: dict[str, Value] = {"compatible": device.compatible, "reg": device.address}
            name = f"{device.compatible.rpartition(',')[2]}@{device.address:x}"
            _plug_controller(box, controller, {name: node | described(box, device)})
        elif device.device_name and not box.exists(place.sysfs):
            words = f"{device.device_name} {device.address:#x}".encode()
            box.write_bytes(f"{place.told_by}/new_device", words)
    except OSError as error:
        controller.wires.devices.pop(device.address, None)
        raise KoboxError(f"{type(device).__name__}: the kernel does not take it: {error.strerror}") from error
    except BaseException:
        controller.wires.devices.pop(device.address, None)
        raise
    return device


def plug_tree_spi(box: BootedKernel, device: _BoardSpi) -> _BoardSpi:
    """Put a device on an SPI bus of the board, whose node describes it.

    Raises `KoboxError` when it is plugged in already, has no `compatible`, or the kernel has no driver for the
    controller.
    """
    who = type(device).__name__
    if device.plugged:
        raise KoboxError(f"{who} is plugged in already", hint="Make another object for another box.")
    if not device.compatible:
        raise KoboxError(f"{who} has no `compatible`, by which a device tree announces it", hint="Set it.")
    controller = SifiveSpi()
    controller.wires.attach(device)
    device.computer = BoxComputer(box)
    device.host = WiredPlace(
        box, controller, device, lambda: f"/sys/bus/spi/devices/spi{bus_of(box, controller, 'spi')}.0"
    )
    device.reset()
    node: dict[str, Value] = {"compatible": device.compatible, "reg": 0, "spi-max-frequency": device.max_speed}
    node |= {name: None for bit, name in ((1, "spi-cpha"), (2, "spi-cpol")) if device.mode & bit}
    name = f"{device.compatible.rpartition(',')[2]}@0"
    _plug_controller(box, controller, {name: node | described(box, device)})
    return device


def bus_of(box: BootedKernel, controller: BoardI2c | SifiveSpi, prefix: str) -> int:
    """The number of a controller's bus: i2c-N, spiN. Raises `KoboxError` when it has no driver."""
    for place in controller.sysfs:
        for where in (place, f"{place}/spi_master"):
            for name in box.listdir(where) if box.exists(where) else ():
                if name.startswith(prefix) and name[len(prefix) :].isdigit():
                    return int(name[len(prefix) :])
    raise KoboxError(
        f"{type(controller).__name__}: the controller has no driver",
        hint=f"`box.modprobe('{controller.driver_module}')` loads it.",
    )


def _i2c_controller(box: BootedKernel, device: I2cDevice) -> BoardI2c:
    """A controller for a device: one that is there for those without a node, else a new one, which is plugged in later
    where it needs the device's node."""
    if device.compatible:
        return BoardI2c()
    there = (model for model in plugged_models(box) if isinstance(model, BoardI2c))
    found = next((model for model in there if device.address not in model.wires.devices), None)
    return found or _plug_controller(box, BoardI2c(), {})


_Controller = TypeVar("_Controller", BoardI2c, SifiveSpi)


def _plug_controller(box: BootedKernel, controller: _Controller, nodes: dict[str, Value]) -> _Controller:
    """Plug a controller in, with the nodes of the devices on its bus. Raises `KoboxError` when no driver takes it."""
    module = controller.driver_module
    try:
        box.modprobe(module)
    except KoboxError as error:
        raise KoboxError(
            f"{type(controller).__name__}: the kernel of this box has no driver for the controller ({module}): "
            f"{error.message}",
            hint="Debian's cloud kernels have neither bus; riscv64's kernel has both.",
        ) from error
    controller.properties = {"clocks": plug_node(box, FixedClock(_CLOCK))}
    plug_node(box, controller, {**_CELLS, **nodes})
    if controller.driver is None:
        controller.unplug()
        raise KoboxError(f"{type(controller).__name__}: {module} does not take the controller")
    return controller
