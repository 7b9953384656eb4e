"""Builds the native parts: each `core.so` from all C files beside and below it.

They are plain shared libraries, no CPython extensions: one build serves every Python version, without its headers.
"""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

FLAGS = ("-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Werror=implicit", "-fPIC", "-fvisibility=hidden")
LIBRARIES = {
    "kobox/machine/native/core.so": ("-ldl",),
    "kobox/machine/native/core_aarch64.so": ("-DKOBOX_ARM64", "-ldl"),
    "kobox/machine/native/core_armv7l.so": ("-DKOBOX_ARMV7", "-ldl"),
    "kobox/machine/native/core_riscv64.so": ("-DKOBOX_RISCV64", "-ldl"),
    "kobox/kmod/native/core.so": ("-pthread",),
}
# The C files that some cores of a machine have, and others not: a processor's, and those of the board around it.
PARTS = {
    "core.so": (
        "x86_64/",
        "taint/",
        "watch/",
        "pc.c",
        "pci.c",
        "pc_ports.c",
        "pic.c",
        "pit.c",
        "lapic.c",
        "uart.c",
        "rtc.c",
    ),
    "core_aarch64.so": ("arm/", "arm64/", "taint/", "watch/", "board.c", "risc.c"),
    "core_armv7l.so": ("arm/", "armv7/", "board.c", "risc.c"),
    "core_riscv64.so": ("riscv64/", "uart.c", "board.c", "risc.c"),
}


def left_out(library: str) -> tuple[str, ...]:
    """The C files beside and below a library that belong to other cores alone, as the beginnings of their paths."""
    own = PARTS[Path(library).name] if "machine" in library else ()
    return tuple(sorted({part for parts in PARTS.values() for part in parts} - set(own)))


def sources(root: Path, library: str) -> list[str]:
    """The C files that a library is made of."""
    directory, others = Path(root, library).parent, left_out(library)
    return sorted(
        str(path) for path in directory.rglob("*.c") if not path.relative_to(directory).as_posix().startswith(others)
    )


class PackagePage(MetadataHookInterface):
    """The README as the package's page shows it: a link to a file of the source leads nowhere there: text is left."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        plain = re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": plain}


class NativeParts(BuildHookInterface):  # type: ignore[type-arg]
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        compiler = (
            shlex.split(os.environ.get("CC", ""))
            or [found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))][:1]
        )
        if not compiler:
            raise SystemExit("kobox: no C compiler found; install one (Debian: apt-get install gcc) and try again")
        headers = Path(str(importlib.util.find_spec("unicorn").submodule_search_locations[0]), "include")  # type: ignore
        for library, options in LIBRARIES.items():
            target = Path(self.root, library)
            made = target.with_name(f"{target.name}.{os.getpid()}.tmp")
            files = sources(Path(self.root), library)
            command = [*compiler, *FLAGS, "-isystem", str(headers), "-shared", "-o", str(made), *files, *options]
            subprocess.run(command, check=True)
            made.replace(target)
        pages = Path(self.root, "build", "man", "man1")  # `make dist` writes them: that takes kobox's own dependencies
        for page in sorted(pages.glob("*.1")):
            build_data["shared_data"][str(page)] = f"share/man/man1/{page.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{self._platform()}"

    @staticmethod
    def _platform() -> str:
        """What the wheel is for: this machine, or what CC compiles for (packaging/wheels.py says so)."""
        if "KOBOX_WHEEL_PLATFORM" in os.environ:
            return os.environ["KOBOX_WHEEL_PLATFORM"]
        return sysconfig.get_platform().replace("-", "_").replace(".", "_")
