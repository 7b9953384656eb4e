from __future__ import annotations

from pathlib import Path

import pytest

from kobox.ko.modulefile import ModuleFile
from tests.kmod_fixtures import cloud_package, kmod

__all__ = ["cloud_package", "kmod"]


@pytest.fixture(scope="module")
def btrfs(cloud_package: Path) -> ModuleFile:
    return ModuleFile(next(cloud_package.rglob("btrfs.ko")))
