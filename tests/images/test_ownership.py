"""A cache that somebody else could have written to is refused with a word."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kobox.box.boot.bare_boot import boot
from kobox.box.box import Box
from kobox.errors import KoboxError
from kobox.images.debian.archive import _tame
from kobox.images.ownership import check_ownership
from kobox.images.store import Store

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.mark.parametrize(
    ("mode", "word"), [(0o777, "everybody"), (0o702, "everybody"), (0o1777, "everybody"), (0o755, ""), (0o700, "")]
)
def test_what_others_can_write_to_is_refused(tmp_path: Path, mode: int, word: str) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d").chmod(mode)
    if not word:
        check_ownership(tmp_path / "d", tmp_path / "absent")
        return
    with pytest.raises(KoboxError, match=f"{word} can write to it") as caught:
        check_ownership(tmp_path / "d")
    assert str(tmp_path / "d") in str(caught.value)
    assert "XDG_CACHE_HOME" in caught.value.hint


@as_root
def test_another_user_s_files_and_groups_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("")
    os.chown(path, 1234, 1234)
    with pytest.raises(KoboxError, match="belongs to user 1234"):
        check_ownership(path)
    os.chown(path, 0, 100)
    path.chmod(0o664)
    with pytest.raises(KoboxError, match="group 100 can write to it"):
        check_ownership(path)


@pytest.mark.parametrize("part", ["", "kernels", "kernels/k", "kernels/k/kernel.json"])
def test_every_part_of_the_cache_counts(tmp_path: Path, box: Box, part: str) -> None:
    (tmp_path / "kernels/k").mkdir(parents=True)
    shutil.copy(box.image.directory / "kernel.json", tmp_path / "kernels/k")
    assert Store(tmp_path).get("k").name == box.image.name
    (tmp_path / part).chmod(0o777)
    with pytest.raises(KoboxError, match="everybody can write to it"):
        Store(tmp_path).get("k")


@pytest.mark.parametrize("part", ["..", ".", "ram", "state", "about"])
def test_every_part_of_a_snapshot_counts(box: Box, tmp_path: Path, part: str) -> None:
    place = box._place
    assert place is not None
    kernel = box.image._replace(directory=tmp_path / "k")
    (tmp_path / "k/snapshots").mkdir(parents=True)
    subprocess.run(["cp", "-a", "--sparse=always", place, tmp_path / "k/snapshots"], check=True)
    boot(kernel).close()
    (tmp_path / "k/snapshots" / place.name / part).chmod(0o777)
    with pytest.raises(KoboxError, match="everybody can write to it"):
        boot(kernel)


def test_what_is_unpacked_holds_nothing_special(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/su").write_text("#!/bin/sh\n")
    (tmp_path / "bin/su").chmod(0o6755)
    (tmp_path / "bin").chmod(0o2777)
    os.mkfifo(tmp_path / "bin/fifo")
    (tmp_path / "bin/sh").symlink_to("/bin/sh")
    _tame(tmp_path)
    assert (tmp_path / "bin/su").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "bin").stat().st_mode & 0o7777 == 0o755
    assert sorted(os.listdir(tmp_path / "bin")) == ["sh", "su"]
