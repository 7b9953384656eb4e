"""Debian's kernel headers, made to work where they lie.

The packages expect to be unpacked at /: `lib/modules/RELEASE/build` and the Makefile of a headers directory name
/usr/src by absolute path. Here both are made relative, so that `make -C` works, and goes on working when the cache
is moved.

`.kernelvariables`, which Debian's Makefile reads, names the compiler and the prefix of the binutils: gcc-12, or
x86_64-linux-gnu-gcc-16. Where this machine has them under plain names only, those are taken.
"""

from __future__ import annotations

import os
from pathlib import Path

# Written into the files as `make` text. The first line of a Makefile still sees itself as the last one read.
_ANCHOR = "kobox_src := $(patsubst %/,%,$(dir $(realpath $(lastword $(MAKEFILE_LIST)))))/..\n"

_FALLBACKS = """\
# kobox: plain names where the ones above are not on PATH
ifeq ($(shell command -v $(CROSS_COMPILE)ld 2>/dev/null),)
override CROSS_COMPILE :=
endif
ifeq ($(shell command -v $(lastword $(CC)) 2>/dev/null),)
CC := gcc
endif
"""


def settle_headers(root: Path) -> None:
    """Make the headers and module trees unpacked under `root` independent of where `root` is."""
    for headers in sorted(root.glob("usr/src/linux-headers-*")):
        _anchor_makefile(headers / "Makefile")
        variables = headers / ".kernelvariables"
        if variables.is_file():
            text = variables.read_text()
            variables.write_text(text if text.endswith("\n") else text + "\n")
            with variables.open("a") as file:
                file.write(_FALLBACKS)
    for link in sorted([*root.glob("lib/modules/*/*"), *root.glob("usr/lib/modules/*/*"), *root.glob("usr/src/*")]):
        if link.is_symlink() and link.readlink().is_absolute():
            inside = root / link.readlink().relative_to("/")
            link.unlink()
            link.symlink_to(os.path.relpath(inside, link.parent))


def _anchor_makefile(makefile: Path) -> None:
    """Make a small Makefile that includes /usr/src/… include it from beside its own directory."""
    if not makefile.is_file() or makefile.stat().st_size > 4096:
        return  # the kernel's own, in -common: it finds everything from where it is
    text = makefile.read_text()
    if "/usr/src/" in text:
        makefile.write_text(_ANCHOR + text.replace("/usr/src/", "$(kobox_src)/"))
