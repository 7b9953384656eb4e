"""Writing indexes: what others put in the way, and what a killed run left behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.kmod.index.generate import FILES
from tests.kmod.module_maker import make_module
from tests.kmod_fixtures import Tree, kobox


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path / "root", "1.0")
    tree.path.mkdir(parents=True)
    (tree.path / "m.ko").write_bytes(make_module(info=["alias=x"], exports=["f"]))
    return tree


def depmod(tree: Tree, *options: str | Path) -> int:
    return kobox("depmod", "-b", tree.root, *options, tree.release).status


def test_a_link_in_place_of_an_index_is_replaced_and_not_followed(tree: Tree, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in FILES:
        (tree.path / name).symlink_to(victim)
    assert depmod(tree) == 0
    assert victim.read_text() == "precious"
    assert not any((tree.path / name).is_symlink() for name in FILES)


def test_links_with_the_names_of_files_aside_are_not_followed(tree: Tree, tmp_path: Path) -> None:
    """Names that contain the process's number can be foreseen; kobox's are random, and opened with O_EXCL."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for number in range(os.getpid() - 3, os.getpid() + 40):
        for pattern in ("modules.dep.{}.tmp", ".modules.dep.{}.tmp", "modules.dep.{}"):
            (tree.path / pattern.format(number)).symlink_to(victim)
    assert depmod(tree) == 0
    assert victim.read_text() == "precious"


def test_what_a_killed_run_left_is_swept_by_the_next(tree: Tree) -> None:
    code = (
        "import os, signal, kobox.atomic_file as files\n"
        "files.os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from kobox.cli.main import run\n"
        f"run('depmod', ['-b', {str(tree.root)!r}, '1.0'], prog='depmod')\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    left = [path.name for path in tree.path.iterdir() if path.name not in (*FILES, "m.ko")]
    assert len(left) == len(FILES)
    assert depmod(tree) == 0
    assert {path.name for path in tree.path.iterdir()} == {*FILES, "m.ko"}


def test_no_space_names_the_file_and_leaves_nothing(tree: Tree) -> None:
    (tree.path / "m.ko").write_bytes(make_module(info=[f"alias=number-{n}" for n in range(2000)]))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    command = [sys.executable, "-m", "kobox", "depmod", "-b", str(tree.root), tree.release]
    done = subprocess.run(command, check=False, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 1
    assert f"{tree.path}/modules." in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tree.path.iterdir()] == ["m.ko"]
