"""What can be seen of a kernel from outside: names, types, memory, objects, stacks. Made when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kobox.arch.arch import Arch
from kobox.arch.unwind import KernelView, Unwinder
from kobox.box.inspect.memory import GuestMemory
from kobox.box.inspect.vmcoreinfo import VmCoreInfo
from kobox.errors import KoboxError
from kobox.machine.pc import Machine

if TYPE_CHECKING:
    from kobox.box.inspect.layout_cache import LayoutCache
    from kobox.box.inspect.objects import Objects
    from kobox.box.inspect.probes import Probes
    from kobox.box.inspect.symbols import Symbols
    from kobox.machine.watch import Watch


class Inspector:
    """Looks into the kernel of one box: `box.inspect`. `place` is where caches are kept, if anywhere; `kept` gives the
    kernel's tables as they were when it had booted (`Symbols.tables`); `read_kallsyms` reads /proc/kallsyms of a kernel
    whose symbol table cannot be found in memory."""

    def __init__(
        self,
        machine: Machine,
        facts: VmCoreInfo,
        place: Path | None,
        kept: Callable[[str], bytes | None],
        read_kallsyms: Callable[[], bytes],
    ) -> None:
        self._machine = machine
        self._facts = facts
        self._place = place
        self._kept = kept
        self._read_kallsyms = read_kallsyms
        self._symbols: Symbols | None = None
        self._layout: LayoutCache | None = None
        self._objects: Objects | None = None
        self._unwinder: Unwinder | None = None
        self._probes: Probes | None = None
        self._watch: Watch | None = None
        self._closed = False
        # How often the box has gone back in time: what was read from its memory before may not be so any more.
        self.generation = 0
        # What others have found out of this kernel, for as long as the box is open.
        self.cache: dict[str, Any] = {}

    @property
    def arch(self) -> Arch:
        """The architecture of the box's CPU."""
        return self._machine.arch

    @property
    def facts(self) -> VmCoreInfo:
        """What the kernel publishes of itself."""
        return self._facts

    @property
    def symbols(self) -> Symbols:
        """Addresses and names."""
        if self._symbols is None:
            from kobox.box.inspect.symbols import Symbols

            self._symbols = Symbols(self._machine, self._facts, self._kept, self._read_kallsyms)
        return self._symbols

    @property
    def layout(self) -> LayoutCache:
        """Where the kernel's variables and the members of its structures are."""
        if self._layout is None:
            from kobox.box.inspect.layout_cache import LayoutCache

            self._layout = LayoutCache(lambda: self.symbols, self._place / "places" if self._place else None)
        return self._layout

    @property
    def memory(self) -> GuestMemory:
        """The box's memory, virtual and physical."""
        return GuestMemory(self._machine)

    @property
    def objects(self) -> Objects:
        """The kernel's objects in memory, by BTF."""
        self._must_be_open()
        if self._objects is None:
            from kobox.box.inspect.objects import Objects

            self._objects = Objects(self._machine, self.layout)
        return self._objects

    @property
    def kernel_view(self) -> KernelView:
        """The kernel as what walks its stacks sees it."""
        machine = self._machine
        return KernelView(machine.registers, machine.read, self.symbols, lambda: self.generation)

    @property
    def unwinder(self) -> Unwinder:
        """Which calls have led to where the CPU is."""
        self._must_be_open()
        if self._unwinder is None:
            self._unwinder = self._machine.arch.unwinder(self.kernel_view)
        return self._unwinder

    @property
    def probes(self) -> Probes:
        """All probes of the box."""
        if self._probes is None:
            from kobox.box.inspect.probes import Probes

            self._probes = Probes(self._machine, self.symbols)
        return self._probes

    @property
    def watch(self) -> Watch:
        """The watcher of memory and of modules' instructions."""
        self._must_be_open()
        if self._watch is None:
            from kobox.machine.watch import Watch

            self._watch = Watch(self._machine)
            for name, register in self._machine.arch.code.indirect_jumps.items():
                if (address := self.symbols.of_kernel(name)) is not None:
                    self._watch.thunk(address, register)
        return self._watch

    def restored(self) -> None:
        """The box has gone back in time."""
        self.generation += 1
        if self._probes is not None:
            self._probes.follow()
        if self._watch is not None:
            self._watch.restored()

    def close(self) -> None:
        """The box is closed: write down what was looked up."""
        self._closed = True
        if self._layout is not None:
            self._layout.keep()

    def _must_be_open(self) -> None:
        if self._closed:
            raise KoboxError("the box is closed")
