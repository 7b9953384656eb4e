"""Programs made at random, and changes of programs."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kobox.checks.fuzz.program import ExerciseStep, Material, Program, step
from kobox.checks.fuzz.subsystems import TERMINAL
from kobox.checks.fuzz.systematic import EVENTS, OFFSETS, SIZES, TEXTS, systematic_programs

if TYPE_CHECKING:
    from kobox.checks.module.files import Target

_SLOTS = 3


def random_program(target: Target, material: Material, rng: random.Random) -> Program:
    """A program of up to eight calls on one file."""
    if not target.path.startswith("/"):
        return rng.choice(list(systematic_programs(target, material)))
    steps = [step("open", target.path, target.flags)]
    steps += [_random_step(target.path, target.flags, material, rng) for _ in range(rng.randint(1, 8))]
    return tuple(steps)


def mutated(program: Program, material: Material, rng: random.Random) -> Program:
    """A program with one or two steps changed, left out, repeated or added."""
    steps = list(program)
    opened = next((step for step in steps if step.call == "open"), None)
    if opened is None or opened.arguments[0] == TERMINAL:  # whose other calls would wait for each other
        return program
    path, flags = opened.arguments
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(steps))
        what = rng.randrange(4)
        if what == 0 and len(steps) > 2:
            del steps[at]
        elif what == 1:
            steps.insert(at, steps[rng.randrange(len(steps))])
        elif what == 2:
            steps[at] = _changed(steps[at], material, rng)
        else:
            steps.insert(at + 1, _random_step(path, flags, material, rng))
    return tuple(steps[:16])


def _random_step(path: str, flags: int, material: Material, rng: random.Random) -> ExerciseStep:
    slot = rng.randrange(_SLOTS) if rng.random() < 0.2 else 0
    make = rng.choice(_MAKERS)
    if make is None:
        return step("open", path, flags | rng.choice((0, 0, os.O_NONBLOCK, os.O_APPEND, os.O_EXCL)), slot=slot)
    return make(slot, material, rng)


def _a_number(material: Material, rng: random.Random) -> int:
    return rng.choice(
        (*SIZES, *OFFSETS, *material.numbers, *material.bounds, rng.randrange(256), rng.randrange(1 << 32))
    )


def _some_bytes(material: Material, rng: random.Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice((*TEXTS, *material.words))
    if kind == 1:
        return str(_a_number(material, rng)).encode()
    if kind == 2:
        size = rng.choice((4, 8))
        return b"".join(
            (_a_number(material, rng) & (1 << 8 * size) - 1).to_bytes(size, "little") for _ in range(rng.randint(1, 16))
        )
    return rng.randbytes(rng.choice(SIZES))


def _a_request(material: Material, rng: random.Random) -> int:
    if material.requests and rng.random() < 0.8:
        return rng.choice(material.requests)
    return _a_number(material, rng) & 0xFFFFFFFF


_MAKERS: tuple[Callable[[int, Material, random.Random], ExerciseStep] | None, ...] = (
    None,
    lambda slot, material, rng: step("read", rng.choice(SIZES), slot=slot),
    lambda slot, material, rng: step("read", rng.choice(SIZES), slot=slot),
    lambda slot, material, rng: step("write", _some_bytes(material, rng), slot=slot),
    lambda slot, material, rng: step("write", _some_bytes(material, rng), slot=slot),
    lambda slot, material, rng: ExerciseStep(
        "ioctl", slot, (_a_request(material, rng), _some_bytes(material, rng) or bytes(8))
    ),
    lambda slot, material, rng: ExerciseStep(
        "ioctl", slot, (_a_request(material, rng), _some_bytes(material, rng) or bytes(8))
    ),
    lambda slot, material, rng: step("ioctl", _a_request(material, rng), _a_number(material, rng), slot=slot),
    lambda slot, material, rng: step("lseek", _a_number(material, rng), rng.randrange(3), slot=slot),
    lambda slot, material, rng: step("pread", rng.choice(SIZES), _a_number(material, rng), slot=slot),
    lambda slot, material, rng: step("pwrite", _some_bytes(material, rng), _a_number(material, rng), slot=slot),
    lambda slot, material, rng: step("poll", EVENTS, slot=slot),
    lambda slot, material, rng: step("close", slot=slot),
    lambda slot, material, rng: step("fsync", slot=slot),
    lambda slot, material, rng: ExerciseStep(
        "mmap", slot, (rng.choice((1, 4096, 8192)), rng.choice((1, 3)), 1, rng.choice((0, 4096)))
    ),
)


def _changed(step: ExerciseStep, material: Material, rng: random.Random) -> ExerciseStep:
    """A step with one of its arguments changed."""
    if not step.arguments or step.call in ("open", "mknod", "call", "make", "use", "keyctl", "accept", "aio"):
        return step
    at = rng.randrange(len(step.arguments))
    old = step.arguments[at]
    if isinstance(old, bytes):
        new: Any = _some_bytes(material, rng) if rng.random() < 0.5 or not old else _flipped(old, rng)
    elif step.call in ("read", "mmap", "splice", "unsplice") or (step.call == "pread" and at == 0):
        new = rng.choice(SIZES)
    elif step.call == "lseek" and at == 1:
        new = rng.randrange(5)
    elif step.call in ("read_at", "write_at") and at == 1:
        new = rng.choice(SIZES)
    else:
        new = _a_number(material, rng)
    return step._replace(arguments=(*step.arguments[:at], new, *step.arguments[at + 1 :]))


def _flipped(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :]
