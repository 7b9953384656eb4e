"""A keyboard of virtio's: the driver is `virtio_input`. What is typed reaches the console, as from any keyboard.

    keyboard = box.plug(VirtioKeyboard())
    keyboard.type("Hello\\n")      keys pressed and let go, which /dev/input/event0 tells

    configuration: select, subselect, size, five bytes of nothing, the answer
    queue 0: events of eight bytes (type, code, value); queue 1: what the driver tells the device (LEDs)

Source: VIRTIO 1.2, 5.8; include/uapi/linux/input-event-codes.h.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import ClassVar

from kobox.devices.virtio import VirtioModel
from kobox.errors import KoboxError

_EVENTS = 0
_NAME, _IDS, _BITS = 1, 3, 0x11  # of `select`
_SYNC, _KEY, _REPEAT = 0, 1, 0x14
_SHIFT, _MOST_WAITING = 42, 4096
_ROWS = (
    *((2, "1234567890-="), (14, "\b"), (15, "\tqwertyuiop[]\n"), (30, "asdfghjkl;'`")),
    *((43, "\\zxcvbnm,./"), (57, " ")),
)
_KEYS = {character: first + n for first, row in _ROWS for n, character in enumerate(row)}
_SHIFTED = dict(zip('!@#$%^&*()_+{}|:"~<>?', "1234567890-=[]\\;'`,./", strict=True))


class VirtioKeyboard(VirtioModel):
    """A keyboard with a US layout."""

    device_type: ClassVar[int] = 18
    queue_count: ClassVar[int] = 2

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self._selected = (0, 0)

    def reset(self) -> None:
        self._waiting = deque(maxlen=_MOST_WAITING)
        self._selected = (0, 0)

    def press(self, code: int, *, down: bool) -> None:
        """Press a key, by its number in input-event-codes.h, or let it go."""
        self._waiting.append(struct.pack("<HHi", _KEY, code, int(down)))
        self._waiting.append(struct.pack("<HHi", _SYNC, 0, 0))
        self._deliver()

    def type(self, text: str) -> None:
        """Press and let go the keys of a text. Raises `KoboxError` for a character that has no key."""
        for character in text:
            base = _SHIFTED.get(character, character.lower())
            if base not in _KEYS:
                raise KoboxError(f"{character!r} has no key on a US keyboard")
            if base != character:
                self.press(_SHIFT, down=True)
            self.press(_KEYS[base], down=True)
            self.press(_KEYS[base], down=False)
            if base != character:
                self.press(_SHIFT, down=False)

    def configuration(self) -> bytes:
        answer = self._answer()
        return bytes([*self._selected, len(answer)]).ljust(8, b"\0") + answer.ljust(128, b"\0")

    def _answer(self) -> bytes:
        match self._selected:
            case (select, 0) if select == _NAME:
                return b"kobox keyboard"
            case (select, 0) if select == _IDS:
                return struct.pack("<HHHH", 6, 0x1AF4, 0x12, 1)  # BUS_VIRTUAL
            case (select, kind) if select == _BITS and kind == _KEY:
                bits = sum(1 << code for code in {*_KEYS.values(), _SHIFT})
                return bits.to_bytes(128, "little").rstrip(b"\0")
            case (select, kind) if select == _BITS and kind == _REPEAT:
                return b"\1"
        return b""

    def configure(self, offset: int, size: int, value: int) -> None:
        if offset < 2:
            selected = [*self._selected]
            selected[offset] = value & 0xFF
            self._selected = selected[0], selected[1]

    def notified(self, queue: int) -> None:
        if queue == _EVENTS:
            self._deliver()
            return
        for buffer in self.buffers(queue):
            buffer.done()

    def _deliver(self) -> None:
        while self._waiting and (buffer := self.next_buffer(_EVENTS)) is not None:
            buffer.write(self._waiting.popleft())
            buffer.done()
