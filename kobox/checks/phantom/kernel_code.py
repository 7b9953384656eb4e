"""Parts of the kernel's own code, by the names of functions: those that hand on to drivers what came over a wire."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kobox.box.box import Box
from kobox.box.inspect.btf import Btf
from kobox.box.inspect.probes import Hit

_GAP = 64  # bytes between functions of one part
_MOST = 48  # parts
COPIERS = ("memcpy", "__memcpy", "memmove", "__memmove")  # (to, from, size)


def code_of(box: Box, prefixes: Iterable[str]) -> Sequence[tuple[int, int]]:
    """Start and size of the code of all functions whose names begin so; neighbours are one part."""
    symbols = box.inspect.symbols
    first, last = symbols.address("_stext"), symbols.address("_etext")
    areas: list[tuple[int, int]] = []
    for name in {name for prefix in prefixes for name in symbols.matching(prefix)}:
        address = symbols.of_kernel(name)
        if address is not None and first <= address < last:
            areas.append((address, address + symbols.extent(name)))
    parts: list[list[int]] = []
    for start, end in sorted(areas):
        if parts and start <= parts[-1][1] + _GAP:
            parts[-1][1] = max(parts[-1][1], end)
        else:
            parts.append([start, end])
    return [(start, end - start) for start, end in parts[:_MOST]]


def bound_function(btf: Btf, hit: Hit, driver: str, probes: Sequence[str]) -> int:
    """The probe function of a driver, where a bus calls it with the device: the first of these members of the structure
    `driver` that is set."""
    base = int.from_bytes(hit.read(hit.args[0] + btf.offset("device", "driver"), 8), "little")
    whole = base - btf.offset(driver, "driver")
    for name in probes:
        if btf.has(driver, name) and (found := int.from_bytes(hit.read(whole + btf.offset(driver, name), 8), "little")):
            return found
    return 0
