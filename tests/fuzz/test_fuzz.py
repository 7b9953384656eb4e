"""Every reader of hostile bytes: its corpus, and some mutations of it from a fixed seed. `make fuzz` tries many."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.mutation import mutated
from tests.fuzz.targets import TARGETS, seeds


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_the_reader_s_own_errors(name: str) -> None:
    target, corpus, chance = TARGETS[name], seeds(name), random.Random(name)
    for data in [*corpus, *(mutated(chance.choice(corpus), chance.choice(corpus), chance) for _ in range(300))]:
        try:
            target.read(data)
        except target.errors:
            continue


def test_a_seed_gives_the_same_bytes_again() -> None:
    def made() -> list[bytes]:
        chance = random.Random(3)
        return [mutated(b"abcdefgh" * 20, b"01234567", chance) for _ in range(50)]

    assert made() == made()
    assert len(set(made())) > 40
