"""The box's symbols: address to name and back, the kernel's own and those of modules as they come and go.

The kernel's come from its kallsyms tables, found through vmcoreinfo (kernel/kallsyms.c), decoded when it has booted
and kept in the snapshot: what a module does to the tables later changes nothing here. Modules' come from `struct
module` in the kernel's memory, each time anew, by the layout that BTF gives.

    kallsyms_names:   { length (1 or 2 bytes), that many token numbers } …     a symbol's type letter, then its name
    token_table:      256 strings without their numbers; token_index: where each starts
    kallsyms_offsets: int32; negative: relative_base - 1 - offset; else absolute (per-CPU), or all
    relative_base + offset
"""

from __future__ import annotations

import bisect
import difflib
import struct
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from kobox.arch.arch import KernelAreas
from kobox.box.inspect.btf import Btf
from kobox.box.inspect.vmcoreinfo import VmCoreInfo
from kobox.errors import KoboxError
from kobox.ko.binary import c_string
from kobox.ko.elf import MAPPING_SYMBOLS
from kobox.machine.pc import Machine

_MOST_MODULES = 4096
_PART = 1 << 14  # bytes of the table of names
_MOST_SYMBOLS = 1 << 18  # of one module; the largest have some 60,000


class SymbolNotFoundError(KoboxError, LookupError):
    """No symbol of that name in the kernel or a loaded module."""


@dataclass(frozen=True, slots=True)
class KernelSymbol:
    """One symbol: `kind` is nm's letter; `size` in bytes (0: unknown); `module` is "" for the kernel itself."""

    name: str
    address: int
    size: int = 0
    kind: str = "?"
    module: str = ""

    def __str__(self) -> str:
        return f"{self.name} [{self.module}]" if self.module else self.name


@dataclass(frozen=True, slots=True)
class LoadedAt:
    """A module in the kernel's memory: its `struct module`, and where its parts lie, (start, size) each; `code` are
    those that hold instructions, of init too while it is there."""

    name: str
    address: int
    parts: tuple[tuple[int, int], ...]
    code: tuple[tuple[int, int], ...] = ()

    def __contains__(self, address: object) -> bool:
        return isinstance(address, int) and any(start <= address < start + size for start, size in self.parts)


class _Packed(NamedTuple):
    """The tables as the kernel has them."""

    tokens: list[bytes]
    offsets: tuple[int, ...]
    names: bytes

    def places(self) -> Iterator[tuple[int, int]]:
        """Where the token numbers of each symbol's name begin and end."""
        at, data = 0, self.names
        for _ in self.offsets:
            length = data[at]
            at += 1
            if length & 0x80:
                length = length & 0x7F | data[at] << 7
                at += 1
            yield at, at + length
            at += length

    def number_of(self, name: bytes) -> int:
        """The number of the first symbol of that name, -1 when there is none. Names are not put together for that, but
        where the first tokens fit: a type's letter and what the name begins with."""
        alone = {n for n, token in enumerate(self.tokens) if len(token) == 1}
        begins = {n for n, token in enumerate(self.tokens) if len(token) > 1 and name.startswith(token[1:])}
        then = {n for n, token in enumerate(self.tokens) if name.startswith(token)}
        at, data = 0, self.names
        for number in range(len(self.offsets)):
            length = data[at]
            at += 1
            if length & 0x80:
                length = length & 0x7F | data[at] << 7
                at += 1
            first = data[at]
            if (first in begins or (first in alone and data[at + 1] in then)) and self.name(at, at + length)[
                1:
            ] == name:
                return number
            at += length
        return -1

    def name(self, start: int, end: int) -> bytes:
        """A symbol's type letter, then its name."""
        tokens = self.tokens
        return b"".join([tokens[number] for number in self.names[start:end]])


