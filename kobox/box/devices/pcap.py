"""pcap files: frames with the time they went by.

    magic A1B23C4D (times in ns; A1B2C3D4: in µs), version 2.4, zone 0, accuracy 0, longest frame, link type 1: Ethernet
    { seconds, fraction, bytes here, bytes that went by, frame } ...        32-bit, in the byte order that the magic has

Source: draft-ietf-opsawg-pcap; pcap-savefile(5).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator

from kobox.atomic_file import errors_name
from kobox.errors import KoboxError

_NANOSECONDS, _MICROSECONDS, _ETHERNET = 0xA1B23C4D, 0xA1B2C3D4, 1
_LONGEST = 262144


class PcapWriter:
    """A pcap file that is being written; each frame is in it at once. `closed(self)` is called at the end."""

    def __init__(self, path: str | os.PathLike[str], closed: Callable[[PcapWriter], object]) -> None:
        self._closed = closed
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - it lives as long as this object
        self._path = path
        self._add(struct.pack("<IHHIIII", _NANOSECONDS, 2, 4, 0, 0, _LONGEST, _ETHERNET))
        self.frames = 0

    def write(self, frame: bytes, time: int) -> None:
        """A frame went by at `time`, ns since 1970. Raises `OSError`."""
        seconds, fraction = divmod(time, 1_000_000_000)
        self._add(struct.pack("<IIII", seconds, fraction, len(frame), len(frame)) + frame)
        self.frames += 1

    def _add(self, data: bytes) -> None:
        with errors_name(self._path):
            while data:  # unbuffered: a disk that is nearly full takes a part
                data = data[self._file.write(data) or 0 :]

    def close(self) -> None:
        """End the capture."""
        if not self._file.closed:
            self._file.close()
            self._closed(self)

    def __enter__(self) -> PcapWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_pcap(path: str | os.PathLike[str]) -> Iterator[tuple[int, bytes]]:
    """(ns since 1970, frame) of each frame in a pcap file. Raises `KoboxError` for what is none, `OSError`."""
    with open(path, "rb") as file:
        header = file.read(24)
        order, unit = _format_of(header, path)
        (link,) = struct.unpack_from(order + "I", header, 20)
        if link & 0xFFFF != _ETHERNET:
            raise KoboxError(f"{path}: its frames are of link type {link & 0xFFFF}, not of Ethernet (1)")
        while record := file.read(16):
            if len(record) < 16:
                raise KoboxError(f"{path}: cut off in the middle of a frame's header")
            seconds, fraction, size, _ = struct.unpack(order + "IIII", record)
            frame = file.read(size) if size <= _LONGEST else b""
            if len(frame) < size:
                raise KoboxError(f"{path}: cut off in the middle of a frame, or damaged")
            yield seconds * 1_000_000_000 + fraction * unit, frame


def _format_of(header: bytes, path: str | os.PathLike[str]) -> tuple[str, int]:
    for order in "<>":
        for magic, unit in ((_NANOSECONDS, 1), (_MICROSECONDS, 1000)):
            if len(header) == 24 and header[:4] == struct.pack(order + "I", magic):
                return order, unit
    hint = "A pcapng file: `editcap -F pcap IN OUT` converts it." if header[:4] == b"\x0a\x0d\x0d\x0a" else ""
    raise KoboxError(f"{path}: no pcap file", hint=hint)
