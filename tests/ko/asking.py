"""All that a module file can be asked, for tests of files that are damaged or packed."""

from __future__ import annotations

from kobox.ko.modulefile import ModuleFile


def everything(module: ModuleFile) -> tuple[object, ...]:
    """Ask a module for all there is to ask."""
    return (
        module.name,
        module.modinfo.keys(),
        module.vermagic,
        module.parameters,
        module.imports,
        module.exports,
        module.versions,
        module.signature,
        module.elf.sections,
        [module.elf.section_name(number) for number in range(len(module.elf.sections))],
        list(module.elf.symbols()),
        module.depends,
        module.is_signed,
    )
