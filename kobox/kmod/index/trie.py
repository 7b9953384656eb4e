"""The binary index of a module tree (`modules.*.bin`): a trie of keys, read and written.

    0   u32 magic B007F457, u32 version 0002 0001, u32 root: a node's reference
    reference: the top bits say what the node has, the low 28 where it is
        8  prefix      NUL-terminated: the characters that all keys below share
        2  children    u8 first, u8 last, u32 reference[last - first + 1], 0 for none
        4  values      u32 count, then u32 priority and NUL-terminated text each, sorted by priority
    A node's parts come in that order. A node is followed by its children, first to last (kmod 34).

All numbers are big-endian. Keys are 7-bit. Source: the layout of files that kmod 34.2 writes, and modules.dep(5).
"""

from __future__ import annotations

import struct

from kobox.errors import KoboxError
from kobox.startup import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAGIC = 0xB007F457
VERSION = 0x00020001
PREFIX, VALUES, CHILDREN = 0x80000000, 0x40000000, 0x20000000
OFFSET = 0x0FFFFFFF
_HEADER = struct.Struct(">III")
_U32 = struct.Struct(">I")
# No key is longer; a deeper trie is a damaged one.
_DEPTH = 4096


class IndexFormatError(KoboxError, ValueError):
    """An index file is damaged. `path` names it."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(f"{path or 'index'}: {message}", hint="Write the indexes anew with `depmod`.")
        self.path = path


class Value(NamedTuple):
    """One value of a key. Of several the one with the lowest priority number comes first."""

    text: str
    priority: int


class Index:
    """An index file's content, looked up in place. Raises `IndexFormatError` where it is damaged."""

    __slots__ = ("_data", "_root", "path")

    def __init__(self, data: bytes, path: str = "") -> None:
        self.path = path
        self._data = data
        if len(data) < _HEADER.size:
            raise IndexFormatError(f"{len(data)} bytes are no index", path=path)
        magic, version, self._root = _HEADER.unpack_from(data)
        if magic != MAGIC:
            raise IndexFormatError(f"no index: it begins with {magic:#010x}", path=path)
        if version >> 16 != VERSION >> 16:
            raise IndexFormatError(f"index version {version >> 16}.{version & 0xFFFF} is not known", path=path)

    @classmethod
    def open(cls, path: str) -> Index:
        """Read an index file. Raises `OSError`."""
        with open(path, "rb", buffering=0) as file:
            return cls(file.readall(), path)

    def search(self, key: str) -> list[Value]:
        """The values of exactly this key."""
        wanted = key.encode("utf-8", "surrogateescape")
        reference, done = self._root, 0
        for _ in range(len(wanted) + 2):
            prefix, children, values = self._node(reference)
            if not wanted.startswith(prefix, done):
                return []
            done += len(prefix)
            if done == len(wanted):
                return self._values(values)
            reference = self._child(children, wanted[done])
            if not reference:
                return []
            done += 1
        return []

    def search_wild(self, key: str) -> list[Value]:
        """The values of every key that, taken as a pattern (`*`, `?`, `[...]`), matches `key`, best first.

        Ties in priority keep the order in which the patterns are found, plain characters last.
        """
        wanted = key.encode("utf-8", "surrogateescape")
        found: list[Value] = []
        stack = [(self._root, 0, b"")]
        while stack:
            reference, done, _ = stack.pop()
            prefix, children, values = self._node(reference)
            for place, byte in enumerate(prefix):
                if byte in b"*?[":
                    self._match_below(found, (prefix[place:], children, values), wanted[done:])
                    break
                if done >= len(wanted) or wanted[done] != byte:
                    break
                done += 1
            else:
                for wild in b"*?[":
                    below = self._child(children, wild)
                    if below:
                        rest, inner, inner_values = self._node(below)
                        self._match_below(found, (bytes((wild,)) + rest, inner, inner_values), wanted[done:])
                if done == len(wanted):
                    found.extend(self._values(values))
                elif below := self._child(children, wanted[done]):
                    stack.append((below, done + 1, b""))
        found.sort(key=_priority)
        return found

    def _match_below(self, found: list[Value], node: tuple[bytes, tuple[int, int, int], int], rest: bytes) -> None:
        """Try every pattern in a subtree that begins with a wildcard; the rest of the key is what it must match."""
        from kobox.kmod.config.pattern import matches

        for pattern, values in self._walk(*node):
            if matches(pattern.decode("utf-8", "surrogateescape"), rest.decode("utf-8", "surrogateescape")):
                found.extend(self._values(values))

    def items(self) -> Iterator[tuple[str, list[Value]]]:
        """Every key with its values, in the order of the keys' bytes."""
        for key, values in self._walk(*self._node(self._root)):
            yield key.decode("utf-8", "surrogateescape"), self._values(values)

    def _walk(self, prefix: bytes, children: tuple[int, int, int], values: int) -> Iterator[tuple[bytes, int]]:
        stack = [(prefix, children, values)]
        budget = len(self._data)
        while stack:
            key, (first, last, at), values = stack.pop()
            if values:
                yield key, values
            if not at:
                continue
            for character in range(last, first - 1, -1):
                reference = self._child((first, last, at), character)
                if reference:
                    budget -= 1
                    if budget < 0 or len(key) > _DEPTH:
                        raise IndexFormatError("its nodes run in a circle", path=self.path)
                    below, inner, inner_values = self._node(reference)
                    stack.append((key + bytes((character,)) + below, inner, inner_values))

    def _node(self, reference: int) -> tuple[bytes, tuple[int, int, int], int]:
        """(prefix, (first, last, where the references begin), where the values begin); 0 for what is not there."""
        data, at = self._data, reference & OFFSET
        prefix, children, values = b"", (0, 0, 0), 0
        if reference & PREFIX:
            end = data.find(b"\0", at)
            if end < 0:
                raise IndexFormatError(f"the prefix at {at:#x} has no end", path=self.path)
            prefix, at = data[at:end], end + 1
        if reference & CHILDREN:
            if at + 2 > len(data):
                raise IndexFormatError(f"a node at {at:#x} reaches beyond the end", path=self.path)
            first, last = data[at], data[at + 1]
            end = at + 2 + 4 * (last - first + 1)
            if last < first or end > len(data):
                raise IndexFormatError(f"the children at {at:#x} are damaged", path=self.path)
            children, at = (first, last, at + 2), end
        if reference & VALUES:
            values = at
        return prefix, children, values

    def _child(self, children: tuple[int, int, int], character: int) -> int:
        first, last, at = children
        if not at or not first <= character <= last:
            return 0
        reference: int = _U32.unpack_from(self._data, at + 4 * (character - first))[0]
        return reference

    def _values(self, at: int) -> list[Value]:
        if not at:
            return []
        data, found = self._data, []
        if at + 4 > len(data):
            raise IndexFormatError(f"the values at {at:#x} reach beyond the end", path=self.path)
        (count,) = _U32.unpack_from(data, at)
        at += 4
        if count * 5 > len(data) - at:
            raise IndexFormatError(f"{count} values are said to be at {at - 4:#x}", path=self.path)
        for _ in range(count):
            end = data.find(b"\0", at + 4)
            if end < 0:
                raise IndexFormatError(f"the value at {at:#x} has no end", path=self.path)
            text = data[at + 4 : end].decode("utf-8", "surrogateescape")
            found.append(Value(text, _U32.unpack_from(data, at)[0]))
            at = end + 1
        return found


def _priority(value: Value) -> int:
    return value.priority


def encode_value(text: bytes, priority: int) -> bytes:
    """One value as it stands in a file; pass it to `build` as often as there are keys that have it."""
    return _U32.pack(priority) + text + b"\0"


def build(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The file for (key, encoded value) pairs, in any order of keys; the values of one key come by priority.

    Raises `ValueError` for keys that the file cannot hold: see `build_partly`.
    """
    content, left_out = build_partly(entries)
    if left_out:
        raise ValueError(f"{', '.join(map(repr, left_out))}: not plain ASCII, which is all that an index can hold")
    return content


def build_partly(entries: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, list[str]]:
    """(the file for (key, encoded value) pairs, the keys that it cannot hold).

    Keys are 7-bit: a node has at most 128 children. A key with other bytes fits if no other key leaves it at one of
    them.
    """
    from kobox.kmod.index import native_core as native

    listed = list(entries)
    return native.trie([key for key, _ in listed], [value for _, value in listed])
