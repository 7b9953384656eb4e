"""What is known of a function by its address: name, module, what it takes and returns."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from kobox.arch.code import Flow, Instruction
from kobox.box.inspect.btf import Btf
from kobox.box.inspect.inspector import Inspector
from kobox.box.inspect.symbols import KernelSymbol
from kobox.errors import KoboxError
from kobox.ko.ctype import Prototype
from kobox.ko.demangle import demangle
from kobox.ko.modulefile import ModuleFile

_LARGEST = 1 << 20  # bytes of a function that are read


@dataclass(frozen=True, slots=True)
class TracedFunction:
    """A function. `module` is "" for the kernel's own; `prototype` is None where nothing is known of it."""

    name: str
    address: int
    module: str
    prototype: Prototype | None


class TracedFunctions:
    """The functions of one box, looked up once each. What is known of a module is forgotten when it goes."""

    def __init__(self, inspect: Inspector) -> None:
        self._inspect = inspect
        self._known: dict[int, TracedFunction | None] = {}
        self._files: dict[str, ModuleFile] = {}
        self._symbols: dict[str, dict[int, KernelSymbol]] = {}
        self._behind_calls: dict[int, bool] = {}
        self._jumps: dict[str, frozenset[int]] = {}
        self._lines: dict[int, str] = {}
        self._types: dict[str, Btf | None] = {}

    def add_file(self, file: ModuleFile) -> None:
        """The file of a module: its debugging information says what its functions take."""
        self._files[file.name] = file

    def of_module(self, module: str) -> list[KernelSymbol]:
        """The functions of a loaded module, one for each address."""
        if module not in self._symbols:
            rows: dict[int, KernelSymbol] = {}
            for symbol in self._inspect.symbols.symbols_of(module):
                if symbol.kind == "T" and symbol.size and not symbol.name.startswith("__pfx_"):
                    rows.setdefault(symbol.address, symbol)
            self._symbols[module] = rows
        return list(self._symbols[module].values())

    def forget(self, module: str) -> None:
        """The module has gone, or its init code has."""
        self._symbols.pop(module, None)
        self._jumps.pop(module, None)
        is_module = self._inspect.arch.addresses.is_module
        self._known = {at: known for at, known in self._known.items() if not is_module(at)}
        self._behind_calls = {at: known for at, known in self._behind_calls.items() if not is_module(at)}
        self._lines = {at: known for at, known in self._lines.items() if not is_module(at)}

    def at(self, address: int) -> TracedFunction | None:
        """The function that begins here; None when none does."""
        if address not in self._known:
            self._known[address] = self._find(address)
        return self._known[address]

    def _find(self, address: int) -> TracedFunction | None:
        symbol = self._inspect.symbols.lookup(address)
        if symbol is None or symbol.address != address or symbol.kind not in "tTwW":
            return None
        return TracedFunction(demangle(symbol.name), address, symbol.module, self._prototype(symbol))

    def _prototype(self, symbol: KernelSymbol) -> Prototype | None:
        with suppress(KoboxError):
            if not symbol.module:
                return self._inspect.symbols.btf.prototype(symbol.name)
            return self._from_file(symbol)
        return None

    def _from_file(self, symbol: KernelSymbol) -> Prototype | None:
        file = self._files.get(symbol.module)
        if file is not None and not file.debug.available:
            types = self._types_of(file)
            return types.prototype(symbol.name) if types is not None else None
        place = self.place_in_file(symbol, symbol.address)
        known = self._files[symbol.module].debug.prototype(*place) if place is not None else None
        if known is not None and any(mark in symbol.name for mark in (".isra", ".constprop", ".part")):
            return replace(known, parameters=())  # the compiler has changed what such a function takes
        return known

    def _types_of(self, file: ModuleFile) -> Btf | None:
        """The types of a module that has BTF, as those of distributions' kernels have."""
        if file.name not in self._types:
            data = file.elf.section_data(b".BTF")
            self._types[file.name] = self._inspect.symbols.btf.with_module(bytes(data)) if data else None
        return self._types[file.name]

    def place_in_file(self, symbol: KernelSymbol, address: int) -> tuple[int, int] | None:
        """(section, offset) of an address inside a function of a module whose file is known."""
        file = self._files.get(symbol.module)
        if file is None:
            return None
        own = [f for f in file.debug.functions if f.name == symbol.name and f.size == symbol.size]
        return (own[0].section, own[0].offset + address - symbol.address) if len(own) == 1 else None

    def line(self, address: int) -> str:
        """The line of source of an address in a module, as "hello.c:12"; "" when it is not known."""
        if address not in self._lines:
            self._lines[address] = self._line(address)
        return self._lines[address]

    def _line(self, address: int) -> str:
        symbol = self._inspect.symbols.lookup(address)
        if symbol is None or not symbol.module:
            return ""
        with suppress(KoboxError):
            place = self.place_in_file(symbol, address)
            lines = self._files[symbol.module].debug.lines(*place) if place is not None else ()
            if lines:  # of inlined functions the line of the module's function that holds them
                return f"{lines[-1].file}:{lines[-1].line}"
        return ""

    # -- code ----------------------------------------------------------------------------------------------------

    def is_behind_call(self, address: int) -> bool:
        """Whether the instruction before this one, in code of a module, is a call."""
        if address not in self._behind_calls:
            symbol = self._inspect.symbols.lookup(address - 1)
            code = self._instructions(symbol) if symbol is not None else []
            ends = {symbol.address + one.end for one in code if one.flow is Flow.CALL} if symbol is not None else set()
            self._behind_calls |= dict.fromkeys(ends, True)
            self._behind_calls.setdefault(address, False)
        return self._behind_calls[address]

    def is_jumped_to(self, module: str, address: int) -> bool:
        """Whether code of a module ends with a jump to this address outside of it."""
        if module not in self._jumps:
            found = set()
            for symbol in self.of_module(module):
                for one in self._instructions(symbol):
                    if one.flow is Flow.JUMP and one.target is not None and not 0 <= one.target < symbol.size:
                        found.add(symbol.address + one.target)
            self._jumps[module] = frozenset(found)
        return address in self._jumps[module]

    def _instructions(self, symbol: KernelSymbol) -> list[Instruction]:
        try:
            code = self._inspect.memory.read(symbol.address, min(symbol.size, _LARGEST))
        except ValueError:
            return []
        return list(self._inspect.arch.code.instructions(code, 0, len(code)))
