"""From the log of a failed load, unload or build to its causes: which rule of the kernel it was, why, and what to do.

    lines without prefixes → rules (kobox.explain.log_rules) → causes, each module by itself
                           → refusals by errno alone         → what they can mean, where no rule explains them

A bare errno counts only where no line of the kernel's explains it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from kobox.explain.build_log import build_causes
from kobox.explain.cause import Cause
from kobox.explain.crash_report import CrashReport, read_report
from kobox.explain.log_lines import LogLine, log_lines, without_prefixes
from kobox.explain.log_rule import LogMatch, LogRule, RuleTable
from kobox.explain.log_rules import (
    building,
    crashes,
    devices,
    format,
    host_tools,
    parameters,
    relocations,
    signatures,
    state,
    symbols,
    tools,
)
from kobox.explain.possibilities import meanings
from kobox.explain.refusals import Refusal, refusal_in
from kobox.explain.symbol_facts import grouped, listed
from kobox.images.exports import KERNEL, KernelExports

RULES: tuple[LogRule, ...] = tuple(
    rule
    for room in (
        signatures,
        format,
        symbols,
        relocations,
        parameters,
        state,
        tools,
        devices,
        host_tools,
        building,
        crashes,
    )
    for rule in room.RULES
)
_TABLE = RuleTable(RULES)
_BY_SYMBOL = (
    "unknown-symbol",
    "crc",
    "no-version",
    "namespace",
    "symbol-refused",
    "modpost-undefined",
    "interface-changed",
)
_PLURALS = (
    (r"^it is\b", "they are"),
    (r"^it belongs\b", "they belong"),
    (r"\bexports it\b", "exports them"),
    (r"\bhave it\b", "have them"),
    (r"^it\b", "they"),
)
_SHORTEST_FAMILY = 4  # letters that the names of one module's symbols share
_WITHOUT_KERNELS = ("interface-changed", "import-ns-quotes")  # what is said where no kernel is at hand
_UNLOADING = ("in-use", "not-loaded", "no-unload", "no-exit", "dead-module", "disabled")


@dataclass(slots=True)
class _Found:
    """A cause that is being put together, with the rule that found it."""

    rule: LogRule
    cause: Cause
    values: dict[str, str]
    symbols: dict[str, str] = field(default_factory=dict)  # and the line that names each


def causes_in(text: str, *, exports: Sequence[KernelExports] = ()) -> list[Cause]:
    """Every cause that a text names: what dmesg, journalctl, insmod, modprobe, rmmod, depmod, DKMS, kobox print.

    Each comes once: certain causes first, then refusals of which only the errno is known, then notes. `exports` are the
    exported symbols of kernels at hand, to find out where a missing symbol comes from.
    """
    lines = list(log_lines(text))
    found: dict[tuple[str, str, str], _Found] = {}
    refusals: dict[Refusal, str] = {}
    for line, match, report in _matches(lines):
        if match is None:
            refusal = refusal_in(line.plain)
            if refusal is not None:
                refusals.setdefault(refusal, line.text)
            continue
        _add(found, match, line, report)
    found = _named_ones(found)
    known = {(refusal.errno, refusal.unload) for refusal in refusals if refusal.module}
    unexplained = []
    for refusal, shown in refusals.items():
        reason = _reason_of(refusal, list(found.values()), list(refusals))
        if reason is None and not refusal.module and (refusal.errno, refusal.unload) in known:
            continue
        if reason is None:
            unexplained.append(cause_of(refusal.errno, module=refusal.module, unload=refusal.unload, line=shown))
        elif not reason.cause.module and len(refusals) == 1:
            reason.cause = replace(reason.cause, module=refusal.module)
    certain = [(one.rule, _with_symbols(one, part)) for one in _without_echoes(found) for part in _parts(one, exports)]
    built = build_causes(lines, [table.kernel for table in exports])
    if built:  # they say of each interface what it became
        certain = [(rule, cause) for rule, cause in certain if rule.rule not in _WITHOUT_KERNELS]
    if built or any(cause.fatal and not rule.vague for rule, cause in certain):
        certain = [(rule, cause) for rule, cause in certain if rule.rule != "compile-error"]
    return _in_order(certain, [*built, *unexplained])


def cause_of(errno: str, *, module: str = "", unload: bool = False, line: str = "", log: Sequence[str] = ()) -> Cause:
    """The cause of a refusal: by what the kernel's log says, else what the errno's name alone can mean."""
    for text in log:
        match = _TABLE.match(without_prefixes(text))
        if match is not None and match.rule.fatal:
            return _cause(match, LogLine(text, text), None)
    first, *others = meanings(errno, unload=unload, line=line)
    return Cause(first.rule, module, first.why, first.advice, line, alternatives=tuple(others))


# -- from lines to causes -----------------------------------------------------------------------------------------


def _matches(lines: Sequence[LogLine]) -> Iterator[tuple[LogLine, LogMatch | None, CrashReport | None]]:
    """Each line with the rule that it fits; of the first lines within one report only the first counts."""
    report: CrashReport | None = None
    told = ""
    for number, line in enumerate(lines):
        if report is not None and number >= report.end:
            report = None
        match = _TABLE.match(line.plain)
        if match is not None and report is not None and (match.rule.report or match.rule.rule == told):
            continue
        if match is not None and match.rule.report:
            report, told = read_report(lines, number), match.rule.rule
        yield line, match, report


def _add(found: dict[tuple[str, str, str], _Found], match: LogMatch, line: LogLine, report: CrashReport | None) -> None:
    cause = _cause(match, line, report)
    symbol = match.values.get("symbol", "")
    by_symbol = bool(symbol) and match.rule.rule in _BY_SYMBOL
    detail = match.values.get("namespace", "") if by_symbol else "" if match.rule.vague else cause.why
    key = (cause.rule, cause.module, detail)
    one = found.setdefault(key, _Found(match.rule, cause, dict(match.values)))
    if by_symbol:
        one.symbols.setdefault(symbol, line.text)


def _cause(match: LogMatch, line: LogLine, report: CrashReport | None) -> Cause:
    values = _Values(match.values)
    values.update(_extras(match, report))
    module = (values["module"] or (report.module if report else "")).replace("-", "_")
    return Cause(
        match.rule.rule,
        module,
        _sentence(match.rule.why, values),
        _sentence(match.rule.advice, values),
        line.text,
        match.rule.fatal,
        match.rule.alternatives,
        (values["symbol"],) if values["symbol"] else (),
    )


class _Values(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""


def _sentence(text: str, values: _Values) -> str:
    written = " ".join(text.format_map(values).split())
    return written.replace(" :", ":").replace(" ,", ",").replace(" ;", ";")


def _extras(match: LogMatch, report: CrashReport | None) -> Iterator[tuple[str, str]]:
    """Values that stand not in the line itself."""
    values = match.values
    if report is not None:
        yield "where", report.where + (f" ({report.said})" if report.said and match.rule.rule == "warning" else "")
        yield "waits", report.waits
        yield "also", f", perhaps that of {listed(report.foreign)}" if report.foreign else ""
    if users := values.get("users", "").strip():
        yield "by", f" by {users}"
    if modules := values.get("modules", ""):
        yield "cycle", f": {modules}"
    if any(word in values.get("command", "") for word in ("/bin/false", "/bin/true", "false")):
        yield (
            "on_purpose",
            f": {values['command']} forbids the module on purpose (a security guideline, as CIS or STIG has it)",
        )
    if symbol := values.get("symbol", ""):
        yield "about", f" ({symbol})"


def _without_echoes(found: dict[tuple[str, str, str], _Found]) -> list[_Found]:
    """`Unknown symbol x (err -22)` says nothing new behind the line that gives the reason, but the module's name."""
    echoes = [one for one in found.values() if one.rule.rule == "symbol-refused"]
    reasons = [one for one in found.values() if one.rule.rule in ("crc", "namespace", "no-version")]
    for echo in echoes:
        for reason in reasons:
            if not reason.cause.module and reason.symbols.keys() & echo.symbols.keys():
                reason.cause = replace(reason.cause, module=echo.cause.module)
        told = {symbol for one in reasons if one.cause.module == echo.cause.module for symbol in one.symbols}
        echo.symbols = {symbol: line for symbol, line in echo.symbols.items() if symbol not in told}
    return [one for one in found.values() if one not in echoes or one.symbols]


