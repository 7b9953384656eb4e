"""A module that is to be loaded, however it is given: its path, its plain bytes, its name."""

from __future__ import annotations

import os
import re
from typing import IO, TypeAlias

from kobox.ko import compression

ModuleSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]"


def module_bytes(source: ModuleSource) -> tuple[str, bytes]:
    """(path or "", the module's plain bytes)."""
    path = ""
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        data = compression.read_file(path)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    else:
        path, data = getattr(source, "name", ""), source.read()
    return str(path), compression.decompress(data, path=str(path))


def module_name(image: bytes, path: str) -> str:
    """The name in the module's own modinfo; else, for a damaged one, what its file is called."""
    # "name=" may be part of any text of the module; in modinfo it begins a string, and a module's name follows.
    found = re.search(rb"\0name=([\w-]+)\0", image) or re.search(rb"(?<!\w)name=([\w-]+)\0", image)
    if found:
        return found[1].decode()
    return os.path.basename(path).split(".")[0].replace("-", "_")
