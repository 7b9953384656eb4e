"""Whether a module gets the symbols that it uses, and may export its own: simplify_symbols() and
verify_exported_symbols() of kernel/module/main.c, by the kernel's Module.symvers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from kobox.explain.explanation import Conditions, Fact
from kobox.explain.log import cause_of
from kobox.explain.symbol_facts import fact_of
from kobox.images.exports import KERNEL, Exported, KernelExports
from kobox.images.kernel_config import read_config
from kobox.ko.licence import GPL_COMPATIBLE
from kobox.ko.modulefile import Import, ModuleFile

if TYPE_CHECKING:
    from kobox.kmod.module_tree import ModuleTree


_NO_CYCLE = "Move what both need into a third module, or into one of them."


def refusal(rule: str, text: str, errno: str, *log: str) -> Fact:
    """A check that fails, with the advice that belongs to the lines that the kernel prints."""
    return Fact(rule, text, errno, cause_of(errno, log=log).advice, log)


class SymbolChecks:
    """The checks of one module's symbols against a kernel and what is loaded. `versions` are the CRCs that count."""

    def __init__(
        self,
        module: ModuleFile,
        kernel: KernelExports,
        conditions: Conditions,
        others: Sequence[KernelExports],
        versions: Mapping[str, int],
    ) -> None:
        self._module = module
        self._name = module.name
        self._kernel = kernel
        self._conditions = conditions
        self._others = others
        self._versions = versions
        self._versioned = "modversions" in kernel.vermagic.split()

    @cached_property
    def tree(self) -> ModuleTree | None:
        """The kernel's module tree, if it has one."""
        from kobox.box.boot.boot import tree_of

        return tree_of(self._kernel.kernel) if self._kernel.kernel.modules is not None else None

    @cached_property
    def _beside(self) -> dict[str, Exported]:
        """What the modules that are loaded before this one export."""
        return {
            name: Exported(name, crc or 0, other.name, gpl_only, namespace)
            for other in self._conditions.beside
            for name, crc, namespace, gpl_only in other.exports
        }

    def _find(self, symbol: str) -> Exported | None:
        return self._kernel.table.get(symbol) or self._beside.get(symbol)

    @cached_property
    def dependencies(self) -> tuple[str, ...]:
        """The modules of the tree that have to be there first, the deepest first."""
        owners = {found.owner for one in self._module.imports if (found := self._kernel.table.get(one.name))}
        wanted = sorted(owners - {KERNEL, self._name} - {other.name for other in self._conditions.beside})
        order: dict[str, None] = {}
        for owner in wanted:
            entry = self.tree.entry(owner) if self.tree is not None else None
            order.update(dict.fromkeys(entry.dependencies if entry else ()))
            order[owner] = None
        return tuple(order)

    def facts(self) -> Iterator[Fact]:
        """What simplify_symbols() says of the symbols that the module uses."""
        if not self._kernel.known:
            yield Fact("symbols", "not checked: this kernel came without headers, so without Module.symvers")
            return
        yield from self._cycles()
        problems = [fact for one in self._module.imports if (fact := self._symbol(one)) is not None]
        if problems:
            # simplify_symbols() goes through all of them and returns the last one's error.
            last = problems[-1].errno
            yield from (replace(fact, errno=last) for fact in problems)
            return
        text = f"all {len(self._module.imports)} symbols that it uses are there"
        needed = self.dependencies
        yield Fact("symbols", text + (f", with {', '.join(needed)} loaded before it" if needed else ""))

    def _cycles(self) -> Iterator[Fact]:
        """Modules that need each other: neither can be loaded first."""
        mine = {export.name for export in self._module.exports}
        uses = {one.name for one in self._module.imports}
        for other in self._conditions.beside:
            given = sorted(uses & {export.name for export in other.exports})
            taken = sorted(mine & {one.name for one in other.imports})
            if given and taken:
                text = f"a cycle: it uses {given[0]} of {other.name}, and {other.name} uses {taken[0]} of it"
                log = f"{self._name}: Unknown symbol {given[0]} (err -2)"
                yield Fact("cycle", f"{text}: neither can be loaded first", "ENOENT", _NO_CYCLE, (log,))

    def _symbol(self, one: Import) -> Fact | None:
        found = self._find(one.name)
        unknown = f"{self._name}: Unknown symbol {one.name} (err "
        if found is None:
            return None if one.weak else self._unknown(one.name, unknown + "-2)")
        gpl = self._module.modinfo.first("license") in GPL_COMPATIBLE
        if found.gpl_only and not gpl:
            told = self._module.modinfo.first("license") or "none"
            text = f"{one.name} is for GPL modules only, and this module's licence is {told}"
            advice = 'MODULE_LICENSE("GPL") if that is its licence; else do without the symbol.'
            return Fact("unknown-symbol", text, "ENOENT", advice, (unknown + "-2)",))
        has = self._versions.get(one.name)
        if self._versioned and has is not None and has != found.crc:
            text = f"{one.name} ({found.owner}): its CRC is {has:#010x} in the module, {found.crc:#010x} in the kernel"
            log = f"{self._name}: disagrees about version of symbol {one.name}"
            return refusal("crc", text, "EINVAL", log, unknown + "-22)")
        if not found.is_for(self._name, self._module.import_namespaces):
            text = f"{one.name} is in the namespace {found.namespace}, which the module does not import"
            log = (
                f"{self._name}: module uses symbol ({one.name}) from namespace {found.namespace}, "
                "but does not import it."
            )
            return refusal("namespace", text, "EINVAL", log, unknown + "-22)")
        return None

    def _unknown(self, symbol: str, log: str) -> Fact:
        more, advice = self._where_it_is(symbol)
        text = f"{symbol} is exported by nothing in this kernel{more}"
        return Fact("unknown-symbol", text, "ENOENT", advice, (log,))

    def _where_it_is(self, symbol: str) -> tuple[str, str]:
        """What is known about a symbol that is missing, and what to do."""
        known = fact_of(symbol)
        option = self._option_off(known.config) if known is not None and known.config else ""
        elsewhere = [other.kernel.name for other in self._others if other.has(symbol)]
        near = self._kernel.near(symbol)
        if self._module.depends:
            return "", f"The modules that export it have to be loaded before: {', '.join(self._module.depends)}."
        if option:
            more = f", which has {', '.join(elsewhere)}" if elsewhere else ""
            return f": {option}", f"Take a kernel with CONFIG_{known.config if known else ''}{more}."
        if elsewhere:
            text = f"; {', '.join(elsewhere)} ha{'s' if len(elsewhere) == 1 else 've'} it"
            change = "The kernel's interface changed: build the module for this kernel, and port it where that fails."
            return text, change
        if near:
            owners = (f"{name} ({self._kernel.table[name].owner})" for name in near)
            return f"; near it: {', '.join(owners)}", "Is it misspelt?"
        if known is not None:
            return f": {known.text}", known.advice
        return "", "Give the module that exports it, too (--with); `kobox run DIR` loads several in order."

    def _option_off(self, option: str) -> str:
        """That this kernel was built without an option; "" where it has it, or its configuration is not known."""
        config = self._config
        if not config or config.get(option) in ("y", "m"):
            return ""
        cloud = "cloud" in self._kernel.kernel.name
        flavour = "; it is a cloud flavour, and the full one may have it" if cloud else ""
        return f"this kernel was built without CONFIG_{option}{flavour}"

    @cached_property
    def _config(self) -> dict[str, str]:
        return read_config(self._kernel.kernel)

    def export_facts(self) -> Iterator[Fact]:
        """What verify_exported_symbols() says of those that it exports."""
        present = {KERNEL, *self.dependencies}
        for export in self._module.exports:
            found = self._find(export.name)
            if found is None or found.owner == self._name:
                continue
            owner = "kernel" if found.owner == KERNEL else found.owner
            log = f"{self._name}: exports duplicate symbol {export.name} (owned by {owner})"
            if found.owner in present or export.name in self._beside:
                yield refusal("duplicate-export", f"{owner} exports {export.name}, too", "ENOEXEC", log)
                return
            yield Fact("duplicate-export", f"{owner} exports {export.name}, too: only one of them can be loaded")
