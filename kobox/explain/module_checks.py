"""The checks of load_module() (kernel/module/main.c) on a module that could be read, in the kernel's order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kobox.arch.registry import architecture
from kobox.errors import ModuleFormatError
from kobox.explain.elf_checks import common_symbols, relocation_damage
from kobox.explain.explanation import Conditions, Fact
from kobox.explain.log import cause_of
from kobox.explain.parameter_rules import troubles
from kobox.explain.possibilities import POSSIBILITIES
from kobox.explain.symbol_checks import SymbolChecks, refusal
from kobox.images.exports import KernelExports
from kobox.kernel.interface import InitFlags
from kobox.ko import elf
from kobox.ko.modulefile import ModuleFile

_RELOCATED_BEFORE = "Build it again, and take the .ko as Kbuild left it."
_OUT_OF_TREE = "loading out-of-tree module taints kernel."


class ModuleChecks:
    """The checks on one module. `others` are kernels to look for symbols in, and for one that the module fits."""

    def __init__(
        self, module: ModuleFile, kernel: KernelExports, conditions: Conditions, others: Sequence[KernelExports]
    ) -> None:
        self._module = module
        self._name = module.name
        self._kernel = kernel
        self._conditions = conditions
        self._others = others
        # The kernel goes by version magic and CRCs only if the module has any and nobody says otherwise.
        ignored = conditions.flags & InitFlags.IGNORE_MODVERSIONS
        self._versions = {} if ignored else module.versions
        self._versioned = "modversions" in kernel.vermagic.split()
        self._symbols = SymbolChecks(module, kernel, conditions, others, self._versions)

    @property
    def dependencies(self) -> tuple[str, ...]:
        """The modules of the kernel's tree that have to be there first, the deepest first."""
        return self._symbols.dependencies

    def facts(self) -> Iterator[Fact]:
        """All facts."""
        if self._name in self._conditions.blacklist():
            log = f"Module {self._name} is blacklisted"
            yield refusal("blacklisted", "module_blacklist= names it", "EPERM", log)
        yield from self._layout()
        yield from self._vermagic()
        if self._module.modinfo.first("intree") != "Y":
            yield Fact("out-of-tree", "built outside the kernel's source", log=(f"{self._name}: {_OUT_OF_TREE}",))
        yield from self._room()
        yield from self._presence()
        yield from self._symbols.facts()
        yield from self._relocations()
        yield from self._symbols.export_facts()
        yield from self._parameters()

    def _layout(self) -> Iterator[Fact]:
        if not self._versioned:
            return
        wanted = self._kernel.table.get("module_layout")
        has = self._versions.get("module_layout")
        if not self._versions:
            log = f"{self._name}: module_layout: kernel tainted."
            yield Fact("versions-forced", "no symbol versions: nothing checks that it fits", log=(log,))
        elif wanted is not None and has is not None and has != wanted.crc:
            text = f"struct module differs: its CRC is {has:#010x} in the module, {wanted.crc:#010x} in the kernel"
            log = f"{self._name}: disagrees about version of symbol module_layout"
            yield self._with_fitting(refusal("module-layout", text, "ENOEXEC", log))
        elif wanted is not None:
            yield Fact("module-layout", f"struct module is the kernel's own (CRC {wanted.crc:#010x})")

    def _vermagic(self) -> Iterator[Fact]:
        has, wants = self._module.modinfo.first("vermagic"), self._kernel.vermagic
        if not has or self._conditions.flags & InitFlags.IGNORE_VERMAGIC:
            log = f"{self._name}: bad vermagic: kernel tainted."
            yield Fact("vermagic-forced", "its version magic is not looked at", log=(log,))
            return
        # same_magic(): with CRCs, the release does not matter.
        skip = 1 if self._versioned and self._versions else 0
        if has.split(" ")[skip:] == wants.split(" ")[skip:]:
            told = "" if has == wants else f" (built for {has.split()[0]}; CRCs decide, the release does not)"
            yield Fact("vermagic", f"version magic fits{told}")
            return
        text = f"version magic `{has.strip()}`, and the kernel's is `{wants.strip()}`"
        log = f"{self._name}: version magic '{has}' should be '{wants}'"
        yield self._with_fitting(refusal("vermagic", text, "ENOEXEC", log))

    def _with_fitting(self, fact: Fact) -> Fact:
        """The fact, with the other kernel that the module was built for, if one is at hand."""
        has = self._module.modinfo.first("vermagic")
        fitting = next((other.kernel.name for other in self._others if other.vermagic == has), "")
        return replace(fact, advice=f"It fits {fitting}: `-k {fitting}`. {fact.advice}") if fitting else fact

    def _room(self) -> Iterator[Fact]:
        size = size_of(self._module)
        room = architecture(self._module.elf.architecture).addresses.modules_size
        if size > room:
            text = f"it takes {size >> 20} MiB, and all modules together have {room >> 20}"
            yield refusal("memory", text, "ENOMEM")

    def _presence(self) -> Iterator[Fact]:
        if any(other.name == self._name for other in self._conditions.beside):
            loaded = POSSIBILITIES["already-loaded"]
            yield Fact(loaded.rule, loaded.why, "EEXIST", loaded.advice)
        elif self._symbols.tree is not None and self._symbols.tree.is_builtin(self._name):
            yield Fact("built-in", "a module of that name is part of this kernel's image")

    def _relocations(self) -> Iterator[Fact]:
        try:
            found = [*common_symbols(self._module.elf, self._name), *relocation_damage(self._module.elf, self._name)]
        except ModuleFormatError as error:
            yield Fact("relocation", f"damaged: {error.message}", "", "Build it again.")
            return
        for damage in found:
            advice = cause_of("ENOEXEC", log=damage.log).advice if damage.log else _RELOCATED_BEFORE
            yield Fact(damage.rule, damage.text, "ENOEXEC" if damage.fatal else "", advice, damage.log)
        if not found:
            yield Fact("relocation", "its relocations are of the kinds that modules have")

    def _parameters(self) -> Iterator[Fact]:
        types = {one.name: one.type for one in self._module.parameters}
        found = list(troubles(self._conditions.parameters, types, self._name))
        last = next((one.errno for one in reversed(found) if one.errno), "")
        for one in found:
            advice = cause_of(one.errno, log=one.log).advice if one.errno else ""
            yield Fact(one.rule, one.text, last if one.errno else "", advice, one.log)


def size_of(module: ModuleFile) -> int:
    """The bytes that a module takes in the kernel's memory."""
    return sum(section.size for section in module.elf.sections if section.flags & elf.SHF_ALLOC)
