"""Values between a check and its workers. A worker runs a stranger's module, so what it sends is not trusted.

    frame     u64 length (little endian), then a pickle

A pickle can call anything that it names. Here it may name only classes of kobox that hold facts (frozen data classes,
named tuples, enumerations, errors), and it is read piece by piece, so that a worker which stops in the middle keeps
nobody waiting.
"""

from __future__ import annotations

import dataclasses
import enum
import io
import os
import pickle
import struct
import sys
from collections.abc import Callable
from typing import Any, ClassVar

from kobox.errors import KoboxError

MOST = 256 << 20
"""Bytes that one value may have."""

_HEAD = struct.Struct("<Q")
_PLAIN = frozenset(("set", "frozenset", "bytearray", "RuntimeError"))


class TransportError(KoboxError):
    """What came is no value that a worker of kobox sends."""


class Receiver:
    """Puts values together from the pieces that a descriptor gives."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._data = bytearray()

    def receive(self) -> tuple[bool, object]:
        """Read what is there, and wait for no more than that: (whether a value is complete, the value).

        Raises `EOFError` when the other end is closed, `TransportError`, `OSError`.
        """
        piece = os.read(self._descriptor, 1 << 20)
        if not piece:
            raise EOFError
        self._data += piece
        if len(self._data) < _HEAD.size:
            return False, None
        (size,) = _HEAD.unpack_from(self._data)
        if size > MOST or len(self._data) > _HEAD.size + size:
            raise TransportError(f"a worker sent {max(size, len(self._data))} bytes at once, or more than one answer")
        if len(self._data) < _HEAD.size + size:
            return False, None
        data = bytes(self._data[_HEAD.size :])
        self._data.clear()
        return True, loads(data)


def send(descriptor: int, value: object) -> None:
    """Send a value. Raises `OSError`, `pickle.PicklingError`."""
    data = dumps(value)
    data = _HEAD.pack(len(data)) + data
    while data:
        data = data[os.write(descriptor, data) :]


def receive(descriptor: int) -> object:
    """Wait for a value. Raises as `Receiver.receive` does."""
    receiver, complete, value = Receiver(descriptor), False, None
    while not complete:
        complete, value = receiver.receive()
    return value


def dumps(value: object) -> bytes:
    """The pickle of a value, as `loads` reads it. Raises `pickle.PicklingError` and what its classes raise."""
    data = io.BytesIO()
    _Plain(data, protocol=4).dump(value)
    return data.getvalue()


def loads(data: bytes) -> object:
    """The value that a pickle holds. Raises `TransportError` for one that holds something else than facts."""
    try:
        return _Facts(io.BytesIO(data)).load()
    except TransportError:
        raise
    except Exception as error:
        raise TransportError(f"a worker sent what is no value: {type(error).__name__}: {error}") from error


class _Plain(pickle.Pickler):
    # A class alone says how its values are taken apart. Libraries register functions for classes that are not theirs in
    # copyreg's table (tblib does for all exceptions as soon as `distributed` is imported), and those are no facts.
    dispatch_table: ClassVar[dict[type, Callable[[Any], Any]]] = {}  # type: ignore[misc]


# Python's own reader and not the one in C, whose table of what was read grows to whatever number a pickle names.
class _Facts(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if module == "builtins" and name in _PLAIN:
            return getattr(sys.modules["builtins"], name)
        if (module, name) == ("kobox.errors", "_again"):  # how an error of kobox is put together
            return getattr(sys.modules[module], name)
        found = getattr(sys.modules.get(module), name, None) if module.startswith("kobox.") else None
        if isinstance(found, type) and found.__module__ == module and _is_fact(found):
            return found
        raise TransportError(f"a worker sent a {module}.{name}, which is no fact")


def _is_fact(kind: type) -> bool:
    if issubclass(kind, (KoboxError, enum.Enum)):
        return True
    if issubclass(kind, tuple):
        return hasattr(kind, "_fields")
    return dataclasses.is_dataclass(kind) and bool(getattr(kind, "__dataclass_params__").frozen)  # noqa: B009