def _named_ones(found: dict[tuple[str, str, str], _Found]) -> dict[tuple[str, str, str], _Found]:
    """Without the lines that name no module, where another line of the same rule does."""
    named = {rule for rule, module, _ in found if module}
    return {key: one for key, one in found.items() if key[1] or key[0] not in named or one.rule.report or one.symbols}


@dataclass(frozen=True, slots=True)
class _Part:
    """Some of a cause's symbols, with what is known about where they come from."""

    symbols: tuple[str, ...] = ()
    text: str = ""
    advice: str = ""


def _parts(one: _Found, exports: Sequence[KernelExports]) -> list[_Part]:
    """A cause's symbols put together by their origin: each origin is said once."""
    if one.rule.rule not in ("unknown-symbol", "modpost-undefined"):
        return [_Part(tuple(one.symbols))]
    parts: list[_Part] = []
    for fact, names in grouped(tuple(one.symbols)):
        if fact is not None:
            parts.append(_Part(names, _of_several(fact.text, names), fact.advice))
        else:
            parts += _by_owner(names, exports, one.cause.module)
    return parts or [_Part()]


def _of_several(text: str, names: Sequence[str]) -> str:
    """A fact's sentence about one symbol, or about several."""
    if len(names) == 1:
        return text
    for single, plural in _PLURALS:
        text = re.sub(single, plural, text)
    return text


