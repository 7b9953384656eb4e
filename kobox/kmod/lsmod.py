"""lsmod: the modules that are in a kernel."""

from __future__ import annotations

from kobox.kernel import sysfs_modules as loaded
from kobox.kernel.interface import Kernel
from kobox.kernel.sysfs_modules import ModuleStatus


def lsmod(kernel: Kernel) -> list[ModuleStatus]:
    """The loaded modules, the last first; sizes and users come from /sys/module. Raises `OSError`."""
    found = []
    for module in loaded.loaded_modules(kernel):
        size = loaded.core_size(kernel, module.name)
        users = loaded.holders(kernel, module.name)
        found.append(module._replace(size=size if size >= 0 else module.size, users=tuple(users) or module.users))
    return found


def table(modules: list[ModuleStatus]) -> str:
    """The table that lsmod prints."""
    lines = ["Module                  Size  Used by"]
    for module in modules:
        users = " " + ",".join(module.users) if module.users else ""
        lines.append(f"{module.name:<19} {module.size:8d}  {module.refcount}{users}")
    return "\n".join(lines) + "\n"
