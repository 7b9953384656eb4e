"""modinfo: what a module says of itself, from its file or, for one built into the kernel, from the tree."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from kobox.errors import KoboxError, ModuleFormatError
from kobox.ko.modinfo import Modinfo, Parameter, parse_builtin

if TYPE_CHECKING:
    from kobox.kmod.module_tree import ModuleTree

BUILTIN_PATH = "(builtin)"


class ModinfoReport(NamedTuple):
    """One module's facts: `fields` are the strings of its file in their order, parameters and signature apart.

    Parameters come as modinfo lists them, the last of the file first; `types` are the bare `parmtype` strings.
    """

    name: str
    path: str
    fields: tuple[tuple[str, str], ...]
    parameters: tuple[Parameter, ...]
    types: tuple[str, ...]
    signature: tuple[tuple[str, str], ...]

    def all(self, field: str) -> list[str]:
        """Every value of a field, `filename` and `parm` as modinfo shows them; the field's case does not count."""
        wanted = field.lower()
        if wanted == "filename":
            return [self.path]
        if wanted == "parm":
            return [text for text in map(describe, self.parameters) if text]
        if wanted == "parmtype":
            return list(self.types)
        return [value for name, value in (*self.fields, *self.signature) if name.lower() == wanted]


def modinfo(tree: ModuleTree, module: str, *, by_name: bool = False) -> list[ModinfoReport]:
    """The reports for a module's file, its name, or an alias (which may stand for several).

    Raises `ModuleNotFoundInTreeError`, `ModuleFormatError`, `OSError`.
    """
    if not by_name and is_file(module):
        return [of_file(os.path.join(os.getcwd(), module))]
    if by_name:
        from kobox.ko.name import canonical

        names = [canonical(module)] if tree.entry(canonical(module)) or tree.is_builtin(canonical(module)) else []
    else:
        names = [match.module for match in tree.lookup(module)]
    if not names:
        from kobox.kmod.resolve import not_found

        raise not_found(tree, module)
    return [_of_name(tree, name) for name in names]


def is_file(module: str) -> bool:
    """Whether this is the path of a module's file rather than a name."""
    return ("/" in module or module.endswith(".ko") or ".ko." in module) and os.path.isfile(module)


def _of_name(tree: ModuleTree, name: str) -> ModinfoReport:
    entry = tree.entry(name)
    if entry:
        return of_file(entry.path)
    path = f"{tree.directory}/modules.builtin.modinfo"
    try:
        with open(path, "rb") as file:
            info = parse_builtin(file.read()).get(name)
    except FileNotFoundError:
        info = None
    if info is None:
        raise KoboxError(f"nothing is known of the built-in module {name}", hint=f"{path} does not speak of it.")
    return _report(name, BUILTIN_PATH, info, ())


def of_file(path: str) -> ModinfoReport:
    """The report for a module file."""
    from kobox.ko.modulefile import ModuleFile

    module = ModuleFile(path)
    try:
        signature = signature_fields(module)
    except ModuleFormatError:
        signature = ()
    return _report(module.name, path, module.modinfo, signature)


def _report(name: str, path: str, info: Modinfo, signature: tuple[tuple[str, str], ...]) -> ModinfoReport:
    fields = tuple((key, value) for key, value in info if key not in ("parm", "parmtype"))
    return ModinfoReport(name, path, fields, info.parameters[::-1], info.all("parmtype"), signature)


def signature_fields(module: object) -> tuple[tuple[str, str], ...]:
    """The signature as modinfo shows it: sig_id, signer, sig_key, sig_hashalgo, signature."""
    from kobox.ko.modulefile import ModuleFile

    assert isinstance(module, ModuleFile)
    if not module.is_signed or (signature := module.signature) is None:
        return ()
    return (
        ("sig_id", signature.id_type),
        ("signer", signature.signer),
        ("sig_key", _hex(signature.key_id)),
        ("sig_hashalgo", signature.hash_algorithm),
        ("signature", _hex(signature.signature, width=20)),
    )


def _hex(data: bytes, width: int = 0) -> str:
    """`AA:BB:CC`, broken after each `width` bytes with two tabs on the next line."""
    if not width:
        return data.hex(":").upper()
    lines = [data[start : start + width].hex(":").upper() for start in range(0, len(data), width)]
    return ":\n\t\t".join(lines)


def describe(parameter: Parameter) -> str:
    """`name:description (type)`, as modinfo shows a parameter; `name:type` without a description."""
    name, kind, description = parameter
    if kind and description:
        return f"{name}:{description} ({kind})"
    return f"{name}:{description or kind}"
