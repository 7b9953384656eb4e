"""The module whose calls are traced here."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobox.images.store import KernelImage
from tests.building import BuiltTestModules


@pytest.fixture(scope="session")
def tracee(debian_kernel: KernelImage) -> Path:
    """The path of tracee.ko."""
    return BuiltTestModules(debian_kernel, "debug")("tracee")
