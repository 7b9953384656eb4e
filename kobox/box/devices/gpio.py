"""GPIO lines of devices that ACPI describes: connections in _CRS, and properties that name them.

GpioIo (…, "\\_SB_.K000") { 5 }        Package { "lamp-gpios", Package { \\_SB_.K001, 0, 0, active low } }

Source: Documentation/firmware-guide/acpi/gpio-properties.rst.
"""

from __future__ import annotations

from kobox.box.booted import BootedKernel
from kobox.box.devices.card import plugged_models
from kobox.devices.gpio import AmdGpio
from kobox.devices.gpio_line import HasLines
from kobox.errors import KoboxError
from kobox.machine import aml


def controller_of(box: BootedKernel) -> AmdGpio | None:
    """The GPIO controller of a box; None while it has none."""
    return next((model for model in plugged_models(box) if isinstance(model, AmdGpio)), None)


def check_lines(device: HasLines) -> None:
    """Raise `KoboxError` for lines that cannot be."""
    for name, line in device.gpios.items():
        line.check(f"{type(device).__name__}.gpios[{name!r}]")


def connect_lines(box: BootedKernel, device: HasLines, path: str) -> tuple[bytes, dict[str, aml.Value]]:
    """Join a device to the controller: its resources, and its properties. `path` is the device's in the namespace.

    Raises `KoboxError` when there is no controller.
    """
    if not device.gpios:
        return b"", {}
    controller = controller_of(box)
    where = getattr(controller.host, "path", "") if controller is not None else ""
    if controller is None or not where:
        raise KoboxError(f"{type(device).__name__}: the box has no GPIO controller", hint="Plug in an AmdGpio first.")
    resources, properties = b"", dict[str, aml.Value]()
    for index, (name, line) in enumerate(device.gpios.items()):
        resources += aml.gpio_connection(where, line.number, line.interrupt)
        properties[f"{name}-gpios"] = [aml.Reference(path), index, 0, int(line.active_low)]
    device.line_controller = controller
    return resources, properties
