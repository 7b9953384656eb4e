"""Virtio devices of any type as models: queues of buffers that the driver offers.

    class Rng(VirtioModel):
        device_type = 4

        def notified(self, queue):
            for buffer in self.buffers(queue):
                buffer.write(b"random")
                buffer.done()

The transport (registers in memory, feature bits, queues) is `kobox.machine.virtio`. A driver that writes nonsense into
a queue breaks the device until it is reset, as the specification says.

Source: Virtual I/O Device (VIRTIO) 1.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Protocol

from kobox.devices.errors import model_errors
from kobox.devices.model import NO_STATE, HostedModel, ModelHost
from kobox.devices.state import Restore, save_state
from kobox.errors import KoboxError
from kobox.machine.virtio import Buffer, DmaSegment, VirtioDevice

_LARGEST = 64 << 20  # bytes of one buffer


class VirtioBuffer:
    """One buffer that the driver has offered: what it wrote, and the room for the device's answer."""

    def __init__(self, transport: VirtioTransport, queue: int, buffer: Buffer) -> None:
        self._transport, self._queue, self._buffer = transport, queue, buffer
        self._written = 0

    def read(self) -> bytes:
        """All that the driver has written for the device."""
        ram = self._transport.bus.ram
        parts = [s for s in self._buffer.segments if not s.writable]
        if sum(part.size for part in parts) > _LARGEST:
            return b""
        self._transport.bus.work.moved(sum(part.size for part in parts), len(parts))
        return b"".join(bytes(ram[part.address : part.address + part.size]) for part in parts)

    @property
    def segments(self) -> Sequence[DmaSegment]:
        """Its pieces in RAM."""
        return self._buffer.segments

    @property
    def room(self) -> int:
        """How many bytes the device may write."""
        return sum(part.size for part in self._buffer.segments if part.writable)

    def write(self, data: bytes, at: int = 0) -> int:
        """Write into the room, from the byte `at`: how many bytes fitted."""
        start = 0
        left = memoryview(data)
        for part in self._buffer.segments:
            if not part.writable:
                continue
            inside = at - start
            if 0 <= inside < part.size and len(left):
                piece = left[: part.size - inside]
                self._transport.fill_at(part.address + inside, piece)
                left, at = left[len(piece) :], at + len(piece)
            start += part.size
        self._written = max(self._written, at)
        return len(data) - len(left)

    def done(self) -> None:
        """Give the buffer back to the driver, which is interrupted when it wants that."""
        self._transport.done(self._queue, self._buffer.head, self._written)


class VirtioHost(ModelHost, Protocol):
    """The box's side of a virtio device."""

    @property
    def reads_on_bus(self) -> int: ...


class VirtioModel(HostedModel):
    """A virtio device: subclass it, and say what happens in `notified`.

    `device_type` is the number of chapter 5 of the specification (4 entropy, 8 SCSI host, 18 input …); `feature_bits`
    is what the device offers beside VERSION_1.
    """

    bus: ClassVar[str] = "virtio"
    device_type: ClassVar[int] = 0
    queue_count: ClassVar[int] = 1
    feature_bits: ClassVar[int] = 0

    host: VirtioHost | None = None
    _transport: VirtioTransport | None = None

    def notified(self, queue: int) -> None:
        """The driver has put buffers into a queue: take them by `self.buffers(queue)`."""

    def configuration(self) -> bytes:
        """The device's own configuration registers."""
        return b""

    def read_configuration(self, offset: int, size: int) -> int:
        """The driver reads a configuration register of `size` bytes: what `configuration` has there."""
        return int.from_bytes(self.configuration()[offset : offset + size], "little")

    def configure(self, offset: int, size: int, value: int) -> None:
        """The driver writes a configuration register."""

    def reset(self) -> None:
        """Power on, or the driver resets the device."""

    def buffers(self, queue: int) -> Iterator[VirtioBuffer]:
        """The buffers that wait in a queue, each taken out of it."""
        transport = self.transport
        while (buffer := transport.queues[queue].pop()) is not None:
            yield VirtioBuffer(transport, queue, buffer)

    def next_buffer(self, queue: int) -> VirtioBuffer | None:
        """One buffer of a queue; None when there is none."""
        return next(self.buffers(queue), None)

    def changed(self) -> None:
        """Tell the driver that the configuration has changed."""
        self.transport.changed()

    @property
    def transport(self) -> VirtioTransport:
        """Its registers and queues. Raises `KoboxError` when it is not plugged in."""
        if self._transport is None:
            raise KoboxError(f"{type(self).__name__} is not plugged in")
        return self._transport

    def connect(self, ram: memoryview) -> VirtioTransport:
        """Make the registers and queues of a device that is to be plugged in."""
        self._transport = VirtioTransport(ram, self)
        return self._transport

    def save(self) -> Restore:
        """For a checkpoint: a function that gives the attributes back as they are now."""
        return save_state(self, {"_transport", *NO_STATE})


class VirtioTransport(VirtioDevice):
    """The registers and queues of a `VirtioModel`."""

    def __init__(self, ram: memoryview, model: VirtioModel) -> None:
        self.model = model
        self.kind = model.device_type
        self.queue_count = model.queue_count
        self.features = VirtioDevice.features | model.feature_bits
        super().__init__(ram)

    def _reset(self) -> None:
        super()._reset()
        with model_errors(self.model):
            self.model.reset()

    def read_configuration(self, offset: int, size: int) -> int:
        with model_errors(self.model):
            return self.model.read_configuration(offset, size)

    def configure(self, offset: int, size: int, value: int) -> None:
        with model_errors(self.model):
            self.model.configure(offset, size, value)

    def notified(self, queue: int) -> None:
        with model_errors(self.model):
            self.model.notified(queue)

    def fill_at(self, address: int, data: memoryview) -> None:
        """Write RAM."""
        self.bus.work.moved(len(data))
        self.bus.ram[address : address + len(data)] = data
        self.bus.wrote(address, len(data))

    def save(self) -> Restore:
        transport, model = super().save(), self.model.save()

        def restore() -> None:
            transport()
            model()

        return restore
