"""Devices on the board: windows of memory and ports, and interrupt lines, which ACPI announces at run time.

    windows lie behind what the PCI host bridge passes on:  0xFD000000 …   and ports 0xF000 …
    lines are inputs of the interrupt controller that nothing else uses

A table that describes the device is put at `acpi.LOAD_AT`, and the kernel loads it from there when it evaluates _SUN of
the last place for virtio devices, which is when somebody reads its `sun` in /sys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from kobox.errors import KoboxError
from kobox.machine.devices import Restore
from kobox.machine.pci_function import Bar, BarKind, Space

MEMORY_FIRST, MEMORY_LAST = 0xFD000000, 0xFE000000
PORTS_FIRST, PORTS_LAST = 0xF000, 0x10000
LINES = (12, 14, 6)


class RegisterBackend(Protocol):
    """What answers in the windows of a device."""

    def bar_read(self, bar: int, offset: int, size: int) -> int: ...
    def bar_write(self, bar: int, offset: int, size: int, value: int) -> None: ...
    def save(self) -> Restore: ...


class Window(NamedTuple):
    """A window of registers: where it is, and which of the model's it is."""

    space: Space
    address: int
    bar: Bar
    model: RegisterBackend


class PlatformBus:
    """The devices on the board of one machine. `line` sets an input of the interrupt controller, one of `inputs`."""

    def __init__(self, line: Callable[[int, bool], None], inputs: Sequence[int] = LINES) -> None:
        self._line = line
        self._inputs = inputs
        self.used = 0  # bytes of the memory for what announces devices
        self.windows: list[Window] = []
        self.models: list[RegisterBackend] = []
        self._lines: dict[RegisterBackend, tuple[int, ...]] = {}
        self._high: set[tuple[int, int]] = set()  # (line, number of the model) that are held high
        self._made = 0

    @property
    def made(self) -> int:
        """How many devices there ever were: names in ACPI's namespace are not used again."""
        return self._made

    def take_number(self) -> int:
        """A number for a name in ACPI's namespace."""
        self._made += 1
        return self._made - 1

    def attach(self, model: RegisterBackend, bars: Sequence[Bar], interrupts: int) -> list[Window]:
        """Put a device on the board; its windows. Raises `KoboxError` when there is no room."""
        made = [self._place(model, bar) for bar in bars]
        first = self.take_number()
        self.models.append(model)
        self._lines[model] = tuple(self._inputs[(first + n) % len(self._inputs)] for n in range(interrupts))
        return made

    def _place(self, model: RegisterBackend, bar: Bar) -> Window:
        space = Space.PORTS if bar.kind is BarKind.PORTS else Space.MEMORY
        first, last = (PORTS_FIRST, PORTS_LAST) if space is Space.PORTS else (MEMORY_FIRST, MEMORY_LAST)
        size = max(bar.size, 0x1000) if space is Space.MEMORY else bar.size
        at = first
        for window in sorted(self.windows, key=lambda window: window.address):
            if window.space is space:
                at = max(at, window.address + max(window.bar.size, 0x1000 if space is Space.MEMORY else 0))
        at = at + size - 1 & -size
        if at + size > last:
            raise KoboxError(f"{bar.size:#x} bytes: no room is left for registers of devices on the board")
        window = Window(space, at, bar, model)
        self.windows.append(window)
        return window

    def lines(self, model: RegisterBackend) -> tuple[int, ...]:
        """The interrupt lines of a device."""
        return self._lines.get(model, ())

    def detach(self, model: RegisterBackend) -> None:
        """Take a device off: reads of its registers give ones from now on."""
        if model in self.models:
            number = self.models.index(model)
            for line in self.lines(model):
                self.level(model, line, False)
            self.models[number] = _GONE
            self.windows = [window for window in self.windows if window.model is not model]
            del self._lines[model]

    def level(self, model: RegisterBackend, line: int, high: bool) -> None:
        """A device holds a line high or low; it is high as long as any does."""
        before = any(held == line for held, _ in self._high)
        key = (line, self.models.index(model))
        (self._high.add if high else self._high.discard)(key)
        if before != any(held == line for held, _ in self._high):
            self._line(line, not before)

    def find(self, space: int, address: int) -> tuple[Window, int] | None:
        """The window that an address is in, and the offset there."""
        for window in self.windows:
            offset = address - window.address
            if window.space == space and 0 <= offset < window.bar.size:
                return window, offset
        return None

    def access(self, window: Window, offset: int, size: int, value: int, write: int) -> int:
        """The kernel's access to a register; what a read gives."""
        if write:
            window.model.bar_write(window.bar.number, offset, size, value)
            return 0
        return window.model.bar_read(window.bar.number, offset, size)

    def save(self) -> Restore:
        """For a checkpoint: a function that brings back what is on the board, and its state."""
        windows, models, lines = list(self.windows), list(self.models), dict(self._lines)
        high, made, used = set(self._high), self._made, self.used
        undo = [model.save() for model in models]

        def restore() -> None:
            self.windows, self.models, self._lines = list(windows), list(models), dict(lines)
            self._high, self._made, self.used = set(high), made, used
            for one in undo:
                one()

        return restore


class _Gone:
    """The place of a device that was taken off."""

    def bar_read(self, bar: int, offset: int, size: int) -> int:
        return (1 << 8 * size) - 1

    def bar_write(self, bar: int, offset: int, size: int, value: int) -> None:
        return

    def save(self) -> Restore:
        return lambda: None


_GONE = _Gone()
