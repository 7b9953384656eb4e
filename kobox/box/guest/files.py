"""Open files of a box, as a Python person knows them, and stat results like os's.

Nothing is buffered here: a `read(n)` of a binary file is one read(2), a `write()` one write(2), as drivers see it.
"""

from __future__ import annotations

import errno
import io
import os
import select
import struct
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, cast, overload

from kobox.box.booted import BootedKernel
from kobox.box.guest.answers import MOST_READ, answered, is_file_name
from kobox.box.guest.syscall import PendingCall
from kobox.ko.binary import c_string

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_MODES = {"r": os.O_RDONLY, "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND}
_CHUNK = 1 << 16


class BoxFile(io.RawIOBase):
    """An open file of a box, binary and unbuffered."""

    def __init__(self, box: BootedKernel, fd: int, name: str, mode: str) -> None:
        super().__init__()
        self._box = box
        self._fd = fd
        self.name = name
        self.mode = mode

    def __repr__(self) -> str:
        return f"<BoxFile {self.name!r} {self.mode!r} fd {self._fd}>"

    # -- what io.RawIOBase asks for ------------------------------------------------------------------------------

    def readable(self) -> bool:
        return "r" in self.mode or "+" in self.mode

    def writable(self) -> bool:
        return any(letter in self.mode for letter in "wax+")

    def seekable(self) -> bool:
        try:
            self.seek(0, os.SEEK_CUR)
        except OSError:
            return False
        return True

    def fileno(self) -> int:
        """The descriptor in the box (not one of this process)."""
        self._check()
        return self._fd

    def isatty(self) -> bool:
        return False

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        view = memoryview(buffer).cast("B")
        data = bytearray(min(len(view), 1 << 20))
        try:
            count = self._box.syscall("read", self.fileno(), data, len(data))
        except BlockingIOError:
            return None
        view[:count] = data[: answered(count, len(data), self.name)]
        return count

    def write(self, data: ReadableBuffer, /) -> int | None:
        content = bytes(memoryview(data).cast("B")) if not isinstance(data, bytes) else data
        try:
            return self._box.syscall("write", self.fileno(), content, len(content))
        except BlockingIOError:
            return None

    def readall(self) -> bytes:
        """Everything up to the end of the file."""
        out = bytearray()
        chunk = bytearray(_CHUNK)
        while count := self._box.syscall("read", self.fileno(), chunk, len(chunk)):
            out += chunk[: answered(count, len(chunk), self.name)]
            if len(out) > MOST_READ:
                raise OSError(errno.EFBIG, f"more than {MOST_READ} bytes; read it in pieces", self.name)
        return bytes(out)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if "_llseek" not in self._box.arch.syscalls:
            return self._box.syscall("lseek", self.fileno(), offset, whence)
        place, half = bytearray(8), 0xFFFFFFFF  # lseek(2) ends at 2 GiB there
        self._box.syscall("_llseek", self.fileno(), offset >> 32 & half, offset & half, place, whence)
        return int.from_bytes(place, "little")

    def tell(self) -> int:
        return self.seek(0, os.SEEK_CUR)

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        self._box.syscall("ftruncate", self.fileno(), size)
        return size

    def close(self) -> None:
        if not self.closed:
            try:
                if self._box.alive:
                    self._box.syscall("close", self._fd)
            finally:
                super().close()

    # -- what devices offer --------------------------------------------------------------------------------------

    def pread(self, size: int, offset: int) -> bytes:
        """Read at an offset; the file position stays."""
        data = bytearray(size)
        count = self._box.syscall("pread64", self.fileno(), data, size, offset)
        return bytes(data[: answered(count, size, self.name)])

    def pwrite(self, data: bytes, offset: int) -> int:
        """Write at an offset; the file position stays."""
        return self._box.syscall("pwrite64", self.fileno(), data, len(data), offset)

    @overload
    def ioctl(self, request: int, argument: bytes) -> bytes: ...
    @overload
    def ioctl(self, request: int, argument: int | bytearray | memoryview = ...) -> int: ...
    def ioctl(self, request: int, argument: int | ReadableBuffer = 0) -> int | bytes:
        """ioctl(2). As with `fcntl.ioctl`: bytes are passed in and the changed bytes returned; a bytearray (or other
        writable buffer) is changed in place and the call's value returned; an int is passed as it is."""
        if isinstance(argument, bytes):
            data = bytearray(argument)
            self._box.syscall("ioctl", self.fileno(), request, data)
            return bytes(data)
        return self._box.syscall("ioctl", self.fileno(), request, argument)

    def poll(self, events: int = select.POLLIN, timeout: float | None = 0) -> int:
        """poll(2) on this file: the events that are there, 0 after `timeout` seconds (virtual; None: without limit)."""
        entry = bytearray(struct.pack("<ihh", self.fileno(), events, 0))
        spec = None if timeout is None else struct.pack("<qq", int(timeout), int(timeout % 1 * 1e9))
        self._box.syscall("ppoll", entry, 1, spec, None, 0)
        return int(struct.unpack_from("<h", entry, 6)[0])

    def mmap(self, length: int, *, offset: int = 0, writable: bool = True, shared: bool = True) -> Mapping:
        """Map `length` bytes of the file or device into the box's process, and give a view of it."""
        protection = 3 if writable else 1
        address = self._box.syscall("mmap", 0, length, protection, 1 if shared else 2, self.fileno(), offset)
        return Mapping(self._box, address, length)

    def start_read(self, size: int) -> tuple[PendingCall, bytearray]:
        """Begin a read that may block, in a process of its own: the call under way, and the buffer it fills."""
        buffer = bytearray(size)
        return self._box.process().start("read", self.fileno(), buffer, size), buffer

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")


class Mapping:
    """A mapped range of the box's process: `mapping[a:b]` reads, `mapping[a:b] = bytes` writes, as its program
    would."""

    def __init__(self, box: BootedKernel, address: int, length: int) -> None:
        self._box = box
        self.address = address
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, where: slice) -> bytes:
        start, stop, _ = where.indices(self._length)
        return self._box.guest.read(self.address + start, max(stop - start, 0))

    def __setitem__(self, where: slice, data: bytes) -> None:
        start, stop, _ = where.indices(self._length)
        if len(data) != stop - start:
            raise ValueError(f"{len(data)} bytes do not fit a slice of {stop - start}")
        self._box.guest.write(self.address + start, data)

    def close(self) -> None:
        """munmap(2)."""
        if self._length:
            self._box.syscall("munmap", self.address, self._length)
            self._length = 0

    def __enter__(self) -> Mapping:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_flags(mode: str) -> int:
    """open(2) flags for a mode of Python's `open`. Raises `ValueError`."""
    letters = mode.replace("b", "").replace("t", "").replace("+", "")
    if letters == "x":
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    elif letters in _MODES:
        flags = _MODES[letters]
    else:
        raise ValueError(f"invalid mode: {mode!r}")
    if "+" in mode:
        flags = flags & ~os.O_WRONLY | os.O_RDWR
    return flags | os.O_CLOEXEC


