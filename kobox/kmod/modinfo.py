"""modinfo: the description of a module, from its file or, for a built-in module, from the tree."""

from __future__ import annotations

import os

from kobox.errors import ModuleFormatError
from kobox.ko.modinfo import Modinfo, Parameter, parse_builtin
from kobox.startup import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kobox.kmod.module_tree import ModuleTree

BUILTIN_PATH = "(builtin)"


class ParameterText(NamedTuple):
    """A parameter as modinfo shows it: among all fields (`listed`), and when only parameters are shown (`alone`)."""

    listed: str
    alone: str


class ModinfoReport(NamedTuple):
    """One module's facts: `fields` are the strings of its file in their order, parameters and signature apart.

    Parameters come as modinfo lists them, the last of the file first; `types` are the bare `parmtype` strings.
    `problems` name strings that cannot be understood. `build_id` is what the linker put into the file, in hex.
    """

    name: str
    path: str
    fields: tuple[tuple[str, str], ...]
    parameters: tuple[Parameter, ...]
    texts: tuple[ParameterText, ...]
    types: tuple[str, ...]
    signature: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    build_id: str

    def all(self, field: str) -> list[str]:
        """Every value of a field, `filename`, `parm` and `build-id` among them; the field's case does not count."""
        wanted = field.lower()
        if wanted == "filename":
            return [self.path]
        if wanted == "parm":
            return [text.alone for text in self.texts]
        if wanted == "parmtype":
            return list(self.types)
        if wanted in ("build-id", "build_id"):
            return [self.build_id] if self.build_id else []
        own = [self.name] if wanted == "name" and self.path == BUILTIN_PATH else []
        return own + [value for name, value in (*self.fields, *self.signature) if name.lower() == wanted]


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
    try:
        with open(f"{tree.directory}/modules.builtin.modinfo", "rb") as file:
            info = parse_builtin(file.read()).get(name)
    except FileNotFoundError:  # kernels before 5.2 have none
        info = None
    return _report(name, BUILTIN_PATH, info or Modinfo(()), ())


def of_file(path: str) -> ModinfoReport:
    """The report for a module file."""
    from kobox.ko.modulefile import GlancedModule

    module = GlancedModule(path)
    try:
        signature = signature_fields(module)
    except ModuleFormatError:
        signature = ()
    return _report(module.name, path, module.modinfo, signature, _hex(module.build_id))


def _report(
    name: str, path: str, info: Modinfo, signature: tuple[tuple[str, str], ...], build_id: str = ""
) -> ModinfoReport:
    fields = tuple((key, value) for key, value in info if key not in ("parm", "parmtype"))
    texts, problems = _parameter_texts(info)
    types = info.all("parmtype")
    return ModinfoReport(name, path, fields, info.parameters[::-1], texts, types, signature, problems, build_id)


def _parameter_texts(info: Modinfo) -> tuple[tuple[ParameterText, ...], tuple[str, ...]]:
    """(the parameters, the last of the file first; a message for each string that is not a parameter)."""
    found: dict[str, dict[str, str]] = {}
    problems = []
    for key, value in info:
        if key in ("parm", "parmtype"):
            name, colon, text = value.partition(":")
            if colon:
                found.setdefault(name, {})[key] = text
            else:
                problems.append(f"Found invalid \"{key}={value}\": missing ':'")
    return tuple(_parameter_text(name, found[name]) for name in reversed(found)), tuple(problems)


def _parameter_text(name: str, words: dict[str, str]) -> ParameterText:
    kind, description = words.get("parmtype"), words.get("parm")
    if description is None:
        return ParameterText(f"{name}:{kind}", f"{name}: ({kind})")
    text = f"{name}:{description}" if kind is None else f"{name}:{description} ({kind})"
    return ParameterText(text, text)


def signature_fields(module: object) -> tuple[tuple[str, str], ...]:
    """The signature as modinfo shows it: sig_id, signer, sig_key, sig_hashalgo, signature."""
    from kobox.ko.modulefile import ModuleFile
    from kobox.ko.signature import ID_TYPES

    assert isinstance(module, ModuleFile)
    signature = module.signature
    if signature is None or signature.id_type not in ID_TYPES or not signature.hash_algorithm:
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
