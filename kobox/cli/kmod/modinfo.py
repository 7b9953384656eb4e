"""`kobox modinfo`: show the description in module files."""

from __future__ import annotations

import os

from kobox.cli.kmod.front import (
    Messages,
    Option,
    absolute,
    begin,
    release_or_own,
    text_of,
    write,
    write_json,
)
from kobox.cli.own_process import is_own
from kobox.errors import KoboxError
from kobox.kmod.modinfo import BUILTIN_PATH, ModinfoReport, is_file, modinfo, of_file

OPTIONS = (
    Option(("author",), "a"),
    Option(("description",), "d"),
    Option(("license",), "l"),
    Option(("parameters",), "p"),
    Option(("filename",), "n"),
    Option(("null",), "0"),
    Option(("modname",), "m"),
    Option(("field",), "F", True),
    Option(("set-version",), "k", True),
    Option(("basedir",), "b", True),
    Option(("json",)),
    Option(("version",), "V"),
    Option(("help",), "h"),
)
HELP = """usage: modinfo [options] MODULE|ALIAS|FILE...

Shows the description in module files: author, license, parameters, aliases,
signature and more.

  -a, --author               only the author
  -d, --description          only the description
  -l, --license              only the license
  -p, --parameters           only the parameters
  -n, --filename             only the file's path
  -F, --field=FIELD          only this field; upper and lower case are the same
  -0, --null                 end each line with a NUL byte instead of a newline
  -m, --modname              arguments are names of modules, not files
  -k, --set-version=RELEASE  use the modules of this kernel release
  -b, --basedir=DIR          root directory of /lib/modules
      --json                 print everything as JSON
  -V, --version              show the version
  -h, --help                 show this text"""
_SHORTCUTS = {
    "author": "author",
    "description": "description",
    "license": "license",
    "parameters": "parm",
    "filename": "filename",
}
# Fields that a module need not have: asking for one that is not there is no mistake.
KNOWN_FIELDS = frozenset(
    [
        "alias",
        "author",
        "build-id",
        "build_id",
        "built-in",
        "depends",
        "description",
        "file",
        "filename",
        "firmware",
        "import_ns",
        "intree",
        "license",
        "livepatch",
        "name",
        "parm",
        "parmtype",
        "retpoline",
        "rhelversion",
        "scmversion",
        "sig_hashalgo",
        "sig_id",
        "sig_key",
        "signature",
        "signer",
        "softdep",
        "srcversion",
        "staging",
        "supported",
        "vermagic",
        "version",
        "weakdep",
    ]
)


def main(argv: list[str], prog: str) -> int:
    """Run the command and return its exit status."""
    begun = begin(argv, prog, OPTIONS, HELP)
    if isinstance(begun, int):
        return begun
    messages, options, arguments = begun
    field = release = root = ""
    chosen = {name for name, _ in options}
    for name, value in options:
        field = value if name == "field" else _SHORTCUTS.get(name, field)
        release = value if name == "set-version" else release
        root = value if name == "basedir" else root
    if not arguments:
        messages.error("missing module or filename.")
        return 1
    if "modname" not in chosen:
        _give_up_rights(arguments)
    printer = _printer(field, chosen)
    reports, status = _reports(messages, (release, root), arguments, "modname" in chosen, printer)
    if "json" in chosen:
        write_json("modinfo", [_as_json(report) for report in reports])
    elif field and not _is_known(field, reports):
        messages.error(_unknown(field, reports))
        return 1
    return status


def _give_up_rights(modules: list[str]) -> None:
    """Where only a stranger's files are asked about, this process reads those and can do nothing else. The modules of
    a tree in /lib/modules belong to root, and are what scripts ask about: that takes no longer than before."""
    if is_own() and all(is_file(module) and not _is_in_a_tree(module) for module in modules):
        from kobox.isolation.reading import read_only

        read_only(modules)


def _is_in_a_tree(path: str) -> bool:
    return os.path.realpath(path).startswith(("/lib/modules/", "/usr/lib/modules/"))


class _Printer:
    """Prints reports one by one, as they come."""

    def __init__(self, field: str, end: str) -> None:
        self._field = field
        self._end = end
        self.shows_parameters = not field or field.lower() == "parm"

    def __call__(self, report: ModinfoReport) -> None:
        if self._field:
            write("".join(value + self._end for value in report.all(self._field)))
        else:
            write(_whole(report, self._end))


def _printer(field: str, chosen: set[str]) -> _Printer | None:
    return None if "json" in chosen else _Printer(field, "\0" if "null" in chosen else "\n")


def _reports(
    messages: Messages, place: tuple[str, str], modules: list[str], by_name: bool, printer: _Printer | None
) -> tuple[list[ModinfoReport], int]:
    status = 0
    found = []
    for module in modules:
        try:
            for report in _of(module, place, by_name):
                found.append(report)
                if printer:
                    for problem in report.problems if printer.shows_parameters else ():
                        messages.error(problem)
                    printer(report)
        except BrokenPipeError:  # who reads the output has enough
            raise
        except (KoboxError, OSError) as error:
            messages.error(_text_of(module, error))
            status = 1
    return found, status


def _text_of(module: str, error: KoboxError | OSError) -> str:
    # ModuleNotFoundInTreeError, recognised without importing the planner.
    if isinstance(error, KoboxError) and isinstance(error, LookupError):
        return f"Module {module} not found." + (f"\n{error.hint}" if error.hint else "")
    return text_of(error)


def _of(module: str, place: tuple[str, str], by_name: bool) -> list[ModinfoReport]:
    """The reports for a file, or for a name in the tree of this (release, root), which a file's path does without."""
    if not by_name and is_file(module):
        return [of_file(os.path.join(os.getcwd(), module))]
    from kobox.kmod.module_tree import ModuleTree

    release, root = place
    return modinfo(ModuleTree.of(release_or_own(release), root=absolute(root)), module, by_name=by_name)


def _whole(report: ModinfoReport, end: str) -> str:
    """All fields: `key:` padded to 16 columns, or `key=value` when they end with NUL."""
    lines = []
    if report.path == BUILTIN_PATH:
        lines.append(_line("name", report.name, end, always=True))
    lines.append(_line("filename", report.path, end, always=True))
    lines += [_line(key, value, end) for key, value in (*report.fields, *report.signature)]
    lines += [_line("parm", text.listed, end, always=True) for text in report.texts]
    return "".join(lines)


def _line(key: str, value: str, end: str, *, always: bool = False) -> str:
    if end == "\0" and not always:
        return f"{key}={value}\0"
    return f"{key + ':':<16}{value}{end}"


def _is_known(field: str, reports: list[ModinfoReport]) -> bool:
    return field.lower() in KNOWN_FIELDS or not reports or any(report.all(field) for report in reports)


def _unknown(field: str, reports: list[ModinfoReport]) -> str:
    from difflib import get_close_matches

    names = sorted({*KNOWN_FIELDS, *(key for report in reports for key, _ in report.fields)})
    near = get_close_matches(field.lower(), names, 1)
    return f"no field '{field}'" + (f"\nDid you mean {near[0]}?" if near else f"\nFields are: {' '.join(names)}")


def _as_json(report: ModinfoReport) -> dict[str, object]:
    fields: dict[str, list[str]] = {}
    for key, value in report.fields:
        fields.setdefault(key, []).append(value)
    return {
        "name": report.name,
        "filename": report.path,
        "fields": fields,
        "parameters": [parameter._asdict() for parameter in report.parameters],
        "build_id": report.build_id,
        "signature": {key: value.replace("\n\t\t", "") for key, value in report.signature},
    }
