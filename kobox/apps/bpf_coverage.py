"""What of an object's programs runs: attached where they can be, called with packets, and the box used around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kobox.apps.bpf_exercise import PACKETS, BpfExercise
from kobox.apps.bpf_fuzz import FuzzInput, can_be_fuzzed
from kobox.apps.bpf_listing import ProgramListing, listing
from kobox.box.box import Box
from kobox.box.bpf.bpf_object import BpfObject
from kobox.bpf.program_kind import AttachTo
from kobox.errors import KoboxError

_WARNING = 4


@dataclass(frozen=True, slots=True)
class BpfCoverage:
    """`programs` with what was seen of them; `unattached`: (program, why) where attaching failed; `problems`: what the
    kernel logged meanwhile."""

    programs: tuple[ProgramListing, ...]
    unattached: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            "programs": [one.plain() for one in self.programs],
            "unattached": [{"program": name, "why": why} for name, why in self.unattached],
            "problems": list(self.problems),
        }


def cover(
    box: Box, loaded: BpfObject, names: Sequence[str], *, target: str = "", inputs: Sequence[FuzzInput] = ()
) -> BpfCoverage:
    """Attach these programs, call those that take an input with `inputs` (None: packets of each kind), use the box.

    `target` is what programs are attached to that need one. Raises `KoboxError`.
    """
    said, exercise = box.log.next_seq, BpfExercise(box)
    unattached = []
    with loaded.observe(*names) as seen:
        for name in names:
            program = loaded.programs[name]
            try:
                if program.attach_to is AttachTo.SOCKET:
                    exercise.attach_to_socket(program)
                elif program.attach_to not in (AttachTo.NOTHING, AttachTo.STRUCT_OPS):
                    program.attach(target)
            except (KoboxError, OSError) as error:
                unattached.append((name, str(error).splitlines()[0]))
        for name in loaded.operations:
            try:
                loaded.links.append(loaded.attach_struct_ops(name))
            except KoboxError as error:
                unattached.append((name, str(error).splitlines()[0]))
        for name in names:
            _call(loaded, name, inputs)
        exercise.run(loaded)
        for program in loaded.programs.values():
            if program.attach_to is AttachTo.ITERATOR and any(link.attached for link in program.links):
                program.read()
        loaded.detach()
        rows = tuple(listing(box, loaded.programs[name], seen) for name in names)
    problems = (one.text.splitlines()[0] for one in box.log.since(said) if one.level <= _WARNING and one.text)
    return BpfCoverage(rows, tuple(unattached), tuple(problems))


def _call(loaded: BpfObject, name: str, inputs: Sequence[FuzzInput]) -> None:
    program = loaded.programs[name]
    if not can_be_fuzzed(program):
        return
    for given in inputs or [FuzzInput(packet) for packet in PACKETS.values()]:
        try:
            program.test_run(given.packet, context=given.context)
        except OSError:  # this kind does not take it
            continue
