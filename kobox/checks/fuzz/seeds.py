"""What a module's code says about what it wants to be asked: the numbers that it compares with, and its words.

A switch over ioctl requests is a row of comparisons with constants, or one subtraction and a table; both leave the
numbers in the code. A request is made by _IOC() (include/uapi/asm-generic/ioctl.h):

    31 30  29        16  15   8  7    0
    dir    size          type    number
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kobox.arch.code import Instruction
from kobox.checks.fuzz.program import Material
from kobox.checks.module.callsites import CodeMap
from kobox.ko.elf import Elf

_CONVERSION = re.compile(rb"%[0-9*]*(?:hh|h|ll|l|z|j)?(?:[diuxXosc]|\[[^]]*\])")
_SCANNED = (b"1", b"0", b"-1", b"4", b"100", b"65536", b"2147483647", b"-2147483648")
_LONGEST_FORMAT, _FORMATS = 48, 6
_LEVEL = b"\1"  # what a message of printk() begins with
_REQUESTS, _NUMBERS, _WORDS, _BOUNDS, _CHARS, _MAGICS = 32, 16, 24, 8, 16, 8


def material_of(code: CodeMap, imports: frozenset[str] = frozenset()) -> Material:
    """The numbers and words of a module's code and data."""
    requests: dict[int, int] = {}
    numbers: dict[int, int] = {}
    bounds: dict[int, int] = {}
    chars: dict[int, int] = {}
    for name, functions in code.functions.items():
        if name.startswith((".init", ".exit", ".altinstr")):
            continue
        data = code.elf.data(code.sections[name])
        for start, size, _ in functions.rows:
            _look(list(code.arch.code.instructions(data, start, start + size)), requests, numbers, bounds, chars)
    ranked = sorted(requests, key=lambda number: (not _is_request(number), -requests[number], number))
    return Material(
        tuple(number for number in ranked if _is_request(number))[:_REQUESTS] or tuple(ranked[:4]),
        tuple(sorted(numbers))[:_NUMBERS],
        _words(code.elf),
        tuple(sorted(sorted(bounds, key=lambda bound: -bounds[bound])[:_BOUNDS])),
        code.arch.addresses.hostile,
        tuple(chars)[:_CHARS],
        tuple(number for number in (*numbers, *requests) if number < 0xFFFFF000)[:_MAGICS],
        _formats(code.elf),
        imports,
    )


def _look(
    rows: list[Instruction],
    requests: dict[int, int],
    numbers: dict[int, int],
    bounds: dict[int, int],
    chars: dict[int, int],
) -> None:
    for n, row in enumerate(rows):
        if not row.compares or row.immediate is None:
            continue
        number = row.immediate & 0xFFFFFFFF
        if 0x20 < number < 0x7F and row.length <= 5:
            chars[number] = 1
        if number < 0x100:
            bounds[number] = bounds.get(number, 0) + (number > 0)
            continue
        if number < 0x400 or number >= 0xFFFFF000:
            numbers[number] = 1
            continue
        requests[number] = 1
        # What follows may say how many numbers stand in the table: sub $base; cmp $last; ja.
        for later in rows[n + 1 : n + 4]:
            if later.compares and later.immediate is not None and 0 < later.immediate < 32:
                requests.update((number + more, 1) for more in range(1, later.immediate + 1))
        # Compilers compare with the number before or behind a group of them.
        for near in (number - 1, number + 1):
            if _is_request(near):
                requests.setdefault(near, 0)


def _is_request(number: int) -> bool:
    """Whether a number may come from _IOC(): with a letter for a type, and a size of what it moves that fits its
    direction."""
    direction, size, kind = number >> 30, number >> 16 & 0x3FFF, number >> 8 & 0xFF
    if direction == 0:
        return size == 0 and kind >= 0x20
    return 0 < size <= 4096 and kind >= 0x20


def scanned(form: bytes) -> Iterator[bytes]:
    """Texts that sscanf() reads by a format: each number small, negative, large, then one of them; each word short and
    long."""
    parts = _CONVERSION.split(form)
    kinds = [found[-1:] for found in _CONVERSION.findall(form)]
    for values in (*((number,) * len(kinds) for number in _SCANNED), *_one_of_each(len(kinds))):
        text = parts[0]
        for kind, value, part in zip(kinds, values, parts[1:], strict=True):
            word = b"w" * (3 if value in (b"1", b"0") else 100) if kind in b"s[c" else value
            text += (b"%x" % abs(int(value)) if kind in b"xX" else word.lstrip(b"-") if kind == b"u" else word) + part
        yield text


def _one_of_each(count: int) -> Iterator[tuple[bytes, ...]]:
    for at in range(count if count > 1 else 0):
        for value in _SCANNED[2:]:
            yield tuple(value if n == at else b"1" for n in range(count))


def _formats(elf: Elf) -> tuple[bytes, ...]:
    """What may be a format of sscanf(): short strings with conversions, where the module calls it."""
    if not any(symbol.name in (b"sscanf", b"vsscanf") for symbol in elf.symbols()):
        return ()
    found: dict[bytes, None] = {}
    for n in range(1, len(elf.sections)):
        if elf.section_name(n).startswith(b".rodata") and elf.sections[n].type == 1:
            for text in elf.data(n).split(b"\0"):
                if len(text) < _LONGEST_FORMAT and _CONVERSION.search(text) and not text.startswith(_LEVEL):
                    found[text] = None
    return tuple(found)[:_FORMATS]


def _words(elf: Elf) -> tuple[bytes, ...]:
    """Short strings without blanks or format directives: what a parser compares with."""
    found: dict[bytes, None] = {}
    for n in range(1, len(elf.sections)):
        if elf.section_name(n).startswith((b".rodata.str", b".rodata")) and elf.sections[n].type == 1:
            for word in elf.data(n).split(b"\0"):
                if re.fullmatch(rb"[A-Za-z0-9_.,:=+-]{2,16}\n?", word):
                    found[word.rstrip(b"\n")] = None
    return tuple(found)[:_WORDS]
