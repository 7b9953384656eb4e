"""JSON that somebody else has written: readers of files and IDs meet odd shapes with an error of kobox's."""

from __future__ import annotations

import zlib
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.apps.life_record import LifeRecord
from kobox.checks.faults.fault_injection import FaultTable
from kobox.checks.races.own_races import parse_own_race
from kobox.checks.races.race_calls import parse_data_race
from kobox.checks.races.races import parse_race
from kobox.checks.report.known import read_baseline
from kobox.errors import KoboxError
from kobox.explain.log_lines import log_lines
from kobox.json_text import parse_json
from kobox.monitor.fleet import read_fleet
from kobox.monitor.status import KernelModules

SHAPES = {
    "empty": "",
    "null": "null",
    "list": "[]",
    "table": "{}",
    "deep": "[" * 100_000,
    "infinite": "[1e999, 1e999, 1e999]",
    "long number": "9" * 5000,
    "other argument": '[[["open", 0, [{"a": 1}]]], ["read", 0, [1]], ["write", 0, [2]], 5]',
    "infinite taint": '{"format": 1, "release": "r", "modules": [], "tainted": 1e999}',
    "rows that are none": '{"format": 1, "findings": [null], "modules": [1]}',
    "TOML, hosts": "hosts = 1",
    "TOML, a failure that is a number": "[[failure]]\nvalue = 1",
    "TOML, rows that are none": "failure = [1]",
}


def _packed(prefix: str, parse: Callable[[str], object]) -> Callable[[Path], object]:
    return lambda path: parse(prefix + urlsafe_b64encode(zlib.compress(path.read_bytes())).decode())


READERS: dict[str, Callable[[Path], object]] = {
    "baseline of check": read_baseline,
    "fleet": read_fleet,
    "fault table": FaultTable,
    "modules": lambda path: KernelModules.of_plain(parse_json(path.read_bytes())),
    "record": lambda path: LifeRecord.unpack(path.read_bytes()),
    "race": _packed("race:", parse_race),
    "data race": _packed("datarace:", parse_data_race),
    "own race": _packed("ownrace:", parse_own_race),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reader", READERS)
def test_odd_shapes(reader: str, shape: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(SHAPES[shape])
    with pytest.raises((KoboxError, ValueError)):
        READERS[reader](tmp_path / "file")


def test_brackets_without_an_end_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 100_000)


def test_a_log_s_line_that_is_odd_json_is_text() -> None:
    assert [line.text for line in log_lines("[" * 100_000)] == ["[" * 100_000]
