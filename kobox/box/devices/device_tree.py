"""Devices on the board of a box that a device tree announces: nodes added while the kernel runs.

    a tree of its own, in memory that the kernel never uses -> of_fdt_unflatten_tree() hangs it below the root
    -> its nodes appear in /sys/firmware/devicetree -> of_platform_populate() makes platform devices of them

Kernels without CONFIG_OF_OVERLAY, as Debian's, do it as well: the functions are called in the box (drivers/of/fdt.c,
drivers/of/platform.c).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from kobox.box.booted import BootedKernel
from kobox.box.devices.card import add_card
from kobox.box.devices.computer import BoxComputer
from kobox.box.devices.platform import PlatformPlace
from kobox.box.inspect.kernel_call import call_kernel
from kobox.devices.platform import PlatformDevice
from kobox.errors import KoboxError
from kobox.machine.device_tree import Value, pack
from kobox.machine.platform import Window
from kobox.machine.tree_board import INTERRUPT_CONTROLLER, PLUGGED, PLUGGED_SIZE

PluggedNode = TypeVar("PluggedNode", bound=PlatformDevice)


class TreePlace(PlatformPlace):
    """The box's side of such a device."""

    def __init__(self, box: BootedKernel, device: PlatformDevice, name: str) -> None:
        super().__init__(box, device, name)
        self._name = name

    @property
    def sysfs(self) -> str:
        return f"/sys/bus/platform/devices/{self._name}"


def plug_node(box: BootedKernel, device: PluggedNode) -> PluggedNode:
    """Put a device on the board of the box, and have the kernel make a platform device of its node.

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
    board = box.machine.platform
    windows = board.attach(device, list(device.windows.values()), device.interrupts)
    kind = device.compatible.rpartition(",")[2]
    at = f"{windows[0].address:x}" if windows else f"{board.made:x}"
    try:
        device.computer, device.host = BoxComputer(box), TreePlace(box, device, f"{at}.{kind}" if windows else kind)
        device.power_on()
        _add_node(
            box,
            f"{kind}@{at}",
            _node(device, windows, [box.machine.interrupt_cells(line) for line in board.lines(device)]),
        )
        assert device.host is not None
        if not box.exists(device.host.sysfs):
            raise KoboxError(f"{who}: the kernel made no device of its node")
    except BaseException:
        board.detach(device)
        raise
    add_card(box, device)
    return device


def _node(device: PlatformDevice, windows: Sequence[Window], lines: Sequence[Sequence[int]]) -> dict[str, Value]:
    node: dict[str, Value] = {"compatible": device.compatible}
    if windows:
        node["reg"] = [cell for window in windows for cell in (0, window.address, 0, window.bar.size)]
    if lines:
        node["interrupts"] = [cell for line in lines for cell in line]
    for name, value in device.properties.items():
        node[name] = _property(value)
    return node


def _property(value: object) -> Value:
    """A property as device trees have it: a number is a cell, or two; several stand one behind the other."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if value < 1 << 32 else [value >> 32, value & 0xFFFFFFFF]
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, Sequence) and all(isinstance(one, int | str) for one in value):
        return list(value)
    raise KoboxError(f"{value!r}: a property is a number, a string, or a sequence of either")


def _add_node(box: BootedKernel, name: str, node: dict[str, Value]) -> None:
    """Hang a node below the tree's root, in a bus of its own."""
    number = box.machine.platform.made
    bus: dict[str, Value] = {
        "compatible": "simple-bus",
        "#address-cells": 2,
        "#size-cells": 2,
        "interrupt-parent": INTERRUPT_CONTROLLER,
        "ranges": None,
        name: node,
    }
    tree = pack(bus, f"plugged@{number}") + bytes(8)  # behind it: where its first node is
    tree = tree.ljust(len(tree) + -len(tree) % 8, b"\0")
    used = box.machine.platform.used
    if used + len(tree) > PLUGGED_SIZE:
        raise KoboxError(f"no room is left for nodes: {used} of {PLUGGED_SIZE} bytes are in use")
    box.machine.platform.used = used + len(tree)
    box.machine.ram[PLUGGED + used : PLUGGED + used + len(tree)] = tree
    objects, direct = box.inspect.objects, box.inspect.symbols.areas().direct_map
    at = direct + PLUGGED + used
    out = at + len(tree) - 8
    if not call_kernel(box, "of_fdt_unflatten_tree", at, objects.u64(objects.address("of_root")), out):
        raise KoboxError("the kernel did not take the tree")
    top = objects.u64(out)
    for one in (top, objects.number(top, "device_node.child")):
        call_kernel(box, "__of_attach_node_sysfs", one)
    if call_kernel(box, "of_platform_populate", top, 0, 0, 0) & 0xFFFFFFFF:
        raise KoboxError("the kernel made no device of the node")
