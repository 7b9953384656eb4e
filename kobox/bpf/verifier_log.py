"""The verifier's log of a program that it refuses, taken apart: what it says, where, and what led there.

    ; void *end = (void *)(long)ctx->data_end; @ guard.bpf.c:12     a source line ("@ …" since 6.8)
    1: (61) r2 = *(u32 *)(r1 +4)    ; R1=ctx() R2_w=pkt_end()        an instruction, and what registers hold after it
    from 3 to 5: R0=1 R1=ctx()                                       the path goes on with the branch's other side
    invalid access to packet, off=0 size=1, R1(id=0,off=0,r=0)      why: the lines behind the last instruction
    processed 5 insns (limit 1000000) max_states_per_insn 0 …        always last

At level 1 the kernel drops what paths that were right have logged, so what is left is the path that failed
(bpf_verifier_log in kernel/bpf/log.c, do_check in kernel/bpf/verifier.c). A log is a stranger's text: every pattern
here is bounded, and lines that fit none are left alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kobox.bpf.verifier_rules import VerifierRule, rule_for

_MOST_LINES = 200_000
_LONGEST_LINE = 4096
_INSTRUCTION = re.compile(r"(\d{1,7}): \(([0-9a-f]{2})\) ([^;]{1,300})(?:; (.{0,3000}))?")
_POISONED = re.compile(r"(\d{1,7}): (<invalid CO-RE relocation>|<invalid kfunc call>)")  # libbpf's, in place of one
_SOURCE = re.compile(r"; (.{0,1000}?)(?: @ ([^@\s]{1,200}):(\d{1,7}))?")
_STATE = re.compile(r"(?:from \d{1,7} to \d{1,7}[^:]{0,40}|\d{1,7}): (.{1,3000})")
_REGISTER = re.compile(r"(R\d{1,2})(?:_[rwD]{1,3})?=((?:[^\s()]|\([^()]{0,400}\)){0,500})")
_PROCESSED = re.compile(r"processed (\d{1,9}) insns")
_NAMED = re.compile(r"\bR(\d{1,2})\b")
_WRITES = re.compile(r"(?:\(.{1,8}\) )?[rw](\d{1,2}) (?:[-+*/%&|^s<>]{0,3}=)(.{0,200})")
_COPY = re.compile(r" [rw](\d{1,2})\s*$")
_CALL = re.compile(r"call (?:pc[+-]\d{1,6}|(?:unknown|[A-Za-z_][A-Za-z0-9_]{0,100})#-?\d{1,9}|.{1,100})")
# Lines between the last instruction and "processed" that say nothing about the refusal.
_NOISE = re.compile(
    r"(?:verification time|stack depth|max_states|mark_precise|regs=|last_idx|first_idx|parent (?:didn't|already)"
    r"|func#\d+ @\d+|func '.{1,80}' arg\d+ has btf_id"
    r"|Validating |Live regs|\s*\d+: \.|caller passes|frame\d+:|arg#\d+ reference type)"
)


@dataclass(frozen=True, slots=True)
class VerifierStep:
    """One instruction of the path. `index` is its number in the program, `text` as the kernel writes it, `source` the
    source line that it stands for and `line` its "file:number" ("" where the log has none), `registers` what the log
    says of registers behind it."""

    index: int
    text: str
    source: str
    line: str
    registers: dict[str, str]

    @property
    def writes(self) -> str:
        """The register that it writes ("R3"), or ""."""
        found = _WRITES.match(self.text)
        if found:
            return f"R{found[1]}"
        return "R0" if _CALL.match(self.text) else ""

    @property
    def copies(self) -> str:
        """The register that it copies ("R1" of "r3 = r1"), or ""."""
        found = _WRITES.match(self.text)
        copied = _COPY.match(found[2]) if found else None
        return f"R{copied[1]}" if copied else ""


@dataclass(frozen=True, slots=True)
class VerifierRefusal:
    """Why the verifier refuses a program.

    `said` are its own words, `rule` the rule that was broken (None where kobox knows none), `step` the instruction,
    `register` the register that it is about ("" for none), `history` the steps that made the register what it is,
    oldest first, `processed` the number of instructions that the verifier went through.
    """

    said: tuple[str, ...]
    rule: VerifierRule | None
    step: VerifierStep | None
    register: str
    history: tuple[VerifierStep, ...]
    processed: int

    @property
    def where(self) -> str:
        """The source line: "guard.bpf.c:12: value = *count;", as much of it as the log has."""
        if self.step is None:
            return ""
        return (
            ": ".join(part for part in (self.step.line, self.step.source) if part) or f"instruction {self.step.index}"
        )

    @property
    def remedy(self) -> str:
        """What to write instead, or ""."""
        return self.rule.remedy if self.rule else ""

    def lines(self) -> list[str]:
        """It told in lines: the kernel's words, the place, the register's history, the rule."""
        told = list(self.said)
        if self.step is not None:
            told.append(f"at {self.where}")
            if self.where != f"instruction {self.step.index}":
                told.append(f"   instruction {self.step.index}: {self.step.text}")
        if self.register and self.history:
            told.append(f"how {self.register} came about:")
            told += [f"   {step_text(step, self.register)}" for step in self.history]
        if self.rule is not None:
            told.append(f"rule: {self.rule.rule}")
        return told


def step_text(step: VerifierStep, register: str) -> str:
    """One step of a register's history."""
    value = step.registers.get(register) or step.registers.get(step.writes, "")
    source = f"   {step.line + ': ' if step.line else ''}{step.source}" if step.source else ""
    return f"{step.index}: {step.text}{f'   {step.writes or register}={value}' if value else ''}{source}"


