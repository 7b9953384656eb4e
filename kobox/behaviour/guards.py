"""What the processor guards the kernel with, before and after: protection bits, entries of calls and interrupts."""

from __future__ import annotations

from collections.abc import Iterator

from kobox.behaviour.report import Trait
from kobox.box.box import Box

_BREAKPOINTS = ("DR0", "DR1", "DR2", "DR3", "DR7")  # those of perf and ptrace are honest
_ENTRIES = ("STAR", "LSTAR", "CSTAR", "SFMASK", "SYSENTER_EIP", "IDTR", "VBAR_EL1")


class ProcessorGuards:
    """The registers as they were when this was made."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._before = box.machine.guards()

    def traits(self) -> Iterator[Trait]:
        """What has changed since."""
        describe = self._box.inspect.symbols.describe
        for name, now in self._box.machine.guards().items():
            before = self._before[name]
            if now == before:
                continue
            if name in _ENTRIES:
                text = f"{name} was changed: system calls and interrupts lead elsewhere"
                yield Trait("system register", "hostile", text, name, describe(before), describe(now), self._box.time)
            elif name in _BREAKPOINTS:
                text = f"{name} was changed: the processor reports accesses to an address"
                yield Trait("hardware breakpoint", "note", text, name, f"{before:#x}", f"{now:#x}", self._box.time)
            else:
                text = f"protection bits of {name} were changed"
                yield Trait("write protection", "hostile", text, name, f"{before:#x}", f"{now:#x}", self._box.time)
