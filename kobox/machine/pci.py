"""The PCI bus of the machine: which function an access is for.

    bus.attach(PciFunction(model, identity, bars))     a device is plugged in; the kernel finds it when it scans the bus

Bus 0 has 32 places for devices; place 0 is the host bridge. Other buses are behind bridges (`pci_bridge.py`). Pin A
of place n is IRQ 10 or 11, level triggered, as the ACPI tables say (`acpi.py`); a device behind a bridge has the wire
of that. The 4096 bytes of configuration space of a PCI Express function lie in memory as well (ECAM; PCI Firmware
Specification 3.2, 4.1). What the CPU does with all that: `native/pci.c`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from kobox.errors import KoboxError
from kobox.machine.acpi import ECAM, ECAM_SIZE, PCI_IRQS, PCI_PLACES
from kobox.machine.card_memory import CardMemory
from kobox.machine.devices import DeviceWork, Restore
from kobox.machine.pci_bridge import BridgeFunction
from kobox.machine.pci_function import Found, NoModel, PciFunction, PciIdentity, Segment, Space

_FUNCTIONS = 8  # of one device
_MEMORY = int(Space.MEMORY)
_NOWHERE: tuple[int, int, Found | None] = (0, 0, None)
Elsewhere = Callable[[int, int], int]
"""What a port says, by its number and the size of the read."""


class PciBus:
    """The buses of one machine. `message` sends an interrupt as MSI does, `pulse` and `line` use the wires."""

    def __init__(
        self,
        ram: memoryview,
        message: Callable[[int, int], None],
        pulse: Callable[[int], None],
        line: Callable[[int, bool], None],
        wrote: Callable[[int, int], None],
        work: DeviceWork,
        card_memory: CardMemory | None = None,
        all_ports: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._all_ports = all_ports
        self.card_memory = card_memory or CardMemory(lambda *_: False, lambda: None)
        self.ram = ram
        self.work = work
        self.message = message
        self.pulse = pulse
        self.wrote = wrote
        self._line = line
        self._elsewhere: Elsewhere | None = None
        # Whose memory was accessed last, from where to where: the next access is of the same BAR mostly. Who writes
        # configuration space may move it.
        self._last: tuple[int, int, Found | None] = _NOWHERE
        self._apart: bool | None = None  # whether no BAR of memory lies where another one is, once that was asked
        self.missed: Callable[[int], None] | None = None
        """Told of a read of configuration space on bus 0 where no function is: its place."""
        self.reads = 0
        """How many reads of devices there were, `Space.DMA` among them (`kobox.machine.taint`)."""
        self._high: dict[int, set[PciFunction]] = {irq: set() for irq in PCI_IRQS}  # who holds a wire high
        self._root = Segment(lambda: 0)
        self._host = PciFunction(NoModel(), PciIdentity(0x1B36, 0x0008, 0x060000, vectors=0, pin=0), ())
        self._root.functions[0] = self._host
        self._host.plugged(self, self._root, 0)

    def play_ports(self, elsewhere: Elsewhere | None) -> None:
        """Ask somebody what ports say that no device has; None: they say ones."""
        self._elsewhere = elsewhere
        self._all_ports(elsewhere is not None)

    @property
    def functions(self) -> dict[int, PciFunction]:
        """What is plugged into bus 0, by device number times 8 plus function number, without the host bridge."""
        return {devfn: function for devfn, function in self._root.functions.items() if devfn}

    @property
    def next_place(self) -> int | None:
        """The place that the next device is plugged into; None when the bus is full."""
        return self._root.next_place(range(1, PCI_PLACES))

    def attach(self, function: PciFunction, *others: PciFunction, place: int = 0, numbers: Sequence[int] = ()) -> int:
        """Plug a device in, with its other functions; its place, which is `place`, or the next that is free. The other
        functions have these numbers, or 1, 2, …. Raises `KoboxError` when the bus is full, the place is taken, or the
        device has too many functions."""
        free = self._root.next_place(n for n in range(1, PCI_PLACES) if place in (0, n))
        if free is None and place:
            raise KoboxError(f"place {place} of the PCI bus is taken, or there is none", hint="Choose another place.")
        if free is None:
            raise KoboxError(f"all {PCI_PLACES - 1} places of the PCI bus are taken", hint="Unplug a device first.")
        self._moved()
        place, whole = free, (function, *others)
        taken = (0, *(numbers or range(1, len(whole))))
        if len(whole) > _FUNCTIONS:
            raise KoboxError(f"a PCI device of {len(whole)} functions: {_FUNCTIONS} are the most")
        if len({*taken}) < len(taken) or not all(0 <= number < _FUNCTIONS for number in taken):
            raise KoboxError(f"functions {', '.join(map(str, taken))} of a PCI device: each has its own, 0 to 7")
        for number, one in zip(taken, whole, strict=True):
            one.is_multifunction = len(whole) > 1
            one.virtual_offset = self._room_for(one, place * 8 + number)
            self._root.functions[place * 8 + number] = one
            one.plugged(self, self._root, place, number)
        return place

    def _room_for(self, function: PciFunction, devfn: int) -> int:
        """How far behind it its virtual functions are: at the last places of the bus. Raises `KoboxError`."""
        if not (count := len(function.features.virtual)):
            return 0
        wanted = (count + _FUNCTIONS - 1) // _FUNCTIONS
        for first in range(PCI_PLACES - wanted, devfn >> 3, -1):
            if all(self._root.next_place((place,)) is not None for place in range(first, first + wanted)):
                return first * 8 - devfn
        raise KoboxError(f"no places are left on the bus for {count} virtual functions", hint="Unplug a device first.")

    def detach(self, function: PciFunction) -> None:
        """Take a function out: reads of it give ones from now on."""
        segment = function.segment
        self._moved()
        self.card_memory.forget(function)
        if segment is not None and segment.functions.get(devfn := function.place * 8 + function.number) is function:
            for one in (function, *function.features.virtual, *function.behind()):
                self.level(one, False)
            del segment.functions[devfn]
            function.plugged(None, None, -1)

    def irq_of(self, function: PciFunction) -> int:
        """The wire of a function: that of its place on bus 0, or of the bridge that it is behind."""
        while (bridge := self.above(function)) is not None:
            function = bridge
        return PCI_IRQS[function.place % len(PCI_IRQS)]

    def above(self, function: PciFunction) -> PciFunction | None:
        """The bridge that a function is behind; None on bus 0."""
        return next((one for one in self._bridges() if one.below is function.segment), None)

    def level(self, function: PciFunction, high: bool) -> None:
        """A function holds its wire high or low; the wire is high as long as any does."""
        irq = self.irq_of(function)
        before = bool(self._high[irq])
        (self._high[irq].add if high else self._high[irq].discard)(function)
        if before != bool(self._high[irq]):
            self._line(irq, not before)

    def access(self, space: int, at: int, size: int, value: int, write: int) -> int:
        """The kernel's access, as `native/pci.c` hands it on; what a read gives."""
        if not write:
            self.reads += 1
        start, end, last = self._last
        if start <= at < end and space == _MEMORY and last is not None:
            if write:
                last.function.write(last.bar, at - start, size, value)
                return 0
            return last.function.read(last.bar, at - start, size)
        if space == Space.CONFIG:
            return self._config_access(at >> 16, at >> 8 & 255, at & 255, size, value, write)
        if space == Space.DMA:
            for function in self._root.walk():
                value = function.shared_read(at, size, value)
            return value
        if space == Space.MEMORY and 0 <= (offset := at - ECAM) < ECAM_SIZE:
            return self._config_access(offset >> 20, offset >> 12 & 255, offset & 4095, size, value, write)
        found = self._find(Space(space), at)
        if found is None:
            if self._elsewhere is not None and space == Space.PORTS and not write:
                return self._elsewhere(at, size)
            return -1 & (1 << 8 * size) - 1
        if space == _MEMORY and self._are_apart():
            self._last = at - found.offset, at - found.offset + found.bar.size, found
        if write:
            found.function.write(found.bar, found.offset, size, value)
            return 0
        return found.function.read(found.bar, found.offset, size)

    def _moved(self) -> None:
        """BARs may be elsewhere now."""
        self._last, self._apart = _NOWHERE, None

    def _are_apart(self) -> bool:
        if self._apart is None:
            memory = ((one.base(bar), bar.size) for one in self._root.walk() for bar in one.bars if not bar.is_ports)
            rows = sorted(row for row in memory if row[0])
            self._apart = all(first + size <= following for (first, size), (following, _) in pairwise(rows))
        return self._apart

    def _find(self, space: Space, address: int) -> Found | None:
        for function in self._root.functions.values():
            if (found := function.find(space, address)) is not None:
                return found
        return None

    def _config_access(self, bus: int, devfn: int, register: int, size: int, value: int, write: int) -> int:
        segment = self._root if bus == 0 else next((one.below for one in self._bridges() if one.below.bus == bus), None)
        function = segment.at(devfn) if segment is not None else None
        if function is None:
            if self.missed is not None and bus == 0 and not write:
                self.missed(devfn)
            return -1 & (1 << 8 * size) - 1
        if write:
            self._moved()
            function.config_write(register, size, value)
            return 0
        return function.config_read(register, size)

    def _bridges(self) -> Sequence[BridgeFunction]:
        return [function for function in self._root.walk() if isinstance(function, BridgeFunction)]

    def save(self) -> dict[int, tuple[PciFunction, Restore]]:
        """What is plugged in, and its state, for a checkpoint."""
        return {devfn: (function, function.save()) for devfn, function in self._root.functions.items()}

    def load(self, state: dict[int, tuple[PciFunction, Restore]]) -> None:
        """Undo `save`: what was taken out since is there again, what was plugged in since is not."""
        self._moved()
        self.card_memory.forget()
        for devfn, function in self.functions.items():
            if devfn not in state or state[devfn][0] is not function:
                self.detach(function)
        for high in self._high.values():
            high.clear()  # the levels themselves are the PIC's, which has gone back as well
        for devfn, (function, restore) in state.items():
            if self._root.functions.get(devfn) is not function:
                self._root.functions[devfn] = function
                function.plugged(self, self._root, devfn >> 3, devfn & 7)
            restore()
