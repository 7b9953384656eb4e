"""The native half of `kobox.ko`, as ctypes sees it: .xz unpacked (`xz.c`); and how `kobox.tree` loads its own.

They are plain shared libraries, no extensions of Python. Importing ctypes takes 2 ms, so import this late.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from functools import cache

from kobox.errors import KoboxError

_ABI = 1
_SIZE = ctypes.c_size_t
_PROTOTYPES: dict[str, tuple[object, Sequence[object]]] = {
    "kobox_xz": (ctypes.c_int, (ctypes.c_char_p, _SIZE, ctypes.c_void_p, _SIZE)),
    "kobox_xz_claim": (ctypes.c_int64, (ctypes.c_char_p, _SIZE)),
}


class Output(ctypes.Structure):
    """`struct kobox_output` of xz.h: where unpacked bytes go."""

    _fields_ = (
        ("data", ctypes.c_char_p),
        ("size", ctypes.c_size_t),
        ("room", ctypes.c_size_t),
        ("fixed", ctypes.c_int),
    )


def load(path: str, abi: int, prototypes: Mapping[str, tuple[object, Sequence[object]]]) -> ctypes.CDLL:
    """Load a library that was built with kobox. Raises `KoboxError` when it was not, or with another version."""
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise KoboxError(
            f"{path}: the native part cannot be loaded: {error}", hint="Install kobox again: `pip install kobox`."
        ) from error
    try:
        if library.kobox_abi() != abi:
            raise AttributeError
        for name, (result, arguments) in prototypes.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError:
        raise KoboxError(f"{path}: built from another version of kobox", hint="Install kobox again.") from None
    return library


@cache
def _library() -> ctypes.CDLL:
    return load(os.path.join(os.path.dirname(__file__), "core.so"), _ABI, _PROTOTYPES)


def unpack_xz(data: bytes, limit: int) -> bytes | None:
    """The content of .xz data; None where liblzma has to say what it is or what is wrong with it."""
    library = _library()
    size = library.kobox_xz_claim(data, len(data))
    if not 0 < size <= limit:
        return None
    # A bytes object of that size whose memory nobody has touched yet: a lying claim costs nothing.
    allocate = ctypes.pythonapi.PyBytes_FromStringAndSize
    allocate.restype, allocate.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_ssize_t)
    try:
        content: bytes = allocate(None, size)
    except MemoryError:
        return None
    output = Output(content, 0, size, 1)
    failed = library.kobox_xz(data, len(data), ctypes.byref(output), size)
    return None if failed or output.size != size else content
