"""What reads hostile bytes: one function a reader, and the errors that it may raise. Anything else is a fault."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, cast

from kobox.apps.life_record import LifeRecord
from kobox.arch.registry import ARCHITECTURES
from kobox.box.box import Box
from kobox.box.guest.files import parse_dirents
from kobox.box.guest.host_share import ShareServer
from kobox.box.inspect.btf import Btf
from kobox.checks.runner import transport
from kobox.debug.mi import parse_record
from kobox.errors import KoboxError, ModuleFormatError
from kobox.explain.oops_source import oopses_in
from kobox.kmod.index import native_core as native
from kobox.ko.compression import decompress
from kobox.ko.der import elements
from kobox.ko.dwarf.live import evaluate
from kobox.ko.modulefile import ModuleFile
from kobox.ko.signature import parse
from kobox.printable import one_line
from kobox.signing.efi import signatures, vendor_certificates
from kobox.signing.pkcs7 import MessageError, parse_message
from kobox.signing.verify import verify

SEEDS = Path(__file__).parent / "corpus"


class Target(NamedTuple):
    """A reader: what it does with bytes, and what it may raise."""

    read: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]


def _module(data: bytes) -> None:
    file = ModuleFile(data, path="fuzzed.ko")
    for name in ("modinfo", "name", "vermagic", "parameters", "depends", "versions", "imports", "exports", "signature"):
        with suppress(ModuleFormatError):
            getattr(file, name)
    with suppress(ModuleFormatError):
        list(file.elf.symbols())


def _debug(data: bytes) -> None:
    debug = ModuleFile(data, path="fuzzed.ko").debug
    for read in (lambda: debug.functions, lambda: debug.variables, lambda: debug.lines(1, 0)):
        with suppress(ModuleFormatError):
            read()
    for offset in (0, 4, 16, 64):
        with suppress(ModuleFormatError):
            debug.prototype(1, offset)
            for variable in debug.live(1, offset):
                variable.held({number: number for number in range(17)}, 4096)
                debug.member_at(variable, 8)


def _expression(data: bytes) -> None:
    evaluate(data, {number: number for number in range(17)}, 4096)


def _oops(data: bytes) -> None:
    oopses_in(data.decode("utf-8", "replace"), [ModuleFile((SEEDS / "debug" / "dwarf").read_bytes(), path="small.ko")])


def _mi(data: bytes) -> None:
    parse_record(data.decode("utf-8", "replace"))


def _der(data: bytes) -> None:
    for element in elements(data):
        list(element.inside)


def _code(data: bytes) -> None:
    """The native decoders of both processors, and what is asked of single instructions."""
    for arch in ARCHITECTURES:
        for row in arch.code.instructions(data, 0, len(data)):
            assert 0 <= row.offset < row.end <= len(data)
        list(arch.code.system_instructions(data, 0, len(data)))
        list(arch.code.block_copies(data, 0, len(data)))
        list(arch.code.variable_shifts(data, 0, len(data)))


def _received(data: bytes) -> None:
    transport.loads(data)


def _indexes(data: bytes) -> None:
    """The native reader of depmod: a file of a tree, together with one that is whole."""
    path = _PLACE / "kernel/fuzzed.ko"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    with suppress(KoboxError):
        native.gather(native.joined([str(path)]), 1)


def _server() -> ShareServer:
    place = Path(tempfile.mkdtemp(prefix="kobox-fuzz-"))
    (place / "f").write_text("shared")
    return ShareServer(cast(Box, None), str(place), 3, cast("object", None), 1.0)  # type: ignore[arg-type]


_SERVER = _server()
_PLACE = Path(tempfile.mkdtemp(prefix="kobox-fuzz-"))


def _request(data: bytes) -> None:
    head = (data + bytes(8))[:8]
    code, node = head[0] % 50, int.from_bytes(head[1:3], "little") % 5
    _SERVER.answer(struct.pack("<IIQQIIII", 40 + len(data), code, 1, node, 0, 0, 0, 0) + data[3:])


def _terminal(data: bytes) -> None:
    shown = one_line(data.decode("utf-8", "surrogateescape"))
    assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in shown.replace("\t", ""))


TARGETS = {
    "module": Target(_module, (ModuleFormatError,)),
    "debug": Target(_debug, (ModuleFormatError,)),
    "compression": Target(lambda data: decompress(data, path="fuzzed.ko"), (ModuleFormatError,)),
    "signature": Target(lambda data: parse(data, path="fuzzed.ko"), (ModuleFormatError,)),
    "verify": Target(lambda data: verify(data, [], path="fuzzed.ko"), (ModuleFormatError,)),
    "pkcs7": Target(parse_message, (MessageError,)),
    "der": Target(_der, (ValueError,)),
    "efi": Target(signatures, (KoboxError,)),
    "shim": Target(lambda data: vendor_certificates(data, path="shim.efi"), (KoboxError,)),
    "dirents": Target(lambda data: list(parse_dirents(data)), (OSError,)),
    "share": Target(_request, ()),
    "btf": Target(Btf, (KoboxError,)),
    "code": Target(_code, ()),
    "indexes": Target(_indexes, ()),
    "transport": Target(_received, (KoboxError,)),
    "life": Target(LifeRecord.unpack, (KoboxError,)),
    "expression": Target(_expression, ()),
    "oops": Target(_oops, (ModuleFormatError,)),
    "mi": Target(_mi, ()),
    "terminal": Target(_terminal, ()),
}


def seeds(name: str) -> list[bytes]:
    """The corpus of a target: files that once found a fault, and small examples of its format."""
    return [path.read_bytes() for path in sorted((SEEDS / name).glob("*"))] or [b""]
