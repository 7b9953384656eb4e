"""What the kernel finds wrong with a module's ELF structure: elf_validity_check() and the relocations.

elf_validity_check() (kernel/module/main.c) looks at the header and the table of sections before anything else.
Relocations come much later, when all symbols are known: apply_relocate_add() (arch/*/kernel/module.c) has code for
a few types, on some architectures wants zeros where it writes, and checks that a value fits where it goes. Nothing in
the kernel checks where a relocation points to.

    Elf64_Rela:  u64 offset   in the section that sh_info names
                 u64 info     symbol << 32 | type
                 s64 addend
    Elf32_Rel:   u32 offset, u32 info: symbol << 8 | type; what is added stands in the place itself
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from kobox.arch.arch import Arch
from kobox.arch.registry import architecture
from kobox.ko import elf
from kobox.ko.elf import Elf, Section, Symbol

HEADER = 64  # bytes of an Elf64_Ehdr; an Elf32_Ehdr has fewer, and no module is so short
_64_BIT, _BIG_ENDIAN = 2, 2  # EI_CLASS, EI_DATA


class _Layout(NamedTuple):
    """Where things are in files of one width. `sections_at` is e_shoff's offset, `counts_at` that of e_shentsize,
    e_shnum and e_shstrndx."""

    sections_at: struct.Struct
    counts_at: int
    section: struct.Struct
    entry: struct.Struct
    symbol_shift: int


_WIDE = _Layout(struct.Struct("<40xQ"), 58, struct.Struct("<IIQQQQIIQQ"), struct.Struct("<QQq"), 32)
_NARROW = _Layout(struct.Struct("<32xI"), 46, struct.Struct("<10I"), struct.Struct("<II"), 8)


class Damage(NamedTuple):
    """What is wrong: the rule (as in `kobox.explain.log_rules`), in words, and what the kernel logs.

    `fatal` is false for what the kernel does not notice.
    """

    rule: str
    text: str
    log: tuple[str, ...] = ()
    fatal: bool = True


# -- header and sections ------------------------------------------------------------------------------------------


def header_damage(content: bytes, size: int, arch: Arch) -> Damage | None:
    """What elf_validity_check() of a kernel for `arch` says of a module's header and sections; None when they are in
    order.

    `size` is the module's without its signature: what the kernel goes by.
    """
    if len(content) < HEADER:
        return Damage("not-elf", f"the file has only {len(content)} bytes, too few for an ELF header")
    kind, machine = struct.unpack_from("<HH", content, 16)
    layout = _WIDE if arch.addresses.word == 8 else _NARROW
    (offset,), (entry, count) = (
        layout.sections_at.unpack_from(content),
        struct.unpack_from("<HH", content, layout.counts_at),
    )
    if content[:4] != b"\x7fELF":
        return Damage("not-elf", "not an ELF file", ("Invalid ELF header magic: != \x7fELF",))
    if content[5] == _BIG_ENDIAN:
        text = f"built for {processor_of(content)}, and the kernel is for {arch.name}"
        return Damage("architecture", text, (f"Invalid ELF header type: {kind} != 1",))
    if kind != elf.ET_REL:
        text = "not a relocatable object, but a program or a shared library"
        return Damage("not-elf", text, (f"Invalid ELF header type: {kind} != 1",))
    if machine != arch.elf_machine:
        text = f"built for {processor_of(content)}, and the kernel is for {arch.name}"
        return Damage("architecture", text, (f"Invalid architecture in ELF header: {machine}",))
    if (content[4] == _64_BIT) != (layout is _WIDE):
        text = f"built for {processor_of(content)}, and the kernel is for {arch.name}"
        riscv = machine == elf.RISCV  # its elf_check_arch() looks at the class as well
        log = f"Invalid architecture in ELF header: {machine}" if riscv else "Invalid ELF section header size"
        return Damage("architecture", text, (log,))
    if entry != layout.section.size:
        text = f"its ELF header gives section headers of {entry} bytes; they have {layout.section.size}"
        return Damage("sections", text, ("Invalid ELF section header size",))
    if offset >= size or entry * count > size - offset:
        text = "cut off: its section table reaches beyond the file's end"
        return Damage("truncated", text, ("Invalid ELF section header overflow",))
    names = struct.unpack_from("<H", content, layout.counts_at + 4)[0]
    return _table_damage(content, size, [*layout.section.iter_unpack(content[offset : offset + entry * count])], names)


def processor_of(content: bytes) -> str:
    """Which processor an ELF header names, with byte order and width where no other file of that name has them:
    "aarch64, big-endian", "x86_64, 32-bit"."""
    big = content[5] == _BIG_ENDIAN
    machine = int.from_bytes(content[18:20], "big" if big else "little")
    wide = content[4] == _64_BIT
    name = elf.MACHINES.get(machine, f"machine {machine}")
    if machine == elf.RISCV:
        name = "riscv64" if wide else "riscv32"
    narrow = not wide and name in elf.WIDE
    return f"{name}{', big-endian' if big and name in elf.EITHER_ORDER else ''}{', 32-bit' if narrow else ''}"


def _table_damage(content: bytes, size: int, rows: list[tuple[int, ...]], names: int) -> Damage | None:
    table = [Section._make(row) for row in rows]
    if names == 0 or names >= len(table):
        log = f"Invalid ELF section name index: {names} || e_shstrndx ({names}) >= e_shnum ({len(table)})"
        return Damage(
            "sections", f"its ELF header gives section {names} of {len(table)} as that of the section names", (log,)
        )
    strings = table[names]
    if not _lies_within(strings, size):
        log = f"Invalid ELF section hdr(type {strings.type})"
        return Damage("truncated", "cut off: the names of its sections lie beyond the file's end", (log,))
    if strings.size == 0:
        return Damage("sections", "its sections have no names", ("empty section name table",))
    if content[strings.offset + strings.size - 1]:
        log = "ELF Spec violation: section name table isn't null terminated"
        return Damage("sections", "the last section name is not terminated", (log,))
    first = table[0]
    if first.type != elf.SHT_NULL or first.size or first.address:
        log = f"ELF Spec violation: section 0 type({first.type})!=SH_NULL or non-zero len or addr"
        return Damage("sections", "section 0 is not empty, as it has to be", (log,))
    return next(
        filter(None, (_section_damage(n, one, table, strings, size) for n, one in enumerate(table[1:], 1))), None
    )


def _section_damage(number: int, one: Section, table: list[Section], strings: Section, size: int) -> Damage | None:
    if one.type in (elf.SHT_NULL, elf.SHT_NOBITS):
        return None
    if one.type == elf.SHT_SYMTAB and (one.link == 0 or one.link >= len(table)):
        log = f"Invalid ELF sh_link!=SHN_UNDEF({one.link}) or (sh_link({one.link}) >= hdr->e_shnum({len(table)})"
        return Damage("sections", f"its symbol table gives section {one.link} as that of the symbol names", (log,))
    if not _lies_within(one, size):
        log = f"Invalid ELF section in module (section {number} type {one.type})"
        return Damage("truncated", f"cut off: section {number} ends beyond the file's end", (log,))
    if one.flags & elf.SHF_ALLOC and one.name_offset >= strings.size:
        log = f"Invalid ELF section name in module (section {number} type {one.type})"
        return Damage("sections", f"the name of section {number} lies outside the section names", (log,))
    return None


def _lies_within(section: Section, size: int) -> bool:
    """validate_section_offset(), with its wrap at 64 bits."""
    end = section.offset + section.size
    return end < 1 << 64 and end <= size


# -- relocations --------------------------------------------------------------------------------------------------


def common_symbols(module: Elf, name: str) -> Iterator[Damage]:
    """Symbols that no section has yet: simplify_symbols() does not take them."""
    for symbol in module.symbols():
        if symbol.section == elf.SHN_COMMON and not symbol.name.startswith(b"__gnu_lto"):
            shown = symbol.name.decode(errors="replace")
            log = f"{name}: please compile with -fno-common"
            yield Damage("common-symbol", f"{shown} is a common symbol: no section has room for it", (log,))


def relocation_damage(module: Elf, name: str) -> Iterator[Damage]:
    """What is wrong with the relocations of a module called `name`; the first fatal one ends the load."""
    sections = module.sections
    symbols: list[Symbol | None] = []
    for number, section in enumerate(sections):
        if section.type not in (elf.SHT_RELA, elf.SHT_REL) or section.info >= len(sections):
            continue
        target = sections[section.info]
        if not target.flags & elf.SHF_ALLOC:
            continue
        if section.type != (elf.SHT_RELA if module.bits == 64 else elf.SHT_REL):
            if section.type == elf.SHT_RELA:
                continue  # not looked at by kernels whose relocations have no addends
            log = f"module {name}: REL relocation unsupported"
            yield Damage("relocation", f"relocations without addends (section {number})", (log,))
            continue
        symbols = symbols or [None, *module.symbols()]
        yield from _rela_damage(module, name, section, target, symbols)


def _rela_damage(
    module: Elf, name: str, section: Section, target: Section, symbols: list[Symbol | None]
) -> Iterator[Damage]:
    layout = _WIDE if module.bits == 64 else _NARROW
    data = module.source.read(section.offset, section.size - section.size % layout.entry.size)
    content = b"" if target.type == elf.SHT_NOBITS else module.source.read(target.offset, target.size)
    where = module.section_name(section.info).decode(errors="replace")
    arch = architecture(module.architecture)
    rules = arch.relocations
    for offset, info, *addends in layout.entry.iter_unpack(data):
        kind, index = info & (1 << layout.symbol_shift) - 1, info >> layout.symbol_shift
        if kind not in rules.loadable:
            known = rules.name(kind)
            log = rules.unknown_log.format(name=name, kind=kind)
            yield Damage("relocation", f"{where} has a relocation that the kernel has no code for: {known}", (log,))
            return
        told, width = rules.loadable[kind]
        if offset + width > target.size or index >= len(symbols):
            text = (
                f"{told} at {where}+{offset:#x} points outside its section; the kernel does not notice, and may crash"
            )
            yield Damage("relocation", text, fatal=False)
            return
        if rules.wants_zeros and any(content[offset : offset + width]):
            text = f"{told} at {where}+{offset:#x}, a place that is not zero: the file was relocated or changed before"
            yield Damage("relocation-target", text)
            return
        symbol = symbols[index]
        if kind in rules.absolute and _overflows(arch, kind, symbol, sum(addends), module):
            log = rules.overflow_log.format(name=name)
            yield Damage("relocation", f"{told} at {where}+{offset:#x}: a kernel address does not fit in", (log,))
            return


def _overflows(arch: Arch, kind: int, symbol: Symbol | None, addend: int, module: Elf) -> bool:
    """Whether a value does not fit where it goes, wherever among the addresses for modules it comes to lie."""
    if symbol is not None and symbol.section == elf.SHN_UNDEF:
        return False  # of the kernel or another module: nobody knows before
    if symbol is None or symbol.section == elf.SHN_ABS:
        low = high = symbol.value if symbol is not None else 0
    elif symbol.section < len(module.sections) and b"percpu" in module.section_name(symbol.section):
        return False  # an offset, not an address: small
    else:
        low, high = arch.addresses.modules
    return not any(arch.relocations.fits(kind, (value + addend) % (1 << 64)) for value in (low, high))
