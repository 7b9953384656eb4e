"""The memory of a loaded module, and the names in it, kept for when it is unloaded.

struct module   mem[MOD_MEM_NUM_TYPES], or core_layout before 6.4       include/linux/module.h
  kallsyms      struct mod_kallsyms { symtab, num_symtab, strtab, … }   Elf64_Sym { u32 name; u8 info, other;
                                                                          u16 shndx; u64 value, size }
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace

from kobox.box.inspect.objects import Objects
from kobox.ko.binary import c_string
from kobox.ko.elf import MAPPING_SYMBOLS, Elf

_LASTING = 4  # MOD_TEXT to MOD_RO_AFTER_INIT (enum mod_mem_type); those behind it are freed after init
_MOST_SYMBOLS = 1 << 18  # of one module; the largest have some 60,000
_MOST_BYTES = 64 << 20  # of its strings
_SYMBOL = struct.Struct("<IBBHQQ")
_NARROW = struct.Struct("<IIIBBH")  # Elf32_Sym
_OBJECT, _FUNCTION = 1, 2  # STT_OBJECT, STT_FUNC
_ADDRESS = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class ModuleMemory:
    """The memory that a module has or had: `parts` are (start, end) each, as addresses; `symtab` and `strtab` are its
    ELF symbols as a 64-bit kernel keeps them."""

    name: str
    parts: tuple[tuple[int, int], ...]
    symtab: bytes = b""
    strtab: bytes = b""

    def __contains__(self, address: object) -> bool:
        return isinstance(address, int) and any(start <= address < end for start, end in self.parts)

    def within_function(self, address: int) -> bool:
        """Whether an address is inside of a function, not its start: where a call returns to, as stack traces say."""
        return any(
            section and info & 15 == _FUNCTION and value < address < value + size
            for _, info, _, section, value, size in _SYMBOL.iter_unpack(self.symtab[: len(self.symtab) // 24 * 24])
        )

    def symbol(self, address: int) -> str:
        """The name of what covers an address; "" where there is none."""
        best, found = 0, ""
        for name, info, _, section, value, size in _SYMBOL.iter_unpack(self.symtab[: len(self.symtab) // 24 * 24]):
            if section and info & 15 <= 2 and best < value <= address < value + max(size, 1):
                text = c_string(self.strtab[name : name + 256]).decode(errors="backslashreplace")
                if not text.startswith(MAPPING_SYMBOLS):
                    best, found = value, text
        return found


def memory_of(objects: Objects, name: str) -> ModuleMemory | None:
    """The memory of a loaded module; None when there is none of that name. Raises `KoboxError` for a kernel without
    type information, `ValueError` for damaged memory."""
    for module in objects.list(objects.address("modules"), "module.list"):
        if objects.text(module, "module.name") == name:
            return ModuleMemory(name, parts_of(objects, module), *_symbols(objects, module))
    return None


def sections_of_variables(elf: Elf) -> dict[int, str]:
    """The sections of a module's file in which variables are, by number."""
    numbers = {symbol.section for symbol in elf.symbols() if symbol.type == _OBJECT and symbol.name}
    return {
        number: elf.section_name(number).decode(errors="replace") for number in numbers if number < len(elf.sections)
    }


def with_variables(memory: ModuleMemory, elf: Elf, sections: Mapping[str, int]) -> ModuleMemory:
    """The same memory with the variables of the module's file, for a kernel that keeps the symbols of functions only
    (no CONFIG_KALLSYMS_ALL). `sections`: name -> address, as /sys/module/NAME/sections has them."""
    starts = {number: sections[name] for number, name in sections_of_variables(elf).items() if sections.get(name)}
    symtab, strtab = bytearray(memory.symtab), bytearray(memory.strtab + b"\0")
    for name, value, size, kind, _, section in elf.symbols():
        if kind == _OBJECT and name and section in starts:
            where = (starts[section] + value) & _ADDRESS
            symtab += _SYMBOL.pack(len(strtab), kind, 0, section, where, size & _ADDRESS)
            strtab += name + b"\0"
    return replace(memory, symtab=bytes(symtab), strtab=bytes(strtab))


def parts_of(objects: Objects, module: int) -> tuple[tuple[int, int], ...]:
    """(start, end) of each part of a `struct module` that stays after init. Raises as `memory_of` does."""
    found = []
    if objects.has("module.mem"):  # since 6.4
        first, size = objects.member(module, "module.mem"), objects.size("module_memory")
        for at in range(first, first + _LASTING * size, size):
            found.append((objects.number(at, "module_memory.base"), objects.number(at, "module_memory.size")))
    else:
        where = objects.number(module, "module.core_layout.base")
        found.append((where, objects.number(module, "module.core_layout.size")))
    return tuple((start, start + size) for start, size in found if start and size)


def _symbols(objects: Objects, module: int) -> tuple[bytes, bytes]:
    """The symbol table and the strings of a module."""
    if not objects.has("mod_kallsyms.symtab"):
        return b"", b""
    tables = objects.number(module, "module.kallsyms")
    if not tables:
        return b"", b""
    symtab, count = objects.number(tables, "mod_kallsyms.symtab"), objects.number(tables, "mod_kallsyms.num_symtab")
    strtab = objects.number(tables, "mod_kallsyms.strtab")
    if count > _MOST_SYMBOLS or not symtab or not strtab:
        return b"", b""
    try:
        raw = _wide(objects.read(symtab, count * (_SYMBOL.size if objects.word == 8 else _NARROW.size)), objects.word)
        last = max((row[0] for row in _SYMBOL.iter_unpack(raw)), default=0)
        return raw, objects.read(strtab, min(last, _MOST_BYTES)) + objects.string(strtab + last).encode() + b"\0"
    except ValueError:
        return b"", b""


def _wide(symtab: bytes, word: int) -> bytes:
    """A kernel's symbols as those of a 64-bit one."""
    if word == 8:
        return symtab
    rows = _NARROW.iter_unpack(symtab)
    return b"".join(_SYMBOL.pack(name, info, other, section, at, size) for name, at, size, info, other, section in rows)
