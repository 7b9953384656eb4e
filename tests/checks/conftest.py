"""What the tests of checks share: a box and the modules of a group, for the kernels that findings must agree on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.checks.report.finding import Finding
from kobox.checks.runner.session import Check, Examination, Exercise
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import SOURCES, BuiltTestModules


class Laboratory:
    """A box of one kernel, and the modules built for it."""

    def __init__(self, kernel: KernelImage) -> None:
        self.kernel = kernel
        self.box: Box = boot(kernel.name)
        self._files: dict[str, ModuleFile] = {}

    def file(self, name: str, group: str = "") -> ModuleFile:
        """A module of tests/modules."""
        if name not in self._files:
            self._files[name] = ModuleFile(BuiltTestModules(self.kernel, group)(name))
        return self._files[name]

    def examine(
        self, file: ModuleFile, checks: Sequence[Check], parameters: str = "", exercise: Exercise | None = None
    ) -> list[Finding]:
        """One life of a module under these checks."""
        return Examination(self.box, file, checks, parameters=parameters).run(exercise)


# `make test-arm64` names that of another architecture.
KERNELS = os.environ.get("KOBOX_TEST_KERNELS", "debian_kernel trixie_kernel").split()


@pytest.fixture(scope="package", params=KERNELS)
def laboratory(request: pytest.FixtureRequest) -> Iterator[Laboratory]:
    """Debian bookworm's kernel, then trixie's."""
    made = Laboratory(request.getfixturevalue(request.param))
    yield made
    made.box.close()


@pytest.fixture(scope="session")
def line_of() -> Callable[[str, Path], int]:
    """The number of the line of a source under tests/modules that holds a text."""

    def find(text: str, source: Path) -> int:
        lines = (SOURCES / source).read_text().splitlines()
        return next(number for number, line in enumerate(lines, 1) if text in line)

    return find
