"""Asking a real kernel: a module is loaded in a box, and the kernel's answer put beside the expected one."""

from __future__ import annotations

import errno as numbers
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from kobox.errors import BoxError, KoboxError
from kobox.explain.cause import Cause
from kobox.explain.explanation import PLAIN, BoxAnswer, Conditions, Explanation
from kobox.explain.file_checks import unpacked
from kobox.explain.log import cause_of, causes_in
from kobox.kernel.interface import InitFlags
from kobox.ko.modulefile import ModuleFile

if TYPE_CHECKING:
    from kobox.box.box import Box


def try_in_box(data: bytes, explanation: Explanation, box: Box, conditions: Conditions = PLAIN) -> Explanation:
    """Load the module in a box, with what it needs before it, and put the kernel's answer beside the expected one.

    The box must have been booted under the same conditions. It is left as the load left it.
    """
    notes = [*_needed(explanation, box), *_beside(box, conditions)]
    if conditions.disabled:
        box.write_bytes("/proc/sys/kernel/modules_disabled", b"1")
    image, flags = unpacked(data), conditions.flags
    if explanation.packed:
        image, flags = data, flags | InitFlags.COMPRESSED_FILE
    start = box.log.next_seq
    answer = ""
    with _init_of(box) as reached:
        try:
            box.init_module(image, conditions.parameters, flags)
        except BoxError as error:
            answer = "DIED"
            notes.append(error.args[0].splitlines()[0])
        except OSError as error:
            answer = numbers.errorcode.get(error.errno or 0, str(error.errno))
    said = tuple(record.text for record in box.log.since(start))
    call = _init_call(box, unpacked(data), conditions.parameters, answer) if reached and answer else ""
    return replace(explanation, answer=BoxAnswer(answer, said, "; ".join(notes), bool(reached), call))


def cause_of_answer(answer: BoxAnswer, module: str) -> Cause:
    """Why the kernel in the box refused the module, or what killed it. An error of init is reported as init's own."""
    if answer.errno == "DIED":
        crashes = [cause for cause in causes_in("\n".join(answer.log)) if cause.fatal]
        died = Cause("init-failed", module, "the process that loaded it was killed", "The kernel's lines say why.", "")
        return crashes[0] if crashes else died
    if answer.reached_init:
        number = getattr(numbers, answer.errno, 0)
        return Cause(
            "init-failed",
            module,
            f"all checks of the kernel passed; the module's init function returned -{answer.errno} "
            f"({os.strerror(number)}){f', from {answer.init_call}' if answer.init_call else ''}",
            "Its own lines in the kernel's log, or its source, say why; `kobox run` shows what its init called.",
            "",
        )
    return cause_of(answer.errno, module=module, log=answer.log)


def _needed(explanation: Explanation, box: Box) -> Iterator[str]:
    for name in explanation.dependencies:
        try:
            box.modprobe(name)
        except KoboxError as error:
            yield f"its dependency {name} could not be loaded: {error.message.splitlines()[0]}"


def _beside(box: Box, conditions: Conditions) -> Iterator[str]:
    """Load the modules that come before it, in the order given; a refused one is tried again after the others."""
    waiting = list(conditions.beside)
    while waiting:
        refused: list[tuple[int, str]] = []
        for number, other in enumerate(waiting):
            try:
                box.insmod(other.content)
            except KoboxError as error:
                refused.append((number, f"{other.name} could not be loaded before it: {error.message.splitlines()[0]}"))
        if len(refused) == len(waiting) or not box.alive:
            yield from (text for _, text in refused)
            return
        waiting = [waiting[number] for number, _ in refused]


def _init_call(box: Box, image: bytes, parameters: str, answer: str) -> str:
    """The call of init that returned the error, found by loading the module once more and watching its calls."""
    from kobox.box.inspect.init_trace import trace_init
    from kobox.ko.source_place import source_place

    if answer == "DIED" or not box.alive:
        return ""
    with suppress(KoboxError), box.checkpoint():
        outcome = trace_init(box, image, parameters)
        call = outcome.call
        if call is None or outcome.returned != -getattr(numbers, answer, 0):
            return ""
        place = source_place(ModuleFile(image), call.place, returns_here=not call.tail) or call.place
        return f"{call.function}() at {place}" if call.function else f"a call through a pointer at {place}"
    return ""


@contextmanager
def _init_of(box: Box) -> Iterator[list[bool]]:
    """Whether the kernel comes to the module's init function: do_init_module() is called after the last check."""
    reached: list[bool] = []
    try:
        probe = box.probe("do_init_module", lambda hit: reached.append(True))
    except KoboxError:
        yield reached
        return
    try:
        yield reached
    finally:
        if box.alive:
            probe.remove()
