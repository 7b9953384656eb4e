"""Rules that every module should keep: it says its licence and what it is, can be unloaded, does not flood the log.

Whether other kernels would load it is asked once a check, not in every life: `elsewhere.py`.
"""

from __future__ import annotations

from collections import Counter

from kobox.box.inspect.probes import FROM_MODULE, Hit
from kobox.checks.report.finding import Resource, Severity
from kobox.checks.report.kinds import kind_of
from kobox.checks.runner.session import Check, Examination, Stage, Trace
from kobox.ko.licence import GPL_COMPATIBLE

MESSAGES = 200
"""Messages that one line of a module may print in init, in exit, or while it is used."""

# Flags of struct module's `taints` that its author can do something about (include/linux/panic.h); out of tree (12) and
# unsigned (13) is every module that was just built.
_TAINTS = {10: "it is from the kernel's staging tree", 15: "it is a live patch", 18: "it is a test"}


class LintCheck(Check):
    """Looks at the module's own words, and counts what it prints."""

    name = "rules"

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._printed: Counter[tuple[Stage, int]] = Counter()
        self._first: dict[tuple[Stage, int], Trace] = {}
        self._look_at_file()
        if any(found.name == "_printk" for found in examination.file.imports):
            examination.probe("_printk", self._prints, when=FROM_MODULE)

    def linked(self, examination: Examination) -> None:
        assert examination.module is not None
        btf, read = examination.box.inspect.symbols.btf, examination.box.machine.read
        taints = int.from_bytes(read(examination.module.address + btf.offset("module", "taints"), 8), "little")
        for bit, why in _TAINTS.items():
            if taints >> bit & 1:
                self._say("taint", Severity.NOTE, f"it taints the kernel: {why}")

    def gone(self, examination: Examination) -> None:
        self._report_floods()

    def detach(self, examination: Examination) -> None:
        self._report_floods()

    # -- the file ----------------------------------------------------------------------------------------------

    def _look_at_file(self) -> None:
        file = self._examination.file
        licence = file.modinfo.first("license")
        if not licence:
            self._say(
                "module-info",
                Severity.WARNING,
                "it has no MODULE_LICENSE(): it counts as proprietary, taints the kernel, and gets no GPL-only symbol",
            )
        elif licence not in GPL_COMPATIBLE:
            self._say("taint", Severity.WARNING, f'its licence "{licence}" taints the kernel as proprietary')
        if not file.modinfo.first("description"):
            self._say("module-info", Severity.NOTE, "it has no MODULE_DESCRIPTION()")
        names = {symbol.name for symbol in file.elf.symbols() if symbol.section}
        if b"init_module" in names and b"cleanup_module" not in names:
            self._say(
                "no-exit", Severity.WARNING, "it has an init function and no exit function: it cannot be unloaded"
            )

    def _say(self, kind: str, severity: Severity, message: str) -> None:
        self._examination.report(kind, severity, message, advice=kind_of(kind).advice)

    # -- the log -----------------------------------------------------------------------------------------------

    def _prints(self, hit: Hit) -> None:
        examination = self._examination
        key = examination.stage, examination.box.inspect.watch.caller
        self._printed[key] += 1
        if key not in self._first:
            self._first[key] = examination.trace(hit, limit=16)

    def _report_floods(self) -> None:
        examination = self._examination
        for (stage, caller), count in self._printed.items():
            if count > MESSAGES:
                chain = examination.chain(self._first[stage, caller])
                examination.report(
                    "printk-rate",
                    Severity.NOTE if stage is Stage.EXERCISE else Severity.WARNING,
                    f"this line printed {count} messages",
                    chain=chain,
                    object=Resource("message", made_at=chain),
                    advice=kind_of("printk-rate").advice,
                )
        self._printed.clear()
