"""What a driver's table of aliases says that ACPI can describe: hardware IDs, and what a device is compatible with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

_COMPATIBLE = re.compile(r"of:N\*T\*C([\w,.+-]+?)(?:C\*)?")
_HID = re.compile(r"acpi\*:([A-Z]{3,4}[0-9A-F]{4}):\*")

One = TypeVar("One")


def compatibles(aliases: Iterable[str]) -> list[str]:
    """What a device is compatible with ("acme,chip"), each once."""
    return list(dict.fromkeys(found[1] for alias in aliases if (found := _COMPATIBLE.fullmatch(alias))))


def hardware_ids(aliases: Iterable[str]) -> list[str]:
    """Hardware IDs of ACPI ("ACME0001"), each once."""
    return list(dict.fromkeys(found[1] for alias in aliases if (found := _HID.fullmatch(alias))))


def names(aliases: Iterable[str], bus: str) -> list[str]:
    """The names of a bus's own table: of "spi:adxl345" the part behind the colon."""
    return [alias.partition(":")[2] for alias in aliases if alias.startswith(f"{bus}:")]


def some(found: Sequence[One], most: int) -> list[One]:
    """At most `most` of them: the first, the last, and some between."""
    if len(found) <= most:
        return list(found)
    return [found[n * (len(found) - 1) // (most - 1)] for n in range(most)]
