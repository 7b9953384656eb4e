"""Notifiers in each of the kernel's own chains: seen, taken back, left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobox.apps.run_story import Story
from kobox.box.boot.bare_boot import boot
from kobox.box.box import Box
from kobox.box.inspect.hooks import NOTIFIER_CHAINS
from kobox.images.kernel_image import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules


@pytest.fixture(scope="module", params=["debian_kernel", "arm64_kernel"])
def place(request: pytest.FixtureRequest) -> tuple[Box, Path]:
    """arm64's kernel names no variable in kallsyms: its chains are found by code."""
    kernel: KernelImage = request.getfixturevalue(request.param)
    return boot(kernel), BuiltTestModules(kernel, "chains")("chains")


@pytest.mark.parametrize("left", ["", *NOTIFIER_CHAINS])
def test_only_what_stays_in_its_chain_is_left_behind(place: tuple[Box, Path], left: str) -> None:
    box, module = place
    box.reset()
    story = Story(box)
    events = list(story.tell([ModuleFile(module)], f"leave={left}"))
    seen = {event.text.rpartition(" of ")[2] for event in events if event.kind == "appeared" and " of " in event.text}
    assert seen >= set(NOTIFIER_CHAINS)
    behind = [event.text.rpartition(" of ")[2] for event in events if event.kind == "left"]
    assert behind == ([left] if left else [])
    assert story.verdict.ok == (not left)
