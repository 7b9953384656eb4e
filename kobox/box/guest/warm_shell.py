"""A shell that is started before anybody needs it, and kept in a snapshot: a fresh process then need not start one."""

from __future__ import annotations

import os

from kobox.box.booted import BootedKernel
from kobox.box.guest.process import Child
from kobox.box.guest.program import Program, ProgramStreams
from kobox.box.guest.streams import Input, Output
from kobox.box.guest.subprocess import PIPE, Writer, file_writer, popen

# A shell that waits for one line on its standard input, is that, and has the rest of the input as its own.
_COMMAND = 'IFS= read -r c; eval "unset c; $c"'


def start(box: BootedKernel) -> None:
    """Start one, with the usual environment, in /root, and let it come to its read(2): `take` gives it a command."""
    program = popen(
        box, ["sh", "-c", _COMMAND], executable="/bin/sh", cwd="/root", stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    box.guest.processes.run_until(lambda: False, stop_when_idle=True)
    assert program._input is not None
    outputs = [output.save() for output in program._outputs.values()]
    # The garbage collector would close its streams, at any moment: in the middle of a snapshot, too.
    box.guest.started.append(program)
    box.guest.warm_shell = program.pid, program._input.fd, outputs


def take(box: BootedKernel, command: str, stdout: Writer, stderr: Writer) -> Program[bytes] | None:
    """Have it run a command of one line, with its output written to two file objects; None when there is none."""
    saved, box.guest.warm_shell = box.guest.warm_shell, None
    if saved is None or "\n" in command:
        return None
    pid, fd, rows = saved
    child = box.guest.processes.children.setdefault(pid, Child(pid))
    given = Input(box, fd)
    outputs = tuple(
        Output(box, end, file_writer(sink), box.guest.workers.at(number, buffer))
        for (end, number, buffer), sink in zip(rows, (stdout, stderr), strict=True)
    )
    program: Program[bytes] = Program(
        box, ["sh", "-c", command], child, ProgramStreams(given, {}, outputs, None, False), box.log.next_seq
    )
    given.put(os.fsencode(command) + b"\n")
    return program
