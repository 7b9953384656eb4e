"""A virtio device of which nothing is known but its type: configuration registers and answers in queues by a policy.

configuration register 0x04         asked of the policy
a buffer with something to read     a request: its room is filled by the policy, and it is given back
a buffer that is only room          for what the device has to tell: the first two of a queue are filled
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from kobox.devices.phantom_aliases import some
from kobox.devices.phantom_policy import VIRTQUEUE, Policy, PolicyAnswers, RegisterAt
from kobox.devices.virtio import VirtioBuffer, VirtioModel

QUEUES = 16
TRANSPORT_FEATURES = 0x1FF << 24 | 0x1FF << 33
"""Feature bits of queues and transports (VIRTIO 1.2, chapter 6), which are not the device's own."""
_ALIAS = re.compile(r"virtio:d([0-9A-F]{8})v(\*|[0-9A-F]{8})\*?")
_ANSWERED = 64  # bytes of one buffer
_MOST_UNASKED = 2
_MOST_BUFFERS = 1 << 12


class VirtioIdentity(NamedTuple):
    """Whom a driver's table waits for: the type of the device; the feature bits that it offers."""

    kind: int
    features: int = 0

    def __str__(self) -> str:
        return f"type {self.kind}" + (f" with features {self.features:#x}" if self.features else "")


class PhantomVirtio(PolicyAnswers, VirtioModel):
    """A phantom on the virtio bus."""

    queue_count = QUEUES
    vectors = 1

    def __init__(self) -> None:
        super().__init__()
        self.filled: Callable[[int, int], int] | None = None
        """Told of memory that was filled, its physical address and size; the number of the first byte's read."""
        self._unasked = [0] * QUEUES
        self._buffers = 0

    @property
    def wanted_name(self) -> str:
        """What the driver's table calls it."""
        return f"virtio type {self.device_type}"

    def reset(self) -> None:
        self._unasked = [0] * QUEUES

    def read_configuration(self, offset: int, size: int) -> int:
        number = self.host.reads_on_bus if self.host is not None else 0
        return self.answer(RegisterAt(0, offset), size, None, number)

    def configure(self, offset: int, size: int, value: int) -> None:
        self.keep(RegisterAt(0, offset), size, value)

    def interrupt(self, vector: int = 0) -> None:
        """Say that the configuration has changed."""
        if not self.is_silent and self.plugged:
            self.changed()

    def notified(self, queue: int) -> None:
        while self._buffers < _MOST_BUFFERS and (buffer := self.next_buffer(queue)) is not None:
            self._buffers += 1
            is_request = buffer.room < sum(part.size for part in buffer.segments)
            if self.is_silent or self.next_is_refused() or not (is_request or self._unasked[queue] < _MOST_UNASKED):
                continue
            self._unasked[queue] += not is_request
            self._fill(queue, buffer)
            buffer.done()

    def _fill(self, queue: int, buffer: VirtioBuffer) -> None:
        place = 0
        for part in buffer.segments:
            size = min(part.size, _ANSWERED - place)
            if not part.writable or size <= 0:
                continue
            first = len(self.reads)
            registers = [RegisterAt(VIRTQUEUE + queue, place + n) for n in range(size)]
            data = bytes(self.answer(register, 1) for register in registers)
            buffer.write(data, place)
            if self.filled is not None:
                number = self.filled(part.address, size)
                for n in range(first, len(self.reads)):
                    self.reads[n] = self.reads[n]._replace(number=number + n - first)
            place += size


def virtio_identities(aliases: Iterable[str], most: int = 2) -> list[VirtioIdentity]:
    """Whom a device may be for a driver with these aliases: one that offers nothing of its own, and one that offers
    everything."""
    kinds = dict.fromkeys(int(found[1], 16) for alias in aliases if (found := _ALIAS.fullmatch(alias)))
    own = (1 << 64) - 1 & ~TRANSPORT_FEATURES
    return [VirtioIdentity(kind, features) for kind in some(list(kinds), most) for features in (0, own)]


def phantom_virtio(identity: VirtioIdentity, policy: Policy) -> PhantomVirtio:
    """A device that is `identity` and answers by `policy`."""
    members = {"policy": policy, "device_type": identity.kind, "feature_bits": identity.features}
    made = type("Phantom", (PhantomVirtio,), members)()
    assert isinstance(made, PhantomVirtio)
    return made