def explain(log: str) -> VerifierRefusal | None:
    """The refusal that a log ends with; None for a log that has no words of the verifier's."""
    steps, said, processed = _read(log)
    if not said:
        return None
    text = "\n".join(said)
    rule = rule_for(text)
    step = steps[-1] if steps else None
    register = _register_of(said, step)
    return VerifierRefusal(tuple(said), rule, step, register, tuple(_history(steps, register)), processed)


def _read(log: str) -> tuple[list[VerifierStep], list[str], int]:
    """The steps of the path that failed, the words behind them, how many instructions were processed."""
    steps: list[VerifierStep] = []
    said: list[str] = []
    source, line, processed = "", "", 0
    for raw in log.splitlines()[-_MOST_LINES:]:
        text = raw[:_LONGEST_LINE].rstrip()
        if found := _INSTRUCTION.fullmatch(text):
            registers = dict(_REGISTER.findall(found[4] or ""))
            steps.append(VerifierStep(int(found[1]), found[3].strip(), source, line, registers))
            said.clear()
        elif found := _POISONED.fullmatch(text):
            steps.append(VerifierStep(int(found[1]), found[2], source, line, {}))
        elif text.startswith("; ") and (found := _SOURCE.fullmatch(text)):
            source, line = found[1].strip(), f"{found[2]}:{found[3]}" if found[2] else ""
        elif found := _PROCESSED.match(text):
            processed = int(found[1])
        elif (found := _STATE.fullmatch(text)) and _REGISTER.search(found[1]):
            if steps and not text.startswith("from"):
                steps[-1].registers.update(_REGISTER.findall(found[1]))
        elif text and not _NOISE.match(text):
            said.append(text)
    return steps, said[-12:], processed


def _register_of(said: list[str], step: VerifierStep | None) -> str:
    """The register that the words are about: the one they name, or the one that the instruction reads through."""
    for text in reversed(said):
        if found := _NAMED.search(text):
            return f"R{found[1]}"
    if step is None:
        return ""
    found = re.search(r"\(r(\d{1,2}) [+-]\d{1,9}\)", step.text)
    return f"R{found[1]}" if found else ""


def _history(steps: list[VerifierStep], register: str) -> list[VerifierStep]:
    """The steps that wrote a register, backwards through copies to where it came from; the newest eight."""
    found: list[VerifierStep] = []
    wanted = register
    for step in reversed(steps[:-1]):
        if not wanted or len(found) == 8:
            break
        if step.writes != wanted:
            continue
        found.append(step)
        if step.copies:
            wanted = step.copies
        elif _is_new(step):
            break
    return found[::-1]


def _is_new(step: VerifierStep) -> bool:
    """Whether an instruction gives a register a value that does not depend on what it held."""
    found = _WRITES.match(step.text)
    return found is None or re.match(r"(?:\(.{1,8}\) )?[rw]\d{1,2} =", step.text) is not None
