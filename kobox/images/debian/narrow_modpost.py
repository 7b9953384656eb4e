"""modpost for kernels of 32 bits.

Debian's modpost for x86-64 has the layouts of device tables that kernels of 64 bits have, also where it works for one
of 32 bits, and refuses every driver with such a table: "sizeof(struct of_device_id)=200 is not a modulo of the size".
Debian's program for i386 has the right ones: it takes its place, with the loader and the C library that it starts with.

    ROOT/usr/lib/kobox-i386/{modpost, ld-linux.so.2, libc.so.6}
    ROOT/usr/lib/linux-kbuild-VERSION/scripts/mod/modpost.real-lsb-32     a script that starts it

Source: scripts/mod/file2alias.c, device_id_check().
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from kobox.errors import FetchError
from kobox.images.debian.archive import Archive
from kobox.images.kernel_image import Progress

_PORT, _LIBRARIES = "i386", "i386-linux-gnu"
_PROGRAM = "scripts/mod/modpost.real-lsb-32"
_PLACE = "usr/lib/kobox-i386"
_SCRIPT = """\
#!/bin/sh
place="${0%/*}"/../../../kobox-i386
exec "$place"/ld-linux.so.2 --library-path "$place" "$place"/modpost "$@"
"""


def fetch_narrow_modpost(tools: Archive, kbuild: Iterable[str], root: Path, progress: Progress) -> None:
    """Put i386's modpost into the headers unpacked under `root`; `kbuild` are the names of the packages that have it.
    Nothing is changed where this machine runs no programs for i386, or its mirror has none: drivers with device tables
    are then refused by modpost, and all others are built."""
    programs = sorted(root.glob(f"usr/lib/linux-kbuild*/{_PROGRAM}"))
    if not programs or tools.architecture != "amd64":
        return
    aside = root / "narrow.new"
    try:
        archive = tools.for_port(_PORT)
        archive.update(progress)
        packages = list(archive.show([*kbuild, "libc6"]).values())
        archive.unpack(archive.download(packages, progress), aside, progress)
    except FetchError as error:
        progress(f"without modpost for device tables: {error.message}", 0, 0)
        shutil.rmtree(aside, ignore_errors=True)
        return
    try:
        place = root / _PLACE
        place.mkdir(parents=True, exist_ok=True)
        for pattern, name in (
            (f"usr/lib/linux-kbuild*/{_PROGRAM}", "modpost"),
            (f"**/{_LIBRARIES}/ld-linux.so.2", "ld-linux.so.2"),
            (f"**/{_LIBRARIES}/libc.so.6", "libc.so.6"),
        ):
            for found in sorted(aside.glob(pattern))[:1]:
                shutil.copy(found, place / name)
        if _starts(place):
            for program in programs:
                program.write_text(_SCRIPT)
        else:
            shutil.rmtree(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _starts(place: Path) -> bool:
    """Whether this machine runs the program, with an empty list of modules."""
    words = [place / "ld-linux.so.2", "--library-path", place, place / "modpost"]
    try:
        return subprocess.run([*map(str, words)], capture_output=True, check=False).returncode == 0
    except OSError:
        return False