class Symbols:
    """Symbols of one box.

    `kept` gives a table of the kernel as it was when it had booted, "symbols" or "btf", None where none is kept: see
    `tables`. `read_proc` reads /proc/kallsyms.
    """

    def __init__(
        self, machine: Machine, facts: VmCoreInfo, kept: Callable[[str], bytes | None], read_proc: Callable[[], bytes]
    ) -> None:
        self._machine = machine
        self._space = machine.arch.addresses
        self._facts = facts
        self._kept = kept
        self._read_proc = read_proc
        self._addresses: array[int] | None = None
        self._line_counts: list[int] = []  # lines before each _PART of the blob
        self._blob = b""  # "\n" + "Tname\n" for each, in order of address
        self._names: list[bytes] | None = None
        self._found: dict[str, int | None] = {}  # of the kernel's own names; None: it has no such symbol
        self._btf: Btf | None = None

    # -- names to addresses ------------------------------------------------------------------------------------

    def address(self, name: str) -> int:
        """The address of a symbol: "name", or "module:name". Raises `SymbolNotFoundError`."""
        found = self.find(name)
        if found is not None:
            return found
        plain = name.rpartition(":")[2]
        near = difflib.get_close_matches(plain, self._kernel_names_like(plain), 3)
        raise SymbolNotFoundError(
            f"no symbol {name!r} in this kernel or its modules", hint=f"Near it: {', '.join(near)}." if near else ""
        )

    def find(self, name: str) -> int | None:
        """As `address`, but None for a symbol that is not there."""
        module, _, plain = name.rpartition(":")
        if not module:
            found = self.of_kernel(plain)
            if found is not None:
                return found
        return next((symbol.address for symbol in self._module_symbols(module or None) if symbol.name == plain), None)

    def __contains__(self, name: str) -> bool:
        return self.find(name) is not None

    def number(self, name: str) -> int:
        """A constant that the kernel publishes in its vmcoreinfo. Raises `BoxError` for one that it does not."""
        return self._facts.number(name)

    def areas(self) -> KernelAreas:
        """Where areas of the kernel's memory begin. Raises `KoboxError` where that cannot be told."""
        return self._machine.arch.areas(lambda name: self._word(self.address(name)), self.number)

    def extent(self, name: str) -> int:
        """How many bytes there are from a symbol of the kernel to the next one."""
        address, table = self.address(name), self._load()
        n = bisect.bisect_right(table, address)
        return table[n] - address if n < len(table) else 0

    def matching(self, prefix: str) -> list[str]:
        """Names of the kernel's symbols that start so."""
        self._load()
        wanted = prefix.encode()
        return [name[1:].decode() for name in self._all_names() if name.startswith(wanted, 1)]

    # -- addresses to names ------------------------------------------------------------------------------------

    def lookup(self, address: int) -> KernelSymbol | None:
        """The symbol that covers an address, or None for user space and unmapped places."""
        if not self._machine.arch.addresses.is_kernel(address):
            return None
        for module in self.modules():
            if address in module:
                return self._nearest(module, address)
        table = self._load()
        end = bisect.bisect(table, address)
        if not end:
            return None
        # Of several names for one address the kernel says the first (get_symbol_pos(), kernel/kallsyms.c).
        n = bisect.bisect_left(table, table[end - 1])
        size = table[end] - table[n] if end < len(table) else 0
        if address != table[n] and not self.names_variables and not self._is_code(address):
            return None  # what lies between is not named
        name = self._all_names()[n].decode()
        return KernelSymbol(name[1:], table[n], size, name[0])

    @property
    def names_variables(self) -> bool:
        """Whether this kernel's table names all variables (CONFIG_KALLSYMS_ALL), not only functions."""
        return self.of_kernel("_edata") is not None

    def _is_code(self, address: int) -> bool:
        bounds = (("_stext", "_etext"), ("_sinittext", "_einittext"))
        return any((self.of_kernel(first) or 0) <= address < (self.of_kernel(last) or 0) for first, last in bounds)

    def describe(self, address: int) -> str:
        """As the kernel's %pS: "name+0x12/0x40 [module]", or the bare address."""
        symbol = self.lookup(address)
        if symbol is None:
            return f"{address:#x}"
        tail = f" [{symbol.module}]" if symbol.module else ""
        return f"{symbol.name}+{address - symbol.address:#x}/{symbol.size:#x}{tail}"

    # -- modules -----------------------------------------------------------------------------------------------

    def modules(self) -> list[LoadedAt]:
        """Modules in the kernel's memory now, also those still in their init function; of a list that is damaged, or
        leads back into itself, what can be read."""
        head = self.of_kernel("modules")
        if head is None:
            return []
        read = self._machine.read
        found: list[LoadedAt] = []
        btf = self.btf
        link = btf.offset("module", "list")
        seen = {head}
        with suppress(ValueError):
            at = self._word(head)
            while at not in seen and len(found) < _MOST_MODULES:
                seen.add(at)
                module = at - link
                name = c_string(read(module + btf.offset("module", "name"), 56)).decode(errors="replace")
                found.append(LoadedAt(name, module, tuple(self._parts(module)), tuple(self._code(module))))
                at = self._word(at)
        return found

    @property
    def btf(self) -> Btf:
        """The kernel's type information. Raises `KoboxError` when it has none."""
        if self._btf is None:
            kept = self._kept("btf")
            if kept is None:
                raise KoboxError("this kernel carries no BTF type information (CONFIG_DEBUG_INFO_BTF)")
            self._btf = Btf(kept, self._space.word)
        return self._btf

    def symbols_of(self, module: str) -> list[KernelSymbol]:
        """All symbols of one loaded module, in order of address."""
        return sorted(self._module_symbols(module), key=lambda symbol: symbol.address)

    def _parts(self, module: int) -> Iterator[tuple[int, int]]:
        btf = self.btf
        if btf.has("module", "mem"):  # since 6.4: mem[MOD_MEM_NUM_TYPES]
            first, size = module + btf.offset("module", "mem"), btf.size("module_memory")
            for n in range(btf.array_length("module", "mem")):
                at = first + n * size
                yield (
                    self._word(at + btf.offset("module_memory", "base")),
                    self._u32(at + btf.offset("module_memory", "size")),
                )
            return
        for layout in ("core_layout", "init_layout"):
            at = module + btf.offset("module", layout)
            yield (
                self._word(at + btf.offset("module_layout", "base")),
                self._u32(at + btf.offset("module_layout", "size")),
            )

    def _code(self, module: int) -> Iterator[tuple[int, int]]:
        btf = self.btf
        if btf.has("module", "mem"):  # enum mod_mem_type: MOD_TEXT, then three of data, then MOD_INIT_TEXT
            yield from (part for part in list(self._parts(module))[0:5:4] if part[1])
            return
        for layout in ("core_layout", "init_layout"):
            at = module + btf.offset("module", layout)
            size = self._u32(at + btf.offset("module_layout", "text_size"))
            if size:
                yield self._word(at + btf.offset("module_layout", "base")), size

    def _nearest(self, module: LoadedAt, address: int) -> KernelSymbol:
        best = KernelSymbol(
            "", next(start for start, size in module.parts if start <= address < start + size), module=module.name
        )
        for symbol in self._symbols_at(module):
            # Of several at one place the first, which is the local one, as the kernel does: not "init_module".
            if (
                symbol.name
                and (best.address < symbol.address or not best.name)
                and best.address <= symbol.address <= address
            ):
                best = symbol
        if best.size and address >= best.address + best.size and not self.names_variables:
            best = KernelSymbol("", best.address)
        return best if best.name else KernelSymbol(module.name, best.address, module=module.name)

    def _module_symbols(self, name: str | None) -> Iterator[KernelSymbol]:
        for module in self.modules():
            if name is None or module.name == name.replace("-", "_"):
                yield from self._symbols_at(module)

    def _symbols_at(self, module: LoadedAt) -> Iterator[KernelSymbol]:
        """Walk `mod_kallsyms`: Elf64_Sym { u32 name; u8 info, other; u16 shndx; u64 value, size }, or Elf32_Sym."""
        btf = self.btf
        tables = self._word(module.address + btf.offset("module", "kallsyms"))
        if not tables:
            return
        count = self._u32(tables + btf.offset("mod_kallsyms", "num_symtab"))
        symtab = self._word(tables + btf.offset("mod_kallsyms", "symtab"))
        strtab = self._word(tables + btf.offset("mod_kallsyms", "strtab"))
        if count > _MOST_SYMBOLS:  # a module may have written anything there
            return
        try:
            raw = self._machine.read(symtab, count * (24 if self._space.word == 8 else 16))
        except ValueError:
            return
        for name, info, section, value, size in self._elf_symbols(raw):
            if not section or not value or info & 15 > 2:
                continue
            text = self._string(strtab + name)
            if text and not text.startswith(("__UNIQUE_ID", *MAPPING_SYMBOLS)):
                yield KernelSymbol(text, value, size, "T" if info & 15 == 2 else "D", module.name)

    def _elf_symbols(self, raw: bytes) -> Iterator[tuple[int, int, int, int, int]]:
        """(name, info, section, value, size) of each."""
        if self._space.word == 8:
            return ((row[0], row[1], *row[3:]) for row in struct.iter_unpack("<IBBHQQ", raw))
        return (
            (name, info, section, value, size)
            for name, value, size, info, _, section in struct.iter_unpack("<IIIBBH", raw)
        )

    # -- the kernel's own table --------------------------------------------------------------------------------

    def of_kernel(self, name: str) -> int | None:
        """The address of a symbol of the kernel's own, not of a module; None when it has none of that name."""
        if name in self._found:
            return self._found[name]
        table = self._load()
        needle = name.encode() + b"\n"
        at = self._blob.find(needle)
        while at >= 2 and self._blob[at - 2] != 10:  # what stands before must be a type letter at the start of a line
            at = self._blob.find(needle, at + 1)
        if at < 2:
            self._found[name] = self._facts.symbol(name) if self._facts.has(f"SYMBOL({name})") else None
            return self._found[name]
        self._found[name] = table[self._lines_before(at) - 1]
        return self._found[name]

    def _lines_before(self, at: int) -> int:
        """How many lines of the table end before an offset."""
        if not self._line_counts:
            parts = range(0, len(self._blob), _PART)
            counts = (self._blob.count(b"\n", start, start + _PART) for start in parts)
            self._line_counts = list(accumulate(counts, initial=0))
        part = at // _PART
        return self._line_counts[part] + self._blob.count(b"\n", part * _PART, at)

    def of_the_kernel(self) -> Iterator[tuple[int, bytes]]:
        """All symbols of the kernel's own, in order of address: (address, type letter and name, b"Tprintk")."""
        return zip(self._load(), self._all_names(), strict=True)

    def _kernel_names_like(self, name: str) -> list[str]:
        return self.matching(name[:3])

    def _all_names(self) -> list[bytes]:
        if self._names is None:
            self._names = self._blob[1:-1].split(b"\n")
        return self._names

    def _load(self) -> array[int]:
        if self._addresses is None:
            kept = self._kept("symbols")
            self._addresses, self._blob = self._from_the_kernel() if kept is None else _parse_table(kept)
        return self._addresses

    def _from_the_kernel(self) -> tuple[array[int], bytes]:
        return self._decode() if self._facts.has("SYMBOL(kallsyms_names)") else _parse_proc(self._read_proc())

    def tables(self) -> dict[str, bytes]:
        """The kernel's tables as its memory has them now, to be kept: taken before any module can have changed them."""
        addresses, blob = self._from_the_kernel()
        self._addresses, self._blob, self._line_counts = addresses, blob, []
        found = {"symbols": len(addresses).to_bytes(8, "little") + addresses.tobytes() + blob}
        start, end = self.of_kernel("__start_BTF"), self.of_kernel("__stop_BTF")
        if start is not None and end is not None:
            found["btf"] = self._machine.read(start, end - start)
        return found

    def find_one(self, name: str) -> int | None:
        """The address of a symbol of the kernel's own, found without making a table of all of them."""
        if not self._facts.has("SYMBOL(kallsyms_names)"):
            return self.of_kernel(name)
        packed = self._packed()
        number, stext = packed.number_of(name.encode()), packed.number_of(b"_stext")
        return None if number < 0 else self._address_rule(packed.offsets, stext)(number)

    def _packed(self) -> _Packed:
        where, read = self._facts.symbol, self._machine.read
        count = self._u32(where("kallsyms_num_syms"))
        index = struct.unpack("<256H", read(where("kallsyms_token_index"), 512))
        table = read(where("kallsyms_token_table"), index[255] + 64)
        tokens = [table[at : table.index(0, at)] for at in index]
        offsets = struct.unpack(f"<{count}i", read(where("kallsyms_offsets"), 4 * count))
        end = where("kallsyms_token_table") - where("kallsyms_names")
        return _Packed(tokens, offsets, read(where("kallsyms_names"), end if 0 < end < count * 64 else count * 24))

    def _decode(self) -> tuple[array[int], bytes]:
        packed = self._packed()
        names = [packed.name(start, end) for start, end in packed.places()]
        addresses = list(map(self._address_rule(packed.offsets, names.index(b"T_stext")), range(len(names))))
        order = sorted(range(len(names)), key=addresses.__getitem__)
        return array("Q", [addresses[n] for n in order]), b"\n" + b"".join(names[n] + b"\n" for n in order)

    def _address_rule(self, offsets: Sequence[int], stext: int) -> Callable[[int], int]:
        """What gives a symbol's address by its number; `stext` is the number of _stext."""
        if self._facts.has("SYMBOL(kallsyms_relative_base)"):
            base = self._word(self._facts.symbol("kallsyms_relative_base"))
            if min(offsets) < 0:
                return lambda n: offsets[n] if offsets[n] >= 0 else base - 1 - offsets[n]
            return lambda n: base + offsets[n]
        # Without a base, each offset is relative to its own place; a symbol that is known both ways proves it.
        table = self._facts.symbol("kallsyms_offsets")
        if stext < 0 or table + 4 * stext + offsets[stext] != self._facts.symbol("_stext"):
            raise KoboxError("this kernel writes its kallsyms table in a way that kobox does not know")
        return lambda n: table + 4 * n + offsets[n]

    def _string(self, address: int) -> str:
        for size in (64, 256, 4096):
            size = min(size, 4096 - (address & 4095)) if size == 64 else size
            try:
                data = self._machine.read(address, size)
            except ValueError:
                return ""
            if 0 in data:
                return data[: data.index(0)].decode(errors="replace")
        return ""

    def _word(self, address: int) -> int:
        """The pointer at an address."""
        return self._space.number(self._machine.read(address, self._space.word))

    def _u32(self, address: int) -> int:
        return int.from_bytes(self._machine.read(address, 4), "little")


