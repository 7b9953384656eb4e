"""The configuration that a kernel was built with: .config of its headers, or config-RELEASE beside its image.

    CONFIG_MODULE_SIG=y
    CONFIG_LOCALVERSION=""
    # CONFIG_KASAN is not set

Documentation/kbuild/kconfig.rst has the format.
"""

from __future__ import annotations

from pathlib import Path

from kobox.images.store import KernelImage

_LARGEST = 4 << 20


def read_config(kernel: KernelImage) -> dict[str, str]:
    """The options by their names without CONFIG_: `y`, `m`, a number or a text; one that is not set is missing.

    Empty where the kernel came without its configuration.
    """
    for path in _places(kernel):
        try:
            with path.open("rb") as file:
                lines = file.read(_LARGEST).decode(errors="replace").splitlines()
        except OSError:
            continue
        pairs = (line.removeprefix("CONFIG_").partition("=") for line in lines if line.startswith("CONFIG_"))
        return {name: value.strip('"') for name, _, value in pairs}
    return {}


def _places(kernel: KernelImage) -> list[Path]:
    places = [kernel.vmlinuz.with_name(f"config-{kernel.release}")]
    if kernel.modules is not None:
        places += [kernel.modules / "config", kernel.modules / "build/.config"]
    if kernel.headers is not None:
        places += [kernel.headers / ".config", kernel.headers / "include/config/auto.conf"]
    return places
