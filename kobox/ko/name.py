"""Names of modules, from whatever names them.

The kernel knows a module by a name with underscores only (KBUILD_MODNAME). Its file may have dashes in its
name, and people write either, so every name is brought to the one form before it is looked up.
"""

from __future__ import annotations

# In kmod's order of preference; lz4 is not kmod's, the file's content decides in the end.
SUFFIXES = (".ko", ".ko.gz", ".ko.xz", ".ko.zst", ".ko.lz4")


def canonical(name: str) -> str:
    """The kernel's spelling of a module name: `snd-hda-intel` is `snd_hda_intel`."""
    return name.replace("-", "_")


def from_path(path: str) -> str:
    """The module's name by its file name: up to the first dot, dashes made underscores."""
    return path.rpartition("/")[2].partition(".")[0].replace("-", "_")


def canonical_alias(alias: str) -> str:
    """An alias or pattern with dashes made underscores, except inside `[...]`, where a dash is a range.

    Raises `ValueError` for a bracket that is not closed or not opened, which no pattern matcher understands.
    """
    if "[" not in alias and "]" not in alias:
        return alias.replace("-", "_")
    parts = []
    rest = alias
    while True:
        plain, opened, rest = rest.partition("[")
        if "]" in plain:
            raise ValueError(f"alias {alias!r}: ']' without '['")
        parts.append(plain.replace("-", "_"))
        if not opened:
            return "".join(parts)
        inside, closed, rest = rest.partition("]")
        if not closed:
            raise ValueError(f"alias {alias!r}: '[' without ']'")
        parts.append(f"[{inside}]")
