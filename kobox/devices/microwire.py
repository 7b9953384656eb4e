"""A serial EEPROM on a Microwire bus (93C46): 64 words, read bit by bit by the drivers of network cards.

select high, then at each rising edge of the clock one bit: 1 (start), 10 (read), six bits of address;
the sixteen bits of the word come out, the highest first
"""

from __future__ import annotations

from collections.abc import Sequence

_READ = "110"


class Microwire:
    """An EEPROM of 64 words of 16 bits."""

    def __init__(self, words: Sequence[int]) -> None:
        self.words = list(words)
        self._select = self._clock = False
        self._bits = ""  # what was shifted in since it was selected, from the start bit on

    def drive(self, *, select: bool, clock: bool, data: bool) -> None:
        """The driver sets the three lines that lead to the EEPROM."""
        if not select:
            self._bits = ""
        elif clock and not self._clock and self._select:
            bits = self._bits + ("1" if data else "0")
            self._bits = "" if bits == "0" else bits[:32]  # nothing counts before the start bit
        self._select, self._clock = select, clock

    @property
    def out(self) -> bool:
        """The line that leads from the EEPROM."""
        count = len(self._bits)
        if count <= 9 or not self._bits.startswith(_READ):
            return False
        return bool(self.words[int(self._bits[3:9], 2)] << count - 10 >> 15 & 1)
