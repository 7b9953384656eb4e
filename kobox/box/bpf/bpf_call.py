"""bpf(2), made by a box's main process: what reads and changes maps and programs once libbpf has loaded them.

    union bpf_attr { per command: u32 and u64 fields }      include/uapi/linux/bpf.h

Objects are reached by their IDs, as bpftool(8) reaches them; the descriptors are this process's own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from kobox.box.booted import BootedKernel


class BpfCommand(IntEnum):
    """enum bpf_cmd, as far as it is used here."""

    MAP_LOOKUP = 1
    MAP_UPDATE = 2
    MAP_DELETE = 3
    MAP_NEXT_KEY = 4
    OBJECT_GET = 7
    PROGRAM_TEST_RUN = 10
    PROGRAM_NEXT_ID = 11
    MAP_NEXT_ID = 12
    PROGRAM_BY_ID = 13
    MAP_BY_ID = 14
    INFO_BY_FD = 15
    BTF_BY_ID = 19
    MAP_LOOKUP_AND_DELETE = 21
    LINK_BY_ID = 30
    LINK_NEXT_ID = 31
    ENABLE_STATISTICS = 32
    ITERATOR_CREATE = 33


class BpfCalls:
    """bpf(2) with buffers of the box."""

    def __init__(self, box: BootedKernel) -> None:
        self.box = box

    def call(self, command: BpfCommand, attributes: bytes | bytearray) -> int:
        """One call. A bytearray gets back what the kernel wrote into it. Raises `OSError`."""
        return self.box.syscall("bpf", int(command), attributes, len(attributes))

    @contextmanager
    def memory(self, data: bytes) -> Iterator[int]:
        """The address of a copy of `data` in the box, for as long as the block lasts."""
        guest = self.box.guest
        calls = guest.calls
        address = calls.buffer(guest.main(), max(len(data), 1))
        try:
            calls.arena.write(address, data)
            yield address
        finally:
            if self.box.alive:
                calls.release(address)

    def read(self, address: int, size: int) -> bytes:
        """What the kernel wrote into `memory`."""
        return self.box.guest.calls.arena.read(address, size)

    @contextmanager
    def descriptor(self, command: BpfCommand, number: int) -> Iterator[int]:
        """A descriptor of the object with this ID, for as long as the block lasts. Raises `OSError` (ENOENT)."""
        fd = self.call(command, struct.pack("<III", number, 0, 0))
        try:
            yield fd
        finally:
            self.close(fd)

    def close(self, fd: int) -> None:
        """Close a descriptor; nothing in a box that has died."""
        if self.box.alive:
            self.box.syscall("close", fd)

    def info(self, fd: int, size: int, given: bytes = b"") -> bytes:
        """struct bpf_prog_info, bpf_map_info, bpf_btf_info or bpf_link_info of an open object; `given` is what the
        structure holds before. Zeros where the kernel's structure is shorter."""
        with self.memory(given.ljust(size, b"\0")) as address:
            self.call(BpfCommand.INFO_BY_FD, bytearray(struct.pack("<IIQ", fd, size, address)))
            return self.read(address, size)

    def btf(self, number: int) -> bytes:
        """The BTF that has this ID. Raises `OSError`."""
        with self.descriptor(BpfCommand.BTF_BY_ID, number) as fd:
            (size,) = struct.unpack_from("<I", self.info(fd, 32), 8)
            with self.memory(bytes(size)) as address:
                self.info(fd, 32, struct.pack("<QI", address, size))
                return self.read(address, size)

    def ids(self, command: BpfCommand) -> Iterator[int]:
        """The IDs of all programs, maps or links of the kernel."""
        at = 0
        while True:
            attributes = bytearray(struct.pack("<III", at, 0, 0))
            try:
                self.call(command, attributes)
            except FileNotFoundError:
                return
            (at,) = struct.unpack_from("<I", attributes, 4)
            yield at
