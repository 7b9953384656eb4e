"""The names of all parameters of a module, those that modinfo does not list too."""

from __future__ import annotations

from kobox.ko.modulefile import ModuleFile


def parameter_names(module: ModuleFile) -> list[str]:
    """The names of a module's parameters: those of modinfo, and those without a type there (module_param_cb), whose
    names stand in `__param_str_NAME` (include/linux/moduleparam.h)."""
    names = dict.fromkeys(parameter.name for parameter in module.parameters)
    for symbol in module.elf.symbols():
        if symbol.name.startswith(b"__param_str_"):
            names.setdefault(symbol.name.removeprefix(b"__param_str_").decode(errors="backslashreplace"))
    return list(names)
