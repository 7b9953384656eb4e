"""Tail calls: a function of the module that ends in a jump to a function of the kernel leaves no frame on the stack.

    static int hello_init(void)          call trace of what register_reboot_notifier() does:
    {                                        blocking_notifier_chain_register+0x12
        return register_reboot_               <- no frame of hello_init: it ended in "jmp register_reboot_notifier",
               notifier(&nb);                    and that one in "jmp blocking_notifier_chain_register"
    }                                        do_one_initcall+0x56

The jump is known from the module's relocations (`call_sites`), and that it was executed from the watcher: where only
one such jump leads into the functions of a trace, it is the frame that is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from kobox.arch.code import Flow
from kobox.box.box import Box
from kobox.checks.module.callsites import CallSite, call_sites, code_sections
from kobox.checks.module.layout import Placement
from kobox.errors import KoboxError
from kobox.ko.modulefile import ModuleFile

_CODE = 512  # bytes of a kernel function that are looked at for a jump at its end
_JUMPS = 3  # functions of the kernel that jump on to the next, at most


class TailCalls:
    """The tail calls of one module into the kernel of one box."""

    def __init__(self, box: Box, file: ModuleFile) -> None:
        self._box = box
        self._numbers = code_sections(file.elf)
        self._sizes = {name: file.elf.section_at(number).size for name, number in self._numbers.items()}
        self._sites = [site for site in call_sites(file.elf) if site.tail and site.function]
        self._leads: dict[str, frozenset[str]] = {}
        self._executed: set[CallSite] = set()

    def note_executed(self, placement: Placement) -> None:
        """Remember which of the jumps were executed, while the watcher still knows."""
        for section, size in self._sizes.items():
            start = placement.starts.get(self._numbers[section])
            here = [site for site in self._sites if site.section == section and site not in self._executed]
            if start is None or not here:
                continue
            with suppress(KoboxError):
                flags = self._box.inspect.watch.executed(start, size)
                self._executed.update(site for site in here if flags[site.offset])

    def find(self, functions: Sequence[str], placement: Placement) -> tuple[int, int] | None:
        """Of a trace without a frame of the module, given as the functions of the kernel in it (innermost first): the
        address of the jump that is missing, and how many of the functions are inside of it. None when it cannot be
        told."""
        found: dict[int, int] = {}
        self.note_executed(placement)
        for site in self._executed:
            start = placement.starts.get(self._numbers[site.section])
            inside = self._inside(site.function, functions)
            if start is not None and inside:
                found[start + site.offset] = inside
        return next(iter(found.items())) if len(found) == 1 else None

    def _inside(self, function: str, functions: Sequence[str]) -> int:
        """How many of the functions of a trace were called by the one that the module jumped to, with that one."""
        reached = {function, *self._reached_by(function)}
        return max((n + 1 for n, name in enumerate(functions) if name in reached), default=0)

    def _reached_by(self, function: str) -> frozenset[str]:
        """The functions of the kernel that one jumps to as its last act, and those that these jump to."""
        if function not in self._leads:
            reached: set[str] = set()
            waiting = [function]
            for _ in range(_JUMPS):
                waiting = [other for one in waiting for other in self._jumps(one) if other not in reached]
                reached.update(waiting)
            self._leads[function] = frozenset(reached)
        return self._leads[function]

    def _jumps(self, function: str) -> list[str]:
        symbols = self._box.inspect.symbols
        start = symbols.of_kernel(function)
        if start is None:
            return []
        try:
            code = self._box.machine.read(start, _CODE)
        except ValueError:
            return []
        found = []
        for instruction in self._box.arch.code.instructions(code, 0, len(code)):
            symbol = symbols.lookup(start + instruction.offset)
            if symbol is None or symbol.address != start:
                break  # the next function
            if instruction.flow is Flow.JUMP and instruction.target is not None:
                target = symbols.lookup(start + instruction.target)
                if target is not None and target.address == start + instruction.target != start:
                    found.append(target.name)
        return found
