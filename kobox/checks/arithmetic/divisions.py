"""Divisions by zero where the CPU answers them with 0: SDIV and UDIV of AArch64 do not trap, so nobody is told.

    return total / count;            the quotient is 0 when count is: not what the author meant, and a crash elsewhere

Compilers leave a division behind the comparison that guards it, since it may trap (GCC's may_trap_p()).
"""

from __future__ import annotations

from kobox.box.inspect.probes import Hit
from kobox.checks.arithmetic.watched_code import watch_code
from kobox.checks.module.callsites import CodeMap
from kobox.checks.report.finding import Severity, own_frame
from kobox.checks.runner.session import Check, Examination


class DivisionCheck(Check):
    """Watches the divisions of the module that would not trap."""

    name = "divisions"

    def linked(self, examination: Examination) -> None:
        self._examination = examination
        code = CodeMap(examination.file.elf)
        watch_code(examination, code, code.arch.code.silent_divisions, self._divides)

    def _divides(self, register: str, hit: Hit) -> None:
        wide = register.startswith("x")
        value = self._examination.box.machine.register(f"x{register[1:]}")
        if value & (0xFFFFFFFFFFFFFFFF if wide else 0xFFFFFFFF):
            return
        chain = self._examination.chain(hit)
        frame = own_frame(chain)
        if frame is None:
            return
        self._examination.report(
            "division-by-zero",
            Severity.ERROR,
            "division by zero: this CPU answers with 0, others with an exception",
            chain=chain,
            advice="Compare the divisor with 0 first, and refuse it.",
        )
