"""A file that is written aside: whole or not at all, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.atomic_file import atomic_file, write_file, write_files


def _write(path: Path) -> None:
    write_file(path, b"new")


def _write_many(path: Path) -> None:
    write_files({str(path): b"new"})


WRITERS = [_write, _write_many]


@pytest.mark.parametrize("write", WRITERS)
def test_content_and_permissions(write: Callable[[Path], None], tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_bytes(b"old")
    write(place)
    assert place.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_permissions_are_kept_given_or_the_umasks(tmp_path: Path) -> None:
    place = tmp_path / "file"
    write_file(place, b"")
    umask = os.umask(0)
    os.umask(umask)
    assert place.stat().st_mode & 0o777 == 0o666 & ~umask
    place.chmod(0o640)
    write_file(place, b"")
    assert place.stat().st_mode & 0o777 == 0o640
    write_file(place, b"", mode=0o600)
    assert place.stat().st_mode & 0o777 == 0o600


def test_a_link_stays_or_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to("real")
    write_file(link, b"through")
    assert link.is_symlink()
    assert (tmp_path / "real").read_bytes() == b"through"
    write_file(link, b"instead", follow=False)
    assert not link.is_symlink()
    assert (tmp_path / "real").read_bytes() == b"through"
    link.unlink()
    link.symlink_to("real")
    write_files({str(link): b"instead"})
    assert not link.is_symlink()


def test_a_block_that_raises_leaves_the_old_file(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_bytes(b"old")

    def fails_half_way() -> None:
        with atomic_file(place) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails_half_way()
    assert place.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_writer_left_is_removed_by_the_next_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "file"
    script = (
        "import os, signal, sys\nfrom kobox.atomic_file import atomic_file\n"
        f"with atomic_file({str(place)!r}) as file:\n    file.write(b'half'); file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    others = [tmp_path / ".file.tmp", tmp_path / ".file.mine.tmp", tmp_path / left.name.replace(".file.", ".other.")]
    for other in others:
        other.write_bytes(b"")
    with atomic_file(place) as alive:
        assert not left.exists()
        write_file(place, b"second")  # the first writer is alive: its file aside is not taken away
        alive.write(b"first")
    assert place.read_bytes() == b"first"
    assert sorted(tmp_path.iterdir()) == sorted([place, *others])


@pytest.mark.parametrize("write", WRITERS)
def test_an_error_names_the_file_that_was_meant(write: Callable[[Path], None], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write(tmp_path / "missing" / "file")
    assert caught.value.filename == str(tmp_path / "missing" / "file")
    limited = (
        "import resource, signal, sys\nfrom kobox.atomic_file import write_file, write_files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"write = {'write_file' if write is _write else 'lambda path, data: write_files({path: data})'}\n"
        f"try: write({str(tmp_path / 'big')!r}, bytes(5000))\nexcept OSError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", limited], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == f"[Errno 27] File too large: '{tmp_path / 'big'}'"
    assert not list(tmp_path.iterdir())
