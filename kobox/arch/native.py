"""The native core's decoders (`kobox/machine/native/PROCESSOR/`), which need no machine.

There is one for a processor: for whoever watches a machine, and for whoever only reads code.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from kobox.native_library import load_library

ABI = 18
"""The version of the native core that this package was built with (`kobox_abi()`)."""

CORE = Path(__file__).parent.parent / "machine" / "native" / "core.so"

_P, _SIZE = ctypes.c_void_p, ctypes.c_size_t
_SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "kobox_decode": (ctypes.c_int, (ctypes.c_char_p, ctypes.c_uint, _P, _SIZE)),
    "kobox_flow": (ctypes.c_int64, (ctypes.c_char_p, _SIZE, _P, _SIZE, _SIZE)),
}


@cache
def decoders() -> ctypes.CDLL:
    """The core with the functions of its decoders. Raises `KoboxError` when it is missing or of another version."""
    return load_library(str(CORE), ABI, _SIGNATURES)


@cache
def decoders_of(name: str) -> ctypes.CDLL:
    """The core of another architecture, of whose decoders only `kobox_decode` is there. Raises as `decoders` does."""
    return load_library(str(CORE.with_name(f"core_{name}.so")), ABI, {"kobox_decode": _SIGNATURES["kobox_decode"]})
