"""The devices of a run: models from a file of Python, and phantoms that are made up for a driver.

--plug counter.py:Counter      the class of that file is plugged in before the module is loaded
--phantom                      a device with the IDs that the driver waits for; what it must say is found by trying
"""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from pathlib import Path

from kobox.box.box import Box
from kobox.checks.phantom.search import PhantomSearch, SearchResult
from kobox.devices import PciDevice
from kobox.devices.phantom import identities_for, phantom
from kobox.errors import KoboxError, ModuleLoadError
from kobox.ko.modulefile import ModuleFile

ATTEMPTS = 150


def load_model(spec: str) -> PciDevice:
    """A device of `FILE.py[:CLASS]`; without a class the only one that the file defines.

    Raises `KoboxError` when there is no such file or class, or the file raises.
    """
    name, _, wanted = spec.partition(":")
    path = Path(name)
    if not path.is_file():
        raise KoboxError(f"{path}: no such file", hint="--plug takes FILE.py, or FILE.py:CLASS.")
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
        if isinstance(value, type) and issubclass(value, PciDevice) and value.__module__ == module.__name__
    }
    chosen = found.get(wanted) if wanted else next(iter(found.values()), None)
    if chosen is None or (not wanted and len(found) > 1):
        known = ", ".join(found) or "none"
        raise KoboxError(
            f"{path}: {f'no device class {wanted!r}' if wanted else 'which class?'} (it defines: {known})",
            hint="Name one: --plug FILE.py:CLASS. A device class is a subclass of kobox.devices.PciDevice.",
        )
    try:
        return chosen()
    except Exception as error:
        raise KoboxError(f"{path}: {chosen.__name__}() raised {type(error).__name__}: {error}") from error


def find_phantom(box: Box, modules: list[ModuleFile], parameters: list[str]) -> SearchResult | None:
    """Search for a phantom for the last of these modules that is a PCI driver; None when none is, or it does not load.

    The box is as it was afterwards, and nothing is plugged in.
    """
    driver = next((module for module in reversed(modules) if identities_for(module.aliases)), None)
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
                return PhantomSearch(box, driver).run(ATTEMPTS)
            except ModuleLoadError:  # it looks for its device while it is loaded
                before.restore()
        return PhantomSearch(box, driver, lambda: load(driver, text)).run(ATTEMPTS)


def phantom_of(found: SearchResult) -> PciDevice:
    """The device of the best attempt of a search."""
    return phantom(found.best.identity, found.best.policy)


def describe(device: PciDevice, found: SearchResult | None = None) -> str:
    """One line on a device that is plugged in."""
    text = f"PCI {device.address}: {type(device).__name__} {device.vendor_id:04x}:{device.device_id:04x}"
    if found is None:
        return text
    best = found.best
    known = ", ".join(best.policy.lines())
    text += f", {best.policy.layout}; unknown registers read as {best.policy.rest}{f'; {known}' if known else ''}"
    return f"{text} ({best.result} after {found.attempts} attempt{'s' if found.attempts != 1 else ''})"
