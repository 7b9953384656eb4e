"""Modules in a box: the handle that `Box.insmod` gives, and parameters as text."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from kobox.box.booted import BootedKernel
from kobox.box.inspect.printk import LogRecord

# A module parameter's value; a sequence for an array.
ParameterValue: TypeAlias = "bool | int | str | os.PathLike[str] | Sequence[ParameterValue]"


def parameter_text(text: str = "", values: Mapping[str, ParameterValue] | None = None) -> str:
    """Module parameters as the kernel parses them (kernel/params.c): `name=value`, quoted where a value has spaces.

    True and False become Y and N, a list or tuple its elements with commas between them. Raises `ValueError`
    for a value that cannot be written so.
    """
    words = [text] if text else []
    for name, value in (values or {}).items():
        words.append(f"{name}={_value(name, value)}")
    return " ".join(words)


def _value(name: str, value: ParameterValue) -> str:
    if isinstance(value, bool):
        return "Y" if value else "N"
    if isinstance(value, (list, tuple)):
        return ",".join(_value(name, part) for part in value)
    text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    if '"' in text or "\0" in text:
        raise ValueError(f"parameter {name}: the kernel's parser has no way to write a double quote in a value")
    return f'"{text}"' if any(c.isspace() for c in text) else text


class ModuleParameters(Mapping[str, str]):
    """A loaded module's parameters as /sys/module/NAME/parameters shows them: read by name, set those that are
    writable."""

    def __init__(self, box: BootedKernel, module: str) -> None:
        self._box = box
        self._directory = f"/sys/module/{module}/parameters"

    def __getitem__(self, name: str) -> str:
        try:
            return self._box.read_text(f"{self._directory}/{name}").removesuffix("\n")
        except FileNotFoundError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, value: ParameterValue) -> None:
        self._box.write_bytes(f"{self._directory}/{name}", _value(name, value).strip('"').encode())

    def __iter__(self) -> Iterator[str]:
        try:
            return iter(sorted(self._box.listdir(self._directory)))
        except FileNotFoundError:
            return iter(())

    def __len__(self) -> int:
        return len(list(iter(self)))


class LoadedModule:
    """A module that was loaded into a box. `log_start` is the sequence number of its first possible log record."""

    def __init__(self, box: BootedKernel, name: str, log_start: int) -> None:
        self._box = box
        self.name = name
        self.log_start = log_start

    def __repr__(self) -> str:
        return f"<LoadedModule {self.name!r}>"

    @property
    def parameters(self) -> ModuleParameters:
        """Its parameters, by name."""
        return ModuleParameters(self._box, self.name)

    @property
    def log(self) -> list[LogRecord]:
        """Kernel log records since it was loaded."""
        return self._box.log.since(self)

    @property
    def is_loaded(self) -> bool:
        """Whether /proc/modules has it."""
        return any(line.split(" ", 1)[0] == self.name for line in self._box.read_text("/proc/modules").splitlines())

    @property
    def refcount(self) -> int:
        """How many hold a reference on it."""
        return int(self._box.read_text(f"/sys/module/{self.name}/refcnt"))

    @property
    def holders(self) -> list[str]:
        """The modules that use it."""
        return sorted(self._box.listdir(f"/sys/module/{self.name}/holders"))

    def unload(self, *, force: bool = False) -> None:
        """As `Box.rmmod`."""
        self._box.rmmod(self.name, force=force)
