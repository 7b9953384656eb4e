"""The kernel's code and tables before and after: what was overwritten, and where pointers lead now.

code       _stext … _etext           but for what the kernel patches itself: ftrace, kprobes, static keys
constants  __start_rodata … __end_rodata   the system call table, operations of files and protocols
variables  _sdata … _edata           words that lead into the module now, and led into the kernel's code before
vectors    idt_table
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

from kobox.behaviour.report import Level, Trait
from kobox.box.box import Box
from kobox.box.inspect.probes import Hit, Probe
from kobox.box.inspect.symbols import LoadedAt

_REGIONS = {"code": ("_stext", "_etext"), "constants": ("__start_rodata", "__end_rodata")}
_VARIABLES = ("_sdata", "_edata")
_IDT_SIZE = 4096
_OPERATIONS = re.compile(r"(_ops|_fops|_operations|_seq_ops|_proto|_hooks?|_table)(\.\d+)?$")


class KernelImageDiff:
    """The kernel's image as it was when this was made, to be held against what it is later."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._regions = {name: self._read(*ends) for name, ends in {**_REGIONS, "variables": _VARIABLES}.items()}
        self._idt = self._read_idt()
        self._patched: list[tuple[int, int]] = []
        self._probe = self._watch_patches()

    def close(self) -> None:
        """Watch no more."""
        if self._probe is not None:
            self._probe.remove()

    def traits(self, module: LoadedAt | None) -> Iterator[Trait]:
        """What has changed since."""
        inside = module.__contains__ if module is not None else lambda _: False
        yield from self._code()
        yield from self._words("constants", inside)
        yield from self._words("variables", inside)
        now = self._read_idt()
        for vector in range(min(len(self._idt), len(now)) // 16):
            before, after = (_gate(table, vector) for table in (self._idt, now))
            if before != after:
                yield Trait(
                    "interrupt table",
                    "hostile",
                    f"the handler of vector {vector} was replaced",
                    "idt_table",
                    self._name(before),
                    self._name(after),
                    self._box.time,
                )

    def _watch_patches(self) -> Probe | None:
        """Learn what the kernel patches by its own means; a module that calls the function itself is no excuse."""
        if "__text_poke" not in self._box.inspect.symbols:
            return None

        def poked(hit: Hit) -> None:
            self._patched.append((hit["addr"], hit["len"]))

        return self._box.probe("__text_poke", poked)

    def _code(self) -> Iterator[Trait]:
        start, before = self._regions["code"]
        _, now = self._read(*_REGIONS["code"])
        told = ""
        for at in _changes(before, now, 1):
            address = start + at
            if any(first <= address < first + size for first, size in self._patched):
                continue
            symbol = self._name(address)
            if (name := symbol.partition("+")[0]) != told:
                told = name
                old, new = before[at : at + 12].hex(" "), now[at : at + 12].hex(" ")
                yield Trait("kernel code", "hostile", f"{name} was overwritten", symbol, old, new, self._box.time)

    def _words(self, region: str, inside: Callable[[int], bool]) -> Iterator[Trait]:
        start, before = self._regions[region]
        _, now = self._read(*({**_REGIONS, "variables": _VARIABLES}[region]))
        for at in _changes(before, now, 8):
            (old,), (new,) = struct.unpack_from("<Q", before, at), struct.unpack_from("<Q", now, at)
            if region != "constants" and not (inside(new) and self._is_code(old)):
                continue
            symbol = self._name(start + at)
            evidence = (symbol, self._name(old), self._name(new), self._box.time)
            if region == "constants":
                kind = "system call table" if symbol.startswith("sys_call_table") else "constant data"
                yield Trait(kind, "hostile", f"{symbol.partition('/')[0]} was overwritten", *evidence)
            else:
                name = symbol.partition("+")[0]
                level: Level = "hostile" if _OPERATIONS.search(name) else "suspicious"
                text = f"{name} led to {self._name(old).partition('+')[0]} and leads into the module now"
                yield Trait("function pointer", level, text, *evidence)

    def _is_code(self, address: int) -> bool:
        start, code = self._regions["code"]
        return start <= address < start + len(code)

    def _read(self, first: str, last: str) -> tuple[int, bytes]:
        find = self._box.inspect.symbols.of_kernel
        start, end = find(first), find(last)
        if start is None or end is None or end <= start:
            return 0, b""
        with suppress(ValueError):
            return start, self._box.inspect.memory.read(start, end - start)
        out = bytearray()
        for page in range(start, end, 4096):
            try:
                out += self._box.inspect.memory.read(page, min(4096, end - page))
            except ValueError:  # freed since boot, or unmapped
                out += bytes(min(4096, end - page))
        return start, bytes(out)

    def _read_idt(self) -> bytes:
        table = self._box.inspect.symbols.of_kernel("idt_table")
        try:
            return self._box.inspect.memory.read(table, _IDT_SIZE) if table is not None else b""
        except ValueError:
            return b""

    def _name(self, value: int) -> str:
        return self._box.inspect.symbols.describe(value)


def _changes(before: bytes, now: bytes, step: int) -> Iterator[int]:
    """Offsets, multiples of `step`, at which the two differ."""
    for page in range(0, min(len(before), len(now)), 4096):
        if before[page : page + 4096] == now[page : page + 4096]:
            continue
        for at in range(page, min(page + 4096, len(before) - step + 1, len(now) - step + 1), step):
            if before[at : at + step] != now[at : at + step]:
                yield at


def _gate(table: bytes, vector: int) -> int:
    """The handler's address in an interrupt gate (Intel SDM 3A, figure 6-8)."""
    low, _, _, middle, high = struct.unpack_from("<HHHHI", table, 16 * vector)
    return int(low | middle << 16 | high << 32)
