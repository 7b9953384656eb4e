"""What kernels make of an eBPF object: each program alone, refused, loaded or attached, and why.

for answer in survey(box, "guard.bpf.o", data):
    print(answer.program, answer.state)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kobox.box.box import Box
from kobox.box.bpf.bpf_object import BpfLoadError
from kobox.bpf.program_kind import AttachTo
from kobox.bpf.verifier_log import explain
from kobox.errors import KoboxError

_MOST_PROGRAMS = 256  # of one object: each is loaded by itself
# They need a target of somebody's own, or are only called.
_UNATTACHED = (AttachTo.NOTHING, AttachTo.SOCKET, AttachTo.STRUCT_OPS)

State = Literal["refused", "loads", "attaches"]


@dataclass(frozen=True, slots=True)
class BpfAnswer:
    """What one kernel makes of one program. `program` is "" for the object as a whole; `state` how far it came;
    `reason` says why no further, first line first; `rule` is the name of the verifier's rule, `where` the source line,
    `hint` what to write instead; `instructions` how many the verifier went through."""

    kernel: str
    program: str
    section: str
    state: State
    reason: tuple[str, ...] = ()
    rule: str = ""
    where: str = ""
    hint: str = ""
    instructions: int = 0


def survey(box: Box, name: str, data: bytes) -> list[BpfAnswer]:
    """Every program of an object in this box, each loaded by itself and attached where that needs no target."""
    try:
        opened = box.bpf.open(data, name=name)
    except (KoboxError, OSError) as error:
        return [_refused(box, "", "", error)]
    sections = {program.name: program.section for program in opened.programs.values()}
    opened.unload()
    if not sections:
        return [BpfAnswer(box.release, "", "", "refused", (f"{name}: holds no program",))]
    return [_one(box, name, data, program, sections[program]) for program in list(sections)[:_MOST_PROGRAMS]]


def _one(box: Box, name: str, data: bytes, program: str, section: str) -> BpfAnswer:
    try:
        loaded = box.bpf.load_one(data, program, name=name)
    except (KoboxError, OSError) as error:
        return _refused(box, program, section, error)
    with loaded:
        one = loaded.programs[program]
        verified = one.statistics.verified
        try:
            if one.attach_to is AttachTo.STRUCT_OPS and loaded.operations:
                loaded.attach_struct_ops(loaded.operations[0]).detach()
            elif one.attach_to in _UNATTACHED:
                return BpfAnswer(box.release, program, section, "loads", instructions=verified)
            else:
                one.attach().detach()
        except (KoboxError, OSError) as error:
            lines = tuple(str(error).splitlines())
            return BpfAnswer(box.release, program, section, "loads", lines, instructions=verified)
    return BpfAnswer(box.release, program, section, "attaches", instructions=verified)


def _refused(box: Box, program: str, section: str, error: KoboxError | OSError) -> BpfAnswer:
    hint = error.hint if isinstance(error, KoboxError) else ""
    if not isinstance(error, BpfLoadError):
        return BpfAnswer(box.release, program, section, "refused", tuple(str(error).splitlines()), hint=hint)
    told = explain(error.verifier) if error.verifier else None
    rule = told.rule.name if told and told.rule else ""
    lines = tuple(error.message.splitlines())
    return BpfAnswer(box.release, program, section, "refused", lines, rule, told.where if told else "", hint)
