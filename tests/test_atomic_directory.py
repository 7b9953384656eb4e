"""A directory that is there as a whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.atomic_directory import atomic_directory

KILLED = """
import os, signal, sys
from pathlib import Path
from kobox.atomic_directory import atomic_directory
with atomic_directory(Path(sys.argv[1])) as aside:
    (aside / "half").write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("there", [False, True])
def test_it_appears_at_the_end(there: bool, tmp_path: Path) -> None:
    target = tmp_path / "above" / "dev"
    if there:
        target.mkdir(parents=True)
    with atomic_directory(target) as aside:
        (aside / "file").write_text("x")
        assert not there or not list(target.iterdir())
    assert [path.name for path in target.iterdir()] == ["file"]
    assert os.listdir(target.parent) == ["dev"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_directory(tmp_path / "dev") as aside:
            (aside / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert os.listdir(tmp_path) == []


def test_what_a_killed_writer_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "dev")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 1
    (tmp_path / ".dev-link.tmp").symlink_to("/nowhere")  # no link is followed
    with atomic_directory(tmp_path / "dev") as one, atomic_directory(tmp_path / "dev") as other:
        (one / "a").write_text("x")
        assert one != other
        assert len(os.listdir(tmp_path)) == 3
        one.joinpath("a").unlink()
    assert sorted(os.listdir(tmp_path)) == [".dev-link.tmp", "dev"]
