"""The number of this CPU, and its variables, used where the task may be moved to another CPU.

    hits[smp_processor_id()]++;              between the two, the task may go on elsewhere
    counter = this_cpu_ptr(&counters);

Both read a per-CPU variable of the kernel's (cpu_number, this_cpu_off) by an instruction with a relocation against it.
raw_smp_processor_id() and raw_cpu_ptr(), which may be used anywhere, are compiled to the same: so a finding needs the
line of the source (Linux looks at this with CONFIG_DEBUG_PREEMPT, lib/smp_processor_id.c).
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache

from kobox.arch.registry import architecture
from kobox.box.inspect.cpu_state import CpuReader
from kobox.box.inspect.probes import Hit
from kobox.checks.report.finding import Severity, own_frame
from kobox.checks.runner.session import Check, Examination
from kobox.errors import KoboxError
from kobox.ko.elf import SHF_EXECINSTR, SHT_RELA
from kobox.ko.modulefile import ModuleFile

_VARIABLES = frozenset((b"cpu_number", b"this_cpu_off", b"pcpu_hot"))
_MEANT = re.compile(r"(?<!raw_)\b(smp_processor_id|this_cpu_ptr|__get_cpu_var)\s*\(")
_ASKS = re.compile(r"processor_id|cpu_ptr|__get_cpu_var|get_cpu\b|this_cpu_")
_BACK = 5  # lines of the source
_MANY = 256  # instructions that are watched


class PerCpuCheck(Check):
    """Watches where the module's code asks which CPU it is on."""

    name = "per-cpu"

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._cpu: CpuReader | None = None
        with suppress(KoboxError):
            reader = CpuReader(examination.box)
            self._cpu = reader if reader.counts_preemption else None

    def linked(self, examination: Examination) -> None:
        starts = examination.placement.starts if examination.placement is not None else {}
        if self._cpu is not None:
            for section, offset in _sites(examination.file)[:_MANY]:
                if section in starts:
                    examination.probe_code(starts[section] + offset, self._asks)

    def _asks(self, hit: Hit) -> None:
        assert self._cpu is not None
        state = self._cpu.state(hit.registers)
        if not state.interrupts or state.count or self._cpu.stays():
            return
        examination = self._examination
        chain = examination.chain(hit)
        frame = own_frame(chain)
        found = self._meant(frame.file, frame.line) if frame and frame.line else None
        if found is None:
            return
        variable = found[1] != "smp_processor_id"
        right = "get_cpu_ptr() and put_cpu_ptr()" if variable else "get_cpu() and put_cpu()"
        examination.report(
            "preemptible-cpu",
            Severity.ERROR,
            f"{found[1]}() where preemption is on: the task may go on on another CPU",
            chain=chain,
            advice=f"Use {right}.",
        )

    def _meant(self, file: str, line: int) -> re.Match[str] | None:
        """What the source asks for there: compilers ask where the answer is used, some lines further on."""
        for number in range(line, max(line - _BACK, 0), -1):
            text = self._examination.sources.line(file, number)
            if _ASKS.search(text):
                return _MEANT.search(text) if "raw_" not in text else None
        return None


@lru_cache(maxsize=4)
def _sites(file: ModuleFile) -> tuple[tuple[int, int], ...]:
    """(section, offset) of instructions that read this CPU's number or the offset of its variables."""
    reader = architecture(file.elf.architecture).code
    symbols, found = list(file.elf.symbols()), []
    for number, section in enumerate(file.elf.sections):
        if section.type != SHT_RELA or not file.elf.section_at(section.info).flags & SHF_EXECINSTR:
            continue
        code = file.elf.data(section.info)
        for offset, _, symbol, _ in file.elf.relocations(number, symbols):
            if symbol is not None and symbol.name in _VARIABLES:
                start = reader.per_cpu_read(code, offset)
                if start is not None:
                    found.append((section.info, start))
    return tuple(found)
