"""A USB keyboard (HID, boot protocol): the driver is `usbhid`.

    keyboard.type("Hello\\n")      keys pressed and let go, which /dev/input/event0 tells

Source: Device Class Definition for Human Interface Devices 1.11; HID Usage Tables 1.12, chapter 10.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import ClassVar

from kobox.devices.usb import Endpoint, Interface, SetupPacket, UsbDevice
from kobox.errors import KoboxError

_IN = 0x81
# A report: eight modifiers, a byte of nothing, six keys; five LEDs the other way.
_REPORT = bytes.fromhex(
    "05010906a101050719e029e71500250175019508810295017508810195057501050819012905910295017503910195067508"
    "150025650507190029658100c0"
)
_HID = struct.pack("<BBHBBBH", 9, 0x21, 0x0111, 0, 1, 0x22, len(_REPORT))
_SHIFT = 2
_KEYS = {chr(ord("a") + n): 4 + n for n in range(26)} | {str((n + 1) % 10): 30 + n for n in range(10)}
_KEYS |= {"\n": 40, "\x1b": 41, "\b": 42, "\t": 43, " ": 44, "-": 45, "=": 46, "[": 47, "]": 48, "\\": 49}
_KEYS |= {";": 51, "'": 52, "`": 53, ",": 54, ".": 55, "/": 56}
_SHIFTED = dict(zip('!@#$%^&*()_+{}|:"~<>?', "1234567890-=[]\\;'`,./", strict=True))


class UsbKeyboard(UsbDevice):
    """A keyboard with a US layout. `leds` is what the box has switched on: 1 Num Lock, 2 Caps Lock, 4 Scroll Lock."""

    vendor_id, product_id = 0x046D, 0xC31C
    speed = "low"
    product = "Keyboard"
    interfaces: ClassVar = (Interface(3, 1, 1, (Endpoint(_IN, "interrupt", 8, 10),), _HID),)

    def __init__(self) -> None:
        self.leds = 0
        self._reports: deque[bytes] = deque()

    def press(self, *usages: int, modifiers: int = 0) -> None:
        """Hold keys down, by their numbers in the HID usage tables; without any, let all go."""
        self._reports.append(bytes([modifiers, 0]) + bytes(usages[:6]).ljust(6, b"\0"))
        self.ready(_IN)

    def type(self, text: str) -> None:
        """Press and let go the keys of a text. Raises `KoboxError` for a character that has no key."""
        for character in text:
            base = _SHIFTED.get(character, character.lower())
            if base not in _KEYS:
                raise KoboxError(f"{character!r} has no key on a US keyboard")
            self.press(_KEYS[base], modifiers=_SHIFT if base != character else 0)
            self.press()

    def descriptor(self, kind: int, number: int, index: int = 0) -> bytes:
        if kind == 0x22:
            return _REPORT
        return _HID if kind == 0x21 else super().descriptor(kind, number, index)

    def control_in(self, setup: SetupPacket) -> bytes:
        return bytes(8) if setup.request == 1 else b"\0"

    def control_out(self, setup: SetupPacket, data: bytes) -> None:
        if setup.request == 9 and data:
            self.leds = data[-1]

    def data_in(self, endpoint: int, size: int) -> bytes | None:
        return self._reports.popleft() if self._reports else None
