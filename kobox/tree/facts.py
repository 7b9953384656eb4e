"""What depmod must know of one module, read with as little of the file as possible.

Five lists of names, each joined by NUL bytes into one string: so the facts of 4,000 modules pass between
processes and into the cache in a few milliseconds.
"""

from __future__ import annotations

import os
import struct
from functools import lru_cache
from typing import NamedTuple

from kobox.errors import ModuleFormatError
from kobox.ko import compression, elf
from kobox.ko.versions import VERSION_SIZE

# Up to here it is faster to read a file whole than to read what is needed of it.
_SMALL = 64 << 10


class Facts(NamedTuple):
    """Each field holds names joined by NUL; b"" for none. `error` is "" unless the file could not be read."""

    aliases: bytes
    softdeps: bytes
    weakdeps: bytes
    exports: bytes
    needs: bytes
    error: str = ""


def read_facts(path: str) -> Facts:
    """The facts of the module at a path; for an unreadable one only `error` is set."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return Facts(b"", b"", b"", b"", b"", f"{path}: {error.strerror}")
    try:
        data = os.read(fd, _SMALL)
        packed = compression.recognise(data)
        if packed or len(data) < _SMALL:
            if len(data) == _SMALL:
                data = os.pread(fd, os.fstat(fd).st_size, 0)
            if packed:
                data = compression.decompress(data, path=path)
            return _facts(elf.Elf(elf.BytesSource(data, path)))
        return _facts(elf.Elf(elf.FileSource(fd, os.fstat(fd).st_size, path)))
    except ModuleFormatError as error:
        return Facts(b"", b"", b"", b"", b"", error.message)
    except OSError as error:
        return Facts(b"", b"", b"", b"", b"", f"{path}: {error.strerror}")
    finally:
        os.close(fd)


def _facts(module: elf.Elf) -> Facts:
    info = module.section_data(b".modinfo")
    table, strings, first_global = module.symbol_table()
    return Facts(
        _values(info, b"alias="),
        _values(info, b"softdep="),
        _values(info, b"weakdep="),
        _exports(module, strings),
        _needs(module, table, strings, first_global),
    )


def _values(info: bytes, key: bytes) -> bytes:
    if key not in info:
        return b""
    size = len(key)
    return b"\0".join([text[size:] for text in info.split(b"\0") if text.startswith(key)])


def _exports(module: elf.Elf, strings: bytes) -> bytes:
    """Names with a CRC; without CONFIG_MODVERSIONS all strings of `__ksymtab_strings`, as kmod reads them.

    Only symbols have names in the string table, so the table alone is searched: a tenth of the time.
    """
    if not module.has_section_like(b"__ksymtab"):
        return b""
    find, names = strings.find, []
    at = find(b"\0__crc_")
    while at >= 0:
        end = find(b"\0", at + 1)
        names.append(strings[at + 7 : end])
        at = find(b"\0__crc_", end)
    return b"\0".join(names or filter(None, module.section_data(b"__ksymtab_strings").split(b"\0")))


class _Stripped(dict[bytes, bytes]):
    """Names without the NUL bytes behind them; the same few thousand names come again and again."""

    def __missing__(self, padded: bytes) -> bytes:
        name = self[padded] = padded.split(b"\0", 1)[0]
        return name


def _needs(module: elf.Elf, table: bytes, strings: bytes, first_global: int) -> bytes:
    """Names that must come from elsewhere: the undefined symbols, then what else `__versions` asks for."""
    layout = module.layout
    # No undefined symbol is local, and the locals come first. STT_REGISTER (13) is SPARC's.
    start = first_global * layout.symbol.size
    begins = [
        begin
        for begin, info, section in _global_struct(layout.order, layout.long_size).iter_unpack(table[start:])
        if not section and 16 <= info < 48 and info & 15 != 13
    ]
    find = strings.find
    names = dict.fromkeys([strings[begin : find(b"\0", begin)] for begin in begins])
    if begins and (max(begins) >= len(strings) or strings[-1]):
        raise ModuleFormatError("a symbol's name has no end", path=module.path)
    versions = module.section_data(b"__versions")
    count = len(versions) // VERSION_SIZE
    fields = _version_struct(layout.order, layout.long_size, count).unpack(versions[: count * VERSION_SIZE])
    names.update(dict.fromkeys(map(_stripped().__getitem__, fields)))
    return b"\0".join(names)


@lru_cache(maxsize=1)
def _stripped() -> _Stripped:
    return _Stripped()


def forget_names() -> None:
    """Let go of the names that were kept between modules."""
    _stripped.cache_clear()


@lru_cache(maxsize=1024)
def _version_struct(order: str, long_size: int, count: int) -> struct.Struct:
    return struct.Struct(order + f"{long_size}x{VERSION_SIZE - long_size}s" * count)


@lru_cache(maxsize=4)
def _global_struct(order: str, long_size: int) -> struct.Struct:
    """A symbol's name, info (binding and type) and section, the only fields that matter here."""
    return struct.Struct(order + ("IBxH16x" if long_size == 8 else "I8xBxH"))
