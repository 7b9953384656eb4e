"""Which aliases of a driver its machine can announce a device by: ACPI's are not for boards with a device tree."""

from __future__ import annotations

from kobox.arch.registry import architecture
from kobox.ko.modulefile import ModuleFile


def announced(file: ModuleFile) -> list[str]:
    """The aliases of a driver, without hardware IDs of ACPI where a device tree announces devices."""
    has_tree = architecture(file.elf.architecture).boot.device_tree
    return [alias for alias in file.aliases if not (has_tree and alias.startswith("acpi"))]
