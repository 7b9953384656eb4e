"""The configuration that a kernel was built with: .config of its headers, or config-RELEASE beside its image.

    CONFIG_MODULE_SIG=y
    CONFIG_LOCALVERSION=""
    # CONFIG_KASAN is not set

Documentation/kbuild/kconfig.rst has the format.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

from kobox.images.store import KernelImage

_LARGEST = 4 << 20
_EMBEDDED = b"IKCFG_ST\x1f\x8b\x08"


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
        return _options(lines)
    return {}


def embedded_config(parts: Iterable[bytes]) -> dict[str, str]:
    """The configuration that a kernel carries in itself with CONFIG_IKCONFIG: gzip between IKCFG_ST and IKCFG_ED
    (kernel/configs.c). Empty without one."""
    for part in parts:
        begin = part.find(_EMBEDDED)
        if begin < 0:
            continue
        try:
            unpacker = zlib.decompressobj(wbits=31)
            text = unpacker.decompress(part[begin + len(b"IKCFG_ST") :], _LARGEST)
        except zlib.error:
            continue
        return _options(text.decode(errors="replace").splitlines())
    return {}


def _options(lines: Iterable[str]) -> dict[str, str]:
    pairs = (line.removeprefix("CONFIG_").partition("=") for line in lines if line.startswith("CONFIG_"))
    return {name: value.strip('"') for name, _, value in pairs}


def _places(kernel: KernelImage) -> list[Path]:
    places = [kernel.vmlinuz.with_name(f"config-{kernel.release}")]
    if kernel.modules is not None:
        places += [kernel.modules / "config", kernel.modules / "build/.config"]
    if kernel.headers is not None:
        places += [kernel.headers / ".config", kernel.headers / "include/config/auto.conf"]
    return places
