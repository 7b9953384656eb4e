"""The description in a module: the strings of its `.modinfo` section.

    license=GPL\\0alias=pci:v00008086d...\\0alias=...\\0parm=debug:Debug level\\0parmtype=debug:int\\0...

MODULE_INFO() in include/linux/moduleparam.h makes them. A key may come any number of times, and order matters
(aliases are kept in the order of the table they were made from). Modules built into the kernel have theirs in
`modules.builtin.modinfo`, with the module's name and a dot before each key.
"""

from __future__ import annotations

from kobox.startup import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Parameter(NamedTuple):
    """A parameter: its name, its C type (`int`, `charp`, `array of int`; "" if unknown) and its description."""

    name: str
    type: str
    description: str


class Vermagic(NamedTuple):
    """A vermagic string taken apart: `6.1.0-56-amd64 SMP preempt mod_unload modversions`."""

    release: str
    flags: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Vermagic:
        """Split at blanks; the first word is the kernel's release."""
        release, *flags = text.split() or [""]
        return cls(release, tuple(flags))


class Modinfo:
    """All `key=value` strings of one module, in the file's order."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: tuple[tuple[str, str], ...]) -> None:
        self.pairs = pairs

    @classmethod
    def parse(cls, data: bytes) -> Modinfo:
        """Take a `.modinfo` section apart. Bytes that are not UTF-8 are kept as surrogates (PEP 383)."""
        return cls(tuple(split(data)))

    def all(self, key: str) -> tuple[str, ...]:
        """Every value of a key, () when it is not there."""
        return tuple(value for name, value in self.pairs if name == key)

    def first(self, key: str, default: str = "") -> str:
        """The first value of a key."""
        for name, value in self.pairs:
            if name == key:
                return value
        return default

    def keys(self) -> tuple[str, ...]:
        """The keys, each once, in the order of their first appearance."""
        return tuple(dict.fromkeys(name for name, _ in self.pairs))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, in the order of their first string (`parm=` or `parmtype=`)."""
        found: dict[str, list[str]] = {}
        for key, value in self.pairs:
            if key in ("parm", "parmtype"):
                name, _, text = value.partition(":")
                found.setdefault(name, ["", ""])[key == "parm"] = text
        return tuple(Parameter(name, kind, description) for name, (kind, description) in found.items())


def split(data: bytes) -> list[tuple[str, str]]:
    """The `key=value` strings of a section as pairs; a string without `=` is a key with an empty value."""
    pairs = []
    for text in data.decode("utf-8", "surrogateescape").split("\0"):
        if text:
            key, _, value = text.partition("=")
            pairs.append((key, value))
    return pairs


def parse_builtin(data: bytes) -> dict[str, Modinfo]:
    """The content of `modules.builtin.modinfo`: each built-in module's strings, by the module's name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for key, value in split(data):
        name, dot, field = key.partition(".")
        if dot:
            found.setdefault(name, []).append((field, value))
    return {name: Modinfo(tuple(pairs)) for name, pairs in found.items()}
