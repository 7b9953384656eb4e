"""Shifts by more bits than the operand has: undefined in C, and the processor takes the number modulo 32 or 64.

    mask |= 1 << bit;            bit = 40: sets bit 8

Compilers leave out a mask that the processor applies by itself (`1u << (n & 31)`), so the code alone does not tell a
mistake from what is meant. A finding needs the line of the source: it must shift, and not reduce the number there.
"""

from __future__ import annotations

import re

from kobox.box.inspect.probes import Hit
from kobox.checks.arithmetic.watched_code import watch_code
from kobox.checks.module.callsites import CodeMap
from kobox.checks.report.finding import Severity, own_frame
from kobox.checks.runner.session import Check, Examination

_INSTRUCTION = 4  # bytes that say which register has the number
_SHIFT = re.compile(r"<<|>>")
_REDUCED = re.compile(r"[&%]|\b(?:min|clamp|BIT_MASK|rol|ror)")


class ShiftCheck(Check):
    """Watches the shifts of the module by a number that is calculated."""

    name = "shifts"

    def linked(self, examination: Examination) -> None:
        self._examination = examination
        code = CodeMap(examination.file.elf)
        watch_code(examination, code, code.arch.code.variable_shifts, self._shifts)

    def _shifts(self, bits: int, hit: Hit) -> None:
        code = hit.read(hit.registers.pc, _INSTRUCTION)
        count = self._examination.box.arch.code.shift_count(hit.registers, code)
        if 0 <= count < bits:
            return
        examination = self._examination
        chain = examination.chain(hit)
        frame = own_frame(chain)
        if frame is None or not frame.line or not _is_meant(examination.sources.line(frame.file, frame.line)):
            return
        examination.report(
            "shift-out-of-range",
            Severity.ERROR,
            f"shift of a {bits}-bit number by {count if count < 128 else count - 256} bits",
            chain=chain,
            advice=f"Compare the number with {bits} first, and shift 1UL or 1ULL where more bits are meant.",
        )


def _is_meant(line: str) -> bool:
    """Whether a line of C shifts by a number that it does not reduce itself."""
    found = _SHIFT.search(line)
    return found is not None and not _REDUCED.search(_operand(line[found.end() :]))


def _operand(text: str) -> str:
    """What a shift's right operand is, of the text that follows `<<`: `n` of `n) & mask`, `(n & 31)` of `(n & 31) | 1`.
    What binds less than a shift ends it."""
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth < 0 or (not depth and letter in ";,&|^<>=?"):
            return text[:at]
    return text
