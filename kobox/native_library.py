"""Loads a native part of kobox: a shared library that was built with the package, and says which version it is."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

from kobox.errors import KoboxError

# Of each function: the type of its result, and those of its arguments (ctypes).
Prototypes = Mapping[str, tuple[object, Sequence[object]]]


def load_library(path: str, abi: int, prototypes: Prototypes) -> ctypes.CDLL:
    """Load the library at `path`, whose `kobox_abi()` must return `abi`, and give its functions their types.

    Raises `KoboxError` when it is missing, cannot be loaded or is of another version.
    """
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
        raise KoboxError(
            f"{path}: built from another version of kobox", hint="Install kobox again: `pip install kobox`."
        ) from None
    return library
