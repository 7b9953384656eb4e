"""What a kernel offers to modules: its version magic, and every exported symbol with CRC, owner and conditions.

Module.symvers, as modpost writes it (Documentation/kbuild/modules.rst, section 6.3), fields separated by tabs:

    0xe1a2b3c4   usb_stor_suspend   drivers/usb/storage/usb-storage   EXPORT_SYMBOL_GPL   USB_STORAGE
    CRC          symbol             module, or vmlinux                export              namespace

The version magic stands in every module of the kernel's tree, and in its image.
"""

from __future__ import annotations

import difflib
import fnmatch
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from kobox.ko.name import SUFFIXES, from_path

KERNEL = "vmlinux"


class Exported(NamedTuple):
    """An exported symbol. `owner` is the name of a module, or `vmlinux`."""

    name: str
    crc: int
    owner: str
    gpl_only: bool
    namespace: str

    def is_for(self, module: str, namespaces: tuple[str, ...]) -> bool:
        """Whether a module that imports these namespaces may have it."""
        if not self.namespace or self.namespace in namespaces:
            return True
        # EXPORT_SYMBOL_FOR_MODULES (6.16): the namespace is a list of module names.
        kind, colon, names = self.namespace.partition(":")
        if (kind, colon) != ("module", ":"):
            return False
        return any(fnmatch.fnmatchcase(module, name.replace("-", "_")) for name in names.split(","))


class KernelExports:
    """The exports of one kernel of the cache, read when they are first asked for."""

    def __init__(self, kernel: KernelImage) -> None:
        self.kernel = kernel

    @cached_property
    def known(self) -> bool:
        """Whether the kernel came with a Module.symvers."""
        return self._symvers is not None

    @property
    def _symvers(self) -> Path | None:
        path = self.kernel.headers / "Module.symvers" if self.kernel.headers else None
        return path if path is not None and path.is_file() else None

    @cached_property
    def table(self) -> dict[str, Exported]:
        """Every exported symbol by its name."""
        if self._symvers is None:
            return {}
        found = {}
        for line in self._symvers.read_text(errors="surrogateescape").splitlines():
            crc, name, owner, kind, namespace, *_ = [*line.split("\t"), "", "", "", ""]
            module = owner if owner == KERNEL else from_path(owner + ".ko")
            found[name] = Exported(name, int(crc, 16), module, kind.startswith("EXPORT_SYMBOL_GPL"), namespace)
        return found

    def has(self, symbol: str) -> bool:
        """Whether the kernel or a module of it exports a symbol; nothing else is read for it."""
        return self._symvers is not None and f"\t{symbol}\t".encode() in self._symvers.read_bytes()

    def near(self, symbol: str) -> list[str]:
        """Exported names that a misspelt one may have meant, the likeliest first."""
        start = symbol[:2]
        likely = [name for name in self.table if name.startswith(start) and abs(len(name) - len(symbol)) < 4]
        return difflib.get_close_matches(symbol, likely, 3, 0.8)

    @cached_property
    def vermagic(self) -> str:
        """The kernel's version magic, as a module built for it has it. Raises `KoboxError` where nothing has it."""
        if self.kernel.modules is not None:
            for path in sorted(self.kernel.modules.glob("kernel/lib/**/*")) or self.kernel.modules.rglob("*"):
                if path.name.endswith(SUFFIXES) and path.is_file():
                    return ModuleFile(path).modinfo.first("vermagic")
        return self._vermagic_of_image()

    def _vermagic_of_image(self) -> str:
        from kobox.images.loadable import unpacked_kernel

        image = unpacked_kernel(self.kernel.vmlinuz.read_bytes(), str(self.kernel.vmlinuz))
        start = b"\0" + self.kernel.release.encode() + b" "
        at = image.find(start)
        while at >= 0:
            text = image[at + 1 : image.index(b"\0", at + 1)]
            if b"mod_unload" in text or text.startswith(start[1:] + b"SMP"):
                return text.decode(errors="replace")
            at = image.find(start, at + 1)
        raise KoboxError(
            f"{self.kernel.name}: no version magic in its modules or its image: was it built without modules?"
        )
