"""The devices of a run: models from a file of Python, and phantoms that are made up for a driver.

--plug counter.py:Counter      the class of that file is plugged in before the module is loaded
--plug nvme=disk.img           a ready model, by its name
--phantom                      a device with the IDs that the driver waits for; what it must say is found by trying
"""

from __future__ import annotations

import errno
import importlib.util
from contextlib import suppress
from pathlib import Path

from kobox.box.box import Box
from kobox.checks.phantom.attempt import waits_for_device
from kobox.checks.phantom.buses import attendant_for, bus_of
from kobox.checks.phantom.model_file import model_text
from kobox.checks.phantom.search import PhantomSearch, SearchResult
from kobox.checks.phantom.surround import surround
from kobox.devices import PciDevice
from kobox.devices.model import HardwareModel
from kobox.devices.phantom import PhantomDevice
from kobox.devices.phantom_board import PhantomBoard
from kobox.devices.phantom_i2c import PhantomI2c
from kobox.devices.phantom_kinds import PHANTOMS, Phantom
from kobox.devices.phantom_kinds import phantom_of as make_phantom
from kobox.devices.phantom_policy import MEMORY, WIRES
from kobox.devices.phantom_spi import PhantomSpi
from kobox.devices.phantom_virtio import PhantomVirtio
from kobox.devices.ready import READY, make
from kobox.devices.usb import UsbDevice
from kobox.errors import KoboxError, ModuleLoadError
from kobox.ko.modulefile import ModuleFile
from kobox.machine.taint import Taint

ATTEMPTS = 150


def load_model(spec: str) -> HardwareModel:
    """A device of `FILE.py[:CLASS]`, without a class the only one that the file defines; or a ready model, `NAME` or
    `NAME=ARGUMENT`.

    Raises `KoboxError` when there is no such file, class or name, or the file raises.
    """
    if spec.partition("=")[0] in READY:
        return make(spec)
    name, _, wanted = spec.partition(":")
    path = Path(name)
    if not path.is_file():
        known = ", ".join(READY)
        raise KoboxError(
            f"{path}: no such file, and no ready model",
            hint=f"--plug takes FILE.py, FILE.py:CLASS, or a ready model: {known}.",
        )
    made = importlib.util.spec_from_file_location(f"kobox_model_{path.stem}", path)
    if made is None or made.loader is None:
        raise KoboxError(f"{path}: not a file of Python", hint="--plug takes FILE.py, or FILE.py:CLASS.")
    module = importlib.util.module_from_spec(made)
    try:
        made.loader.exec_module(module)
    except Exception as error:
        raise KoboxError(f"{path}: it cannot be loaded: {type(error).__name__}: {error}") from error
    found = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, HardwareModel) and value.__module__ == module.__name__
    }
    chosen = found.get(wanted) if wanted else next(iter(found.values()), None)
    if chosen is None or (not wanted and len(found) > 1):
        known = ", ".join(found) or "none"
        raise KoboxError(
            f"{path}: {f'no device class {wanted!r}' if wanted else 'which class?'} (it defines: {known})",
            hint="Name one: --plug FILE.py:CLASS. A device class is a subclass of a class in kobox.devices.",
        )
    try:
        return chosen()
    except Exception as error:
        raise KoboxError(f"{path}: {chosen.__name__}() raised {type(error).__name__}: {error}") from error


# Refused before init: built for another processor or kernel, damaged, not signed. No device changes that.
_NEVER_LOADS = (errno.ENOEXEC, errno.EKEYREJECTED)


def find_phantom(box: Box, modules: list[ModuleFile], parameters: list[str]) -> SearchResult | None:
    """Search for a phantom for the last of these modules that one can be made up for; None when there is none, or it
    does not load.

    The box is as it was afterwards, and nothing is plugged in. Raises `ModuleLoadError` for a driver that the kernel
    refuses before its init runs.
    """
    driver = next((module for module in reversed(modules) if bus_of(module) is not None), None)
    if driver is None:
        return None

    def load(module: ModuleFile, text: str) -> None:
        with suppress(KoboxError, LookupError):
            for name in module.depends:
                box.modprobe(name)
        box.insmod(module.content, text)

    with box.checkpoint():
        for module, text in zip(modules, parameters, strict=True):
            if module is driver:
                break
            try:
                load(module, text)
            except ModuleLoadError:
                return None
        with box.checkpoint() as before:
            try:
                load(driver, text)
                if waits_for_device(box, driver):
                    return PhantomSearch(box, driver).run(ATTEMPTS)
            except ModuleLoadError as error:
                if error.errno in _NEVER_LOADS:
                    raise
            before.restore()  # it looks for its device while it is loaded
        return PhantomSearch(box, driver, lambda: load(driver, text)).run(ATTEMPTS)


def plug(box: Box, device: HardwareModel) -> None:
    """Plug a device in; a phantom with all that belongs to it."""
    if isinstance(device, PHANTOMS):
        surround(box, device)
    box.plug(device)
    attend(box, device)


def attend(box: Box, device: HardwareModel) -> None:
    """Let a phantom that is plugged in interrupt its driver, and know the memory that they share."""
    if not isinstance(device, PHANTOMS):
        return
    shares = any(MEMORY <= register.bar < WIRES for register in device.policy.known)
    attendant_for(box, device, Taint(box.machine) if shares else None, watches=True).attach()


def model_of(found: SearchResult, driver: str) -> bytes:
    """What a search has found, as a file of Python that `--plug` takes."""
    return model_text(found.best, driver, found.places).encode()


def phantom_of(found: SearchResult) -> Phantom:
    """The device of the best attempt of a search."""
    return make_phantom(found.best.identity, found.best.policy)


def identity(device: PciDevice | UsbDevice) -> int:
    """What distinguishes a device among those of its vendor: a PCI device ID, a USB product ID."""
    return device.device_id if isinstance(device, PciDevice) else device.product_id


def facts(device: HardwareModel) -> dict[str, object]:
    """The same for programs."""
    found: dict[str, object] = {
        "address": device.where.partition(" ")[2],
        "bus": device.bus,
        "model": type(device).__name__,
    }
    if isinstance(device, (PciDevice, UsbDevice)):
        found |= {"vendor": device.vendor_id, "device": identity(device)}
    return found


def describe(device: HardwareModel, found: SearchResult | None = None) -> str:
    """One line on a device that is plugged in."""
    text = f"{device.where}: {type(device).__name__}"
    if isinstance(device, (PciDevice, UsbDevice)):
        text += f" {device.vendor_id:04x}:{identity(device):04x}"
    elif isinstance(device, (PhantomI2c, PhantomSpi, PhantomVirtio, PhantomBoard)):
        text += f" for {device.wanted_name}"
    if found is None:
        return text
    best = found.best
    known = ", ".join(best.policy.lines())
    layout = f", {best.policy.layout}" if isinstance(device, (PhantomDevice, PhantomBoard)) else ""
    text += f"{layout}; unknown registers read as {best.policy.rest}{f'; {known}' if known else ''}"
    return f"{text} ({best.result} after {found.attempts} attempt{'s' if found.attempts != 1 else ''})"