def open_file(
    box: BootedKernel,
    path: str,
    mode: str,
    *,
    flags: int = 0,
    permissions: int = 0o666,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> IO[str] | BoxFile:
    """Open a file of the box; text modes get Python's own buffering and decoding on top. See `Box.open`."""
    if "b" in mode and (encoding or errors or newline):
        raise ValueError("a binary file has no encoding, errors or newline")
    fd = box.syscall("open", path, open_flags(mode) | flags, permissions)
    raw = BoxFile(box, fd, path, mode)
    if "b" in mode:
        return raw
    buffered: io.BufferedIOBase
    if "+" in mode:
        buffered = io.BufferedRandom(raw) if raw.seekable() else io.BufferedRWPair(raw, raw)
    else:
        buffered = io.BufferedReader(raw) if raw.readable() else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        cast(IO[bytes], buffered), encoding or "utf-8", errors or "surrogateescape", newline=newline, write_through=True
    )


def parse_dirents(data: bytes, path: str | None = None) -> Iterator[str]:
    """Names in what getdents64(2) gives: { u64 ino; s64 off; u16 reclen; u8 type; char name[] }.

    Raises `OSError` (EIO) for answers that no kernel gives: an impossible length, an empty or impossible name
    (verify_dirent_name() in fs/readdir.c).
    """
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 16 : at + 18], "little")
        if length < 20 or at + length > len(data):
            raise OSError(errno.EIO, f"the box lists an entry of {length} bytes", path)
        name = c_string(data[at + 19 : at + length]).decode(errors="surrogateescape")
        if name not in (".", ".."):
            if not is_file_name(name):
                raise OSError(errno.EIO, f"the box lists {name[:300]!r}, which is no file name", path)
            yield name
        at += length
