"""Maps of eBPF programs as Python mappings: `box.bpf.load(...).maps["drops"][key]`.

    hashes, arrays, tries          a mutable mapping: key -> value, typed by BTF
    per-CPU kinds                  the value is a list with one value a CPU
    arrays of programs, of maps    the value that is set is a program or a map; the one that is read is its ID
    queues, stacks                 push(), pop(), peek()
    Bloom filters                  push(), may_hold()
    ring and perf buffers          records(): what programs have written
    stacks of calls                stack(number): addresses, the innermost first
    storage of a task or file      the key is a descriptor of the box (Documentation/bpf/map_sk_storage.rst)

Source: kernel/bpf/syscall.c, Documentation/bpf/maps.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import AbstractContextManager
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple, Protocol, TypeAlias, cast

from kobox.box.bpf.bpf_call import BpfCalls, BpfCommand
from kobox.box.bpf.typed import BtfType, Given, Value
from kobox.box.inspect.btf import Btf, BtfError
from kobox.errors import KoboxError


class MapKind(IntEnum):
    """enum bpf_map_type (include/uapi/linux/bpf.h)."""

    UNSPEC = 0
    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERF_EVENT_ARRAY = 4
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    STACK_TRACE = 7
    CGROUP_ARRAY = 8
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    DEVMAP = 14
    SOCKMAP = 15
    CPUMAP = 16
    XSKMAP = 17
    SOCKHASH = 18
    CGROUP_STORAGE = 19
    REUSEPORT_SOCKARRAY = 20
    PERCPU_CGROUP_STORAGE = 21
    QUEUE = 22
    STACK = 23
    SK_STORAGE = 24
    DEVMAP_HASH = 25
    STRUCT_OPS = 26
    RINGBUF = 27
    INODE_STORAGE = 28
    TASK_STORAGE = 29
    BLOOM_FILTER = 30
    USER_RINGBUF = 31
    CGRP_STORAGE = 32
    ARENA = 33
    INSN_ARRAY = 34


def map_kind_name(number: int) -> str:
    """A map type's name in the kernel's words, or its number."""
    return MapKind(number).name.lower() if number in set(MapKind) else f"map type {number}"


_PER_CPU = frozenset(
    {MapKind.PERCPU_HASH, MapKind.PERCPU_ARRAY, MapKind.LRU_PERCPU_HASH, MapKind.PERCPU_CGROUP_STORAGE}
)
_KEYLESS = frozenset({MapKind.QUEUE, MapKind.STACK, MapKind.BLOOM_FILTER})
_RECORDS = frozenset({MapKind.RINGBUF, MapKind.PERF_EVENT_ARRAY})
_OF_PROGRAMS = frozenset({MapKind.PROG_ARRAY})
_OF_MAPS = frozenset({MapKind.ARRAY_OF_MAPS, MapKind.HASH_OF_MAPS})
_STORAGES = frozenset({MapKind.SK_STORAGE, MapKind.INODE_STORAGE, MapKind.TASK_STORAGE, MapKind.CGRP_STORAGE})
_ARRAYS = frozenset({MapKind.ARRAY, MapKind.PERCPU_ARRAY})
_INFO = struct.Struct("<6I")  # how struct bpf_map_info begins
# (name of the map, how many, virtual milliseconds to wait) -> records
Records: TypeAlias = Callable[[str, int, int], list[bytes]]


class MapTypes(NamedTuple):
    """The types of a map: numbers in the BTF of its object, 0 for one that is not known."""

    btf: Btf | None
    key: int
    value: int


class HasId(Protocol):
    """A program or a map: what a map of programs or of maps takes."""

    id: int


class BpfMap(MutableMapping["Given", "Value"]):
    """One map that is loaded. `kind` is its type, `id` the kernel's number of it, `max_entries` its size."""

    def __init__(self, calls: BpfCalls, number: int, name: str, types: MapTypes, records: Records) -> None:
        self._calls = calls
        self._records = records
        self._types = types
        self.id = number
        self.name = name
        with self.opened() as fd:
            info = _INFO.unpack(calls.info(fd, _INFO.size))
        self.kind, _, key_size, value_size, self.max_entries, self.flags = info
        self.key_type = BtfType(types.btf, types.key, key_size)
        self.value_type = BtfType(types.btf, types.value, value_size)

    def __repr__(self) -> str:
        return f"<BpfMap {self.name} {map_kind_name(self.kind)} id {self.id}>"

    def opened(self) -> AbstractContextManager[int]:
        """A descriptor of it in the box, for as long as the block lasts."""
        return self._calls.descriptor(BpfCommand.MAP_BY_ID, self.id)

    # -- as a mapping ------------------------------------------------------------------------------------------

    def __getitem__(self, key: Given) -> Value:
        """Raises `KeyError` where there is no such entry, `TypeError` for a key that does not fit, `OSError`."""
        found = self._look_up(self.key_type.encode(key))
        if found is None:
            raise KeyError(key)
        return self._decoded(found)

    def __setitem__(self, key: Given, value: Given | HasId | Sequence[Given]) -> None:
        self._update(self.key_type.encode(key), value)

    def __delitem__(self, key: Given) -> None:
        try:
            self._with_key(BpfCommand.MAP_DELETE, self.key_type.encode(key), b"")
        except FileNotFoundError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[Value]:
        """The keys. An entry that comes or goes meanwhile may be told twice or not at all, as the kernel has it."""
        for key in self._keys():
            yield self.key_type.decode(key)

    def __len__(self) -> int:
        """How many entries there are: all of an array's."""
        return self.max_entries if self.kind in _ARRAYS else sum(1 for _ in self._keys())

    def __contains__(self, key: object) -> bool:
        return self._look_up(self.key_type.encode(cast(Given, key))) is not None

    def _keys(self) -> Iterator[bytes]:
        if self.kind in _RECORDS | _KEYLESS:
            raise KoboxError(f"{self.name}: a {map_kind_name(self.kind)} has no keys", hint=_hint(self.kind))
        if self.kind in _STORAGES:
            raise KoboxError(
                f"{self.name}: the entries of a {map_kind_name(self.kind)} cannot be listed",
                hint="Its key is a descriptor of the box: of a file, a socket, a control group, or a pidfd.",
            )
        at: bytes | None = None
        for _ in range(self.max_entries + 1):
            try:
                at = self._with_key(BpfCommand.MAP_NEXT_KEY, at, bytes(self.key_type.size))
            except FileNotFoundError:
                return
            yield at

    def _look_up(self, key: bytes) -> bytes | None:
        if self.kind in _RECORDS:
            raise KoboxError(f"{self.name}: a {map_kind_name(self.kind)} has no keys", hint=_hint(self.kind))
        try:
            return self._with_key(BpfCommand.MAP_LOOKUP, key, bytes(self._bytes_of_value()))
        except FileNotFoundError:
            return None

    def _update(self, key: bytes | None, value: Given | HasId | Sequence[Given]) -> None:
        if self.kind in _OF_PROGRAMS | _OF_MAPS and not isinstance(value, int):
            command = BpfCommand.PROGRAM_BY_ID if self.kind in _OF_PROGRAMS else BpfCommand.MAP_BY_ID
            with self._calls.descriptor(command, cast(HasId, value).id) as inner:
                self._with_key(BpfCommand.MAP_UPDATE, key, struct.pack("<I", inner))
            return
        self._with_key(BpfCommand.MAP_UPDATE, key, self._encoded(cast(Given, value)))

    def _with_key(self, command: BpfCommand, key: bytes | None, value: bytes) -> bytes:
        """A command that takes a key and a value, or the place of one; what stands there afterwards."""
        calls = self._calls
        with self.opened() as fd, calls.memory(key or b"") as at_key, calls.memory(value) as at_value:
            place = 0 if command is BpfCommand.MAP_DELETE else at_value
            calls.call(command, struct.pack("<IIQQQ", fd, 0, at_key if key is not None else 0, place, 0))
            return calls.read(at_value, len(value))

    # -- without keys ------------------------------------------------------------------------------------------

    def push(self, value: Given) -> None:
        """Add to a queue, a stack or a Bloom filter. Raises `OSError` (E2BIG: it is full)."""
        self._update(None, value)

    def pop(self, *key: Given) -> Value:  # type: ignore[override]
        """Take from a queue or a stack; from a mapping, as a dict's. Raises `KeyError` where there is nothing."""
        if self.kind not in _KEYLESS:
            return super().pop(*key)
        try:
            return self._decoded(self._with_key(BpfCommand.MAP_LOOKUP_AND_DELETE, None, bytes(self._bytes_of_value())))
        except FileNotFoundError:
            raise KeyError(f"{self.name} is empty") from None

    def peek(self) -> Value:
        """What `pop` would take, which stays. Raises `KeyError`."""
        try:
            return self._decoded(self._with_key(BpfCommand.MAP_LOOKUP, None, bytes(self._bytes_of_value())))
        except FileNotFoundError:
            raise KeyError(f"{self.name} is empty") from None

    def may_hold(self, value: Given) -> bool:
        """Whether a Bloom filter may hold a value: False is certain. Raises `KoboxError` for another kind."""
        if self.kind != MapKind.BLOOM_FILTER:
            raise KoboxError(
                f"{self.name}: a {map_kind_name(self.kind)} holds no such answer: only a bloom_filter does"
            )
        try:
            self._with_key(BpfCommand.MAP_LOOKUP, None, self.value_type.encode(value))
        except FileNotFoundError:
            return False
        return True

    def stack(self, number: int) -> list[int]:
        """The addresses of a stack of calls that bpf_get_stackid() has given this number, the innermost first.

        Raises `KeyError` where there is none, `KoboxError` for another kind of map.
        """
        if self.kind != MapKind.STACK_TRACE:
            raise KoboxError(f"{self.name}: a {map_kind_name(self.kind)} holds no stacks of calls")
        found = self._look_up(struct.pack("<I", number & 0xFFFFFFFF))
        if found is None:
            raise KeyError(number)
        return [address for (address,) in struct.iter_unpack("<Q", found) if address]

    def records(self, kind: str = "", *, wait: float = 0.0, most: int = 4096) -> list[Value]:
        """What programs have written into a ring buffer or a perf buffer since the last call, oldest first.

        `kind` is a structure of the object's BTF ("event", or "struct event") that the records are; without it they
        are bytes. Where there is nothing, `wait` virtual seconds pass. Raises `KoboxError`, `OSError`.
        """
        if self.kind not in _RECORDS:
            raise KoboxError(f"{self.name}: a {map_kind_name(self.kind)} holds no records")
        raw = self._records(self.name, most, int(wait * 1000))
        if not kind:
            return list(raw)
        btf = self._types.btf
        number = btf.number_of(kind.split()[-1]) if btf else 0
        if not number:
            raise BtfError(f"the object's BTF has no {kind}", hint="It is there when a variable or map has that type.")
        return [BtfType(btf, number, len(one)).decode(one) for one in raw]

    # -- values ------------------------------------------------------------------------------------------------

    def _bytes_of_value(self) -> int:
        if self.kind in _PER_CPU:
            return (self.value_type.size + 7 & -8) * self._cpus
        return self.value_type.size

    @cached_property
    def _cpus(self) -> int:
        """How many CPUs there may be (Documentation/admin-guide/cputopology.rst): a value for each is read."""
        return int(self._calls.box.read_text("/sys/devices/system/cpu/possible").strip().split("-")[-1]) + 1

    def _decoded(self, data: bytes) -> Value:
        if self.kind in _OF_PROGRAMS | _OF_MAPS:
            return int.from_bytes(data, "little")
        if self.kind not in _PER_CPU:
            return self.value_type.decode(data)
        each = len(data) // self._cpus
        return [self.value_type.decode(data[n * each :][: self.value_type.size]) for n in range(self._cpus)]

    def _encoded(self, value: Given) -> bytes:
        if self.kind not in _PER_CPU:
            return self.value_type.encode(value)
        each = self.value_type.size + 7 & -8
        values = value if isinstance(value, (list, tuple)) else [value] * self._cpus
        if len(values) != self._cpus:
            raise ValueError(f"{self.name}: {len(values)} values, and there may be {self._cpus} CPUs")
        return b"".join(self.value_type.encode(one).ljust(each, b"\0") for one in values)


def _hint(kind: int) -> str:
    return "Its records() are what programs have written." if kind in _RECORDS else "Use push() and pop()."
