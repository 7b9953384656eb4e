"""Programs: what the exercise does with a file, as small values that can be kept, changed and repeated."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kobox.arch.registry import HOSTILE_ADDRESSES


class ExerciseStep(NamedTuple):
    """One system call of a program. `slot` names an open file of the program; `arguments` are numbers, bytes and paths:

    open path flags      read size            write data          lseek offset whence   poll events
    close                pread size offset    pwrite data offset  ioctl request value   mmap length protection flags
    offset fsync                fcntl command value  ftruncate size      read_at address size  write_at address size
    mknod path mode device (no slot)          sleep seconds (no slot)
    socket family type protocol               sendto data address   connect address     recv size
    call name arguments… (no slot)            make name arguments…: the result is the slot's file
    use name arguments…: the slot's file is the first argument             keyctl operation arguments…
    accept slot: a connection of that one     peer slot: the other end of that pseudo-terminal
    splice size: out of a pipe, into the file     unsplice size: the other way     aio opcode size: by io_submit(2)
    ethtool interface command: by ioctl(2)
    """

    call: str
    slot: int = 0
    arguments: tuple[Any, ...] = ()


Program = tuple[ExerciseStep, ...]


def step(call: str, *arguments: object, slot: int = 0) -> ExerciseStep:
    """One system call on the open file `slot`."""
    return ExerciseStep(call, slot, arguments)


def plain_step(step: ExerciseStep) -> list[Any]:
    """A step as what `json.dumps` takes."""
    return [step.call, step.slot, [{"hex": one.hex()} if isinstance(one, bytes) else one for one in step.arguments]]


def step_of(row: Sequence[Any]) -> ExerciseStep:
    """Undo `plain_step`."""
    call, slot, arguments = row
    return ExerciseStep(
        call, slot, tuple(bytes.fromhex(one["hex"]) if isinstance(one, dict) else one for one in arguments)
    )


def system_call(step: ExerciseStep, fd: int) -> tuple[str, tuple[Any, ...]]:
    """The system call that a step on an open file is: its name and arguments. Not for open, mmap, mknod and sleep."""
    given = step.arguments
    if step.call in ("read", "pread"):
        size, *rest = given
        return ("read" if step.call == "read" else "pread64"), (fd, bytearray(size), size, *rest)
    if step.call in ("write", "pwrite"):
        data, *rest = given
        return ("write" if step.call == "write" else "pwrite64"), (fd, data, len(data), *rest)
    if step.call == "ioctl":
        request, value = given
        return "ioctl", (fd, request, bytearray(value) if isinstance(value, bytes) else value)
    if step.call == "sendto":
        data, address = given
        return "sendto", (fd, data, len(data), 0x40, address, len(address))  # MSG_DONTWAIT
    if step.call == "connect":
        return "connect", (fd, given[0], len(given[0]))
    if step.call == "recv":
        return "recvfrom", (fd, bytearray(given[0]), given[0], 0x40, 0, 0)
    if step.call == "poll":
        return "ppoll", (bytearray(struct.pack("<ihh", fd, given[0] & 0x7FFF, 0)), 1, bytes(16), 0, 0)
    return step.call.removesuffix("_at"), (fd, *given)


@dataclass(slots=True)
class Material:
    """What programs are made of, as the module's code has them: numbers that look like ioctl requests, other numbers,
    those below 256, words, characters that it compares with, and large numbers that it compares with; addresses that
    the kernel must not trust."""

    requests: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    words: tuple[bytes, ...] = ()
    bounds: tuple[int, ...] = ()
    hostile: tuple[int, ...] = HOSTILE_ADDRESSES
    chars: tuple[int, ...] = ()
    magics: tuple[int, ...] = ()
    formats: tuple[bytes, ...] = ()  # what is read by sscanf()
    imports: frozenset[str] = frozenset()
