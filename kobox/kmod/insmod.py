"""insmod: one module file into a kernel, nothing else."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from kobox.errors import ModuleLoadError
from kobox.kernel.interface import InitFlags, Kernel
from kobox.kmod import parameters as syntax
from kobox.ko.name import from_path

# What the kernel means by an errno of init_module(2), where the errno's own text misleads.
_MEANINGS = {
    errno.ENOEXEC: "Invalid module format",
    errno.ENOENT: "Unknown symbol in module, or unknown parameter (see dmesg)",
    errno.ESRCH: "Module has wrong symbol version (see dmesg)",
    errno.EINVAL: "Invalid argument",
    errno.EEXIST: "File exists",
}
_HINTS = {
    errno.ENOEXEC: "It was built for another kernel or architecture, or is damaged: see `modinfo` and the kernel log.",
    errno.ENOENT: "A module that it needs is not loaded: `modprobe` loads those first.",
    errno.EEXIST: "A module of that name is loaded already.",
    errno.EINVAL: "A parameter's value was refused: see the kernel log.",
    errno.EKEYREJECTED: "This kernel loads only modules signed by a key that it trusts.",
    errno.ENODEV: "The module found no device that it can drive.",
}


def insmod(
    kernel: Kernel,
    module: str | os.PathLike[str] | bytes,
    parameters: str | Mapping[str, object] = "",
    flags: InitFlags = InitFlags.NONE,
) -> str:
    """Load a module from a file of this machine, or from bytes, and return its name.

    Raises `ModuleLoadError` with the kernel's errno, `OSError` when the file can't be read, `ModuleFormatError`
    for compressed data that is damaged.
    """
    text = parameters if isinstance(parameters, str) else syntax.join(parameters)
    name = "" if isinstance(module, bytes) else from_path(os.fspath(module))
    if isinstance(module, bytes):
        image: bytes | None = module
    else:
        image = _image_to_send(kernel, os.fspath(module))
    try:
        if image is None:
            _load_file(kernel, os.fspath(module), text, flags)  # type: ignore[arg-type]  # bytes have an image
        else:
            kernel.init_module(image, text, flags)
    except OSError as error:
        raise load_error(kernel, error, name or "the module") from error
    return name


def _image_to_send(kernel: Kernel, path: str) -> bytes | None:
    """The bytes to give to a kernel that has no files of this machine, None for one that has."""
    from kobox.kernel.host import Host

    if isinstance(kernel, Host):
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        return None
    from kobox.ko.compression import decompress

    with open(path, "rb", buffering=0) as file:
        return decompress(file.readall(), path=path)


def _load_file(kernel: Kernel, path: str, text: str, flags: InitFlags) -> None:
    from kobox.kernel.host import Host

    assert isinstance(kernel, Host)
    kernel.load_file(path, text, flags)


def load_error(kernel: Kernel, error: OSError, name: str) -> ModuleLoadError:
    """The error that a refusal to load deserves: what it means and what to do."""
    if isinstance(error, ModuleLoadError):
        return error
    from kobox.kernel.sysfs_modules import obstacle

    number = error.errno or errno.EIO
    hint = ""
    if number == errno.EPERM:
        hint = obstacle(kernel) or "Loading modules takes root (CAP_SYS_MODULE)."
    return ModuleLoadError(number, f"could not insert {name}", module=name, hint=hint or _HINTS.get(number, ""))


def meaning(number: int | None) -> str:
    """What an errno of init_module(2) means, in kmod's words."""
    return _MEANINGS.get(number or 0) or os.strerror(number or 0)
