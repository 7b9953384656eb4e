"""Instructions that modules leave to the kernel: which of them a file has, and which of them are executed.

The file's functions are decoded (`Code.system_instructions`); a probe on each of those instructions tells whether the
module executes it, with what in the registers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from kobox.arch.arch import Arch
from kobox.arch.registry import ARCHITECTURES
from kobox.behaviour.report import Level, Trait
from kobox.box.box import Box
from kobox.box.inspect.probes import Hit, Probe
from kobox.errors import KoboxError
from kobox.ko.elf import SHF_EXECINSTR, STT_FUNC
from kobox.ko.modulefile import ModuleFile

_MOST = 200  # probes on single instructions
_KINDS: dict[str, tuple[str, Level]] = {
    "protection": ("control register", "suspicious"),
    "entry": ("system register", "suspicious"),
    "register": ("system register", "note"),
    "identity": ("processor identity", "note"),
    "clock": ("clock", "note"),
    "protection off": ("write protection", "hostile"),
    "hypervisor": ("looks for a hypervisor", "suspicious"),
}


class SystemInstruction(NamedTuple):
    """One of them, `offset` bytes into a function; `kind` and `words` as `Code.system_instructions` says."""

    function: str
    offset: int
    kind: str
    words: str
    code: bytes


def arch_of(file: ModuleFile) -> Arch | None:
    """The architecture of a module's file; None for one whose kernels kobox does not boot."""
    return next((arch for arch in ARCHITECTURES if arch.elf_machine == file.elf.machine), None)


def system_instructions(file: ModuleFile) -> Iterator[SystemInstruction]:
    """All of a file's functions. Raises `ModuleFormatError`."""
    arch = arch_of(file)
    if arch is None:
        return
    contents: dict[int, bytes] = {}
    for symbol in file.elf.symbols():
        if symbol.type != STT_FUNC or not 0 < symbol.section < len(file.elf.sections):
            continue
        if not file.elf.sections[symbol.section].flags & SHF_EXECINSTR:
            continue
        code = contents.get(symbol.section)
        if code is None:
            code = contents[symbol.section] = bytes(file.elf.data(symbol.section))
        end = min(symbol.value + symbol.size, len(code))
        for at, kind, words in arch.code.system_instructions(code, symbol.value, end):
            name = symbol.name.decode(errors="backslashreplace")
            yield SystemInstruction(name, at - symbol.value, kind, words, code[at : at + 16])


def static_instructions(file: ModuleFile) -> Iterator[Trait]:
    """One trait for each kind and register that a file has."""
    seen = set()
    for found in system_instructions(file):
        kind, level = _KINDS[found.kind]
        if found.kind == "entry":  # hypervisors and drivers of performance counters have it: look at what is written
            level = "note"
        if found.words not in seen:
            seen.add(found.words)
            name = found.words if found.kind == "protection" else kind
            yield Trait(name, level, f"has code that {found.words}", f"{found.function}+{found.offset:#x}")


class ExecutedInstructions:
    """Tells which of a module's system instructions are executed."""

    def __init__(self, box: Box, file: ModuleFile) -> None:
        self._box = box
        self._file = file
        self._probes: list[Probe] = []
        self.traits: dict[tuple[str, str], Trait] = {}

    def place(self, module: str) -> None:
        """The module is in memory: watch its instructions."""
        addresses: dict[str, list[int]] = {}
        for symbol in self._box.inspect.symbols.symbols_of(module):
            addresses.setdefault(symbol.name, []).append(symbol.address)
        for found in list(system_instructions(self._file))[:_MOST]:
            for start in addresses.get(found.function, ()):
                with suppress(KoboxError, ValueError):
                    self._watch(found, start + found.offset)

    def close(self) -> None:
        """Watch no more."""
        for probe in self._probes:
            probe.remove()

    def _watch(self, found: SystemInstruction, address: int) -> None:
        if self._box.inspect.memory.read(address, 2) != found.code[:2]:  # patched, or another function of that name
            return
        self._probes.append(self._box.probe(address, lambda hit: self._executed(found, address, hit)))

    def _executed(self, found: SystemInstruction, address: int, hit: Hit) -> None:
        kind, words = self._box.arch.code.system_effect(found.code, hit.registers)
        name, level = _KINDS[kind or found.kind]
        trait = Trait(
            name, level, words or found.words, self._box.inspect.symbols.describe(address), time=self._box.time
        )
        self.traits.setdefault((trait.kind, trait.text), trait)
