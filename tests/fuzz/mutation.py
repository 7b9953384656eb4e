"""Mutations of bytes, by a seed: the same seed, the same bytes."""

from __future__ import annotations

import random

_INTERESTING = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    (1 << 63) - 1,
    (1 << 64) - 1,
)


def mutated(seed: bytes, other: bytes, chance: random.Random) -> bytes:
    """Some bytes made of a seed: bits turned, numbers put in, parts cut, doubled or taken from another seed."""
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            width = chance.choice((1, 2, 4, 8))
            number = chance.choice(_INTERESTING) & (1 << 8 * width) - 1
            data[at : at + width] = number.to_bytes(width, chance.choice(("little", "big")))
        elif kind == 2:
            del data[at : at + chance.randrange(1, 64)]
        elif kind == 3:
            data[at:at] = data[at : at + chance.randrange(1, 64)]
        elif kind == 4:
            start = chance.randrange(len(other) + 1)
            data[at : at + 32] = other[start : start + chance.randrange(64)]
        else:
            data[at:at] = chance.randbytes(chance.randrange(1, 16))
    return bytes(data)
