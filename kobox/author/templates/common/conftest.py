"""The module, built, and a fresh box for each test: a real kernel inside this Python process."""

from pathlib import Path

import kobox
import pytest


@pytest.fixture(scope="session")
def modules():
    """The .ko files of this directory by name, built for the kernel that boxes boot."""
    return {path.stem: path for path in kobox.build(Path(__file__).parent)}


@pytest.fixture
def ko(modules):
    """The module itself."""
    return modules["skeleton"]


@pytest.fixture
def box():
    """A box of this test's own; whatever the kernel complains about in it fails the test."""
    with kobox.boot() as box:
        yield box
        assert not box.findings