def _parse_table(data: bytes) -> tuple[array[int], bytes]:
    """The table "symbols": { u64 count; u64 address[count]; lines of type letter and name }."""
    count = int.from_bytes(data[:8], "little")
    addresses = array("Q")
    addresses.frombytes(data[8 : 8 + 8 * count])
    return addresses, data[8 + 8 * count :]


def with_symbols(table: bytes, found: Mapping[str, int]) -> bytes:
    """The table "symbols" with variables that it does not have."""
    addresses, blob = _parse_table(table)
    names = blob[1:-1].split(b"\n")
    have = {name[1:] for name in names}
    rows = sorted(
        [*zip(addresses, names, strict=True)]
        + [(address, b"D" + name.encode()) for name, address in found.items() if name.encode() not in have],
        key=lambda row: row[0],  # of several names for one address the first stays the first
    )
    return (
        len(rows).to_bytes(8, "little")
        + array("Q", [address for address, _ in rows]).tobytes()
        + b"\n"
        + b"".join(name + b"\n" for _, name in rows)
    )


def _parse_proc(text: bytes) -> tuple[array[int], bytes]:
    """/proc/kallsyms: "address type name [module]"; modules' symbols are left out."""
    rows = sorted(
        (int(fields[0], 16), fields[1] + fields[2])
        for fields in map(bytes.split, text.splitlines())
        if len(fields) == 3
    )
    return array("Q", [address for address, _ in rows]), b"\n" + b"".join(name + b"\n" for _, name in rows)
