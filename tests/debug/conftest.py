"""The module that is debugged here, and its life."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.images.store import KernelImage
from tests.building import BuiltTestModules

Words = tuple[str, ...]


@pytest.fixture(scope="session")
def journal(debian_kernel: KernelImage) -> Path:
    """The path of journal.ko."""
    return BuiltTestModules(debian_kernel, "debug")("journal")


@pytest.fixture
def life_of(journal: Path) -> Callable[[Box, Words], Callable[[], None]]:
    """`life_of(box, words)` is a life: load the module, write the words, unload."""

    def life_of(box: Box, words: Words) -> Callable[[], None]:
        def life() -> None:
            module = box.insmod(journal)
            for word in words:
                box.write_bytes("/dev/journal", word.encode())
            module.unload()

        return life

    return life_of
