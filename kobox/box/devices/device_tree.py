"""Devices on the board of a box that a device tree announces: nodes added while the kernel runs.

    a tree of its own, in memory that the kernel never uses -> of_fdt_unflatten_tree() hangs it below the root
    -> its nodes appear in /sys/firmware/devicetree -> of_platform_populate() makes platform devices of them

Kernels without CONFIG_OF_OVERLAY, as Debian's, do it as well: the functions are called in the box (drivers/of/fdt.c,
drivers/of/platform.c).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from kobox.box.booted import BootedKernel
from kobox.box.devices.card import add_card, plugged_models
from kobox.box.devices.computer import BoxComputer
from kobox.box.devices.platform import PlatformPlace
from kobox.box.inspect.kernel_call import call_kernel
from kobox.devices.gpio_line import GpioLine, HasLines
from kobox.devices.i2c import I2cDevice
from kobox.devices.platform import PlatformDevice, Property
from kobox.devices.primecell import Pl061
from kobox.devices.spi import SpiDevice
from kobox.errors import KoboxError
from kobox.machine.device_tree import Value, pack
from kobox.machine.platform import Window
from kobox.machine.tree_board import BUS_CLOCK, INTERRUPT_CONTROLLER, PLUGGED, PLUGGED_SIZE

PluggedNode = TypeVar("PluggedNode", bound=PlatformDevice)
NOTHING: Mapping[str, Value] = MappingProxyType({})
_FIRST_PHANDLE = 0x100
_TRIGGERS = {
    "rising": 1,
    "falling": 2,
    "both": 3,
    "high": 4,
    "low": 8,
}  # include/dt-bindings/interrupt-controller/irq.h


class TreePlace(PlatformPlace):
    """The box's side of such a device. `phandle` is the number by which other nodes refer to its own."""

    def __init__(self, box: BootedKernel, device: PlatformDevice, name: str, phandle: int) -> None:
        super().__init__(box, device, name)
        self._name, self.phandle = name, phandle
        self._bus = "amba" if device.primecell else "platform"

    @property
    def sysfs(self) -> str:
        return f"/sys/bus/{self._bus}/devices/{self._name}"


def plug_node(box: BootedKernel, device: PluggedNode, more: Mapping[str, Value] = NOTHING) -> PluggedNode:
    """Put a device on the board of the box, and have the kernel make a platform device of its node, which may have
    `more` properties and nodes of devices behind it.

    Raises `KoboxError` when it is plugged in already, has no `compatible`, or there is no room for it.
    """
    who = type(device).__name__
    if device.plugged:
        raise KoboxError(f"{who} is plugged in already", hint="Make another object for another box.")
    if not device.compatible:
        raise KoboxError(
            f"{who} has no `compatible`, by which a device tree announces it",
            hint='Set compatible = "acme,counter", as in the of_match_table of its driver.',
        )
    if device.primecell and not box.exists("/sys/bus/amba"):
        raise KoboxError(f"{who}: this kernel knows no PrimeCells (CONFIG_ARM_AMBA)", hint="arm64's kernels do.")
    board = box.machine.platform
    windows = board.attach(device, list(device.windows.values()), device.interrupts)
    kind = device.compatible.rpartition(",")[2]
    # of_device_make_bus_id(): by its first register, else by the names of the nodes above.
    name = f"{windows[0].address:x}.{kind}" if windows else f"{_bus_name(box)}:{kind}"
    place = TreePlace(box, device, name, _FIRST_PHANDLE + board.made)
    try:
        device.computer, device.host = BoxComputer(box), place
        device.power_on()
        cells = [box.machine.interrupt_cells(line) for line in board.lines(device)]
        _add_node(
            box,
            f"{kind}@{windows[0].address:x}" if windows else kind,
            _node(box, device, place.phandle, windows, cells) | dict(more),
        )
        if not box.exists(place.sysfs):
            raise KoboxError(f"{who}: the kernel made no device of its node")
    except BaseException:
        board.detach(device)
        raise
    add_card(box, device)
    return device


def _node(
    box: BootedKernel, device: PlatformDevice, phandle: int, windows: Sequence[Window], lines: Sequence[Sequence[int]]
) -> dict[str, Value]:
    compatible = [device.compatible, "arm,primecell"] if device.primecell else device.compatible
    node: dict[str, Value] = {"compatible": compatible, "phandle": phandle}
    if device.primecell:
        node |= {"clocks": BUS_CLOCK, "clock-names": "apb_pclk"}
    if windows:
        node["reg"] = [cell for window in windows for cell in (0, window.address, 0, window.bar.size)]
    if "#clock-cells" in device.properties:  # else each is called as its node, and the second of a kind is refused
        node["clock-output-names"] = f"clock{phandle}"
    return node | described(box, device, lines)


