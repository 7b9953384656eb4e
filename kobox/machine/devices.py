"""Devices that Python models: what the kernel reads and writes at their registers, and RAM, interrupts and news.

A machine has sixteen places for them, a page of registers each, which ACPI announces (`acpi.py`). The kernel's access
to a register is a call of `Device.read` or `Device.write`, in the middle of an instruction: what a device does there is
between it and RAM. What concerns anybody else waits until the CPU has stopped: `Bus.ring` asks for that, and
`Device.attend` is then called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from kobox.errors import KoboxError
from kobox.machine.acpi import DEVICE_SLOTS

PAGE = 4096
Restore = Callable[[], None]
"""Gives a device the state back that it had at a checkpoint; may be called any number of times."""


# What it costs the host to move memory for a device, in basic blocks: each time, and the bytes that cost one more.
_MOVE_COST, _MOVE_BYTES = 50, 256
_MOST_WORK = 1 << 24  # for one access: four gigabytes, or a ring without an end


class DeviceWorkError(KoboxError):
    """A device has done too much for one access of its driver."""


class DeviceWork:
    """What devices have done with memory, in basic blocks, since that was last charged to the run's CPU time.

    A driver decides how much a device does: a ring that leads back into itself has no end. So all that a device moves
    is counted here, and one access of the driver (`begin`) gets so much of it and no more.
    """

    __slots__ = ("_began", "blocks")

    def __init__(self) -> None:
        self.blocks = self._began = 0

    def begin(self) -> None:
        """The driver touches a register, or a timer of a device is due."""
        self._began = self.blocks

    def moved(self, size: int, times: int = 1) -> None:
        """A device has read or written `size` bytes, in so many pieces. Raises `DeviceWorkError`."""
        self.blocks += _MOVE_COST * times + size // _MOVE_BYTES
        if self.blocks - self._began > _MOST_WORK:
            raise DeviceWorkError(
                "one access of the driver has made a device move memory without an end",
                hint="A ring or a list in memory that the driver gave the device leads back into itself.",
            )

    def take(self) -> int:
        """What is to be charged; it is counted from 0 again."""
        blocks, self.blocks, self._began = self.blocks, 0, 0
        return blocks


class Attendant(Protocol):
    """Who is called when the CPU has stopped (`Bus.ring`)."""

    def attend(self) -> None: ...


class Device:
    """One device. `bus` is what it is plugged into, `slot` where; set by `Bus.attach`."""

    bus: Bus
    slot: int

    def read(self, offset: int, size: int) -> int:
        """The kernel reads a register of `size` bytes."""
        raise NotImplementedError

    def write(self, offset: int, size: int, value: int) -> None:
        """The kernel writes a register."""
        raise NotImplementedError

    def attend(self) -> None:
        """The device has rung, and the CPU has stopped: pass on what there is."""

    def save(self) -> Restore:
        """For a checkpoint: a function that gives the device the state back that it has now."""
        raise NotImplementedError

    def unplugged(self) -> None:
        """The device was taken out, or the machine went back to a time before it was there."""


class Bus:
    """The places for devices of one machine.

    `interrupt()` raises the interrupt that all share; `stop()` makes the CPU stop before its next block;
    `wrote(address, size)` tells that a device has changed RAM; `work` counts what devices do.
    """

    def __init__(
        self,
        ram: memoryview,
        interrupt: Callable[[], None],
        stop: Callable[[], None],
        wrote: Callable[[int, int], None],
        now: Callable[[], int],
        work: DeviceWork,
    ) -> None:
        self.ram = ram
        self.work = work
        self.interrupt = interrupt
        self.wrote = wrote
        self.now = now
        self._stop = stop
        self.slots: dict[int, Device] = {}
        self._rung: list[Attendant] = []

    @property
    def rung(self) -> bool:
        """Whether a device waits for `attend`."""
        return bool(self._rung)

    def attach(self, device: Device) -> int:
        """Plug a device in; where. Raises `KoboxError` when every place is taken."""
        slot = next((n for n in range(DEVICE_SLOTS) if n not in self.slots), None)
        if slot is None:
            raise KoboxError(
                f"all {DEVICE_SLOTS} places for network cards and disks are taken", hint="Detach a disk first."
            )
        device.bus, device.slot = self, slot
        self.slots[slot] = device
        return slot

    def detach(self, device: Device) -> None:
        """Take a device out."""
        if self.slots.get(device.slot) is device:
            del self.slots[device.slot]
            if device in self._rung:
                self._rung.remove(device)
            device.unplugged()

    def access(self, offset: int, size: int, value: int, write: int) -> int:
        """The kernel reads or writes at `offset` of all devices' registers."""
        slot, register = divmod(offset, PAGE)
        device = self.slots.get(slot)
        if device is None:
            return _NOBODY.get(register, 0)
        if write:
            device.write(register, size, value)
            return 0
        return device.read(register, size)

    def ring(self, device: Attendant) -> None:
        """A device, or a model elsewhere, has something to tell: `attend` is called when the CPU has stopped."""
        if device not in self._rung:
            self._rung.append(device)
        self._stop()

    def attend(self) -> None:
        """Let the devices that have rung tell what they have to."""
        while self._rung:
            self._rung.pop(0).attend()

    def save(self) -> dict[int, tuple[Device, Restore]]:
        """What is plugged in, and what restores its state, for a checkpoint."""
        return {slot: (device, device.save()) for slot, device in self.slots.items()}

    def load(self, state: dict[int, tuple[Device, Restore]]) -> None:
        """Undo `save`: also what was taken out since is there again."""
        self._rung.clear()
        for slot, device in list(self.slots.items()):
            if slot not in state or state[slot][0] is not device:
                self.detach(device)
        for slot, (device, restore) in state.items():
            self.slots[slot] = device
            restore()


# A place where nothing is plugged in is a virtio device of no kind (virtio 1.2, 4.2.2): "virt", version 2, device 0.
_NOBODY = {0: 0x74726976, 4: 2}
