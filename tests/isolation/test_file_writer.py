"""A process outside the wall writes the files that were named before it was raised, and no others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kobox.isolation import file_writer
from kobox.isolation.file_writer import FileWriter


@pytest.fixture
def writer(tmp_path: Path) -> FileWriter:
    return FileWriter([tmp_path / "report.html"], tmp_path / "crashes", r"test_\w+\.py")


@pytest.mark.parametrize("name", ["report.html", "crashes/test_a_1.py"])
def test_what_was_named_is_written(writer: FileWriter, tmp_path: Path, name: str) -> None:
    for content in (b"", b"text", bytes(3 << 20)):
        writer.write(tmp_path / name, content)
        assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize(
    "name",
    [
        "other.html",
        "report.html.py",
        "./crashes/../report2.html",
        "crashes/../crashes/test_a.py/../../x",
        "crashes/conftest.py",
        "crashes/test_.sh",
        "crashes/sub/test_a.py",
        "crashes/test_a.py\n",
        "crashes/test_/../../test_a.py",
    ],
)
def test_nothing_else_is(writer: FileWriter, tmp_path: Path, name: str) -> None:
    with pytest.raises(PermissionError):
        writer.write(Path(f"{tmp_path}/{name}"), b"x")
    assert list(tmp_path.rglob("*")) == []


def test_errors_name_the_file(tmp_path: Path) -> None:
    writer = FileWriter([tmp_path / "no/such/directory"])
    with pytest.raises(FileNotFoundError) as found:
        writer.write(tmp_path / "no/such/directory", b"x")
    assert found.value.filename == str(tmp_path / "no/such/directory")
    writer = FileWriter([tmp_path / "large"])
    with pytest.raises(OSError, match="too large"):
        writer.write(tmp_path / "large", bytes(file_writer.MOST + 1))


def test_a_link_planted_in_the_directory_is_not_followed_outside(writer: FileWriter, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "crashes").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "crashes/test_a.py")
    writer.write(tmp_path / "crashes/test_a.py", b"x")
    assert (tmp_path / "elsewhere").read_text() == "mine"