def described(
    box: BootedKernel, device: PlatformDevice | I2cDevice | SpiDevice, lines: Sequence[Sequence[int]] = ()
) -> dict[str, Value]:
    """What a node says of a device wherever it is: its interrupts (the cells of `lines`, and GPIO lines that
    interrupt), its GPIO lines, its properties."""
    node: dict[str, Value] = {}
    waits = [(controller, cells) for line in device.gpios.values() for controller, cells in _interrupt_of(box, line)]
    if waits:
        waits = [(INTERRUPT_CONTROLLER, cells) for cells in lines] + waits
        node["interrupts-extended"] = [cell for controller, cells in waits for cell in (controller, *cells)]
    elif lines:
        node["interrupts"] = [cell for line in lines for cell in line]
    for name, line in device.gpios.items():
        bank, number = _bank_of(box, line)
        node[f"{name}-gpios"] = [_phandle_of(bank), number, int(line.active_low)]
    if device.gpios:
        device.line_controller = _Banks(banks_of(box))
    for name, value in device.properties.items():
        node[name] = _property(value)
    return node


# -- GPIO lines: eight at each PL061 ---------------------------------------------------------------------------------


class _Banks:
    """The lines of all controllers of a board, one behind the other."""

    def __init__(self, banks: Sequence[Pl061]) -> None:
        self._banks = banks

    def level(self, number: int) -> bool:
        return self._banks[number // Pl061.lines].level(number % Pl061.lines)

    def drive(self, number: int, high: bool) -> None:
        self._banks[number // Pl061.lines].drive(number % Pl061.lines, high)


def banks_of(box: BootedKernel) -> list[Pl061]:
    """The GPIO controllers of a board, in the order in which they were plugged in."""
    return [model for model in plugged_models(box) if isinstance(model, Pl061)]


def plug_banks(box: BootedKernel, device: HasLines) -> None:
    """Plug in as many GPIO controllers as the lines of a device need. Raises `KoboxError`."""
    wanted = max(line.number for line in device.gpios.values()) // Pl061.lines + 1
    while len(banks_of(box)) < wanted:
        controller = plug_node(box, Pl061())
        if controller.driver is None:
            controller.unplug()
            raise KoboxError(
                f"{type(device).__name__}: the kernel of this box has no driver for the GPIO controller "
                "(CONFIG_GPIO_PL061)",
                hint="Debian's arm64 kernels have it.",
            )


def _bank_of(box: BootedKernel, line: GpioLine) -> tuple[Pl061, int]:
    return banks_of(box)[line.number // Pl061.lines], line.number % Pl061.lines


def _interrupt_of(box: BootedKernel, line: GpioLine) -> list[tuple[int, Sequence[int]]]:
    """(controller, cells) of a line that interrupts."""
    bank, number = _bank_of(box, line)
    return [(_phandle_of(bank), (number, _TRIGGERS[line.interrupt]))] if line.interrupt else []


# -- properties ------------------------------------------------------------------------------------------------------


def _phandle_of(device: PlatformDevice) -> int:
    if not isinstance(device.host, TreePlace) or not device.host.plugged:
        raise KoboxError(f"{type(device).__name__} is not plugged in", hint="Plug it in before what refers to it.")
    return device.host.phandle


def _property(value: Property) -> Value:
    """A property as device trees have it: a number is a cell, or two; several stand one behind the other; a device is
    the handle of its node."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if value < 1 << 32 else [value >> 32, value & 0xFFFFFFFF]
    if isinstance(value, PlatformDevice):
        return _phandle_of(value)
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, Sequence):
        cells = [_phandle_of(one) if isinstance(one, PlatformDevice) else one for one in value]
        if all(isinstance(one, int | str) for one in cells):
            return [one for one in cells if isinstance(one, int | str)]
    raise KoboxError(f"{value!r}: a property is a number, a string, a device, or a sequence of them")


def _bus_name(box: BootedKernel) -> str:
    """The name of the bus that the device made last stands on."""
    return f"plugged@{box.machine.platform.made}"


def _add_node(box: BootedKernel, name: str, node: dict[str, Value]) -> None:
    """Hang a node below the tree's root, in a bus of its own."""
    bus: dict[str, Value] = {
        "compatible": "simple-bus",
        "#address-cells": 2,
        "#size-cells": 2,
        "interrupt-parent": INTERRUPT_CONTROLLER,
        "ranges": None,
        name: node,
    }
    tree = pack(bus, _bus_name(box)) + bytes(8)  # behind it: where its first node is
    tree = tree.ljust(len(tree) + -len(tree) % 8, b"\0")
    used = box.machine.platform.used
    if used + len(tree) > PLUGGED_SIZE:
        raise KoboxError(f"no room is left for nodes: {used} of {PLUGGED_SIZE} bytes are in use")
    box.machine.platform.used = used + len(tree)
    box.machine.ram[PLUGGED + used : PLUGGED + used + len(tree)] = tree
    objects, direct = box.inspect.objects, box.inspect.symbols.areas().direct_map
    at = direct + PLUGGED + used
    out = at + len(tree) - 8
    if not call_kernel(box, "of_fdt_unflatten_tree", at, objects.pointer(objects.address("of_root")), out):
        raise KoboxError("the kernel did not take the tree")
    top = objects.pointer(out)
    one = top
    while one:  # each has one node in it: the bus, the device, and on a bus that it makes another
        call_kernel(box, "__of_attach_node_sysfs", one)
        one = objects.number(one, "device_node.child")
    if call_kernel(box, "of_platform_populate", top, 0, 0, 0) & 0xFFFFFFFF:
        raise KoboxError("the kernel made no device of the node")
