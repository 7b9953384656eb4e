"""Races on the newest kernel: its locks, timers and scheduler are not those of 6.1. `make check-races` looks for all of
the tests' races on three kernels."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import kobox
from kobox.box.box import Box
from kobox.checks.races.data_races import CMDLINE, CPUS, DataRaceSearch
from kobox.checks.report.finding import Finding, Severity
from kobox.checks.runner.session import Examination
from kobox.images.store import KernelImage
from kobox.kbuild.build import build
from kobox.ko.modulefile import ModuleFile
from tests.building import SOURCES, builds
from tests.checks.races.test_data_races import calls_on, lines_of_race

NAMES = ("counter", "transfer")


@pytest.fixture(scope="module")
def directory(sid_kernel: KernelImage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("races")
    for path in (SOURCES / "races" / "device.h", *(SOURCES / f"races/{name}.c" for name in NAMES)):
        shutil.copy(path, place)
    rules = ["obj-m := " + " ".join(f"{name}.o {name}_right.o" for name in NAMES)]
    for name in NAMES:
        shutil.copy(SOURCES / f"races/{name}_right.c", place)
        rules.append(f"CFLAGS_{name}_right.o := -DRIGHT")
    (place / "Kbuild").write_text("\n".join([*rules, ""]))
    build(place, sid_kernel, builds=builds())
    return place


@pytest.fixture(scope="module")
def room(sid_kernel: KernelImage) -> Iterator[Box]:
    with kobox.boot(sid_kernel, cpus=CPUS, cmdline=CMDLINE) as box:
        yield box


def errors(box: Box, path: Path, name: str) -> list[Finding]:
    examination, search = Examination(box, ModuleFile(str(path)), []), DataRaceSearch(calls_on(name))
    search.examination = examination
    examination.run(search)
    assert examination.error is None
    return [one for one in examination.findings if one.severity is Severity.ERROR]


@pytest.mark.parametrize("name", NAMES)
def test_a_race_is_found_on_the_newest_kernel(room: Box, directory: Path, name: str) -> None:
    found = errors(room, directory / f"{name}.ko", name)
    assert {one.where.line for one in found if one.where} & lines_of_race(name), [str(one) for one in found]


@pytest.mark.parametrize("name", NAMES)
def test_the_twin_is_clean_on_the_newest_kernel(room: Box, directory: Path, name: str) -> None:
    assert errors(room, directory / f"{name}_right.ko", name) == []
