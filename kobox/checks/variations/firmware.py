"""Lives in which the firmware that a module asks for is there: with zeros, with ones, cut off.

What a file of firmware holds is as good as what a stranger sends: lengths and offsets in it must be checked.
"""

from __future__ import annotations

import re
from contextlib import suppress

from kobox.checks.runner.session import Check, Examination
from kobox.ko.modulefile import ModuleFile

_NAME = re.compile(rb"[\w.+-]+(?:/[\w.+-]+)*\.(?:bin|fw|hex|dat|img|rom|ucode|mbn|cfg|txt|bit|ihex)")
_REQUESTS = ("request_firmware", "firmware_request_nowarn", "request_firmware_direct", "request_firmware_nowait")
_MANY = 8  # files

CONTENTS = (
    bytes(4096),
    b"\xff" * 4096,
    b"\1\0\0\0" * 1024,
    b"\0\0\0\0\0\0\1\0\0\0\1\0" * 300,
    b"\xff\xff\xff\x7f" * 4,
    b"\0\0\0\0",
    b"x",
)
"""What the files hold, one life each."""


def firmware_of(file: ModuleFile) -> list[str]:
    """The names of the files of firmware that a module may ask for: those that it says, and strings that look so."""
    if not any(wanted.name in _REQUESTS for wanted in file.imports):
        return []
    found = list(dict.fromkeys(file.modinfo.all("firmware")))
    for number in range(1, len(file.elf.sections)):
        if file.elf.section_name(number).startswith(b".rodata"):
            found += [name.decode() for name in file.elf.data(number).split(b"\0") if _NAME.fullmatch(name)]
    return [name for name in dict.fromkeys(found) if ".." not in name][:_MANY]


class FirmwareFiles(Check):
    """Puts files of firmware into the clean box."""

    name = "firmware"

    def __init__(self, names: list[str], content: bytes) -> None:
        self._names = names
        self._content = content

    def attach(self, examination: Examination) -> None:
        box = examination.box
        for name in self._names:
            path = "/lib/firmware"
            for part in ("", *name.split("/")[:-1]):
                path = f"{path}/{part}".rstrip("/")
                with suppress(OSError):
                    box.syscall("mkdir", "/lib", 0o755)
                with suppress(OSError):
                    box.syscall("mkdir", path, 0o755)
            with suppress(OSError):
                box.write_bytes(f"/lib/firmware/{name}", self._content)
