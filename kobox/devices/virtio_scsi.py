"""A SCSI host adapter of virtio's (`virtio_scsi`) with disks, drives and tapes on it.

    box.plug(VirtioScsi(ScsiDisk("root.img"), ScsiCdrom("debian.iso")))      targets 0 and 1

Source: VIRTIO 1.2, 5.6.
"""

from __future__ import annotations

import struct
from typing import ClassVar

from kobox.devices.scsi import ScsiDevice
from kobox.devices.state import Restore
from kobox.devices.virtio import VirtioBuffer, VirtioModel

_CONTROL, _EVENTS, _REQUEST = 0, 1, 2
_SENSE, _BLOCK = 96, 32
_BAD_TARGET, _INCORRECT_LUN = 3, 12
_ANSWER = 12 + _SENSE


class VirtioScsi(VirtioModel):
    """A SCSI host adapter: `units` are its targets 0, 1 and so on."""

    device_type: ClassVar[int] = 8
    queue_count: ClassVar[int] = 3

    def __init__(self, *units: ScsiDevice) -> None:
        self.units = _Units(units)

    def configuration(self) -> bytes:
        return struct.pack("<7IHHI", 1, 126, 0xFFFF, 64, 16, _SENSE, _BLOCK, 0, max(len(self.units.all) - 1, 0), 0)

    def notified(self, queue: int) -> None:
        if queue == _EVENTS:
            return  # they wait for an event
        for buffer in self.buffers(queue):
            if queue == _REQUEST:
                self._request(buffer)
            else:
                buffer.write(b"\0" if buffer.room <= 1 else bytes(5))  # task management, notifications: done
            buffer.done()

    def _request(self, buffer: VirtioBuffer) -> None:
        request = buffer.read()
        head = 19 + _BLOCK
        if len(request) < head or buffer.room < _ANSWER:
            return
        target, lun = request[1], int.from_bytes(request[2:4], "big") & 0x3FFF
        unit = self.units.all[target] if request[0] == 1 and target < len(self.units.all) else None
        if unit is None or lun:
            code = _BAD_TARGET if unit is None else _INCORRECT_LUN
            buffer.write(struct.pack("<IIHBB", 0, 0, 0, 0, code).ljust(_ANSWER, b"\0"))
            return
        answer = unit.command(request[19:head], request[head:])
        room = buffer.room - _ANSWER
        data = answer.data[:room]
        residue = room - len(data)
        answered = struct.pack("<IIHBB", len(answer.sense), residue, 0, answer.status, 0) + answer.sense
        buffer.write(answered.ljust(_ANSWER, b"\0") + data)


class _Units:
    """The devices of an adapter, which go back with checkpoints each by itself."""

    def __init__(self, units: tuple[ScsiDevice, ...]) -> None:
        self.all = units

    def save(self) -> Restore:
        undo = [unit.save() for unit in self.all]

        def restore() -> None:
            for one in undo:
                one()

        return restore