def _by_owner(symbols: Sequence[str], exports: Sequence[KernelExports], module: str) -> Iterator[_Part]:
    """Symbols that `module` misses, by the module that exports them in one of these kernels."""
    owners: dict[tuple[str, str], list[str]] = {}
    for symbol in symbols:
        place = next(
            ((table.table[symbol].owner, table.kernel.name) for table in exports if symbol in table.table), ("", "")
        )
        owners.setdefault(place, []).append(symbol)
    for (owner, kernel), names in owners.items():
        if owner and owner != KERNEL:
            text = f"the module {owner} exports it (in {kernel}), and is not loaded"
            yield _Part(
                tuple(names),
                _of_several(text, names),
                f"`modprobe {owner}`, then load this module again (modprobe does both).",
            )
        elif owner:
            text = (
                f"{kernel} exports it from its image, and this kernel does not: it is of another release or "
                "configuration, or "
                "exports only what its own modules use (CONFIG_TRIM_UNUSED_KSYMS, as on Android)"
            )
            advice = "Build it against exactly the running kernel's headers."
            yield _Part(tuple(names), _of_several(text, names), advice)
        else:
            yield _family(tuple(names), module)


def _family(symbols: tuple[str, ...], module: str) -> _Part:
    """Symbols that no kernel at hand has. Names that begin alike belong together: to a second module of the same
    package, or to the module itself, whose Makefile then leaves a source file out."""
    first, last = min(symbols), max(symbols)
    prefix = first[: next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), 0)]
    prefix = prefix.rpartition("_")[0] if len(symbols) > 1 else ""
    if len(prefix) < _SHORTEST_FAMILY:
        return _Part(symbols)
    near = difflib.SequenceMatcher(None, prefix, module, autojunk=False).find_longest_match().size
    if near >= _SHORTEST_FAMILY:
        text = (
            f"by their names ({prefix}_…) they are the module's own: a source file is left out of its -objs, or they "
            "are in a second module of the same package, which is not loaded"
        )
        return _Part(symbols, text, f"Add the .c file that defines them to {module}-objs, or load that module first.")
    text = (
        f"no kernel at hand exports names that begin with {prefix}_: most likely they are in a second module of the "
        "same package, which is not loaded"
    )
    return _Part(symbols, text, f"Look for {prefix}.ko (`find / -name '{prefix}*.ko*'`), and load it first.")


def _with_symbols(one: _Found, part: _Part) -> Cause:
    if not part.symbols:
        return one.cause
    values = _Values(one.values | {"symbol": listed(part.symbols), "about": f" ({listed(part.symbols)})"})
    why = _sentence(one.rule.why, values)
    if part.text:
        noun = "symbols" if len(part.symbols) > 1 else "symbol"
        word = part.text.split(" ")[0]  # a function's name keeps its letters
        text = part.text if re.search(r"\W|_", word) else f"{part.text[0].upper()}{part.text[1:]}"
        why = f"missing {noun}: {listed(part.symbols)}. {text}"
    advice = part.advice or _sentence(one.rule.advice, values)
    line = one.symbols.get(part.symbols[0], one.cause.line)
    return replace(one.cause, why=why, advice=advice, line=line, symbols=part.symbols)


# -- refusals, and the order --------------------------------------------------------------------------------------


def _reason_of(refusal: Refusal, found: Sequence[_Found], refusals: Sequence[Refusal]) -> _Found | None:
    """The certain cause of a refusal: of the same module, or of one that it needs; None for none."""
    others = {other.module for other in refusals if other != refusal}
    for one in found:
        rule, module = one.rule, one.cause.module.replace("-", "_")
        unloading = rule.report or rule.rule in _UNLOADING
        if not rule.fatal or rule.vague or (refusal.unload and not unloading):
            continue
        if rule.errnos and refusal.errno not in rule.errnos:
            continue
        if not refusal.module or module == refusal.module or (rule.errnos and module not in others):
            return one
    return None


def _in_order(certain: Sequence[tuple[LogRule, Cause]], unexplained: Sequence[Cause]) -> list[Cause]:
    """Certain causes, then possible ones, then vague ones, then notes; a vague one is a note behind others."""
    clear = [cause for rule, cause in certain if cause.fatal and not rule.vague]
    first = list(dict.fromkeys([*clear, *unexplained]))
    unclear = [cause for rule, cause in certain if cause.fatal and rule.vague]
    if first:
        unclear = [replace(cause, fatal=False) for cause in unclear]
    notes = [cause for _, cause in certain if not cause.fatal]
    return [*first, *dict.fromkeys([*unclear, *notes])]
