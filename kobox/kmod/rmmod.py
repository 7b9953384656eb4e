"""rmmod: one module out of a kernel."""

from __future__ import annotations

import errno

from kobox.errors import ModuleUnloadError
from kobox.kernel import sysfs_modules as loaded
from kobox.kernel.interface import DeleteFlags, Kernel
from kobox.ko.name import from_path


def rmmod(kernel: Kernel, module: str, *, force: bool = False) -> str:
    """Unload a module by its name or its file's path, and return its name.

    Without `force` a module in use is refused before the kernel is asked. Raises `ModuleUnloadError`.
    """
    name = from_path(module)
    if not force:
        _check_unused(kernel, name)
    remove(kernel, name, force=force)
    return name


def remove(kernel: Kernel, name: str, *, force: bool = False) -> None:
    """delete_module(2), with what its refusal means. Raises `ModuleUnloadError`."""
    flags = DeleteFlags.NONBLOCK | (DeleteFlags.FORCE if force else DeleteFlags.NONE)
    try:
        kernel.delete_module(name, flags)
    except OSError as error:
        number = error.errno or errno.EIO
        raise ModuleUnloadError(
            number, f"could not remove {name}", module=name, hint=_hint(kernel, name, number)
        ) from error


def _check_unused(kernel: Kernel, name: str) -> None:
    state = loaded.init_state(kernel, name)
    if state == loaded.BUILTIN:
        raise ModuleUnloadError(errno.ENOENT, f"Module {name} is builtin", module=name)
    if not state:
        raise ModuleUnloadError(errno.ENOENT, f"Module {name} is not currently loaded", module=name)
    users = loaded.holders(kernel, name)
    if users:
        raise ModuleUnloadError(
            errno.EBUSY,
            f"Module {name} is in use by: {' '.join(users)}",
            module=name,
            hint=f"`modprobe -r --remove-holders {name}` removes those too.",
        )
    if loaded.refcount(kernel, name) > 0:
        raise ModuleUnloadError(
            errno.EBUSY, f"Module {name} is in use", module=name, hint="Something has it open or mounted."
        )


def _hint(kernel: Kernel, name: str, number: int) -> str:
    if number == errno.EPERM:
        return loaded.obstacle(kernel) or "Unloading modules takes root (CAP_SYS_MODULE)."
    if number == errno.EBUSY and loaded.init_state(kernel, name) != loaded.LIVE:
        return "It is stuck while loading or unloading; only a reboot gets rid of it."
    if number == errno.EBUSY:
        return "It has no exit function, so it was made to stay."
    if number in (errno.EAGAIN, errno.EWOULDBLOCK):
        return "Other modules or a program use it."
    return ""
